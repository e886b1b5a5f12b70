//! What is asked for and what is answered, whatever the protocol.

mod lists;
#[cfg(test)]
mod tests;
mod wanted;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use lockstep_model::{Error, FilledBy, Generation, Status, TimeMode};
use lockstep_transform::service::{ByRequest, ServicePlan};
use lockstep_transform::transformation::Transformation;

pub use lists::Lists;
use wanted::Output;
pub use wanted::Wanted;

use crate::last_known_good::LastKnownGood;
use crate::live::{Reach, State};
use crate::{Lags, Lookup, LookupRequest, Role};

/// An answer, column-wise: every vector per feature holds one item per row.
#[derive(Debug)]
pub struct Answered {
    /// In the order asked for.
    pub features: Vec<Feature>,
    /// Per row: when the oldest thing happened that its features are made from, µs; `None` where there is nothing behind them.
    pub oldest_inputs: Arc<[Option<i64>]>,
    /// What was read, in each role.
    pub reads: Vec<RoleRead>,
    /// Which clock counted.
    pub time: TimeMode,
    /// How many rows.
    pub rows: usize,
    /// Which rows are of which request, where they are candidates; else there is one for each.
    pub by_request: Option<Arc<ByRequest>>,
}

impl Answered {
    /// The moment of each row, out of those of the requests.
    pub fn moments<'a>(&self, of_requests: &'a [i64]) -> Cow<'a, [i64]> {
        self.by_request.as_ref().map_or(Cow::Borrowed(of_requests), |by| Cow::Owned(by.each_row(of_requests)))
    }
}

/// One output of all rows.
#[derive(Debug)]
pub struct Feature {
    /// Its name, as it was asked for.
    pub name: Arc<str>,
    /// What an answer of it begins with on the wire: its name and its type.
    pub head: Arc<[u8]>,
    /// Its values.
    pub values: ArrayRef,
    /// Their statuses.
    pub statuses: Vec<Status>,
    /// Whether the state behind each lags more than its view allows; `None` where none does.
    pub stale: Option<Vec<bool>>,
    /// What filled each.
    pub filled_by: Arc<[FilledBy]>,
    /// Time of the newest event of the least fresh view behind each, µs.
    pub event_times: Arc<[Option<i64>]>,
    /// When what is behind each was read, µs, where that is the last that was.
    pub known_at: Option<Arc<[i64]>>,
}

impl Answered {
    /// These rows of it, whichever request they are of.
    ///
    /// # Errors
    /// Internal where there are no such rows.
    pub fn rows(&self, rows: &[u32]) -> Result<Answered, Error> {
        let features = self.features.iter().map(|feature| feature.rows(rows)).collect::<Result<_, _>>()?;
        let reads = self.reads.iter().map(|read| RoleRead { role: read.role.clone(), lag: read.lag }).collect();
        let oldest_inputs = rows.iter().map(|&row| self.oldest_inputs[row as usize]).collect();
        Ok(Answered { features, oldest_inputs, reads, time: self.time, rows: rows.len(), by_request: None })
    }
}

impl Feature {
    /// One row of it for each request: a list of what its candidates have.
    #[must_use]
    pub fn by_requests(&self, by: &ByRequest) -> Feature {
        Feature {
            name: Arc::clone(&self.name),
            head: Arc::clone(&self.head),
            values: by.lists(&self.values),
            statuses: by.status(&self.statuses),
            stale: None,
            filled_by: by.filled_by(&self.filled_by).into(),
            event_times: by.event_time(&self.event_times).into(),
            known_at: None,
        }
    }

    /// These rows of it.
    ///
    /// # Errors
    /// Internal where there are no such rows.
    pub fn rows(&self, rows: &[u32]) -> Result<Feature, Error> {
        let values =
            take(&self.values, &UInt32Array::from(rows.to_vec()), None).map_err(|error| Error::internal("rows of a feature").caused_by(error))?;
        let each = || rows.iter().map(|&row| row as usize);
        Ok(Feature {
            name: Arc::clone(&self.name),
            head: Arc::clone(&self.head),
            values,
            statuses: each().map(|row| self.statuses[row]).collect(),
            stale: self.stale.as_ref().map(|stale| each().map(|row| stale[row]).collect()),
            filled_by: each().map(|row| self.filled_by[row]).collect(),
            event_times: each().map(|row| self.event_times[row]).collect(),
            known_at: self.known_at.as_ref().map(|known_at| each().map(|row| known_at[row]).collect()),
        })
    }
}

/// A batch of requests that was found to be one.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The state that it is answered from.
    pub state: &'a State,
    /// How the logs stand.
    pub lags: &'a Lags,
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// What it is asked with.
    pub rows: &'a RecordBatch,
    /// The moment of each row, µs.
    pub moments: &'a [i64],
    /// The clock that is to count.
    pub time: Option<TimeMode>,
}

