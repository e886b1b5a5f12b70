//! Where what is measured is too much, or too little. What sources and views declare is in the reading itself; this is the rest.

use super::signal::Kind;

/// Limits of what is measured, and how patient a watch is.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Of how much time shares of rows and answers are, µs.
    pub window: i64,
    /// For how long a share must be beyond its limit before it is told, µs.
    pub raise_after: i64,
    /// For how long all must be well before a signal goes, µs.
    pub clear_after: i64,
    /// Fewest rows or values of a window of which a share is taken.
    pub rows_min: u64,
    /// Greatest share of a source's rows that could not be taken.
    pub dead_letters_max: f64,
    /// Greatest share of a source's rows that came too late.
    pub late_max: f64,
    /// Greatest share of a source's rows with other content under a known key.
    pub conflicts_max: f64,
    /// Greatest share of a source's rows that belong to no entity.
    pub without_entity_max: f64,
    /// Greatest share of the values of a service or view that could not be computed.
    pub errors_max: f64,
    /// Greatest share of a deployment's rows that did not go the way of the model.
    pub fallen_max: f64,
    /// Greatest share of the rows of a service or view that ask for one entity.
    pub hot_key_max: f64,
    /// Greatest share of the events of a view that come to one entity.
    pub hot_events_max: f64,
    /// Greatest share of labels, of those of which it is known who decided, that the model may have decided by itself where its scores creep.
    pub model_decides_max: f64,
    /// How long a version of a view may wait for its backfill, µs.
    pub backfill_max: i64,
    /// How long a version may catch up, once it was filled, µs.
    pub catch_up_max: i64,
    /// Of how much time served values are compared, µs.
    pub drift_window: i64,
    /// Fewest values of it that say something.
    pub values_min: u64,
    /// Greatest population stability index.
    pub psi_max: f64,
    /// Greatest Kolmogorov–Smirnov distance.
    pub ks_max: f64,
    /// Kinds of signals with which a server says that no requests are to be sent to it.
    pub take_out: Vec<Kind>,
}

impl Default for Limits {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000;
        const HOUR: i64 = 3600 * SECOND;
        Limits {
            window: 300 * SECOND,
            raise_after: 10 * SECOND,
            clear_after: 60 * SECOND,
            rows_min: 100,
            dead_letters_max: 0.01,
            late_max: 0.05,
            conflicts_max: 0.01,
            without_entity_max: 0.05,
            errors_max: 0.01,
            fallen_max: 0.05,
            hot_key_max: 0.25,
            hot_events_max: 0.5,
            model_decides_max: 0.95,
            backfill_max: HOUR,
            catch_up_max: HOUR,
            drift_window: 6 * HOUR,
            values_min: 1000,
            psi_max: 0.25,
            ks_max: 0.2,
            take_out: Vec::new(),
        }
    }
}
