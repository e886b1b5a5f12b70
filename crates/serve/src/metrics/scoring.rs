//! What is counted of scores, and what is read off of models when somebody asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use lockstep_score::Counted;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Answers, Metrics, latency_buckets};
use crate::scoring::{Deployments, Scored, Way};

/// Floats of two models that differ by no more are taken for the same.
const SAME_WITHIN: f64 = 1e-6;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeploymentLabel {
    deployment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabels {
    deployment: String,
    way: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabels {
    deployment: String,
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    deployment: String,
    action: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    deployment: String,
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    deployment: String,
    step: String,
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BucketLabels {
    deployment: String,
    step: String,
    model: String,
    le: String,
}

/// In the order of [`Way`].
const WAYS: [&str; 5] = ["model", "last_known_good", "fallback_model", "default", "none"];

/// What is counted of scores.
pub struct Scores {
    rows: Family<WayLabels, Counter>,
    fallen: Family<WhyLabels, Counter>,
    failed: Family<DeploymentLabel, Counter>,
    decided: Family<ActionLabels, Counter>,
    explored: Family<DeploymentLabel, Counter>,
    reports: Family<KindLabel, Counter>,
    seconds: Family<DeploymentLabel, Histogram, fn() -> Histogram>,
    shadow_rows: Family<ModelLabels, Counter>,
    shadow_agreeing: Family<ModelLabels, Counter>,
    shadow_failed: Family<ModelLabels, Counter>,
    shadow_dropped: Family<ModelLabels, Counter>,
    shadow_difference: Family<ModelLabels, Counter<f64, AtomicU64>>,
    /// By deployment, so that an answer looks no label up.
    deployments: RwLock<HashMap<String, Arc<OfDeployment>>>,
    models: ModelGauges,
}

struct OfDeployment {
    name: String,
    ways: [Counter; 5],
    failed: Counter,
    explored: Counter,
    seconds: Histogram,
}

/// Gauges of the models that are loaded, by deployment and step.
struct ModelGauges {
    all: Vec<(&'static str, Family<StageLabels, Gauge>)>,
    /// Runs by how many rows they had, and by how long the oldest request of each had waited: as many as are below a bound.
    of_rows: Family<BucketLabels, Gauge>,
    waited: Family<BucketLabels, Gauge>,
}

/// What is read off a model: a name, and what it says.
const MODEL_GAUGES: [(&str, &str); 14] = [
    ("threads", "Threads that run the model"),
    ("waiting", "Runs of the model that wait for a thread"),
    ("running", "Runs of the model that are under way"),
    ("hanging", "Threads of the model that hang, and were taken out of its pool"),
    ("runs", "Runs of the model, since it was loaded"),
    ("run_rows", "Rows in them: divided by the runs, how many were run together"),
    ("runs_here", "Those of them that were made on the thread of the request: a few rows of a model that cannot hang"),
    ("shed", "Requests that were refused, since as many waited as may"),
    ("late", "Requests that were past their deadline before the model was run"),
    ("failed", "Runs that failed"),
    ("panicked", "Runs that panicked"),
    ("hung", "Runs that took longer than they may"),
    ("breaker_state", "Whether the model is asked: 0 it is, 1 it is not, 2 one request is seeing whether it answers again"),
    ("breaker_opened", "How often it was not asked any more"),
];

/// Rows of a deployment that are being scored.
pub struct Scoring<'a> {
    scores: &'a Scores,
    of: Arc<OfDeployment>,
    begun: Instant,
}

/// What an answer adds to what is counted. One that comes when nobody waits for it any more adds nothing.
pub struct ScoreCounts {
    of: Arc<OfDeployment>,
    ways: [u64; 5],
    fallen: Vec<(Counter, u64)>,
    decided: Vec<(Counter, u64)>,
    explored: u64,
    begun: Instant,
}

/// A shadow and its deployment.
pub struct Shadow {
    rows: Counter,
    agreeing: Counter,
    failed: Counter,
    dropped: Counter,
    difference: Counter<f64, AtomicU64>,
}

impl Scores {
    pub(super) fn new(registry: &mut Registry) -> Scores {
        let rows = Family::default();
        registry.register("score_rows", "Rows scored, by deployment and how each came to its predictions", rows.clone());
        let fallen = Family::default();
        registry.register("score_rows_fallen", "Rows that did not go the way of the model, by deployment and why", fallen.clone());
        let failed = Family::default();
        registry.register("score_rows_failed", "Rows of requests that failed, since nothing stood in", failed.clone());
        let decided = Family::default();
        registry.register("score_rows_decided", "Rows that were given an action, by deployment and action", decided.clone());
        let explored = Family::default();
        registry.register("score_rows_explored", "Rows that explore: whose action was drawn, or is for their caller to draw", explored.clone());
        let reports = Family::default();
        registry.register("reports", "Reports that are on the disk, of decisions and of outcomes", reports.clone());
        let seconds = Family::new_with_constructor(latency_buckets as fn() -> Histogram);
        registry.register_with_unit("score", "Time to look features up and to run the models", Unit::Seconds, seconds.clone());
        let mut shadow = |name: &str, help: &str| {
            let family = Family::<ModelLabels, Counter>::default();
            registry.register(format!("shadow_{name}"), help, family.clone());
            family
        };
        let shadow_rows = shadow("rows", "Rows that a shadow has scored");
        let shadow_agreeing = shadow("rows_agreeing", "Rows for which it predicts the same: floats within a millionth");
        let shadow_failed = shadow("rows_failed", "Rows that it could not score");
        let shadow_dropped = shadow("rows_dropped", "Rows that it was not given, since as many waited as may");
        let shadow_difference = Family::default();
        let help = "How far its floats are from those that were answered, added up: divided by its rows, how far on average";
        registry.register("shadow_difference", help, shadow_difference.clone());
        Scores {
            rows,
            fallen,
            failed,
            decided,
            explored,
            reports,
            seconds,
            shadow_rows,
            shadow_agreeing,
            shadow_failed,
            shadow_dropped,
            shadow_difference,
            deployments: RwLock::default(),
            models: ModelGauges::new(registry),
        }
    }

    fn deployment(&self, name: &str) -> Arc<OfDeployment> {
        if let Some(of) = self.deployments.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(of);
        }
        let label = || DeploymentLabel { deployment: name.to_owned() };
        let way = |way| self.rows.get_or_create_owned(&WayLabels { deployment: name.to_owned(), way });
        let of = Arc::new(OfDeployment {
            name: name.to_owned(),
            ways: WAYS.map(way),
            failed: self.failed.get_or_create_owned(&label()),
            explored: self.explored.get_or_create_owned(&label()),
            seconds: self.seconds.get_or_create_owned(&label()),
        });
        // Names of deployments that there are, so that there is a bound on them.
        self.deployments.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::clone(&of));
        of
    }

    /// Adds what each deployment has answered: its rows are the values, and those without a prediction the errors.
    pub(super) fn add_answers(&self, answers: &mut BTreeMap<String, Answers>) {
        for (name, of) in self.deployments.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let failed = of.failed.get();
            let answered = answers.entry(name.clone()).or_default();
            let rows = of.ways.iter().map(Counter::get).sum::<u64>() + failed;
            answered.rows += rows;
            answered.values += rows;
            answered.errors += of.ways[Way::None as usize].get() + failed;
            answered.defaults += of.ways[Way::Default as usize].get();
        }
    }
}

