//! `REQUEST AS`: what a request is answered is what the store says at its moment once its event has arrived, in every bit.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use fastrand::Rng;
use lockstep_ingest::admission::AdmitNext;
use lockstep_ingest::offline::{Files, replay};
use lockstep_ingest::source::Stores;
use lockstep_model::{ErrorKind, EventTime, StateRead, TimeMode};
use lockstep_store::{Counters, OnlineStore};
use lockstep_testkit::effort;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use lockstep_transform::next_event::{NextEvent, ViewState};
use lockstep_transform::service::{Answer, ServicePlan};
use lockstep_transform::tiles::Shape;

use super::case::Case;
use super::course::{Course, Project};
use super::files;
use super::rows::Row;

const CASES: u64 = 24;
const REQUESTS: usize = 12;

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    changed: usize,
    refused: usize,
    duplicates: u64,
    conflicts: u64,
    superseded: u64,
}

#[test]
fn a_request_that_is_an_event_is_answered_as_if_that_had_arrived() {
    let mut seen = Seen::default();
    for seed in super::wanted().map_or(0..CASES * effort() as u64, |seed| seed..seed + 1) {
        let case = Case::new(seed);
        let (catalog, sql) = catalog(&case);
        let mut rng = Rng::with_seed(seed);
        let mut course = Course::any(&case, &mut rng);
        course.takes_turns = false;
        let project = Project::run(&case, &catalog, &course).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        Asking { case: &case, project: &project, catalog: &catalog, place: format!("seed {seed}\n{sql}") }.ask(&mut rng, &mut seen);
    }
    println!("{seen:?}");
    if super::wanted().is_none() {
        let Seen { answered, changed, refused, duplicates, conflicts, superseded } = seen;
        assert!(answered > 200 && changed * 8 > answered && refused > 3 && duplicates > 0 && conflicts > 0 && superseded > 5);
    }
}

/// The case's view, read for its two roles by requests that are events, and by such as are none.
fn catalog(case: &Case) -> (Catalog, String) {
    let compile = |sql: &str| {
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", sql)]).unwrap_or_else(|errors| panic!("{}\n{sql}", errors[0]));
        let next: Arc<dyn NextEvent> = Arc::new(AdmitNext);
        Catalog::compile_with(definitions, &next).unwrap_or_else(|errors| panic!("{}\n{sql}", errors[0]))
    };
    let plain = compile(&case.sql());
    let view = &plain.views["v"];
    let key = |role: &str, first: &str| {
        let of = |name: &str| format!("{role}.{name} = r.{}", if name == "k" { first } else { name });
        view.entity.iter().map(|field| of(field.name())).collect::<Vec<_>>().join(" AND ")
    };
    let outputs = |role: &str| {
        view.features.fields().iter().map(|field| format!("{role}.\"{0}\" AS \"{role}_{0}\"", field.name())).collect::<Vec<_>>().join(", ")
    };
    let service = |name: &str, request: &str| {
        let (x, y) = (key("x", "k"), key("y", "s"));
        format!(
            "\nCREATE FEATURE SERVICE {name} AS SELECT {}, {} FROM {request} r LEFT JOIN v x ON {x} LEFT JOIN v y ON {y};",
            outputs("x"),
            outputs("y")
        )
    };
    let sql = case.sql() + ";" + &service("event", "REQUEST AS a") + &service("plain", "REQUEST (k VARCHAR, g INTEGER, s VARCHAR)");
    let sql = sql.replace(";;", ";");
    (compile(&sql), sql)
}

struct Asking<'a> {
    case: &'a Case,
    project: &'a Project<'a>,
    catalog: &'a Catalog,
    place: String,
}

