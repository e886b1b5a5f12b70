//! A spine, and the features of its rows: what training sets and batch scores are both made of.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, anyhow};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Fields};
use lockstep_ingest::offline::training::Histories;
use lockstep_model::key::{self, Keys};
use lockstep_model::{Clock, Error, ErrorKind, EventTime, SystemClock, TimeMode};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::Interval;
use lockstep_transform::transformation::Transformation;

use super::given::Given;
use super::origin::Origin;
use super::{FORMAT, PART_ROWS, check_stop};
use crate::progress::Display;
use crate::project::Project;
use crate::query::Query;
use crate::text::{counted, grouped};
use crate::train::{Answered, Asked, Directory, InputFile, Job, PartReport, SPINE, Spine, SpineOf, SpineRows, ViewUsed, differing, write_part};

/// Rows that are answered at once, unless the spine has fewer.
const CHUNK_ROWS: usize = 1 << 20;
/// The same of rows that have candidates: each of these is read for, and their features are held together.
const CHUNK_ROWS_WITH_CANDIDATES: usize = 1 << 14;
/// Of a chunk, the most rows of which known and event time are compared.
const COMPARED: usize = 1 << 14;

/// What is asked about the rows of a spine.
#[derive(Debug)]
pub struct Wanted {
    /// What messages call it.
    pub name: String,
    /// The columns that a row is asked with.
    pub request: Fields,
    /// The services or views that are read, one at least.
    pub asked: Vec<Arc<Asked>>,
}

/// A spine, and all that the features of its rows are computed from.
#[derive(Debug)]
pub struct Engine<'a> {
    given: &'a Given,
    /// Whose settings it goes by.
    pub project: &'a Project,
    /// The definitions, and what is read.
    pub origin: Origin,
    /// The moment before which rows of batch files were to be known, where only those count.
    until: Option<EventTime>,
    /// What is asked.
    pub wanted: Wanted,
    /// The clock that counts events.
    pub time: TimeMode,
    /// The events.
    pub histories: Histories,
    /// The rows that are asked about.
    pub spine: Spine,
    /// What deserves a look.
    pub warnings: Vec<String>,
    first: Option<SpineRows>,
    /// Where the rows of a query are: gone with the run.
    _queried: Option<tempfile::TempDir>,
    /// Where it is every entity in a range: the step, and both ends.
    range: Option<(Interval, (EventTime, EventTime))>,
}

