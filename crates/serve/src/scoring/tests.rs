//! Rows go their ways: past models that fail, panic, hang or are not asked, and features that are not there.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Field, Fields, Float32Type, Float64Type};
use futures::executor::block_on;
use lockstep_model::{Clock, EventTime, FilledBy, Status, TimeMode};
use lockstep_score::{Model, PoolOptions, Port, RunError, Runtime, Session, Tensor};
use lockstep_testkit::onnx::{Stump, stumps};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile, When};
use tonic::Code;

use super::*;
use crate::desk::{Answered, Feature, Wanted};
use crate::server::{BreakerSettings, Failure, Standing};

const DEFINITIONS: &str = "
CREATE FEATURE SERVICE both AS SELECT r.a AS a, r.b AS b FROM REQUEST (a DOUBLE, b DOUBLE) r;
CREATE FEATURE SERVICE chained AS SELECT r.a AS a, r.risk AS risk FROM REQUEST (a DOUBLE, risk REAL) r;
CREATE MODEL first FROM 'first.onnx' USING both (input => (a, b)) PREDICT (risk REAL FROM score);
CREATE MODEL second FROM 'second.onnx' USING chained (input => (a, risk)) PREDICT (final REAL FROM score);
CREATE MODEL simple FROM 'simple.onnx' USING both (input => (a)) PREDICT (risk REAL FROM score);
CREATE DEPLOYMENT one AS first WITH ('default.risk' = 0.5);
CREATE DEPLOYMENT two AS (candidates => first, ranker => second);
";

/// How a model behaves, from the outside.
const WELL: u8 = 0;
const FAILS: u8 = 1;
const PANICS: u8 = 2;
const HANGS: u8 = 3;

/// How long a model may take.
const TIMEOUT: Duration = Duration::from_millis(100);

/// A model that does what it is told to, and is another one otherwise.
#[derive(Debug)]
struct Told {
    model: Arc<dyn Model>,
    how: Arc<AtomicU8>,
}

struct ToldSession {
    session: Box<dyn Session>,
    how: Arc<AtomicU8>,
}

impl Model for Told {
    fn runtime(&self) -> Runtime {
        self.model.runtime()
    }

    fn inputs(&self) -> &[Port] {
        self.model.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.model.outputs()
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        Ok(Box::new(ToldSession { session: self.model.session()?, how: Arc::clone(&self.how) }))
    }
}

impl Session for ToldSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        match self.how.load(Ordering::Relaxed) {
            FAILS => return Err(RunError::Failed { runtime: Runtime::Trees, reason: "as told".to_owned() }),
            PANICS => panic!("as told"),
            HANGS => {
                while self.how.load(Ordering::Relaxed) == HANGS {
                    sleep(Duration::from_millis(1));
                }
            }
            _ => {}
        }
        self.session.run(inputs)
    }
}

#[derive(Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

/// Features are what was asked with; those of `stale` rows are stale.
#[derive(Default)]
struct Echo {
    stale: Vec<usize>,
    fails: bool,
    asked: Mutex<Vec<usize>>,
}

impl Lookups for Echo {
    async fn look_up(&self, _: &Arc<Wanted>, rows: RecordBatch, _: Vec<i64>) -> Result<Looked, Failure> {
        self.asked.lock().unwrap().push(rows.num_rows());
        if self.fails {
            return Err(Failure::new(Code::Unavailable, "the store does not answer").of_reading());
        }
        let stale: Vec<bool> = (0..rows.num_rows()).map(|row| self.stale.contains(&row)).collect();
        let feature = |(field, values): (&Arc<Field>, &ArrayRef)| Feature {
            name: field.name().as_str().into(),
            head: Arc::from([]),
            values: Arc::clone(values),
            statuses: vec![Status::Present; values.len()],
            stale: stale.contains(&true).then(|| stale.clone()),
            filled_by: vec![FilledBy::None; values.len()].into(),
            event_times: vec![None; values.len()].into(),
            known_at: None,
        };
        let features = rows.schema().fields().iter().zip(rows.columns()).map(feature).collect();
        let oldest_inputs = vec![None; rows.num_rows()].into();
        let answered = Answered { features, oldest_inputs, reads: Vec::new(), time: TimeMode::Event, rows: rows.num_rows(), by_request: None };
        Ok(Looked { answered, recalled: false })
    }
}

/// Deployments over models that can be told how to behave, by the name of the model.
struct Bench {
    catalog: Catalog,
    clock: Arc<Hand>,
    how: [Arc<AtomicU8>; 3],
}

const NAMES: [&str; 3] = ["first", "second", "simple"];

impl Bench {
    fn new() -> Bench {
        let definitions = Definitions::parse(&[SourceFile::new("models.sql".to_owned(), DEFINITIONS.to_owned())]).unwrap();
        Bench { catalog: Catalog::compile(definitions).unwrap(), clock: Arc::default(), how: Default::default() }
    }

    fn tell(&self, model: &str, how: u8) {
        self.how[NAMES.iter().position(|name| *name == model).unwrap()].store(how, Ordering::Relaxed);
    }

