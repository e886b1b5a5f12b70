//! `get`: the features of an entity, now or at a moment.

use std::path::PathBuf;

use anyhow::Result;
use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use lockstep_model::{Clock, Error, EventTime, FilledBy, Status, SystemClock, TimeMode};
use lockstep_serve::admin::Progress;
use lockstep_serve::explained::{Explained, explained};
use lockstep_serve::{Lookup, LookupRequest, Served};
use lockstep_store::{CutRead, OnlineStore};
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verify::Time;
use super::{Context, requested};
use crate::ask;
use crate::bytes::Rows;
use crate::failure::Outcome;
use crate::kept::{Kept, KeptFile};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::pinned::Pinned;
use crate::requests::{self, Requests};
use crate::table::{Align, Cell, Table};
use crate::text::age;
use crate::touched;

/// Requests of one lookup.
const BATCH: usize = 4096;

const EXAMPLES: &str = "\
Examples:
  lockstep get airport_load airport=EWR
  lockstep get airport_load airport=EWR --explain
  lockstep get delay_v1 origin=EWR dest=ORD carrier=UA --as-of 2013-03-01T12:00:00Z
  lockstep get delay_v1 --from requests.ndjson --json
  lockstep get airport_load airport=EWR --snapshot s0001
  lockstep get --request 7f3a";

/// Look up features of an entity
///
/// Takes a feature service with the columns of its request, or a feature view with its key. Columns that are not given are NULL.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A feature service or a feature view
    #[arg(required_unless_present = "request")]
    pub name: Option<String>,
    /// What the request gives, as column=value
    #[arg(value_name = "COLUMN=VALUE", value_parser = assignment)]
    pub columns: Vec<(String, String)>,
    /// The moment; now by default, or that of the snapshot
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub as_of: Option<EventTime>,
    /// Read from this snapshot, which answers the same for ever; the moment is then that of the snapshot by default, and none after it is answered
    #[arg(long, value_name = "NAME")]
    pub snapshot: Option<String>,
    /// Which clock counts events; that of knowledge by default, where the definitions have it
    #[arg(long, value_enum)]
    pub time: Option<Time>,
    /// Many requests, from a file in Parquet, CSV or NDJSON: its columns, and `request_time` where each has a moment of its own
    #[arg(long, value_name = "FILE", conflicts_with = "columns")]
    pub from: Option<String>,
    /// A directory to keep the answers in, for `lockstep verify --served`
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Instead, the answer that a server gave to the request with this id, and what has changed since: from its feature log
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "columns", "as_of", "snapshot", "time", "from", "keep", "explain"])]
    pub request: Option<String>,
    /// The directory of the feature log, instead of the store's own
    #[arg(long, value_name = "DIR", requires = "request")]
    pub log: Option<PathBuf>,
    /// Show what each value came from: per view and window, the tiles and single events
    #[arg(long)]
    pub explain: bool,
}

pub fn assignment(text: &str) -> Result<(String, String), String> {
    let (column, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no column=value"))?;
    Ok((column.to_owned(), value.to_owned()))
}

/// The features of one request.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Got {
    /// What was asked.
    pub name: String,
    /// The moment.
    pub at: String,
    /// Which clock counted.
    pub time: TimeMode,
    /// When the oldest thing happened that they are made from; absent where there is nothing behind them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_input_at: Option<String>,
    /// The features, in order.
    pub features: Vec<Feature>,
    /// What they came from, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
}

/// One value.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// Its value as text; absent where it is NULL.
    pub value: Option<String>,
    /// Whether it is a value, and why not.
    pub status: Status,
    /// Where an absent value was filled from.
    pub filled_by: FilledBy,
    /// Time of the newest event of the least fresh view it reads.
    pub event_time: Option<String>,
}

