//! Running a test down both paths.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, RecordBatch};
use lockstep_ingest::offline::{Files, Replayed, replay};
use lockstep_ingest::pipeline::{StreamOptions, Target, dialect_of, ingest};
use lockstep_ingest::source::{APPEND_TIME_MEMBER, Dialect, Format, SourceFile, Stores, TOMBSTONE_MEMBER};
use lockstep_model::{Clock, EventTime, FilledBy, StateRead, Status};
use lockstep_serve::{LookupRequest, Served};
use lockstep_store::{Commit, Counters, NewGeneration, OnlineStore, Store, StoreOptions, SyncPolicy};
use lockstep_transform::catalog::{Availability, Catalog, SourcePlan};
use lockstep_transform::definition::Diagnostic;
use lockstep_transform::next_event::ViewState;
use lockstep_transform::tiles::{Request, Shape};
use lockstep_transform::transformation::Transformation;

use super::file::{Ask, Events, Step, TestFile};
use super::line::Piece;
use super::value;
use crate::failure::Wrong;
use crate::requests;
use crate::text::did_you_mean;

/// Rows of a commit and the tree's shape, per run of the online path: all at once as in life, one by one, two by two.
const RUNS: [(usize, Shape); 3] = [
    (8191, Shape { leaf_rows_max: 64, buffer_rows_max: 64 }),
    (1, Shape { leaf_rows_max: 1, buffer_rows_max: 0 }),
    (2, Shape { leaf_rows_max: 2, buffer_rows_max: 1 }),
];
/// The offline driver's.
const OFFLINE: Shape = Shape { leaf_rows_max: 3, buffer_rows_max: 0 };

/// So late that no event is ahead of it.
const LATE: EventTime = EventTime(i64::MAX / 2);

/// What came of each statement that asks for something.
#[derive(Debug)]
pub struct Found {
    /// By the store, per batch cut.
    pub online: Vec<Vec<Outcome>>,
    /// By the offline driver.
    pub offline: Vec<Outcome>,
}

/// What came of a statement.
#[derive(Debug)]
pub enum Outcome {
    /// What became of rows.
    Rows(Counters),
    /// Features.
    Answer(Answer),
}

/// Features of one request.
#[derive(Debug)]
pub struct Answer {
    /// Names of the features.
    pub names: Vec<String>,
    columns: Vec<ArrayRef>,
    statuses: Vec<Status>,
    filled_by: Vec<FilledBy>,
}

impl Answer {
    /// The place of a feature among the others.
    pub fn find(&self, feature: &str) -> Option<usize> {
        self.names.iter().position(|name| name == feature)
    }

    /// The value of a feature as text.
    pub fn value(&self, feature: usize) -> String {
        value::text(&self.columns[feature], 0)
    }

    /// What a test writes after the value: a status that does not go without saying, and what filled it.
    pub fn remark(&self, feature: usize) -> String {
        let status = match self.statuses[feature] {
            Status::Present => String::new(),
            // The value says so.
            Status::Null if self.filled_by[feature] == FilledBy::None => String::new(),
            status => status.to_string(),
        };
        let filled = if self.filled_by[feature] == FilledBy::None { "" } else { "default" };
        [status.as_str(), filled].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Whether a feature is the same in both, in every bit.
    pub fn agrees(&self, other: &Answer, feature: usize) -> bool {
        value::same(&self.columns[feature], &other.columns[feature])
            && self.statuses[feature] == other.statuses[feature]
            && self.filled_by[feature] == other.filled_by[feature]
    }

    /// Whether a feature is what a test expects.
    pub fn meets(&self, feature: usize, expected: &super::Expected) -> bool {
        self.statuses[feature] == expected.status
            && self.filled_by[feature] == expected.filled_by
            && value::is_text_of(&expected.value, &self.columns[feature], 0)
    }
}

/// Runs a test of the view or service `name` down both paths.
///
/// # Errors
/// [`Wrong`] where the test asks for what is not there; as the pipeline does.
pub fn run(catalog: &Arc<Catalog>, name: &str, test: &TestFile) -> Result<Found> {
    let mut found = Found { online: Vec::new(), offline: Vec::new() };
    for (at, (batch_rows, shape)) in RUNS.into_iter().enumerate() {
        let mut run = Run::new(catalog, name, test, batch_rows, shape)?;
        let mut outcomes = Vec::new();
        for step in &test.steps {
            if let Step::Events(events) = step {
                run.feed(events)?;
                continue;
            }
            outcomes.push(run.online(step)?);
            if at == 0 {
                found.offline.push(run.offline(step)?);
            }
        }
        found.online.push(outcomes);
    }
    Ok(found)
}

/// The views that a view or service reads, each once.
fn views_of<'a>(catalog: &'a Catalog, name: &str) -> Vec<&'a Arc<Transformation>> {
    let mut views: Vec<&Arc<Transformation>> = match catalog.services.get(name) {
        Some(service) => service.joins.iter().map(|join| &join.transformation).collect(),
        None => catalog.views.get(name).into_iter().collect(),
    };
    let mut seen: Vec<&str> = Vec::new();
    views.retain(|&view| {
        let is_first = !seen.contains(&view.view.as_str());
        seen.push(&view.view);
        is_first
    });
    views
}