/// A view that was read, in one role.
#[derive(Debug)]
pub struct RoleRead {
    /// What was read.
    pub role: Role,
    /// The longest time, at any of the moments, since the logs of its sources were last seen applied to their ends, µs; `None` where it reads no log here.
    pub lag: Option<i64>,
}

/// The columns of a request, of the types that are declared.
///
/// # Errors
/// Invalid where a column is missing, given twice or unknown, or the columns are not equally long. `read` says what is wrong with the values of one.
pub fn rows_of(
    wanted: &Wanted,
    given: &[&str],
    rows: Option<usize>,
    read: impl Fn(usize, &arrow::datatypes::DataType) -> Result<ArrayRef, Error>,
) -> Result<RecordBatch, Error> {
    let fields = wanted.fields();
    for (at, name) in given.iter().enumerate() {
        if given[..at].contains(name) {
            return Err(Error::invalid(format!("column `{name}` is given twice")));
        }
        if fields.find(name).is_none() {
            return Err(wanted.unknown_column(name));
        }
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.len());
    for field in fields {
        let at = given.iter().position(|name| name == field.name()).ok_or_else(|| wanted.missing_column(field))?;
        let column = read(at, field.data_type()).map_err(|error| Error::new(error.kind(), format!("column `{}`: {error}", field.name())))?;
        if let Some(first) = columns.first()
            && first.len() != column.len()
        {
            let (name, other) = (field.name(), fields[0].name());
            return Err(Error::invalid(format!("column `{name}` has {} values, and `{other}` has {}", column.len(), first.len())));
        }
        columns.push(column);
    }
    let of_columns = columns.first().map(|column| column.len());
    let count = match (of_columns, rows) {
        (Some(found), Some(said)) if found != said => return Err(Error::invalid(format!("{said} rows are asked for, and the columns have {found}"))),
        (Some(count), _) | (None, Some(count)) => count,
        (None, None) => 1,
    };
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::clone(wanted.schema()), columns, &options)
        .map_err(|error| Error::internal("columns as declared").caused_by(error))
}

/// The moment of each of `rows`: the one that is given, or each its own, or `now`.
///
/// # Errors
/// Invalid where there are more or fewer.
pub fn moments_of(given: &[i64], rows: usize, now: i64) -> Result<Vec<i64>, Error> {
    match given {
        [] => Ok(vec![now; rows]),
        [moment] => Ok(vec![*moment; rows]),
        each if each.len() == rows => Ok(each.to_vec()),
        other => Err(Error::invalid(format!("{} moments are given for {rows} rows · give one, or one for each", other.len()))),
    }
}

/// Answers a batch of requests from one state. All rows of all views are read from the same cut, and kept in `keep` for when the store does not answer.
///
/// # Errors
/// As [`crate::Served::lookup`].
pub fn answer(question: Question<'_>, reach: Reach, keep: Option<&LastKnownGood>) -> Result<Answered, Error> {
    let Question { state, wanted, rows, moments, time, .. } = question;
    let mut parts = Vec::with_capacity(wanted.parts().len());
    for part in wanted.parts() {
        let rows = part.rows(rows)?;
        let request = LookupRequest { name: &part.name, rows: &rows, moments, time, explain: false };
        parts.push(Part::new(&question, &part.name, state.served.lookup_keeping(state.cut(reach), &request, keep)?));
    }
    Ok(together(wanted, parts, moments.len()))
}

/// Answers a batch of requests from what was read last, without the store; `None` where that is not known of all of them.
///
/// # Errors
/// As [`crate::Served::recall`].
pub fn recall(question: Question<'_>, known: &LastKnownGood) -> Result<Option<Answered>, Error> {
    let Question { state, wanted, rows, moments, time, .. } = question;
    let mut parts = Vec::with_capacity(wanted.parts().len());
    for part in wanted.parts() {
        let rows = part.rows(rows)?;
        let request = LookupRequest { name: &part.name, rows: &rows, moments, time, explain: false };
        let Some(lookup) = state.served.recall(known, &request)? else { return Ok(None) };
        parts.push(Part::new(&question, &part.name, lookup));
    }
    Ok(Some(together(wanted, parts, moments.len())))
}