impl ModelGauges {
    fn new(registry: &mut Registry) -> ModelGauges {
        let all = MODEL_GAUGES.map(|(name, help)| {
            let family = Family::default();
            registry.register(format!("model_{name}"), help, family.clone());
            (name, family)
        });
        let of_rows = Family::default();
        registry.register("model_runs_of_rows", "Runs of the model that had at most so many rows, since it was loaded", of_rows.clone());
        let waited = Family::default();
        registry.register(
            "model_runs_waited",
            "Runs of the model of which the oldest request had waited for a thread at most so many seconds",
            waited.clone(),
        );
        ModelGauges { all: all.into(), of_rows, waited }
    }

    /// Sets how runs were spread, as histograms are written: each bucket counts those of all before it, too.
    fn spread(&self, labels: &StageLabels, counted: &Counted) {
        let StageLabels { deployment, step, model } = labels;
        let rows = Counted::ROWS.map(|bound| bound.to_string());
        let seconds = Counted::WAITED.map(|micros| Duration::from_micros(micros).as_secs_f64().to_string());
        for (family, bounds, counts) in [(&self.of_rows, rows, counted.of_rows), (&self.waited, seconds, counted.waited)] {
            let mut all = 0;
            for (le, count) in bounds.into_iter().chain(["+Inf".to_owned()]).zip(counts) {
                all += count;
                let labels = BucketLabels { deployment: deployment.clone(), step: step.clone(), model: model.clone(), le };
                family.get_or_create(&labels).set(i64::try_from(all).unwrap_or(i64::MAX));
            }
        }
    }
}

