//! The settings of what is watched: `[watch]`.

use lockstep_serve::watch::{Kind, Limits};
use lockstep_transform::definition::Interval;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::serving::Share;

/// When what is measured of a server is told as a signal. What a source or view must be like is declared with it: `expect_events_every`, `max_staleness`, `min_coverage`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Of how much time shares of rows and answers are.
    #[schemars(with = "String")]
    pub window: Interval,
    /// For how long a share must be beyond its limit before it is told.
    #[schemars(with = "String")]
    pub raise_after: Interval,
    /// For how long all must be well before a signal goes.
    #[schemars(with = "String")]
    pub clear_after: Interval,
    /// Fewest rows or values of a window of which a share is taken.
    pub rows_min: u64,
    /// Greatest share of a source's rows that cannot be taken.
    pub dead_letters_max: Share,
    /// Greatest share of a source's rows that come too late.
    pub late_max: Share,
    /// Greatest share of a source's rows with other content under a known key.
    pub conflicts_max: Share,
    /// Greatest share of a source's rows that belong to no entity.
    pub without_entity_max: Share,
    /// Greatest share of the values of a service or view that cannot be computed.
    pub errors_max: Share,
    /// Greatest share of a deployment's rows that do not go the way of the model.
    pub fallen_max: Share,
    /// Greatest share of the rows of a service or view that ask for one entity.
    pub hot_key_max: Share,
    /// Greatest share of the events of a view, of the last hour, that come to one entity.
    pub hot_events_max: Share,
    /// Greatest share of labels, of those of which it is known who decided, that a model may have decided by itself: beyond it, scores that creep are told of as a feedback loop. What was
    /// decided and what came of it is what callers report.
    pub model_decides_max: Share,
    /// How long a version of a view may wait for its backfill.
    #[schemars(with = "String")]
    pub backfill_max: Interval,
    /// How long a version that was filled may take to catch up.
    #[schemars(with = "String")]
    pub catch_up_max: Interval,
    /// Of how much time served values are compared with training. A shorter window sees a shift sooner; one that is shorter than a rhythm of the data sees that rhythm.
    #[schemars(with = "String")]
    pub drift_window: Interval,
    /// Fewest values of it that say something.
    pub values_min: u64,
    /// Greatest population stability index of a feature against training: 0.1 is little, 0.25 is a shift.
    pub psi_max: f64,
    /// Greatest Kolmogorov–Smirnov distance, from 0 to 1.
    pub ks_max: Share,
    /// How many rows of requests a second are looked at.
    pub sampled_per_second: u32,
    /// Kinds of signals with which `/readyz` says that no requests are to be sent here, such as `store_silent`; none by default.
    pub not_ready: Vec<Kind>,
    /// Computing again what was served, all the time.
    pub replay: ReplayConfig,
}

/// How much of what was served and logged is computed again beside serving. It needs `[serve.feature_log]`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// How often the newest vectors of the log are computed again; less often where that takes more than `share`.
    #[schemars(with = "String")]
    pub every: Interval,
    /// The share of one core that it may take; 0 for never.
    pub share: Share,
    /// Most vectors of a time.
    pub vectors: usize,
    /// Most rows that are read again for one look, and most events of entities that are put together anew: what came since the store was looked at before. Vectors that would need more are counted as
    /// not auditable; `lockstep audit` computes them from the beginning of their inputs when it suits you.
    pub events_max: u64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        let limits = Limits::default();
        let interval = |micros: i64| Interval::from_micros(micros).unwrap_or_default();
        WatchConfig {
            window: interval(limits.window),
            raise_after: interval(limits.raise_after),
            clear_after: interval(limits.clear_after),
            rows_min: limits.rows_min,
            dead_letters_max: Share(limits.dead_letters_max),
            late_max: Share(limits.late_max),
            conflicts_max: Share(limits.conflicts_max),
            without_entity_max: Share(limits.without_entity_max),
            errors_max: Share(limits.errors_max),
            fallen_max: Share(limits.fallen_max),
            hot_key_max: Share(limits.hot_key_max),
            hot_events_max: Share(limits.hot_events_max),
            model_decides_max: Share(limits.model_decides_max),
            backfill_max: interval(limits.backfill_max),
            catch_up_max: interval(limits.catch_up_max),
            drift_window: interval(limits.drift_window),
            values_min: limits.values_min,
            psi_max: limits.psi_max,
            ks_max: Share(limits.ks_max),
            sampled_per_second: 200,
            not_ready: limits.take_out,
            replay: ReplayConfig::default(),
        }
    }
}

impl Default for ReplayConfig {
    fn default() -> Self {
        let every = Interval::from_micros(60_000_000).unwrap_or_default();
        ReplayConfig { every, share: Share(0.05), vectors: 500, events_max: 500_000 }
    }
}

impl WatchConfig {
    /// The limits that it sets.
    pub fn limits(&self) -> Limits {
        Limits {
            window: self.window.micros(),
            raise_after: self.raise_after.micros(),
            clear_after: self.clear_after.micros(),
            rows_min: self.rows_min,
            dead_letters_max: self.dead_letters_max.0,
            late_max: self.late_max.0,
            conflicts_max: self.conflicts_max.0,
            without_entity_max: self.without_entity_max.0,
            errors_max: self.errors_max.0,
            fallen_max: self.fallen_max.0,
            hot_key_max: self.hot_key_max.0,
            hot_events_max: self.hot_events_max.0,
            model_decides_max: self.model_decides_max.0,
            backfill_max: self.backfill_max.micros(),
            catch_up_max: self.catch_up_max.micros(),
            drift_window: self.drift_window.micros(),
            values_min: self.values_min,
            psi_max: self.psi_max,
            ks_max: self.ks_max.0,
            take_out: self.not_ready.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WatchConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn nothing_said_is_the_limits_that_there_are() {
        assert_eq!(read("").unwrap().limits(), Limits::default());
        assert!(read("").unwrap().not_ready.is_empty());
    }

    #[test]
    fn wrong_limits_say_what_to_write() {
        let config = read("psi_max = 0.4\nnot_ready = ['store_silent']\n[replay]\nshare = 0").unwrap();
        assert_eq!((config.psi_max, config.not_ready, config.replay.share), (0.4, vec![Kind::StoreSilent], Share(0.0)));
        assert!(read("late_max = 5").unwrap_err().contains("is no share"));
        assert!(read("not_ready = ['tired']").unwrap_err().contains("unknown variant `tired`, expected one of `replay_differs`"));
        assert!(read("psi = 1").unwrap_err().contains("unknown field `psi`"));
    }
}