    fn file(name: &str) -> Vec<u8> {
        let stump = |feature, at, leaves| Stump { feature, at, leaves };
        match name {
            "first" => stumps(2, &[stump(0, 1.0, [0.25, 0.5]), stump(1, 1.0, [0.125, 0.0625])]),
            "second" => stumps(2, &[stump(1, 0.5, [10.0, 20.0])]),
            _ => stumps(1, &[stump(0, 1.0, [1.0, 2.0])]),
        }
    }

    fn loaded(&self, name: &str) -> Arc<Loaded> {
        let model = &self.catalog.definitions.models[name];
        let bound = Bound::new(model, &Bench::file(name), &self.catalog.services[&model.service], None).unwrap();
        let how = Arc::clone(&self.how[NAMES.iter().position(|known| *known == name).unwrap()]);
        let told = Arc::new(Told { model: Arc::clone(&bound.model), how });
        let options = PoolOptions { threads: 1, max_batch: 4, timeout: TIMEOUT, ..PoolOptions::default() };
        let breaker = BreakerSettings { failures: 2, ..BreakerSettings::default() };
        Arc::new(Loaded::new(bound, told, options, breaker, &(Arc::clone(&self.clock) as Arc<dyn Clock>)).unwrap())
    }

    fn deployed(&self, name: &str, fallback: bool) -> Deployed {
        let load = |model: &str| Ok(self.loaded(model));
        let mut deployed = Deployed::of(&self.catalog, &self.catalog.definitions.deployments[name], &load).unwrap();
        if fallback {
            let both = self.catalog.definitions.deployments["one"].request.iter();
            let fields: Fields = both.map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
            deployed.fallback =
                Some(Stage::of(&self.catalog, ("fallback", "simple"), (&fields, super::deployed::Taken::default()), None, &load).unwrap());
        }
        deployed
    }
}

fn request(deployed: &Deployed, a: Vec<Option<f64>>, b: Vec<Option<f64>>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(deployed.asked.schema()), vec![Arc::new(Float64Array::from(a)), Arc::new(Float64Array::from(b))]).unwrap()
}

fn scored(deployed: &Deployed, lookups: &Echo, rows: &RecordBatch) -> Result<Scored, Failure> {
    block_on(score(deployed, lookups, rows, &vec![0; rows.num_rows()], None))
}

fn three(deployed: &Deployed) -> RecordBatch {
    request(deployed, vec![Some(0.0), Some(2.0), None], vec![Some(2.0), Some(0.0), Some(0.0)])
}

fn values(scored: &Scored) -> Vec<Option<f32>> {
    scored.predictions[0].as_primitive::<Float32Type>().iter().collect()
}

#[test]
fn rows_go_through_the_model_or_fall_out_one_by_one() {
    let bench = Bench::new();
    let mut deployed = bench.deployed("one", true);
    let lookups = Echo { stale: vec![1], ..Echo::default() };
    // What is missing is NaN to the model, unless it is to be otherwise.
    let all = scored(&deployed, &lookups, &three(&deployed)).unwrap();
    assert_eq!((values(&all), all.ways.clone()), (vec![Some(0.3125), Some(0.625), Some(0.625)], vec![Way::Model; 3]));
    assert!(all.whys.iter().all(Option::is_none) && lookups.asked.lock().unwrap().as_slice() == [3]);
    (deployed.when_missing, deployed.when_stale) = (When::Fallback, When::Default);
    let some = scored(&deployed, &lookups, &three(&deployed)).unwrap();
    assert_eq!(some.ways, [Way::Model, Way::Default, Way::Fallback]);
    // The fallback, too, is given NaN.
    assert_eq!(values(&some), [Some(0.3125), Some(0.5), Some(2.0)]);
    let words: Vec<Option<&str>> = some.whys.iter().map(|why| why.as_ref().map(|why| &*why.text)).collect();
    assert_eq!(words, [None, Some("feature `a` is stale"), Some("feature `a` has no value")]);
    assert_eq!(some.ran.iter().map(|ran| (ran.step.as_str(), ran.rows)).collect::<Vec<_>>(), [("first", 1), ("fallback", 1)]);
    (deployed.fallback, deployed.has_defaults) = (None, false);
    deployed.defaults = vec![arrow::array::new_null_array(&arrow::datatypes::DataType::Float32, 1)];
    let none = scored(&deployed, &lookups, &three(&deployed)).unwrap();
    assert_eq!((values(&none), none.ways), (vec![Some(0.3125), None, None], vec![Way::Model, Way::None, Way::None]));
}

