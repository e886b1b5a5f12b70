//! Releases: what a candidate must be like before it serves ([`validate`]), and what takes it back afterwards ([`watch`]).

pub mod beside;
pub mod measure;
pub mod validate;
pub mod watch;

use std::num::NonZeroUsize;

use lockstep_transform::definition::Interval;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::serving::Share;

/// How releases come to serve, and what takes them back.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReleasesConfig {
    /// What a candidate must be like: `lockstep release promote` refuses another, unless it is forced.
    pub validate: ValidateConfig,
    /// How long versions that serve no more are fed on, so that they can serve again at once, and not be dropped.
    pub rollback_window: Interval,
    /// What takes a release back by itself, soon after it was promoted; nothing where no limit is set.
    pub watch: WatchConfig,
}

impl Default for ReleasesConfig {
    fn default() -> Self {
        ReleasesConfig { validate: ValidateConfig::default(), rollback_window: minutes(24 * 60), watch: WatchConfig::default() }
    }
}

/// What a candidate must be like, on a snapshot of it. Views whose state is that which serves already are not looked at.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValidateConfig {
    /// Most entities of a view that are looked at: the same ones of the candidate and of what serves.
    pub sample: NonZeroUsize,
    /// Fewest entities of a view.
    pub entities_min: u64,
    /// Smallest share of entities for which a feature has a value.
    pub coverage_min: Option<Share>,
    /// Greatest share of entities for which a feature is NULL.
    pub null_share_max: Option<Share>,
    /// How far a view's watermark may be behind that of what serves.
    #[schemars(with = "String")]
    pub behind_max: Interval,
    /// By how much there may be fewer entities than in what serves.
    pub entities_fall_max: Share,
    /// By how much the coverage of a feature may be less, in shares of entities.
    pub coverage_fall_max: Share,
    /// By how much the share of NULLs of a feature may be more.
    pub null_share_rise_max: Share,
    /// By how much values may have moved: population stability index of a feature against what serves, of 500 values and more. 0.1 is little, 0.25 is a shift.
    pub drift_max: f64,
}

impl Default for ValidateConfig {
    fn default() -> Self {
        ValidateConfig {
            sample: NonZeroUsize::MIN.saturating_add(99_999),
            entities_min: 1,
            coverage_min: None,
            null_share_max: None,
            behind_max: minutes(1),
            entities_fall_max: Share(0.05),
            coverage_fall_max: Share(0.05),
            null_share_rise_max: Share(0.05),
            drift_max: 0.25,
        }
    }
}

/// What takes a release back by itself: a share of what one service or view has answered since the release serves, or values that are not those of the release before.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// How long after it was promoted.
    #[schemars(with = "String")]
    pub r#for: Interval,
    /// Fewest values that say something.
    pub values_min: u64,
    /// Greatest share of values that could not be computed.
    pub error_rate: Option<Share>,
    /// Greatest share of values that a default filled.
    pub default_rate: Option<Share>,
    /// Greatest share of values whose state lags more than their view allows.
    pub stale_rate: Option<Share>,
    /// By how much the values of a feature may have moved from what the release before answers to the same requests: population stability index, of `values_min` values
    /// and more. 0.1 is little, 0.25 is a shift.
    pub drift_max: Option<f64>,
    /// How many rows of requests a second are answered by the release before as well, where `drift_max` is said.
    pub compared_per_second: u32,
}

impl Default for WatchConfig {
    fn default() -> Self {
        WatchConfig {
            r#for: minutes(10),
            values_min: 1000,
            error_rate: None,
            default_rate: None,
            stale_rate: None,
            drift_max: None,
            compared_per_second: 500,
        }
    }
}

fn minutes(minutes: i64) -> Interval {
    Interval::from_micros(minutes * 60_000_000).unwrap_or_default()
}
