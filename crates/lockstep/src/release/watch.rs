//! Takes a release back that answers worse than it may, or otherwise than the one before, soon after it was promoted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use anyhow::Result;
use lockstep_model::EventTime;
use lockstep_serve::feature_log::{Taker, Vectors};
use lockstep_serve::live::Live;
use lockstep_serve::metrics::Answers;
use lockstep_store::{OnlineStore, Release, Switch, SwitchKind};

use super::WatchConfig;
use super::beside::{Compared, Moved, Sample};
use crate::owned::Owned;
use crate::verbs::release::rollback;

/// What has been answered, by service or view.
type Totals = BTreeMap<String, Answers>;

/// A release that is watched.
#[derive(Debug)]
pub struct Watch {
    sample: Arc<Sample>,
    taken: Receiver<Vectors>,
    since: Option<Since>,
}

/// What is known of a release since it was first seen.
#[derive(Debug)]
struct Since {
    epoch: u64,
    /// What had been answered by then: that belongs to another release.
    answered: Totals,
    compared: Compared,
}

impl Default for Watch {
    fn default() -> Self {
        let (sample, taken) = Sample::new();
        Watch { sample, taken, since: None }
    }
}

impl Watch {
    /// What is to see the answers that are given.
    pub fn taker(&self) -> Arc<dyn Taker> {
        Arc::clone(&self.sample) as _
    }

    /// Looks at what has been answered since a release serves, and takes it back where a limit is passed. To be called every second or so. Gives the reason where it
    /// was taken back.
    ///
    /// # Errors
    /// Where the store cannot be read or written; where there is nothing to go back to.
    pub fn look(&mut self, owned: &Owned, live: &Live, answered: impl FnOnce() -> Totals) -> Result<Option<String>> {
        let config = &owned.project.config.releases.watch;
        let taken: Vec<Vectors> = self.taken.try_iter().collect();
        let Some(watched) = Watched::find(owned, config, live.now())? else {
            self.sample.take_more(0);
            self.since = None;
            return Ok(None);
        };
        self.sample.take_more(if config.drift_max.is_some() { config.compared_per_second } else { 0 });
        let since = match &mut self.since {
            Some(since) if since.epoch == watched.switch.epoch => since,
            since => {
                *since = Some(Since { epoch: watched.switch.epoch, answered: answered(), compared: Compared::default() });
                return Ok(None);
            }
        };
        let Some(reason) = config.passed(&since.answered, &answered()).or_else(|| watched.drifted(owned, live, since, taken)) else {
            return Ok(None);
        };
        take_back(owned, &watched.release, &reason)?;
        Ok(Some(reason))
    }
}

/// A release that is new enough to be watched.
struct Watched {
    release: Release,
    switch: Switch,
    /// The one to go back to.
    before: Release,
}

impl Watched {
    fn find(owned: &Owned, config: &WatchConfig, now: EventTime) -> Result<Option<Watched>> {
        if !config.watches() || owned.store.serving_epoch() == 0 {
            return Ok(None);
        }
        let cut = OnlineStore::cut(&*owned.store);
        let Some((release, switch)) = cut.serving()?.filter(|(_, switch)| is_watched(switch, config, now)) else { return Ok(None) };
        let before = cut.releases()?.into_iter().find(|release| Some(release.release) == switch.from);
        Ok(before.map(|before| Watched { release, switch, before }))
    }

    /// Why the release is to be taken back for what it answers beside the one before. Where that cannot be asked, nothing is said against this one.
    fn drifted(&self, owned: &Owned, live: &Live, since: &mut Since, taken: Vec<Vectors>) -> Option<String> {
        let config = &owned.project.config.releases.watch;
        let limit = config.drift_max?;
        match self.compare(owned, live, since, taken) {
            Ok(moved) => moved.filter(|moved| moved.index > limit).map(|moved| moved.reason(self.before.release, limit)),
            Err(error) => {
                tracing::warn!(%error, "compare a release with the one before");
                None
            }
        }
    }

    fn compare(&self, owned: &Owned, live: &Live, since: &mut Since, taken: Vec<Vectors>) -> Result<Option<Moved>> {
        let config = &owned.project.config.releases;
        let behind = rollback::behind(owned, &*OnlineStore::cut(&*owned.store), &self.release, &self.before)?;
        // One that is fed no more answers otherwise for that alone.
        if behind > config.validate.behind_max.micros() {
            return Ok(None);
        }
        since.compared.take_in(live, &self.before, taken.into_iter(), since.epoch)?;
        let values_min = usize::try_from(config.watch.values_min).unwrap_or(usize::MAX);
        let moved = since.compared.most_moved(values_min)?;
        if let Some(Moved { name, feature, values, index }) = &moved {
            let before = self.before.release;
            tracing::info!(before, values, "compared with the release before: `{name}` `{feature}` has moved most, by {index:.3}");
        }
        Ok(moved)
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

impl Moved {
    fn reason(&self, before: u32, limit: f64) -> String {
        let Moved { name, feature, values, index } = self;
        format!(
            "`{feature}` of `{name}` has moved by {index:.3} from what release {before} answers, over {values} values, and at most {limit} it may"
        )
    }
}

impl WatchConfig {
    fn watches(&self) -> bool {
        self.error_rate.is_some() || self.default_rate.is_some() || self.stale_rate.is_some() || self.drift_max.is_some()
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
        Totals::from([("s".to_owned(), Answers { rows: values, values, errors, defaults, stale })])
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