impl<'a> Engine<'a> {
    /// Opens a spine and reads the events that the features of its rows are computed from. `check` may refuse the spine before that, which is the costly part; `say` is told
    /// what deserves a look, before it too.
    ///
    /// # Errors
    /// Where the spine or an input cannot be read; OutOfRange for moments that the origin does not answer for.
    #[allow(clippy::too_many_arguments, reason = "what is wanted, of what, and who is told")]
    pub fn open(
        project: &'a Project,
        given: &'a Given,
        (origin, until): (Origin, Option<EventTime>),
        wanted: Wanted,
        out: &Path,
        check: &mut dyn FnMut(&Spine) -> Result<()>,
        say: &dyn Fn(&str),
        stop: &Arc<AtomicBool>,
    ) -> Result<Engine<'a>> {
        let mut display = Display::new();
        let views = views_of(&wanted.asked);
        let mut read = || origin.read(project, &views, until, out, stop, &mut display);
        // Which entities there are is known from the events; else what is wrong with the spine is said before the costly part.
        let ((mut spine, queried), histories, range) = match (given.every, given.from.zip(given.to)) {
            (Some(step), Some(range)) => {
                origin.check_moments(&[range.1.0])?;
                let view = entity_view(&wanted)?;
                let histories = read()?;
                ((Spine::every(step, range, &wanted.request, entities(&histories, view)?)?, None), Some(histories), Some((step, range)))
            }
            _ => (open_spine(project, given, &origin.catalog, &wanted)?, None, None),
        };
        check(&spine)?;
        let first = spine.next(chunk_rows(&wanted.asked))?;
        let come_to = origin.come_to(&views);
        let warnings = first.as_ref().map_or_else(Vec::new, |rows| warnings(&wanted.name, given.before, come_to, &spine, rows));
        warnings.iter().for_each(|warning| say(warning));
        if let Some(rows) = &first {
            origin.check_moments(&rows.earlier_by(given.before).moments)?;
        }
        let histories = histories.map_or_else(read, Ok)?;
        display.finish();
        let time = given.time.map_or_else(|| time_of(&wanted.asked, &origin.catalog), TimeMode::from);
        Ok(Engine { given, project, origin, until, wanted, time, histories, spine, warnings, first, _queried: queried, range })
    }

    /// The views that are read.
    pub fn views(&self) -> Vec<Arc<Transformation>> {
        views_of(&self.wanted.asked)
    }

    /// The next rows, each at the moment that it is asked at.
    ///
    /// # Errors
    /// Invalid where a row cannot be read, or has no moment; OutOfRange for a moment that the origin does not answer for.
    pub fn next(&mut self) -> Result<Option<SpineRows>> {
        let next = match self.first.take() {
            Some(first) => Some(first),
            None => self.spine.next(chunk_rows(&self.wanted.asked))?,
        };
        let Some(rows) = next else { return Ok(None) };
        let rows = rows.earlier_by(self.given.before);
        self.origin.check_moments(&rows.moments)?;
        Ok(Some(rows))
    }

    /// The features of rows.
    ///
    /// # Errors
    /// Where events cannot be decoded.
    pub fn features(&self, asked: &Asked, rows: &SpineRows) -> Result<Answered, Error> {
        let answer = |rows: &SpineRows| asked.answer(&self.histories, &self.origin.catalog, rows, self.time, &SystemClock);
        if asked.has_candidates() { in_halves(rows, &answer, &|first, second| first.and(&second)) } else { answer(rows) }
    }

    /// Of so many of the rows, how many values of each feature the other clock would have given otherwise.
    ///
    /// # Errors
    /// As [`Self::features`].
    pub fn compared(&self, asked: &Asked, rows: &SpineRows, answered: &Answered) -> Result<(u64, Vec<u64>), Error> {
        let catalog = &self.origin.catalog;
        if asked.time(catalog) == TimeMode::Event {
            return Ok((0, Vec::new()));
        }
        let (numbers, some) = rows.sample(COMPARED)?;
        let other = if self.time == TimeMode::Known { TimeMode::Event } else { TimeMode::Known };
        let by_other = asked.answer(&self.histories, catalog, &some, other, &SystemClock)?;
        Ok((numbers.len() as u64, differing(&answered.take(&numbers)?, &by_other)))
    }

    /// Answers all rows but those that a directory has already: `parts` writes those of a chunk behind the parts that are there.
    ///
    /// # Errors
    /// As [`Self::next`] and `parts`; Unavailable where it is told to stop.
    pub fn write(
        &mut self,
        directory: &mut Directory,
        stop: &AtomicBool,
        mut parts: impl FnMut(&Engine<'_>, &SpineRows, &Directory) -> Result<Vec<PartReport>>,
    ) -> Result<()> {
        let mut display = Display::new();
        let mut skip = usize::try_from(directory.rows())?;
        let mut done = 0u64;
        while let Some(rows) = self.next()? {
            check_stop(stop)?;
            let skipped = skip.min(rows.moments.len());
            skip -= skipped;
            done += rows.moments.len() as u64;
            let rows = rows.after(skipped);
            if !rows.moments.is_empty() {
                display.step(&format!("answering · {} rows", grouped(done)));
                let written = parts(self, &rows, directory)?;
                directory.parts.extend(written);
            }
        }
        display.finish();
        Ok(())
    }

    /// What is done, so that another run of it is known.
    ///
    /// # Errors
    /// Where a position cannot be said.
    pub fn job(&self, meaning: String, statuses: bool) -> Result<Job> {
        let views = self.views();
        let used =
            |view: &Arc<Transformation>| ViewUsed { view: view.view.clone(), meaning: view.meaning.to_string(), state: Some(view.state.to_string()) };
        Ok(Job {
            format: FORMAT,
            name: self.wanted.name.clone(),
            meaning,
            views: views.iter().map(used).collect(),
            time: if self.time == TimeMode::Known { "known" } else { "event" }.to_owned(),
            spine: self.spine_files(),
            timestamp: self.spine.columns.field(self.spine.timestamp).name().clone(),
            before: self.given.before.micros(),
            statuses,
            until: self.until.map(|until| until.to_string()),
            inputs: self.origin.inputs(&views, &self.histories),
            part_rows: PART_ROWS as u64,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            from_log: None,
            from_store: self.origin.used(&views)?,
            scores: None,
        })
    }

    fn spine_files(&self) -> Vec<InputFile> {
        let told = |file: &str, identity: String| vec![InputFile { source: None, file: file.to_owned(), size: None, identity, rows: None }];
        match (&self.given.spine_sql, self.range) {
            (Some(sql), _) => told("a query", sql.clone()),
            (None, Some((step, (from, to)))) => told("every entity", format!("every {step} from {from} to {to}")),
            (None, None) => self.spine.files(),
        }
    }

    /// Rows of the inputs that count nowhere, by source.
    pub fn put_aside(&self) -> Vec<String> {
        let mut by_source: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
        for ((_, source), counters) in &self.histories.tally {
            // Each view that reads a source tells the same.
            let told = by_source.entry(source).or_default();
            *told = [told[0].max(counters.dead_lettered), told[1].max(counters.conflicts), told[2].max(counters.refused)];
        }
        let line = |(source, [dead, conflicts, late]): (&str, [u64; 3])| {
            let late = if late > 0 { format!(", {} refused as late", grouped(late)) } else { String::new() };
            format!("{source}: {} put aside, {} in conflict with an earlier one{late}", grouped(dead), grouped(conflicts))
        };
        by_source.into_iter().filter(|(_, told)| *told != [0; 3]).map(line).collect()
    }
}