impl Scoring<'_> {
    /// Nothing came of rows.
    pub fn failed(&self, rows: usize) {
        self.of.failed.inc_by(rows as u64);
    }

    /// What came of rows, to be counted once they are answered.
    pub fn counts(&self, scored: &Scored) -> ScoreCounts {
        let (of, begun) = (Arc::clone(&self.of), self.begun);
        let mut counts = ScoreCounts { of, ways: [0; 5], fallen: Vec::new(), decided: Vec::new(), explored: 0, begun };
        scored.ways.iter().for_each(|way| counts.ways[*way as usize] += 1);
        let mut fallen: HashMap<&'static str, u64> = HashMap::new();
        scored.whys.iter().flatten().for_each(|why| *fallen.entry(why.word).or_default() += 1);
        let counter = |why| self.scores.fallen.get_or_create_owned(&WhyLabels { deployment: self.of.name.clone(), why });
        counts.fallen = fallen.into_iter().map(|(why, rows)| (counter(why), rows)).collect();
        if let Some(decided) = &scored.decided {
            let mut actions: HashMap<&str, u64> = HashMap::new();
            decided.actions.iter().flatten().for_each(|action| *actions.entry(action).or_default() += 1);
            let label = |action: &str| ActionLabels { deployment: self.of.name.clone(), action: action.to_owned() };
            let counted = |(action, rows): (&str, u64)| (self.scores.decided.get_or_create_owned(&label(action)), rows);
            counts.decided = actions.into_iter().map(counted).collect();
            counts.explored = decided.explored().count() as u64;
        }
        counts
    }
}