/// A store of its own, and the logs that feed it.
struct Run<'a> {
    catalog: &'a Arc<Catalog>,
    name: &'a str,
    test: &'a TestFile,
    batch_rows: usize,
    shape: Shape,
    store: Store,
    targets: Vec<Target>,
    logs: BTreeMap<String, PathBuf>,
    /// What the offline driver made of the events so far.
    replayed: Option<Vec<Replayed>>,
    /// Goes after the store in it.
    dir: tempfile::TempDir,
}

struct FixedClock(EventTime);

impl Clock for FixedClock {
    fn now(&self) -> EventTime {
        self.0
    }
}

impl<'a> Run<'a> {
    fn new(catalog: &'a Arc<Catalog>, name: &'a str, test: &'a TestFile, batch_rows: usize, shape: Shape) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory for a test's store")?;
        let options =
            StoreOptions { block_cache_bytes: 8 << 20, write_buffer_bytes: 4 << 20, sync: SyncPolicy::OnClose, ..StoreOptions::new("test") };
        let store = Store::open(dir.path().join("store"), options)?;
        let mut targets = Vec::new();
        for view in views_of(catalog, name) {
            let new = NewGeneration { view: view.view.clone(), version: 1, meaning: view.meaning, state: view.state };
            targets.push(Target::new(catalog, view, store.create_generation(new)?)?);
        }
        store.publish(targets.iter().map(|target| Commit::new(target.generation.generation, store.epoch())).collect())?;
        Ok(Run { catalog, name, test, batch_rows, shape, store, targets, logs: BTreeMap::new(), replayed: None, dir })
    }

    /// Appends rows to the log of their source and applies it to its end.
    fn feed(&mut self, events: &Events) -> Result<()> {
        self.replayed = None;
        let source = self.source(&events.source)?;
        self.check_columns(&source, events)?;
        let columns: Vec<&str> =
            source.schema.fields().iter().map(|field| field.name().as_str()).chain([APPEND_TIME_MEMBER, TOMBSTONE_MEMBER]).collect();
        let path = self.dir.path().join(format!("{}.csv", self.logs.len()));
        let dialect = dialect_of(&source);
        let is_new = !self.logs.contains_key(&source.name);
        let path = self.logs.entry(source.name.clone()).or_insert(path);
        let mut log = OpenOptions::new().create(true).append(true).open(&*path).with_context(|| format!("write {}", path.display()))?;
        if is_new {
            write_row(&mut log, &dialect, columns.iter().map(|name| quoted(name)))?;
        }
        for row in &events.rows {
            let given = |name: &&str| events.columns.iter().position(|column| column.text == **name).map(|at| &row[at]);
            write_row(&mut log, &dialect, columns.iter().map(|name| cell(given(name), &dialect)))?;
        }
        let options = StreamOptions {
            sources: vec![source.name.clone()],
            shape: self.shape,
            ..StreamOptions::new(Format::Csv, self.batch_rows, Arc::new(FixedClock(events.now.unwrap_or(LATE))))
        };
        ingest(&self.store, self.catalog, &self.targets, &SourceFile::local(&*path), &options, &mut |_| {})?;
        Ok(())
    }