/// Writes the parts of a chunk of so many rows behind those that are in a directory, side by side; `make` has the rows of a part, and what is told of it.
///
/// # Errors
/// As `make`; where the disk cannot be written.
pub fn write_parts(
    (directory, job): (&Directory, &Job),
    rows: usize,
    threads: usize,
    make: &(dyn Fn(Range<usize>) -> Result<(RecordBatch, PartReport)> + Sync),
) -> Result<Vec<PartReport>> {
    let slices: Vec<Range<usize>> = slices(rows).collect();
    let first = directory.parts.len();
    let next = AtomicUsize::new(0);
    let some = || -> Result<Vec<(usize, PartReport)>> {
        let mut done = Vec::new();
        while let Some((number, slice)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|number| Some((number, slices.get(number)?.clone()))) {
            let (rows, report) = make(slice)?;
            done.push((number, write_part(directory.partial(), first + number, &rows, job, report)?));
        }
        Ok(done)
    };
    let mut parts = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(slices.len())).map(|_| scope.spawn(some)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread that writes parts ended early"))?);
        Ok::<_, anyhow::Error>(joined.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect::<Vec<_>>())
    })?;
    parts.sort_by_key(|(number, _)| *number);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

/// Answers rows that have candidates: all at once, or, where these are more than are held at once, one half after the other.
///
/// # Errors
/// As `answer`, of a single row.
pub fn in_halves<T>(rows: &SpineRows, answer: &dyn Fn(&SpineRows) -> Result<T, Error>, and: &dyn Fn(T, T) -> Result<T, Error>) -> Result<T, Error> {
    match answer(rows) {
        Err(error) if rows.moments.len() > 1 && error.kind() == ErrorKind::OutOfRange => {
            let (first, second) = rows.halves();
            and(in_halves(&first, answer, and)?, in_halves(&second, answer, and)?)
        }
        answered => answered,
    }
}