impl ScoreCounts {
    /// The answer was given.
    pub fn add(&self) {
        for (counter, rows) in self.of.ways.iter().zip(self.ways).filter(|(_, rows)| *rows > 0) {
            counter.inc_by(rows);
        }
        for (counter, rows) in self.fallen.iter().chain(&self.decided) {
            counter.inc_by(*rows);
        }
        if self.explored > 0 {
            self.of.explored.inc_by(self.explored);
        }
        self.of.seconds.observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Shadow {
    /// There was no room for rows.
    pub fn dropped(&self, rows: usize) {
        self.dropped.inc_by(rows as u64);
    }

    /// It could not score rows.
    pub fn failed(&self, rows: usize) {
        self.failed.inc_by(rows as u64);
    }

    /// Compares what it predicts for some rows with what was answered, prediction by prediction of the same name and type.
    pub fn compared(&self, answered: (&Schema, &[ArrayRef]), shadow: (&Schema, &[ArrayRef]), rows: &[u32]) {
        let all = answered.1.first().map_or(0, |column| column.len());
        self.failed.inc_by((all - rows.len().min(all)) as u64);
        let (mut same, mut difference) = (vec![true; rows.len()], 0.0);
        for (field, answered) in answered.0.fields().iter().zip(answered.1) {
            let place = shadow.0.fields().iter().position(|of| of.name() == field.name() && of.data_type() == field.data_type());
            let Some(shadow) = place.map(|at| &shadow.1[at]) else { continue };
            for (at, (same, &row)) in same.iter_mut().zip(rows).enumerate() {
                let (agrees, by) = compare(answered, row as usize, shadow, at);
                *same &= agrees;
                difference += by;
            }
        }
        self.rows.inc_by(rows.len() as u64);
        self.agreeing.inc_by(same.iter().filter(|same| **same).count() as u64);
        self.difference.inc_by(difference);
    }
}

/// Whether two values are the same, and how far apart, as far as they are floats.
fn compare(answered: &ArrayRef, row: usize, shadow: &ArrayRef, at: usize) -> (bool, f64) {
    let same = answered.slice(row, 1).to_data() == shadow.slice(at, 1).to_data();
    if same || !matches!(answered.data_type(), DataType::Float32 | DataType::Float64) || answered.is_null(row) || shadow.is_null(at) {
        return (same, 0.0);
    }
    let float = |array: &ArrayRef, at: usize| cast(&array.slice(at, 1), &DataType::Float64).map(|one| one.as_primitive::<Float64Type>().value(0));
    match (float(answered, row), float(shadow, at)) {
        (Ok(a), Ok(b)) if (a - b).is_finite() => ((a - b).abs() <= SAME_WITHIN, (a - b).abs()),
        (Ok(a), Ok(b)) => (a.is_nan() && b.is_nan(), 0.0),
        _ => (false, 0.0),
    }
}

impl Metrics {
    /// What each deployment has scored: rows by how each came to its predictions, and rows of requests that failed.
    pub fn scored(&self) -> BTreeMap<String, (BTreeMap<String, u64>, u64)> {
        let deployments = self.scores.deployments.read().unwrap_or_else(PoisonError::into_inner);
        let ways = |of: &OfDeployment| WAYS.iter().zip(&of.ways).map(|(way, counter)| ((*way).to_owned(), counter.get())).collect();
        deployments.iter().map(|(name, of)| (name.clone(), (ways(of), of.failed.get()))).collect()
    }

    /// Rows of a deployment that are about to be scored.
    #[allow(clippy::disallowed_methods, reason = "how long an answer took; no answer depends on it")]
    pub fn scoring(&self, deployment: &str) -> Scoring<'_> {
        Scoring { scores: &self.scores, of: self.scores.deployment(deployment), begun: Instant::now() }
    }

    /// Reports of a kind were taken.
    pub fn reported(&self, kind: &'static str, reports: u64) {
        self.scores.reports.get_or_create(&KindLabel { kind }).inc_by(reports);
    }

    /// The shadow of a deployment.
    pub fn shadow(&self, deployment: &str, model: &str) -> Shadow {
        let labels = ModelLabels { deployment: deployment.to_owned(), model: model.to_owned() };
        Shadow {
            rows: self.scores.shadow_rows.get_or_create_owned(&labels),
            agreeing: self.scores.shadow_agreeing.get_or_create_owned(&labels),
            failed: self.scores.shadow_failed.get_or_create_owned(&labels),
            dropped: self.scores.shadow_dropped.get_or_create_owned(&labels),
            difference: self.scores.shadow_difference.get_or_create_owned(&labels),
        }
    }

    /// Reads off how the models stand that are loaded.
    pub fn read_models(&self, deployments: &Deployments) {
        let gauges = &self.scores.models.all;
        // Models that are gone are not told of any more.
        gauges.iter().for_each(|(_, family)| family.clear());
        self.scores.models.of_rows.clear();
        self.scores.models.waited.clear();
        for deployed in deployments.all() {
            for stage in deployed.stages() {
                let (figures, breaker) = (stage.model.figures(), stage.model.breaker());
                let (deployment, step, model) = (deployed.name.clone(), stage.name.clone(), stage.model.bound.name.clone());
                let labels = StageLabels { deployment, step, model };
                let counted = figures.counted;
                self.scores.models.spread(&labels, &counted);
                let values = [
                    figures.threads as u64,
                    figures.waiting as u64,
                    figures.running as u64,
                    figures.hanging as u64,
                    counted.runs,
                    counted.rows,
                    counted.here,
                    counted.shed,
                    counted.late,
                    counted.failed,
                    counted.panicked,
                    counted.hung,
                    breaker.standing as u64,
                    breaker.opened,
                ];
                for ((_, family), value) in gauges.iter().zip(values) {
                    family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
                }
            }
        }
    }
}

/// That ways index [`WAYS`].
const _: () = assert!(Way::Model as usize == 0 && Way::None as usize == 4);