    /// A source that is read here.
    fn source(&self, name: &Piece) -> Result<Arc<SourcePlan>, Wrong> {
        let read: Vec<&Arc<SourcePlan>> = self.targets.iter().flat_map(|target| &target.sources).collect();
        if let Some(source) = read.iter().find(|source| source.name == name.text) {
            return Ok(Arc::clone(source));
        }
        let mut names: Vec<&str> = read.iter().map(|source| source.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let title = format!("`{}` does not read a source `{}`{}", self.name, name.text, did_you_mean(&name.text, names.iter().copied()));
        Err(Wrong(vec![self.test.error(name.place.clone(), title).note(format!("sources: {}", names.join(", ")))]))
    }

    fn check_columns(&self, source: &SourcePlan, events: &Events) -> Result<(), Wrong> {
        let known: Vec<&str> =
            source.schema.fields().iter().map(|field| field.name().as_str()).chain([APPEND_TIME_MEMBER, TOMBSTONE_MEMBER]).collect();
        for (at, column) in events.columns.iter().enumerate() {
            if !known.contains(&column.text.as_str()) {
                let meant = did_you_mean(&column.text, known.iter().copied());
                let wrong = self.test.error(column.place.clone(), format!("source `{}` has no column `{}`{meant}", source.name, column.text));
                return Err(Wrong(vec![wrong.note(format!("columns: {}", known.join(", ")))]));
            }
            if events.columns[..at].iter().any(|earlier| earlier.text == column.text) {
                return Err(Wrong(vec![self.test.error(column.place.clone(), format!("column `{}` is given twice", column.text))]));
            }
        }
        let appended = events.columns.iter().any(|column| column.text == APPEND_TIME_MEMBER);
        if matches!(source.availability, Availability::AppendTime) && !appended {
            let title = format!("events of `{}` are known when the log took them, and these do not say when", source.name);
            return Err(Wrong(vec![self.test.error(events.source.place.clone(), title).help(format!("add a column {APPEND_TIME_MEMBER}"))]));
        }
        Ok(())
    }

    /// What a lookup gives.
    fn online(&self, step: &Step) -> Result<Outcome> {
        let cut = OnlineStore::cut(&self.store);
        match step {
            Step::Ask(ask) => {
                let row = self.request(ask)?;
                let served = Served::new(Arc::clone(self.catalog), &*cut)?;
                let request = LookupRequest { name: self.name, rows: &row, moments: &[ask.at.0], time: ask.time, explain: false };
                let lookup = served.lookup(&*cut, &request).map_err(|error| self.wrong(ask, &error))?;
                Ok(Outcome::Answer(Answer {
                    names: lookup.schema.fields().iter().map(|field| field.name().clone()).collect(),
                    columns: lookup.columns,
                    statuses: lookup.statuses.iter().map(|statuses| statuses[0]).collect(),
                    filled_by: lookup.filled_by.iter().map(|filled| filled[0]).collect(),
                }))
            }
            Step::Rows(rows) => {
                let target = self.target_of(&self.source(&rows.source)?.name);
                let counters = target.map(|at| cut.counters(self.targets[at].generation.generation)).transpose()?.unwrap_or_default();
                Ok(Outcome::Rows(counters.get(&rows.source.text).copied().unwrap_or_default()))
            }
            Step::Events(_) => Ok(Outcome::Rows(Counters::default())),
        }
    }

    /// The first view that reads a source.
    fn target_of(&self, source: &str) -> Option<usize> {
        self.targets.iter().position(|target| target.branches_of(source).next().is_some())
    }

    /// What the offline driver gives.
    fn offline(&mut self, step: &Step) -> Result<Outcome> {
        let replayed = match self.replayed.take() {
            Some(replayed) => replayed,
            None => self.replay()?,
        };
        let outcome = match step {
            Step::Ask(ask) => Outcome::Answer(self.answer(ask, &replayed)?),
            Step::Rows(rows) => {
                let counters = self.target_of(&rows.source.text).and_then(|at| replayed[at].counters.get(&rows.source.text).copied());
                Outcome::Rows(counters.unwrap_or_default())
            }
            Step::Events(_) => Outcome::Rows(Counters::default()),
        };
        self.replayed = Some(replayed);
        Ok(outcome)
    }

    fn replay(&self) -> Result<Vec<Replayed>> {
        let cut = OnlineStore::cut(&self.store);
        let files = Files { base: self.dir.path().to_owned(), stores: Stores::local(), kafka: None, push: None };
        self.targets.iter().map(|target| Ok(replay(self.catalog, target, &*cut, &files, OFFLINE)?)).collect()
    }

    fn answer(&self, ask: &Ask, replayed: &[Replayed]) -> Result<Answer> {
        let (row, moments) = (self.request(ask)?, [ask.at.0]);
        if let Some(service) = self.catalog.services.get(self.name) {
            let of = |view: &str| self.targets.iter().position(|target| target.view.view == view).map(|at| &replayed[at]);
            let views: Vec<&Replayed> = service.joins.iter().filter_map(|join| of(&join.view)).collect();
            let mode = ask.time.unwrap_or_else(|| self.catalog.service_time_mode(service));
            let answer = if service.request_as.is_none() {
                let states: Vec<&dyn StateRead> = views.iter().map(|replayed| &replayed.state as &dyn StateRead).collect();
                service.answer(&states, &row, &moments, mode, None)?.by_requests()
            } else {
                let before = service.joins.iter().filter_map(|join| self.keys_before(&join.view)).collect::<Result<Vec<_>>>()?;
                let views = views.iter().zip(&before);
                let views: Vec<ViewState<'_>> =
                    views.map(|(replayed, keys_before)| ViewState { state: &replayed.state, keys: &replayed.keys, keys_before }).collect();
                service.answer_events(&views, &row, &moments, mode, None).map_err(|error| self.wrong(ask, &error))?
            };
            return Ok(Answer {
                names: service.schema.fields().iter().map(|field| field.name().clone()).collect(),
                columns: answer.columns,
                statuses: answer.statuses.iter().map(|statuses| statuses[0]).collect(),
                filled_by: answer.filled_by.iter().map(|filled| filled[0]).collect(),
            });
        }
        let view = &self.targets[0].view;
        let keys = view.entity_keys(row.columns())?;
        let mode = ask.time.unwrap_or_else(|| self.catalog.time_mode(view));
        let features = view.read_at(&replayed[0].state, &[Request { entity: keys.get(0), at: ask.at.0 }], mode, None)?;
        Ok(Answer {
            names: view.features.fields().iter().map(|field| field.name().clone()).collect(),
            filled_by: vec![FilledBy::None; features.columns.len()],
            columns: features.columns,
            statuses: features.statuses.iter().map(|statuses| statuses[0]).collect(),
        })
    }

    /// Before which event times the store may have forgotten keys of a view's sources.
    fn keys_before(&self, view: &str) -> Option<Result<Vec<(u16, i64)>>> {
        let target = self.targets.iter().find(|target| target.view.view == view)?;
        let horizon = OnlineStore::cut(&self.store).horizon(target.generation.generation);
        Some(horizon.map(|horizon| horizon.keys_before.iter().map(|&(source, before)| (source, before.0)).collect()).map_err(Into::into))
    }

    fn request(&self, ask: &Ask) -> Result<RecordBatch> {
        requests::one(self.catalog, self.name, &ask.columns).map_err(|error| self.wrong(ask, &error).into())
    }

    /// An error of what is asked, with its place. Its first part says what is wrong.
    fn wrong(&self, ask: &Ask, error: &dyn std::fmt::Display) -> Wrong {
        let message = error.to_string();
        let mut parts = message.split(" · ");
        let diagnostic = self.test.error(ask.place.clone(), parts.next().unwrap_or_default());
        Wrong(vec![parts.fold(diagnostic, Diagnostic::note)])
    }
}

fn write_row(log: &mut File, dialect: &Dialect, cells: impl Iterator<Item = String>) -> Result<()> {
    let line = cells.collect::<Vec<_>>().join(&char::from(dialect.delimiter).to_string());
    writeln!(log, "{line}").context("write the log of a test")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A cell as the source's own files have it; a cell that is left empty, or out, is NULL.
fn cell(piece: Option<&Piece>, dialect: &Dialect) -> String {
    match piece {
        None => dialect.null.clone(),
        Some(piece) if piece.text.is_empty() && !piece.quoted => dialect.null.clone(),
        Some(piece) if piece.quoted || piece.text == dialect.null || piece.text.contains(char::from(dialect.delimiter)) => quoted(&piece.text),
        Some(piece) => piece.text.clone(),
    }
}