/// The rows of each part of a chunk.
pub fn slices(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(PART_ROWS).map(move |start| start..rows.min(start + PART_ROWS))
}

fn views_of(asked: &[Arc<Asked>]) -> Vec<Arc<Transformation>> {
    let all: BTreeMap<&str, &Arc<Transformation>> = asked.iter().flat_map(|asked| &asked.views).map(|view| (view.view.as_str(), view)).collect();
    all.into_values().cloned().collect()
}

/// Rows that are answered at once.
fn chunk_rows(asked: &[Arc<Asked>]) -> usize {
    if asked.iter().any(|asked| asked.has_candidates()) { CHUNK_ROWS_WITH_CANDIDATES } else { CHUNK_ROWS }
}

/// The clock of knowledge, where any of what is read has one.
fn time_of(asked: &[Arc<Asked>], catalog: &Catalog) -> TimeMode {
    if asked.iter().any(|asked| asked.time(catalog) == TimeMode::Known) { TimeMode::Known } else { TimeMode::Event }
}

/// Opens a spine. One that comes of a query is read like any other, from a file in a directory that goes when it is dropped.
fn open_spine(project: &Project, given: &Given, catalog: &Catalog, wanted: &Wanted) -> Result<(Spine, Option<tempfile::TempDir>)> {
    let queried = given.spine_sql.as_deref().map(|sql| run_query(project, catalog, sql)).transpose()?;
    let from = queried.as_ref().map_or_else(|| given.spine.clone().unwrap_or_default(), |(_, file)| file.display().to_string());
    let (name, request) = (&wanted.name, &wanted.request);
    let of = SpineOf { name, request, from: &from, timestamp: given.timestamp.as_deref(), zone: given.time_zone, told: SPINE };
    Ok((Spine::open(of)?, queried.map(|(dir, _)| dir)))
}

/// Writes the rows of a query to a file of its own.
fn run_query(project: &Project, catalog: &Catalog, sql: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("spine.parquet");
    crate::verbs::sql::write(&mut Query::start(Some(catalog), &project.dir, sql, project.config.threads())?, &file)?;
    Ok((dir, file))
}

/// The view whose entities are all that can be asked for.
fn entity_view(wanted: &Wanted) -> Result<&Arc<Transformation>> {
    let [asked, ..] = wanted.asked.as_slice() else { return Err(Error::internal("nothing is asked").into()) };
    let request = asked.request();
    let same = request.len() == wanted.request.len()
        && request.iter().zip(&wanted.request).all(|(a, b)| (a.name(), a.data_type()) == (b.name(), b.data_type()));
    Ok(asked.entity_view().filter(|_| same).ok_or_else(|| no_entities(wanted, asked))?)
}

fn entities(histories: &Histories, view: &Transformation) -> Result<Vec<ArrayRef>> {
    let types: Vec<DataType> = view.entity.iter().map(|key| key.data_type().clone()).collect();
    let entities = histories.entities(&view.view)?;
    Ok(key::decode(&types, entities.iter().map(Vec::as_slice))?)
}

fn no_entities(wanted: &Wanted, asked: &Asked) -> Error {
    let request: Vec<String> = wanted.request.iter().map(|column| column.name().clone()).collect();
    let views: Vec<String> = asked
        .views
        .iter()
        .map(|view| format!("{} ({})", view.view, view.entity.iter().map(|key| key.name().as_str()).collect::<Vec<_>>().join(", ")))
        .collect();
    Error::invalid(format!(
        "`{}` is asked with ({}), which is the key of none of its views · {} · give a spine",
        wanted.name,
        request.join(", "),
        views.join(", ")
    ))
}

