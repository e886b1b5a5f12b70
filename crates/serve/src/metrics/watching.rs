//! What is watched, as metrics. Features are many: those that have moved most have series, and no more than a thousand of them; and so have, by status, the thousand of which fewest values
//! are real ones.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, STATUSES};
use crate::watch::reading::{FeatureReading, ReplayReading, SourceReading, SourceRows};
use crate::watch::{Looked, Severity, Signal};

/// Features and predictions that have series, at most.
const FEATURES_MAX: usize = 1000;
/// Signals that have series, at most: the causes first.
const SIGNALS_MAX: usize = 200;

type Float = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RowLabels {
    source: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewLabel {
    view: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabel {
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeploymentLabel {
    deployment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FeatureLabels {
    target: String,
    feature: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    target: String,
    feature: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SeverityLabel {
    severity: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignalLabels {
    kind: &'static str,
    of: &'static str,
    subject: String,
    severity: &'static str,
    role: &'static str,
}

/// Gauges that are set when they are asked for, from what was seen last.
pub struct Watching {
    rows: Family<RowLabels, Gauge>,
    declared: Family<SourceLabel, Float>,
    lag_p50: Family<SourceLabel, Float>,
    lag_p99: Family<SourceLabel, Float>,
    view_lag: Family<ViewLabel, Float>,
    coverage: Family<TargetLabel, Float>,
    hot: Family<TargetLabel, Float>,
    hot_events: Family<ViewLabel, Float>,
    fallen: Family<DeploymentLabel, Float>,
    /// Sampled values, coverage, PSI, Kolmogorov–Smirnov.
    features: [Family<FeatureLabels, Float>; 4],
    statuses: Family<StatusLabels, Counter>,
    signal: Family<SignalLabels, Gauge>,
    signals: Family<SeverityLabel, Gauge>,
    replay: [Gauge; 4],
    hindsight: Family<CauseLabel, Gauge>,
}

impl Watching {
    pub(super) fn new(registry: &mut Registry) -> Watching {
        let rows = Family::default();
        registry.register("source_rows", "Rows of a source by what became of them, in the view that has applied most of them", rows.clone());
        let mut seconds = |name: &str, help: &str| {
            let family = Family::<SourceLabel, Float>::default();
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
            family
        };
        let declared = seconds("source_declared_serving_lag", "The pipeline's delay that a source declares, and training counts with");
        let lag_p50 = seconds("source_lag_p50", "The median of the lag of a source, looked at once a second for ten minutes");
        let lag_p99 = seconds("source_lag_p99", "What the lag of a source was beneath for 99 of 100 of these looks");
        let view_lag = Family::default();
        let help = "Time since the logs of a view were last seen applied to their ends; before the first time, since the server began";
        registry.register_with_unit("view_lag", help, Unit::Seconds, view_lag.clone());
        let coverage = Family::default();
        registry.register("coverage", "The share of real values of the last window, before anything is filled, by service or view", coverage.clone());
        let hot = Family::default();
        registry.register("hot_key_share", "The share of sampled rows that ask for one entity, where that is more than its part", hot.clone());
        let hot_events = Family::default();
        let help = "The share of the events of a view, of the last hour, that came to one entity, where that is more than its part";
        registry.register("hot_events_share", help, hot_events.clone());
        let fallen = Family::default();
        registry.register("deployment_fallen_share", "The share of rows of the last window that did not go the way of the model", fallen.clone());
        let mut feature = |name: &str, help: &str| {
            let family = Family::<FeatureLabels, Float>::default();
            registry.register(format!("feature_{name}"), help, family.clone());
            family
        };
        let features = [
            feature("sampled", "Values of a feature, or of a deployment's prediction, that were sampled in the window of drift"),
            feature("coverage", "The share of real ones among them"),
            feature(
                "psi",
                "Population stability index against training; of predictions, against those of the run that is published, or what was predicted first",
            ),
            feature("ks", "Kolmogorov–Smirnov distance from the same"),
        ];
        let statuses = Family::default();
        let help = "Sampled values of a feature by status, before anything is filled; of the thousand features of which fewest are real ones";
        registry.register("feature_values_sampled", help, statuses.clone());
        let signal = Family::default();
        registry.register("signal", "1 for each signal that is raised, as a cause or as what follows from one", signal.clone());
        let signals = Family::default();
        registry.register("signals", "Signals that are raised, by severity", signals.clone());
        let mut replay = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(format!("replay_{name}"), help, gauge.clone());
            gauge
        };
        let replay = [
            replay("vectors", "Served vectors that were computed again at their positions"),
            replay("values", "Their values"),
            replay("differ", "Values that differ: there must be none"),
            replay("not_auditable", "Served vectors that could not be computed again"),
        ];
        let hindsight = Family::default();
        let help = "Served values that come to something else with all that is known by now, by cause";
        registry.register("replay_hindsight", help, hindsight.clone());
        Watching {
            rows,
            declared,
            lag_p50,
            lag_p99,
            view_lag,
            coverage,
            hot,
            hot_events,
            fallen,
            features,
            statuses,
            signal,
            signals,
            replay,
            hindsight,
        }
    }

    fn source(&self, name: &str, source: &SourceReading) {
        let SourceRows { applied, duplicates, conflicts, late, dead_letters, superseded, without_entity, failed_expressions, .. } = source.rows;
        let outcomes = [
            ("applied", applied),
            ("duplicate", duplicates),
            ("conflict", conflicts),
            ("late", late),
            ("dead_letter", dead_letters),
            ("superseded", superseded),
            ("without_entity", without_entity),
            ("failed_expression", failed_expressions),
        ];
        for (outcome, rows) in outcomes {
            self.rows.get_or_create(&RowLabels { source: name.to_owned(), outcome }).set(count(rows));
        }
        let label = SourceLabel { source: name.to_owned() };
        self.declared.get_or_create(&label).set(source.serving_lag_seconds);
        for (family, value) in [(&self.lag_p50, source.lag_p50_seconds), (&self.lag_p99, source.lag_p99_seconds)] {
            if let Some(value) = value {
                family.get_or_create(&label).set(value);
            }
        }
    }

    /// The features that have moved most, of all.
    #[allow(clippy::cast_precision_loss, reason = "for graphs")]
    fn features<'l>(&self, all: impl Iterator<Item = (&'l str, &'l FeatureReading)>) {
        self.features.iter().for_each(Family::clear);
        let psi = |feature: &FeatureReading| feature.drift.as_ref().map(|drift| drift.psi);
        let mut all: Vec<(&str, &FeatureReading)> = all.collect();
        all.sort_by(|(_, a), (_, b)| psi(b).unwrap_or(-1.0).total_cmp(&psi(a).unwrap_or(-1.0)));
        for (target, feature) in all.into_iter().take(FEATURES_MAX) {
            let labels = FeatureLabels { target: target.to_owned(), feature: feature.feature.clone() };
            let ks = feature.drift.as_ref().map(|drift| drift.ks);
            let values = [Some(feature.sampled as f64), Some(feature.coverage), psi(feature), ks];
            for (family, value) in self.features.iter().zip(values) {
                if let Some(value) = value {
                    family.get_or_create(&labels).set(value);
                }
            }
        }
    }

    /// The features of which fewest values are real ones, by status.
    fn statuses<'l>(&self, all: impl Iterator<Item = (&'l str, &'l FeatureReading)>) {
        self.statuses.clear();
        let mut all: Vec<(&str, &FeatureReading)> = all.filter(|(_, feature)| feature.values.all() > 0).collect();
        // By name where they are alike, so that the same ones have series from look to look.
        all.sort_by(|(of, a), (other, b)| a.coverage.total_cmp(&b.coverage).then_with(|| (of, &a.feature).cmp(&(other, &b.feature))));
        for (target, feature) in all.into_iter().take(FEATURES_MAX) {
            for (status, values) in STATUSES.into_iter().zip(feature.values.counts()) {
                let labels = StatusLabels { target: target.to_owned(), feature: feature.feature.clone(), status };
                self.statuses.get_or_create(&labels).inc_by(values);
            }
        }
    }

    fn signals(&self, all: &[Signal]) {
        self.signal.clear();
        for severity in [Severity::Critical, Severity::Warning] {
            let raised = all.iter().filter(|signal| signal.severity == severity).count();
            self.signals.get_or_create(&SeverityLabel { severity: severity.name() }).set(count(raised as u64));
        }
        for signal in all.iter().take(SIGNALS_MAX) {
            let subject =
                signal.subject.feature.as_ref().map_or_else(|| signal.subject.name.clone(), |feature| format!("{}.{feature}", signal.subject.name));
            let labels = SignalLabels {
                kind: signal.kind.name(),
                of: signal.subject.of.name(),
                subject,
                severity: signal.severity.name(),
                role: if signal.cause.is_some() { "consequence" } else { "cause" },
            };
            self.signal.get_or_create(&labels).set(1);
        }
    }

    fn replay(&self, replay: &ReplayReading) {
        let not_auditable = replay.not_auditable.values().sum();
        for (gauge, value) in self.replay.iter().zip([replay.vectors, replay.values, replay.differ, not_auditable]) {
            gauge.set(count(value));
        }
        for (cause, values) in &replay.hindsight {
            self.hindsight.get_or_create(&CauseLabel { cause: cause.clone() }).set(count(*values));
        }
    }
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Sets a gauge of each of what has a value, and lets go of the others.
fn set_all<'l, L: Clone + std::hash::Hash + Eq>(
    family: &Family<L, Float>,
    all: impl Iterator<Item = (&'l String, Option<f64>)>,
    label: impl Fn(String) -> L,
) {
    family.clear();
    for (name, value) in all {
        if let Some(value) = value {
            family.get_or_create(&label(name.clone())).set(value);
        }
    }
}

impl Metrics {
    /// Reads off what a watch has seen last.
    pub fn read_watch(&self, looked: &Looked) {
        let (watching, reading) = (&self.watching, &looked.reading);
        reading.sources.iter().for_each(|(name, source)| watching.source(name, source));
        set_all(&watching.view_lag, reading.views.iter().map(|(name, view)| (name, view.lag_seconds)), |view| ViewLabel { view });
        set_all(&watching.coverage, reading.targets.iter().map(|(name, target)| (name, target.coverage)), |target| TargetLabel { target });
        let hot = reading.targets.iter().map(|(name, target)| (name, target.hottest.as_ref().map(|hot| hot.share)));
        set_all(&watching.hot, hot, |target| TargetLabel { target });
        let hot = reading.views.iter().map(|(name, view)| (name, view.hottest.as_ref().map(|hot| hot.share)));
        set_all(&watching.hot_events, hot, |view| ViewLabel { view });
        let fallen = reading.deployments.iter().map(|(name, deployment)| (name, deployment.fallen));
        set_all(&watching.fallen, fallen, |deployment| DeploymentLabel { deployment });
        let features = || reading.targets.iter().flat_map(|(name, target)| target.features.iter().map(move |feature| (name.as_str(), feature)));
        let scores = reading.deployments.iter().flat_map(|(name, deployment)| deployment.scores.iter().map(move |score| (name.as_str(), score)));
        watching.features(features().chain(scores));
        watching.statuses(features());
        watching.signals(&looked.signals);
        if let Some(replay) = &reading.replay {
            watching.replay(replay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::reading::{Drift, Statuses, TargetReading};

    /// Five thousand features in five hundred services: what is told of them has a bound, and is told in a moment, which is printed.
    #[test]
    fn many_features_are_told_of_in_a_bounded_number_of_lines() {
        let feature = |service: u32, number: u32| FeatureReading {
            feature: format!("feature_{number}"),
            sampled: 5000,
            coverage: 1.0 - f64::from(number) / 10.0,
            values: Statuses { present: 4000, null: u64::from(number), ..Statuses::default() },
            drift: Some(Drift { psi: f64::from(service * 10 + number) / 1e4, ..Drift::default() }),
            ..FeatureReading::default()
        };
        let target = |service| TargetReading {
            is_service: true,
            features: (0..10).map(|number| feature(service, number)).collect(),
            ..TargetReading::default()
        };
        let mut looked = Looked::default();
        looked.reading.targets = (0..500).map(|service| (format!("service_{service}"), target(service))).collect();
        let metrics = Metrics::new();
        metrics.read_watch(&looked);
        #[allow(clippy::disallowed_methods, reason = "how long it takes, to be read")]
        let begun = std::time::Instant::now();
        metrics.read_watch(&looked);
        let text = metrics.text().unwrap();
        println!("metrics of 5,000 features: {:?}, {} bytes", begun.elapsed(), text.len());
        let lines = |name: &str| text.lines().filter(|line| line.starts_with(&format!("lockstep_feature_{name}{{"))).count();
        assert_eq!([lines("psi"), lines("ks"), lines("sampled"), lines("coverage")], [FEATURES_MAX; 4]);
        // By status, those of which fewest are real ones; read off twice, and counted once.
        assert_eq!(lines("values_sampled_total"), FEATURES_MAX * STATUSES.len());
        assert!(text.contains(r#"lockstep_feature_values_sampled_total{target="service_0",feature="feature_9",status="null"} 9"#));
        assert!(!text.contains(r#"feature="feature_7",status="null""#));
        // Those that have moved most.
        assert!(text.contains(r#"lockstep_feature_psi{target="service_499",feature="feature_9"} 0.4999"#));
        assert!(!text.contains(r#"lockstep_feature_psi{target="service_0""#));
    }
}