fn together(wanted: &Wanted, mut parts: Vec<Part<'_>>, rows: usize) -> Answered {
    let time = parts.first().map_or(TimeMode::Event, |part| part.lookup.time);
    // Parts beside others are views.
    let by_request = parts.first().and_then(|part| part.lookup.by_request.clone());
    let rows = by_request.as_ref().map_or(rows, |by| by.requests.len());
    let features = wanted.outputs().iter().map(|output| parts[output.part].feature(output, wanted.repeats())).collect();
    let oldest_inputs = match parts.as_slice() {
        [part] => Arc::clone(&part.lookup.oldest_inputs),
        _ => (0..rows).map(|row| parts.iter().filter_map(|part| part.lookup.oldest_inputs[row]).min()).collect(),
    };
    let reads = parts
        .into_iter()
        .flat_map(|part| part.lookup.reads.into_iter().zip(part.lags))
        .map(|(read, lag)| RoleRead { role: read.role, lag: lag.longest });
    Answered { features, oldest_inputs, reads: reads.collect(), time, rows, by_request }
}

/// The answer of one service or view.
struct Part<'a> {
    lookup: Lookup,
    /// Per read.
    lags: Vec<ReadLag>,
    /// Which reads are behind an output; the only one there is where this is a view.
    service: Option<&'a ServicePlan>,
}

/// How far what was read lags.
struct ReadLag {
    longest: Option<i64>,
    /// Which rows it is stale for; `None` where for none.
    stale: Option<Vec<bool>>,
}

impl<'a> Part<'a> {
    fn new(question: &Question<'a>, name: &str, lookup: Lookup) -> Self {
        let Question { state, lags, moments, .. } = *question;
        // What was read earlier is no fresher than it was then.
        let oldest = lookup.known_at.iter().flatten().flat_map(|known_at| known_at.iter()).min().copied();
        let lags = lookup.reads.iter().map(|read| ReadLag::new(state, lags, &read.role.view, moments, oldest)).collect();
        let service = state.catalog().services.get(name).map(|service| &**service);
        Part { lookup, lags, service }
    }

    /// Whether the state behind each row of an output lags more than its view allows; `None` where none does.
    fn stale(&self, output: usize) -> Option<Vec<bool>> {
        let Some(service) = self.service else { return self.lags.first().and_then(|lag| lag.stale.clone()) };
        let Some(by) = &self.lookup.by_request else {
            let behind = service.inputs(output, false).filter_map(|(join, _)| self.lags[join].stale.as_ref());
            return behind.fold(None, |all: Option<Vec<bool>>, one| match all {
                None => Some(one.clone()),
                Some(all) => Some(all.iter().zip(one).map(|(a, b)| a | b).collect()),
            });
        };
        if self.lags.iter().all(|lag| lag.stale.is_none()) {
            return None;
        }
        let is_stale = |(row, request): (usize, &u32)| {
            let mut behind = service.inputs(output, by.is_by_fallback(row)).filter_map(|(join, _)| self.lags[join].stale.as_ref());
            behind.any(|stale| stale[*request as usize])
        };
        let stale: Vec<bool> = by.requests.iter().enumerate().map(is_stale).collect();
        stale.contains(&true).then_some(stale)
    }

    fn feature(&mut self, wanted: &Output, repeats: bool) -> Feature {
        let stale = self.stale(wanted.index);
        let (lookup, output) = (&mut self.lookup, wanted.index);
        Feature {
            name: Arc::clone(&wanted.name),
            head: Arc::clone(&wanted.head),
            values: Arc::clone(&lookup.columns[output]),
            statuses: if repeats { lookup.statuses[output].clone() } else { std::mem::take(&mut lookup.statuses[output]) },
            stale,
            filled_by: Arc::clone(&lookup.filled_by[output]),
            event_times: Arc::clone(&lookup.event_times[output]),
            known_at: lookup.known_at[output].clone(),
        }
    }
}

impl ReadLag {
    fn new(state: &State, lags: &Lags, view: &Transformation, moments: &[i64], known_at: Option<i64>) -> ReadLag {
        let generation = state.served.generation(&view.view).map(|info| info.generation);
        let at =
            |moment: i64| lag(lags, generation?, view, moment).map(|lag| lag.max(known_at.map_or(0, |known_at| moment.saturating_sub(known_at))));
        // Mostly all rows are of one moment.
        let latest = moments.iter().max().copied();
        let longest = latest.and_then(at);
        let bound = state.catalog().definitions.views.get(&view.view).and_then(|view| view.options.max_staleness);
        let stale = match (longest, bound) {
            (Some(longest), Some(bound)) if longest > bound.micros() => {
                Some(moments.iter().map(|&moment| at(moment).is_some_and(|lag| lag > bound.micros())).collect())
            }
            _ => None,
        };
        ReadLag { longest, stale }
    }
}

/// How long ago, at a moment, the logs that a view reads were last seen applied to their ends by its generation, µs; `None` where none of them is followed here.
pub fn lag(lags: &Lags, generation: Generation, view: &Transformation, moment: i64) -> Option<i64> {
    lags.at(generation, view.branches.iter().map(|branch| branch.source.as_str()), moment)
}