/// Looks features up.
///
/// # Errors
/// NotFound for an unknown name, Invalid for columns that the request does not have or values that are not of their type.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { name, columns, as_of, snapshot, time, from, keep, request, log, explain } = arguments;
    if let Some(request) = request {
        return requested::run(context, request, log.as_deref());
    }
    // Without a request it is required.
    let name = name.as_deref().unwrap_or_default();
    let given = match from {
        Some(from) => {
            let Rows(none) = context.ask(&requests::Question { name: name.to_owned(), snapshot: snapshot.clone() })?;
            let Requests { rows, moments } = requests::read(name, none.schema().fields(), from)?;
            Given::Rows { rows: Rows(rows), moments }
        }
        None => Given::Columns(columns.clone()),
    };
    let at = as_of.or_else(|| snapshot.is_none().then(|| SystemClock.now()));
    let (time, snapshot) = (time.map(TimeMode::from), snapshot.clone());
    let question = Question { name: name.to_owned(), given, at, snapshot, time, keep: keep.is_some(), explain: *explain };
    let Answer { answers, kept } = context.ask(&question)?;
    for (file, dir) in kept.iter().zip(keep.iter().cycle()) {
        file.write(dir)?;
    }
    match (from, answers.as_slice()) {
        (None, [answer]) => context.out.show(answer)?,
        _ => context.out.show(&Many(answers))?,
    }
    Ok(Outcome::Fine)
}

/// What to look up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// A feature service or a feature view.
    pub name: String,
    /// What it is asked with.
    pub given: Given,
    /// The moment of requests that say none; that of the snapshot, if not given.
    pub at: Option<EventTime>,
    /// The snapshot to read.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Which clock counts events.
    pub time: Option<TimeMode>,
    /// Whether the answers are to be kept.
    pub keep: bool,
    /// Whether to tell what each value came from.
    pub explain: bool,
}

/// What a service or view is asked with.
#[derive(Debug, Serialize, Deserialize)]
pub enum Given {
    /// One request, as text.
    Columns(Vec<(String, String)>),
    /// Many.
    Rows {
        /// The columns it is asked with.
        rows: Rows,
        /// The moment of each, µs, where it says one.
        moments: Vec<Option<i64>>,
    },
}

impl Given {
    fn requests(&self, catalog: &Catalog, name: &str) -> Result<Requests> {
        Ok(match self {
            Given::Columns(columns) => Requests { rows: requests::one(catalog, name, columns)?, moments: vec![None] },
            Given::Rows { rows, moments } => Requests { rows: rows.0.clone(), moments: moments.clone() },
        })
    }
}

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// One for each request.
    pub answers: Vec<Got>,
    /// The same to be kept, if that was asked for.
    pub kept: Vec<KeptFile>,
}

impl ask::Question for Question {
    const VERB: &'static str = "get";
    type Answer = Answer;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Answer> {
        let Some(snapshot) = &self.snapshot else {
            let cut = OnlineStore::cut(&*owned.store);
            let served = owned.answering(&*cut)?;
            let at = self.at.ok_or_else(|| Error::invalid("a question without a moment · ask with the owner's release"))?;
            return Reading {
                served: &served,
                cut: &*cut,
                pinned: None,
                definitions: earlier(cut.serving()?.map(|(release, _)| release.new.definitions), owned),
            }
            .answer(self, at, progress);
        };
        let pinned = owned.pinned.get(&owned.store, snapshot)?;
        let (cut, at) = (pinned.cut(), self.at.unwrap_or(pinned.manifest().moment));
        let definitions = earlier(pinned.manifest().definitions.as_ref().map(|mark| mark.version), owned);
        Reading { served: pinned.served(), cut: &cut, pinned: Some(&pinned), definitions }.answer(self, at, progress)
    }
}

/// The number of definitions, where they are not those that were applied last.
fn earlier(definitions: Option<u64>, owned: &Owned) -> Option<u64> {
    definitions.filter(|&version| version != owned.store.definitions_version())
}

/// Where answers are read from: the store as it is, or a snapshot.
struct Reading<'a> {
    served: &'a Served,
    cut: &'a dyn CutRead,
    pinned: Option<&'a Pinned>,
    /// The number of its definitions, where they are not those that were applied last.
    definitions: Option<u64>,
}

