//! Takes a release back that answers worse than it may, soon after it was promoted.

use std::collections::BTreeMap;

use anyhow::Result;
use lockstep_model::EventTime;
use lockstep_serve::metrics::Answers;
use lockstep_store::{OnlineStore, Release, Switch, SwitchKind};

use super::WatchConfig;
use crate::owned::Owned;
use crate::verbs::release::rollback;

/// What has been answered, by service or view.
type Totals = BTreeMap<String, Answers>;

/// A release that is watched.
#[derive(Debug, Default)]
pub struct Watch {
    /// The epoch, and what had been answered when it was first seen.
    since: Option<(u64, Totals)>,
}

impl Watch {
    /// Looks at what has been answered since a release serves, and takes it back where a limit is passed. To be called every second or so. Gives the reason where it
    /// was taken back.
    ///
    /// # Errors
    /// Where the store cannot be read or written; where there is nothing to go back to.
    pub fn look(&mut self, owned: &Owned, now: EventTime, answered: impl FnOnce() -> Totals) -> Result<Option<String>> {
        let config = &owned.project.config.releases.watch;
        let epoch = owned.store.serving_epoch();
        if !config.watches() || epoch == 0 {
            return Ok(None);
        }
        let (seen, before) = match &self.since {
            Some((seen, before)) if *seen == epoch => (*seen, before),
            // What was answered before belongs to another release.
            _ => {
                self.since = Some((epoch, answered()));
                return Ok(None);
            }
        };
        let Some((release, switch)) = OnlineStore::cut(&*owned.store).serving()? else { return Ok(None) };
        if switch.epoch != seen || !is_watched(&switch, config, now) {
            return Ok(None);
        }
        let Some(reason) = config.passed(before, &answered()) else { return Ok(None) };
        take_back(owned, &release, &reason)?;
        Ok(Some(reason))
    }
}

/// Whether a release is new enough. One that was gone back to is not taken back again, since the one before may be no better.
fn is_watched(switch: &Switch, config: &WatchConfig, now: EventTime) -> bool {
    switch.new.kind == SwitchKind::Promote && switch.from.is_some() && now.0.saturating_sub(switch.at.0) <= config.r#for.micros()
}

fn take_back(owned: &Owned, release: &Release, reason: &str) -> Result<()> {
    let question = rollback::Question { to: None, force: false, by: None, reason: Some(reason.to_owned()), automatic_of: Some(release.release) };
    rollback::roll_back(owned, &question).map(|_| ())
}

impl WatchConfig {
    fn watches(&self) -> bool {
        self.error_rate.is_some() || self.default_rate.is_some() || self.stale_rate.is_some()
    }

    /// The first limit that was passed between two moments, in words.
    #[allow(clippy::cast_precision_loss, reason = "a share for limits")]
    fn passed(&self, before: &Totals, after: &Totals) -> Option<String> {
        after.iter().find_map(|(name, after)| {
            let since = after.since(before.get(name).copied().unwrap_or_default());
            if since.values < self.values_min.max(1) {
                return None;
            }
            let limits = [
                (since.errors, self.error_rate, "are errors"),
                (since.defaults, self.default_rate, "are defaults"),
                (since.stale, self.stale_rate, "are stale"),
            ];
            limits.into_iter().find_map(|(count, limit, what)| {
                let (share, limit) = (count as f64 / since.values as f64, limit?.0);
                let said =
                    || format!("{:.2} % of {} values of `{name}` {what}, and at most {:.2} % may be", share * 100.0, since.values, limit * 100.0);
                (share > limit).then(said)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::Share;

    fn totals(values: u64, errors: u64, defaults: u64, stale: u64) -> Totals {
        Totals::from([("s".to_owned(), Answers { values, errors, defaults, stale })])
    }

    #[test]
    fn a_limit_is_passed_by_what_was_answered_since() {
        let config = WatchConfig { values_min: 100, error_rate: Some(Share(0.1)), default_rate: Some(Share(0.5)), ..WatchConfig::default() };
        let before = totals(1000, 900, 900, 900);
        assert_eq!(config.passed(&before, &totals(1099, 999, 900, 900)), None, "too few values say anything");
        assert_eq!(config.passed(&before, &totals(1100, 910, 950, 1000)), None, "at a limit, and where there is none");
        assert_eq!(
            config.passed(&before, &totals(1100, 911, 900, 900)).unwrap(),
            "11.00 % of 100 values of `s` are errors, and at most 10.00 % may be"
        );
        assert_eq!(
            config.passed(&Totals::new(), &totals(200, 0, 101, 0)).unwrap(),
            "50.50 % of 200 values of `s` are defaults, and at most 50.00 % may be"
        );
        assert!(!WatchConfig::default().watches());
    }
}
