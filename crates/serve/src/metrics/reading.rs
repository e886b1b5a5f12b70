//! What is read off when somebody asks: how far logs and views are, and the store's own figures.

use std::sync::atomic::AtomicU64;

use lockstep_model::{Error, EventTime};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use crate::feature_log::Figures;
use crate::last_known_good::Kept;
use crate::live::{Live, Reach, newest};
use crate::server::Seen;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewLabel {
    view: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BreakerLabel {
    of: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Gauges that are set when they are asked for.
pub struct Reading {
    lag: Family<SourceLabel, Seconds>,
    silence: Family<SourceLabel, Seconds>,
    behind: Family<SourceLabel, Gauge>,
    stopped: Family<SourceLabel, Gauge>,
    applied: Family<SourceLabel, Gauge>,
    freshness: Family<ViewLabel, Seconds>,
    definitions: Gauge,
    store: StoreGauges,
    breakers: BreakerGauges,
    known_entities: Gauge,
    known_bytes: Gauge,
    feature_log: FeatureLogGauges,
}

struct FeatureLogGauges {
    logged: Gauge,
    dropped: Gauge,
    waiting: Gauge,
    files: Gauge,
    bytes: Gauge,
    failing: Gauge,
}

struct BreakerGauges {
    state: Family<BreakerLabel, Gauge>,
    opened: Family<BreakerLabel, Gauge>,
    running: Family<BreakerLabel, Gauge>,
    stalled: Family<BreakerLabel, Gauge>,
}

struct StoreGauges {
    block_cache_bytes: Gauge,
    memtable_bytes: Gauge,
    file_bytes: Gauge,
    pending_compaction_bytes: Gauge,
    compactions: Gauge,
    flushes: Gauge,
    snapshots: Gauge,
    background_errors: Gauge,
    writes_stopped: Gauge,
}

impl Reading {
    pub(super) fn new(registry: &mut Registry) -> Reading {
        let lag = Family::default();
        registry.register_with_unit(
            "source_lag",
            "Time since a followed source was last seen applied to its end; +Inf before the first time",
            Unit::Seconds,
            lag.clone(),
        );
        let silence = Family::default();
        registry.register_with_unit("source_silence", "Time since the newest event of a source", Unit::Seconds, silence.clone());
        let behind = Family::default();
        registry.register("source_behind_rows", "Rows of a followed source that are known to be there and were not applied yet", behind.clone());
        let stopped = Family::default();
        registry.register("source_stopped", "Whether a followed source cannot be read on", stopped.clone());
        let applied = Family::default();
        registry.register("source_applied_rows", "Rows of a source that count, in the view that has most of them", applied.clone());
        let freshness = Family::default();
        registry.register_with_unit("view_watermark_age", "Time since the watermark of a view", Unit::Seconds, freshness.clone());
        let definitions = Gauge::default();
        registry.register("definitions", "The number of the definitions that serve", definitions.clone());
        let known_entities = Gauge::default();
        registry.register("last_known_good_entities", "Entities whose last features are kept, each once per view", known_entities.clone());
        let known_bytes = Gauge::default();
        registry.register("last_known_good_bytes", "What they take", known_bytes.clone());
        let (store, breakers, feature_log) = (StoreGauges::new(registry), BreakerGauges::new(registry), FeatureLogGauges::new(registry));
        Reading { lag, silence, behind, stopped, applied, freshness, definitions, store, breakers, known_entities, known_bytes, feature_log }
    }
}

impl FeatureLogGauges {
    fn new(registry: &mut Registry) -> FeatureLogGauges {
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(format!("feature_log_{name}"), help, gauge.clone());
            gauge
        };
        FeatureLogGauges {
            logged: gauge("logged", "Served vectors that were written to the feature log, since the server began"),
            dropped: gauge("dropped", "Served vectors that the feature log had no room for, since the server began"),
            waiting: gauge("waiting", "Served vectors that wait for their file"),
            files: gauge("files", "Files of the feature log"),
            bytes: gauge("bytes", "What they take"),
            failing: gauge("failing", "Whether files of the feature log cannot be written"),
        }
    }
}

impl BreakerGauges {
    fn new(registry: &mut Registry) -> BreakerGauges {
        let mut gauge = |name: &str, help: &str| {
            let family = Family::<BreakerLabel, Gauge>::default();
            registry.register(format!("breaker_{name}"), help, family.clone());
            family
        };
        BreakerGauges {
            state: gauge("state", "Whether the disk is asked: 0 it is, 1 it is not, 2 one request is seeing whether it answers again"),
            opened: gauge("opened", "How often it was not asked any more, since the server began"),
            running: gauge("running", "Reads or pushes that wait for the disk"),
            stalled: gauge("stalled", "Those that have waited for longer than they should"),
        }
    }
}

impl StoreGauges {
    fn new(registry: &mut Registry) -> StoreGauges {
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(format!("store_{name}"), help, gauge.clone());
            gauge
        };
        StoreGauges {
            block_cache_bytes: gauge("block_cache_bytes", "Blocks of the store in memory"),
            memtable_bytes: gauge("memtable_bytes", "What is written and not in a file yet"),
            file_bytes: gauge("file_bytes", "Files of the store"),
            pending_compaction_bytes: gauge("pending_compaction_bytes", "What compaction has to rewrite"),
            compactions: gauge("compactions", "Compactions that run"),
            flushes: gauge("flushes", "Flushes that run"),
            snapshots: gauge("snapshots", "Cuts that are held"),
            background_errors: gauge("background_errors", "Failures of flushes and compactions since the store was opened"),
            writes_stopped: gauge("writes_stopped", "Whether commits wait for the disk"),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people and graphs")]
fn seconds(micros: i64) -> f64 {
    if micros == i64::MAX { f64::INFINITY } else { micros as f64 / 1e6 }
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Reads off how far the server is.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn read_off(&self, live: &Live, reach: Reach) -> Result<(), Error> {
        let reading = &self.reading;
        let (state, now) = (live.state(reach)?, live.now().0);
        state.catalog().views.keys().try_for_each(|view| state.standing(view, reach).map(|_| ()))?;
        reading.definitions.set(count(state.version));
        for source in state.catalog().sources.keys() {
            let label = SourceLabel { source: source.clone() };
            if let Some(newest) = newest(&state, source) {
                reading.silence.get_or_create(&label).set(seconds(now.saturating_sub(newest)));
            }
            if let Some(lag) = live.source_lag(&state, source, EventTime(now)) {
                reading.lag.get_or_create(&label).set(seconds(lag.at(now)));
                reading.stopped.get_or_create(&label).set(i64::from(lag.why_stopped().is_some()));
                if let Some(behind) = lag.behind() {
                    reading.behind.get_or_create(&label).set(count(behind));
                }
            }
        }
        for view in state.catalog().views.keys() {
            let Some(info) = state.served.generation(view) else { continue };
            for (source, counters) in state.cut(reach).counters(info.generation)? {
                let gauge = reading.applied.get_or_create_owned(&SourceLabel { source });
                gauge.set(gauge.get().max(count(counters.applied)));
            }
            if let Some(watermark) = state.known_standing(view).and_then(|standing| standing.watermark) {
                reading.freshness.get_or_create(&ViewLabel { view: view.clone() }).set(seconds(now.saturating_sub(watermark)));
            }
        }
        self.read_store(live)
    }

    /// Reads off what is in memory of how the server itself is.
    pub fn read_self(&self, breakers: [(&'static str, Seen); 2], kept: Kept) {
        let gauges = &self.reading.breakers;
        for (of, seen) in breakers {
            let label = BreakerLabel { of };
            gauges.state.get_or_create(&label).set(seen.standing as i64);
            gauges.opened.get_or_create(&label).set(count(seen.opened));
            gauges.running.get_or_create(&label).set(count(seen.running as u64));
            gauges.stalled.get_or_create(&label).set(count(seen.stalled as u64));
        }
        self.reading.known_entities.set(count(kept.entities as u64));
        self.reading.known_bytes.set(count(kept.bytes as u64));
    }

    /// Reads off how the feature log stands.
    pub fn read_feature_log(&self, figures: &Figures) {
        let gauges = &self.reading.feature_log;
        gauges.logged.set(count(figures.logged));
        gauges.dropped.set(count(figures.dropped));
        gauges.waiting.set(count(figures.waiting));
        gauges.files.set(count(figures.files));
        gauges.bytes.set(count(figures.bytes));
        gauges.failing.set(i64::from(figures.failing.is_some()));
    }

    fn read_store(&self, live: &Live) -> Result<(), Error> {
        let (figures, gauges) = (live.figures()?, &self.reading.store);
        gauges.block_cache_bytes.set(count(figures.block_cache_bytes));
        gauges.memtable_bytes.set(count(figures.memtable_bytes));
        gauges.file_bytes.set(count(figures.file_bytes));
        gauges.pending_compaction_bytes.set(count(figures.pending_compaction_bytes));
        gauges.compactions.set(count(figures.compactions));
        gauges.flushes.set(count(figures.flushes));
        gauges.snapshots.set(count(figures.snapshots));
        gauges.background_errors.set(count(figures.background_errors));
        gauges.writes_stopped.set(i64::from(figures.writes_stopped));
        Ok(())
    }
}