impl Reading<'_> {
    fn answer(&self, question: &Question, at: EventTime, progress: &Progress<'_>) -> Result<Answer> {
        let Question { name, given, time, keep, explain, .. } = question;
        let Reading { served, cut, pinned, definitions } = self;
        let requests = given.requests(served.catalog(), name)?;
        let moments: Vec<i64> = requests.moments.iter().map(|moment| moment.unwrap_or(at.0)).collect();
        if let Some(pinned) = pinned {
            pinned.check_moments(&moments)?;
        }
        let (mut answers, mut kept) = (Vec::with_capacity(moments.len()), Vec::new());
        for first in (0..moments.len()).step_by(BATCH) {
            progress(&format!("{first} of {} requests answered", moments.len()))?;
            let count = BATCH.min(moments.len() - first);
            let (rows, moments) = (requests.rows.slice(first, count), &moments[first..first + count]);
            let lookup = served.lookup(*cut, &LookupRequest { name, rows: &rows, moments, time: *time, explain: *explain })?;
            answers.extend(got(name, moments, &lookup)?);
            if *keep {
                let numbers = (first as u64..(first + count) as u64).collect();
                kept.push(Kept::new(name, *cut, &lookup, numbers, moments.to_vec(), rows)?.by(*definitions).file()?);
            }
        }
        Ok(Answer { answers, kept })
    }
}

/// The answers of a lookup, one for each request.
fn got(name: &str, moments: &[i64], lookup: &Lookup) -> Result<Vec<Got>> {
    let options = FormatOptions::new();
    let formatters = lookup.columns.iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>()?;
    let feature = |index: usize, row: usize| Feature {
        name: lookup.schema.field(index).name().clone(),
        value: lookup.columns[index].is_valid(row).then(|| formatters[index].value(row).to_string()),
        status: lookup.statuses[index][row],
        filled_by: lookup.filled_by[index][row],
        event_time: lookup.event_times[index][row].map(|time| EventTime(time).to_string()),
    };
    let answer = |(row, &at): (usize, &i64)| Got {
        name: name.to_owned(),
        at: EventTime(at).to_string(),
        time: lookup.time,
        oldest_input_at: lookup.oldest_inputs[row].map(|at| EventTime(at).to_string()),
        features: (0..lookup.columns.len()).map(|index| feature(index, row)).collect(),
        explained: explained(lookup, row),
    };
    Ok(moments.iter().enumerate().map(answer).collect())
}

/// Answers to many requests, in their order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Many(Vec<Got>);

impl Report for Many {
    /// A row for each request; a value that is absent is its status.
    fn text(&self, paint: Paint) -> String {
        let Some(first) = self.0.first() else { return "no requests\n".to_owned() };
        let mut columns = vec![("request", Align::Right), ("moment", Align::Left)];
        columns.extend(first.features.iter().map(|feature| (feature.name.as_str(), Align::Right)));
        let mut table = Table::new(&columns);
        for (number, got) in self.0.iter().enumerate() {
            let values = got.features.iter().map(|feature| match &feature.value {
                Some(value) => Cell::from(value.as_str()),
                None => Cell::painted(feature.status.to_string(), |paint, text| paint.yellow(text)),
            });
            table.row([Cell::from((number + 1).to_string()), Cell::from(got.at.as_str())].into_iter().chain(values));
        }
        table.render(paint)
    }
}

impl Report for Got {
    fn text(&self, paint: Paint) -> String {
        let columns =
            [("feature", Align::Left), ("value", Align::Right), ("status", Align::Left), ("event time", Align::Left), ("age", Align::Right)];
        let mut table = Table::new(&columns);
        for feature in &self.features {
            let status = match feature.filled_by {
                FilledBy::None => feature.status.to_string(),
                FilledBy::Default => format!("{} (default)", feature.status),
                FilledBy::LastKnownGood => format!("{} (last known good)", feature.status),
            };
            let status = if feature.status == Status::Present { Cell::from(status) } else { Cell::painted(status, |paint, text| paint.yellow(text)) };
            let age = feature.event_time.as_ref().and_then(|time| between(time, &self.at)).map(age).unwrap_or_default();
            let value = feature.value.clone().unwrap_or_else(|| "NULL".to_owned());
            let event_time = feature.event_time.clone().unwrap_or_default();
            table.row([feature.name.as_str().into(), value.into(), status, event_time.into(), age.into()]);
        }
        let explained = self.explained.as_ref().map(|explained| touched::explained_text(explained, paint)).unwrap_or_default();
        format!("{} at {}\n{}{explained}", paint.bold(&self.name), self.at, table.render(paint))
    }
}

/// The time between two moments, µs.
fn between(from: &str, to: &str) -> Option<i64> {
    Some(EventTime::parse(to).ok()?.0.saturating_sub(EventTime::parse(from).ok()?.0))
}