/// What of a spine deserves a look before the costly part begins.
fn warnings(name: &str, before: Interval, come_to: Option<EventTime>, spine: &Spine, rows: &SpineRows) -> Vec<String> {
    const DAY: i64 = 86_400_000_000;
    let mut warnings = Vec::new();
    let count = rows.moments.len();
    let column = spine.columns.field(spine.timestamp).name();
    let mut tell = |what: &str, moments: Vec<i64>| {
        if let Some(&first) = moments.first() {
            let rows = counted(moments.len() as u64, "moment", "moments");
            warnings.push(format!("{rows} {what}, such as {} (column {column})", EventTime(first)));
        }
    };
    let now = SystemClock.now().0;
    tell("more than a day ahead of now", rows.moments.iter().copied().filter(|at| *at > now.saturating_add(DAY)).collect());
    // A number of seconds or milliseconds taken for one of microseconds lies in the first weeks of 1970.
    let early = |at: &i64| (-DAY..365 * DAY).contains(at);
    tell("within a year of 1970, where seconds lie that are read as microseconds", rows.moments.iter().copied().filter(early).collect());
    if let Some(come_to) = come_to {
        let is_after = |at: &i64| at.saturating_sub(before.micros()) > come_to.0;
        tell(&format!("after {come_to}, up to which the logs were applied"), rows.moments.iter().copied().filter(is_after).collect());
    }
    warnings.extend(entity_warnings(name, &rows.request, count));
    warnings
}

/// What of the columns that a spine's rows are asked with deserves a look.
fn entity_warnings(name: &str, request: &RecordBatch, count: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    // What can be a key: numbers with fractions, and lists, are no part of one.
    let columns: Vec<ArrayRef> = request.columns().iter().filter(|column| Keys::encode(std::slice::from_ref(column)).is_ok()).cloned().collect();
    let Ok(keys) = Keys::encode(&columns) else { return warnings };
    let nulls = (0..keys.len()).filter(|&row| keys.has_null(row)).count();
    if nulls > 0 {
        warnings.push(format!("{} a NULL in what `{name}` is asked with: a view whose key is NULL has no events for them", counted_have(nulls)));
    }
    let mut by_key: HashMap<&[u8], usize> = HashMap::new();
    (0..keys.len()).for_each(|row| *by_key.entry(keys.get(row)).or_default() += 1);
    if let Some(hottest) = by_key.values().max().filter(|rows| count >= 1000 && **rows * 5 > count) {
        warnings.push(format!("{} of {} rows ask for one and the same entity", grouped(*hottest as u64), grouped(count as u64)));
    }
    warnings
}

fn counted_have(rows: usize) -> String {
    format!("{} {}", counted(rows as u64, "row", "rows"), if rows == 1 { "has" } else { "have" })
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn rows(moments: &[i64]) -> SpineRows {
        let column: ArrayRef = Arc::new(Int64Array::from(moments.to_vec()));
        let batch = RecordBatch::try_from_iter([("moment", column)]).unwrap();
        SpineRows { request: batch.clone(), rows: batch, moments: moments.to_vec() }
    }

    /// The moments of rows that were answered together, of which no more than `most` are.
    fn answered(moments: &[i64], most: usize) -> Result<Vec<Vec<i64>>, Error> {
        let answer = |rows: &SpineRows| match rows.moments.len() <= most {
            true => Ok(vec![rows.moments.clone()]),
            false => Err(Error::out_of_range("too many")),
        };
        in_halves(&rows(moments), &answer, &|first, second| Ok([first, second].concat()))
    }

    #[test]
    fn what_is_too_much_at_once_is_answered_in_halves() {
        assert_eq!(answered(&[1, 2, 3], 3).unwrap(), [vec![1, 2, 3]]);
        assert_eq!(answered(&[1, 2, 3, 4, 5, 6, 7], 2).unwrap(), [vec![1], vec![2, 3], vec![4, 5], vec![6, 7]]);
        assert_eq!(answered(&[1, 2], 0).unwrap_err().to_string(), "too many");
        assert_eq!(answered(&[], 0).unwrap(), [Vec::<i64>::new()]);
    }
}