impl Asking<'_> {
    fn ask(&self, rng: &mut Rng, seen: &mut Seen) {
        let requests = self.case.requests(rng, REQUESTS);
        let typed: Vec<(RecordBatch, i64, Vec<u8>)> = requests.into_iter().filter_map(|(row, at)| self.typed(row, at)).collect();
        self.all_at_once(&typed);
        let log = self.project.dir().join("next.ndjson");
        // Versions that are positions are beyond those of the other logs.
        let garbage = "{\"_source\":\"nosuch\"}\n".repeat(400);
        std::fs::write(&log, garbage).unwrap();
        self.project.follow_file("next.ndjson").unwrap();
        for (row, at, line) in &typed {
            self.one(row, *at, line, seen);
        }
        self.again(&typed);
    }

    /// A row as a request, its moment, and as the event that arrives.
    fn typed(&self, mut row: Row, at: i64) -> Option<(RecordBatch, i64, Vec<u8>)> {
        let moment = EventTime(at).to_string();
        for name in ["t", "_append_time"] {
            row.clear(name);
            row.text(name, moment.clone());
        }
        row.clear("_tombstone");
        let source = &self.catalog.sources["a"];
        let (batches, bad) = files::typed(&[&row], source);
        let batch = batches.into_iter().find(|batch| batch.num_rows() == 1).filter(|_| bad.is_empty())?;
        let wanted = self.catalog.services["event"].request.fields();
        let columns: Vec<usize> = wanted.iter().map(|field| batch.schema().index_of(field.name()).unwrap()).collect();
        Some((batch.project(&columns).unwrap(), at, row.ndjson()))
    }

    fn one(&self, row: &RecordBatch, at: i64, line: &[u8], seen: &mut Seen) {
        let modes = [TimeMode::Event, TimeMode::Known];
        let before = modes.map(|mode| self.plain(row, at, mode));
        let asked = modes.map(|mode| self.event(std::slice::from_ref(row), &[at], mode));
        let counters = self.counters();
        OpenOptions::new().append(true).open(self.project.dir().join("next.ndjson")).unwrap().write_all(line).unwrap();
        self.project.follow_file("next.ndjson").unwrap();
        let now = self.counters();
        let after = modes.map(|mode| self.plain(row, at, mode));
        let place = format!("{}\nat {} ({at}): {}", self.place, EventTime(at), String::from_utf8_lossy(line));
        let put_aside = now.dead_lettered - counters.dead_lettered > now.conflicts - counters.conflicts;
        assert_eq!(now.refused, counters.refused, "{place}");
        for (((before, asked), after), mode) in before.iter().zip(asked).zip(&after).zip(modes) {
            match asked {
                Err(error) => {
                    assert!(put_aside && error.kind() == ErrorKind::Invalid, "{place}\n{mode:?}: {error}");
                    seen.refused += 1;
                }
                Ok(asked) => {
                    assert!(!put_aside, "{place}\n{mode:?}: the event is put aside and its request is not");
                    assert_same(&asked, after, &format!("{place}\n{mode:?}"));
                    seen.answered += 1;
                    seen.changed += usize::from(shown(before) != shown(after));
                }
            }
        }
        seen.duplicates += now.duplicates - counters.duplicates;
        seen.conflicts += now.conflicts - counters.conflicts;
        seen.superseded += now.superseded - counters.superseded;
    }

    /// Requests that are answered together see nothing of each other.
    fn all_at_once(&self, typed: &[(RecordBatch, i64, Vec<u8>)]) {
        for mode in [TimeMode::Event, TimeMode::Known] {
            let good: Vec<&(RecordBatch, i64, Vec<u8>)> =
                typed.iter().filter(|(row, at, _)| self.event(std::slice::from_ref(row), &[*at], mode).is_ok()).collect();
            let good = [good.clone(), good].concat();
            let rows: Vec<RecordBatch> = good.iter().map(|(row, ..)| row.clone()).collect();
            let moments: Vec<i64> = good.iter().map(|(_, at, _)| *at).collect();
            if rows.is_empty() {
                continue;
            }
            let together = self.event(&rows, &moments, mode).unwrap();
            for (at, row) in rows.iter().enumerate() {
                let alone = self.event(std::slice::from_ref(row), &moments[at..=at], mode).unwrap();
                let shown = shown(&together).into_iter().skip(at).step_by(rows.len()).collect::<Vec<_>>();
                assert_eq!(shown, self::shown(&alone), "{}\nrequest {at} of {}", self.place, rows.len());
            }
        }
    }

    /// A replay answers the same, now that the events have arrived.
    fn again(&self, typed: &[(RecordBatch, i64, Vec<u8>)]) {
        let cut = OnlineStore::cut(self.project.store());
        let files = Files { base: self.project.dir().to_owned(), stores: Stores::local(), kafka: None, push: None };
        let shape = Shape { leaf_rows_max: 3, buffer_rows_max: 1 };
        let replayed = replay(self.catalog, &self.project.target, &*cut, &files, shape).unwrap();
        let before = self.keys_before();
        let view = ViewState { state: &replayed.state, keys: &replayed.keys, keys_before: &before };
        for (row, at, _) in typed {
            let online = self.event(std::slice::from_ref(row), &[*at], TimeMode::Known);
            let offline = self.service("event").answer_events(&[view, view], row, &[*at], TimeMode::Known, None);
            match (online, offline) {
                (Ok(online), Ok(offline)) => assert_same(&online, &offline, &format!("{}\nreplayed, at {at}", self.place)),
                (online, offline) => assert_eq!(online.map_err(|error| error.to_string()).err(), offline.map_err(|error| error.to_string()).err()),
            }
        }
    }

    fn service(&self, name: &str) -> &ServicePlan {
        &self.catalog.services[name]
    }

    fn keys_before(&self) -> Vec<(u16, i64)> {
        let horizon = OnlineStore::cut(self.project.store()).horizon(self.project.target.generation.generation).unwrap();
        horizon.keys_before.iter().map(|&(source, before)| (source, before.0)).collect()
    }

    fn event(&self, rows: &[RecordBatch], moments: &[i64], mode: TimeMode) -> Result<Answer, lockstep_model::Error> {
        let cut = OnlineStore::cut(self.project.store());
        let state = cut.state(self.project.target.generation.generation);
        let before = self.keys_before();
        let view = ViewState { state: &state, keys: &state, keys_before: &before };
        let rows = concat_batches(&rows[0].schema(), rows).unwrap();
        self.service("event").answer_events(&[view, view], &rows, moments, mode, None)
    }

    /// What is answered to a request that is no event.
    fn plain(&self, row: &RecordBatch, at: i64, mode: TimeMode) -> Answer {
        let cut = OnlineStore::cut(self.project.store());
        let state = cut.state(self.project.target.generation.generation);
        let states: [&dyn StateRead; 2] = [&state, &state];
        let columns: Vec<usize> = ["k", "g", "s"].map(|name| row.schema().index_of(name).unwrap()).to_vec();
        self.service("plain").answer(&states, &row.project(&columns).unwrap(), &[at], mode, None).unwrap()
    }

    fn counters(&self) -> Counters {
        OnlineStore::cut(self.project.store()).counters(self.project.target.generation.generation).unwrap().get("a").copied().unwrap_or_default()
    }
}

/// Every value, status, fill and event time.
fn shown(answer: &Answer) -> Vec<String> {
    let mut shown = Vec::new();
    for (output, column) in answer.columns.iter().enumerate() {
        for row in 0..column.len() {
            let (value, status, event_time) = (column.slice(row, 1), answer.statuses[output][row], answer.event_times[output][row]);
            shown.push(format!("{:?} {status} {event_time:?}", value));
        }
    }
    shown
}

fn assert_same(asked: &Answer, after: &Answer, place: &str) {
    for (output, (one, other)) in asked.columns.iter().zip(&after.columns).enumerate() {
        let same = one.to_data() == other.to_data()
            && asked.statuses[output] == after.statuses[output]
            && asked.event_times[output] == after.event_times[output];
        assert!(
            same,
            "{place}\noutput {output}: asked {one:?} {:?} {:?}\nand then {other:?} {:?} {:?}",
            asked.statuses[output], asked.event_times[output], after.statuses[output], after.event_times[output]
        );
    }
}