#[test]
fn where_the_model_fails_what_is_declared_stands_in() {
    let bench = Bench::new();
    for (how, word) in [(FAILS, "failed"), (PANICS, "panicked"), (HANGS, "timed_out")] {
        let by_fallback = bench.deployed("one", true);
        let by_default = bench.deployed("one", false);
        let mut by_nothing = bench.deployed("one", false);
        by_nothing.has_defaults = false;
        bench.tell("first", how);
        let lookups = Echo::default();
        let all = scored(&by_fallback, &lookups, &three(&by_fallback)).unwrap();
        assert_eq!((values(&all), all.ways), (vec![Some(1.0), Some(2.0), Some(2.0)], vec![Way::Fallback; 3]));
        assert_eq!(all.whys[0].as_ref().unwrap().word, word);
        let all = scored(&by_default, &lookups, &three(&by_default)).unwrap();
        assert_eq!((values(&all), all.ways), (vec![Some(0.5); 3], vec![Way::Default; 3]));
        let failure = scored(&by_nothing, &lookups, &three(&by_nothing)).unwrap_err();
        let code = if how == HANGS { Code::DeadlineExceeded } else { Code::Internal };
        assert!(failure.code == code && failure.message.starts_with("model `first`: "), "{failure:?}");
        bench.tell("first", WELL);
    }
}

#[test]
fn a_model_that_goes_on_failing_is_asked_no_more_until_it_answers_again() {
    let bench = Bench::new();
    let deployed = bench.deployed("one", true);
    let lookups = Echo::default();
    let words = || {
        let all = scored(&deployed, &lookups, &three(&deployed)).unwrap();
        all.whys[0].as_ref().map(|why| why.word)
    };
    bench.tell("first", HANGS);
    assert_eq!([words(), words(), words()], [Some("timed_out"), Some("timed_out"), Some("breaker")]);
    let model = &deployed.steps[0].model;
    assert_eq!((model.breaker().standing, model.figures().hanging), (Standing::Open, 1), "the other one hangs where it warms up");
    // After a pause one request sees whether it answers.
    bench.clock.0.store(1_000_000, Ordering::Relaxed);
    assert_eq!([words(), words()], [Some("timed_out"), Some("breaker")]);
    bench.tell("first", WELL);
    bench.clock.0.store(2_000_000, Ordering::Relaxed);
    // Its threads come back by themselves.
    let came_back = (0..2000).any(|_| {
        sleep(Duration::from_millis(2));
        model.figures().hanging == 0
    });
    assert!(came_back && model.figures().threads == 1, "{:?}", model.figures());
    assert_eq!([words(), words()], [None, None]);
    assert_eq!(model.breaker().standing, Standing::Closed);
}

#[test]
fn where_the_store_does_not_answer_what_is_declared_stands_in() {
    let bench = Bench::new();
    let deployed = bench.deployed("one", true);
    let lookups = Echo { fails: true, ..Echo::default() };
    let all = scored(&deployed, &lookups, &three(&deployed)).unwrap();
    assert_eq!((values(&all), all.ways), (vec![Some(0.5); 3], vec![Way::Default; 3]));
    assert_eq!(all.whys[0].as_ref().unwrap().word, "features");
    let mut by_nothing = bench.deployed("one", true);
    by_nothing.has_defaults = false;
    assert_eq!(scored(&by_nothing, &lookups, &three(&by_nothing)).unwrap_err().code, Code::Unavailable);
}

#[test]
fn predictions_of_a_step_go_into_the_next() {
    let bench = Bench::new();
    let deployed = bench.deployed("two", false);
    assert_eq!(deployed.asked.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let lookups = Echo::default();
    let all = scored(&deployed, &lookups, &three(&deployed)).unwrap();
    // Of 0.3125, 0.625 and 0.625.
    assert_eq!((values(&all), all.ways), (vec![Some(10.0), Some(20.0), Some(20.0)], vec![Way::Model; 3]));
    assert_eq!(all.ran.iter().map(|ran| ran.step.as_str()).collect::<Vec<_>>(), ["candidates", "ranker"]);
    assert_eq!(all.looked[1].looked.answered.features[1].name.as_ref(), "risk");
    // A row that fell out of the first step comes to no other.
    let deployed = Deployed { when_missing: When::Default, ..deployed };
    let some = scored(&deployed, &lookups, &three(&deployed)).unwrap();
    assert_eq!((values(&some), some.ways), (vec![Some(10.0), Some(20.0), None], vec![Way::Model, Way::Model, Way::None]));
    assert_eq!(lookups.asked.lock().unwrap().as_slice(), [3, 3, 3, 2]);
}

/// Any batch gives each row what it gets alone, also where some fall out.
#[test]
fn a_batch_is_its_rows() {
    let bench = Bench::new();
    let mut deployed = bench.deployed("one", true);
    deployed.when_missing = When::Fallback;
    let lookups = Echo::default();
    let column = |step: usize| (0..37).map(|row| (row % step != 0).then_some((row * 7 % 5) as f64 * 0.6)).collect::<Vec<_>>();
    let rows = request(&deployed, column(4), column(9));
    let all = scored(&deployed, &lookups, &rows).unwrap();
    for row in 0..rows.num_rows() {
        let alone = scored(&deployed, &lookups, &rows.slice(row, 1)).unwrap();
        assert_eq!((values(&alone)[0], alone.ways[0], &alone.whys[0]), (values(&all)[row], all.ways[row], &all.whys[row]), "row {row}");
    }
    assert!(all.ways.contains(&Way::Model) && all.ways.contains(&Way::Fallback));
    assert_eq!(rows.column(0).as_primitive::<Float64Type>().null_count(), 10);
}
