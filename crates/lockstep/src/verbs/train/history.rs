//! Training sets that are computed from history.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, anyhow};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use lockstep_ingest::offline::training::Histories;
use lockstep_ingest::pipeline::BackfillOptions;
use lockstep_ingest::source::Stores;
use lockstep_model::key::{self, Keys};
use lockstep_model::position::history_path;
use lockstep_model::{Clock, Error, EventTime, Position, SystemClock, TimeMode};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Interval, sql_name};
use lockstep_transform::tiles::Shape;

use super::{Arguments, FORMAT, PART_ROWS, Trained, check_stop};
use crate::feed::stop_on_signals;
use crate::progress::Display;
use crate::project::Project;
use crate::query::Query;
use crate::text::{counted, grouped};
use crate::train::{
    Answered, Asked, Directory, InputFile, Job, Manifest, ManifestColumn, ManifestPart, Own, PartReport, SPINE, Spine, SpineOf, SpineRows,
    TrainingReport, ViewUsed, differing, digest, write_part,
};
use crate::verbs::Context;

/// Rows that are answered at once, unless the spine has fewer.
const CHUNK_ROWS: usize = 1 << 20;
/// Of a chunk, the most rows of which known and event time are compared.
const COMPARED: usize = 1 << 14;

/// All that a training set is made from.
struct Training<'a> {
    catalog: &'a Catalog,
    asked: &'a Asked,
    arguments: &'a Arguments,
    histories: &'a Histories,
    time: TimeMode,
    threads: usize,
    /// Where it is every entity in a range: the step, and both ends.
    range: Option<(Interval, (EventTime, EventTime))>,
    /// The columns of the spine that are carried along.
    carried: Vec<usize>,
    schema: SchemaRef,
    types: Vec<DataType>,
}

/// Makes a training set.
///
/// # Errors
/// Where the spine or a history cannot be read; Invalid where rows have their own events counted and nobody said that they may.
pub fn make(context: &Context, arguments: &Arguments) -> Result<Trained> {
    let project = context.project()?;
    let catalog = project.catalog()?;
    let asked = Asked::new(&catalog, &arguments.name)?;
    let to_stdout = arguments.out == Path::new("-");
    let stop = stop_on_signals()?;
    let mut display = Display::new();
    let request = asked.request();
    // A spine that comes of a query is read like any other; its file is gone with the run.
    let queried = arguments.spine_sql.as_deref().map(|sql| run_query(&project, &catalog, sql)).transpose()?;
    let from = queried.as_ref().map_or_else(|| arguments.spine.clone().unwrap_or_default(), |(_, file)| file.display().to_string());
    let of = SpineOf {
        name: &asked.name,
        request: &request,
        from: &from,
        timestamp: arguments.timestamp.as_deref(),
        zone: arguments.time_zone,
        told: SPINE,
    };
    // Which entities there are is known from the histories; else what is wrong with the spine is said before the costly part.
    let (mut spine, histories, range) = match (arguments.every, arguments.from.zip(arguments.to)) {
        (Some(step), Some(range)) => {
            let view = asked.entity_view().ok_or_else(|| no_entities(&asked))?;
            let histories = read_histories(&project, &catalog, &asked, arguments, &stop, &mut display)?;
            let types: Vec<DataType> = view.entity.iter().map(|key| key.data_type().clone()).collect();
            let entities = histories.entities(&view.view)?;
            let entities = key::decode(&types, entities.iter().map(Vec::as_slice))?;
            (Spine::every(step, range, &request, entities)?, Some(histories), Some((step, range)))
        }
        _ => (Spine::open(of)?, None, None),
    };
    let carried = carried(&spine, &asked)?;
    let schema = schema_of(&spine, &carried, &asked, arguments.statuses);
    let first = spine.next(CHUNK_ROWS)?;
    let warnings = first.as_ref().map_or_else(Vec::new, |rows| warnings(&asked, &spine, rows));
    warnings.iter().for_each(|warning| context.out.say(&format!("{} {warning}", context.out.err().yellow("warning:"))));
    let histories = histories.map_or_else(|| read_histories(&project, &catalog, &asked, arguments, &stop, &mut display), Ok)?;
    display.finish();
    let time = arguments.time.map_or_else(|| asked.time(&catalog), TimeMode::from);
    let types = asked.features().fields().iter().map(|field| field.data_type().clone()).collect();
    let threads = project.config.threads();
    let training = Training { catalog: &catalog, asked: &asked, arguments, histories: &histories, time, threads, range, carried, schema, types };
    let (mut report, written) =
        if to_stdout { training.stream(&mut spine, first, &stop)? } else { training.write(&mut spine, first, &stop, &mut display)? };
    report.warnings.splice(0..0, warnings);
    let (parts, manifest) = written.map_or((Vec::new(), None), |(parts, directory, job)| (parts, Some((directory, job))));
    let digest = manifest.is_some().then(|| digest(&parts));
    let trained = Trained {
        name: asked.name.clone(),
        out: (!to_stdout).then(|| arguments.out.display().to_string()),
        time,
        files: parts.len() as u64,
        bytes: parts.iter().map(|part| part.bytes).sum(),
        digest: digest.clone(),
        events: histories.events(),
        put_aside: put_aside(&histories),
        report,
    };
    if let (Some((directory, job)), Some(digest)) = (manifest, digest) {
        directory.finish(&training.manifest(&spine, job, &parts, digest, trained.report.clone()))?;
    }
    Ok(trained)
}

fn no_entities(asked: &Asked) -> Error {
    let request: Vec<String> = asked.request().iter().map(|column| column.name().clone()).collect();
    let views: Vec<String> = asked
        .views
        .iter()
        .map(|view| format!("{} ({})", view.view, view.entity.iter().map(|key| key.name().as_str()).collect::<Vec<_>>().join(", ")))
        .collect();
    Error::invalid(format!(
        "`{}` is asked with ({}), which is the key of none of its views · {} · give a spine",
        asked.name,
        request.join(", "),
        views.join(", ")
    ))
}

/// Writes the rows of a query to a file of its own.
fn run_query(project: &Project, catalog: &Catalog, sql: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("spine.parquet");
    crate::verbs::sql::write(&mut Query::start(Some(catalog), &project.dir, sql, project.config.threads())?, &file)?;
    Ok((dir, file))
}

/// What a run to a directory has made.
type Written = Option<(Vec<PartReport>, Directory, Job)>;

impl Training<'_> {
    /// Writes the training set to standard output.
    fn stream(&self, spine: &mut Spine, first: Option<SpineRows>, stop: &AtomicBool) -> Result<(TrainingReport, Written)> {
        let mut writer = StreamWriter::try_new(io::BufWriter::new(io::stdout().lock()), &self.schema)?;
        let (mut parts, mut own, mut units) = (Vec::new(), None, Vec::new());
        let mut next = first;
        while let Some(rows) = next {
            check_stop(stop)?;
            let (answered, compared, differing) = self.answer(&rows, &mut units)?;
            for slice in slices(rows.moments.len()) {
                writer.write(&self.batch(&rows, &answered, slice.clone())?)?;
                parts.push(PartReport::new(&answered.slice(slice), &self.types, 0, &[])?);
            }
            self.tell_compared(&mut parts, compared, differing);
            own = Some(answered.own);
            next = spine.next(CHUNK_ROWS)?;
        }
        writer.finish()?;
        Ok((self.report(&parts, own.as_ref(), &units)?, None))
    }

    /// Writes the training set to a directory, or goes on with one.
    fn write(&self, spine: &mut Spine, first: Option<SpineRows>, stop: &AtomicBool, display: &mut Display) -> Result<(TrainingReport, Written)> {
        let job = self.job(spine)?;
        let mut directory = Directory::begin(&self.arguments.out, &job)?;
        let mut skip = usize::try_from(directory.rows())?;
        let (mut own, mut units, mut done) = (None, Vec::new(), 0u64);
        let mut next = first;
        while let Some(mut rows) = next {
            check_stop(stop)?;
            let skipped = skip.min(rows.moments.len());
            skip -= skipped;
            done += rows.moments.len() as u64;
            rows = rows.after(skipped);
            if !rows.moments.is_empty() {
                display.step(&format!("answering · {} rows", grouped(done)));
                let (answered, compared, differing) = self.answer(&rows, &mut units)?;
                let mut parts = self.parts(&rows, &answered, &job, &directory)?;
                self.tell_compared(&mut parts, compared, differing);
                directory.parts.extend(parts);
                own = Some(answered.own);
            }
            next = spine.next(CHUNK_ROWS)?;
        }
        display.finish();
        if directory.parts.is_empty() {
            // A spine without rows has a training set without rows, which still has its columns.
            let none = RecordBatch::new_empty(Arc::clone(&self.schema));
            let report = PartReport::new(&Answered::none(&self.types), &self.types, 0, &[])?;
            let part = write_part(directory.partial(), 0, &none, &job, report)?;
            directory.parts.push(part);
        }
        let parts = directory.parts.clone();
        Ok((self.report(&parts, own.as_ref(), &units)?, Some((parts, directory, job))))
    }

    /// The features of a chunk; and of rows of it, how many values the other clock would have given otherwise.
    fn answer(&self, rows: &SpineRows, units: &mut Vec<u64>) -> Result<(Answered, u64, Vec<u64>)> {
        let rows = &rows.earlier_by(self.arguments.before);
        let answered = self.asked.answer(self.histories, self.catalog, rows, self.time, &SystemClock)?;
        units.extend(&answered.units);
        self.check_own(&answered.own, rows)?;
        if self.asked.time(self.catalog) == TimeMode::Event {
            return Ok((answered, 0, Vec::new()));
        }
        let (numbers, some) = rows.sample(COMPARED)?;
        let other = if self.time == TimeMode::Known { TimeMode::Event } else { TimeMode::Known };
        let by_other = self.asked.answer(self.histories, self.catalog, &some, other, &SystemClock)?;
        let same = answered.take(&numbers)?;
        Ok((answered, numbers.len() as u64, differing(&same, &by_other)))
    }

    /// Refuses rows that would learn from what they are to predict.
    fn check_own(&self, own: &Own, rows: &SpineRows) -> Result<()> {
        let counted = own.counted.iter().filter(|counted| **counted).count();
        // Events of the same moment may well be others': only where most rows have one are they told to be their own.
        let refused = if own.key.is_empty() { 2 * counted > own.counted.len() } else { counted > 0 };
        if !refused || self.arguments.allow_own_events || self.asked.request_as().is_some() {
            return Ok(());
        }
        let row = own.counted.iter().position(|counted| *counted).unwrap_or(0);
        let how = if own.key.is_empty() {
            "an event of their entity at their very moment counted".to_owned()
        } else {
            format!("their own event counted, as {} tells", own.key.join(", "))
        };
        Err(Error::invalid(format!(
            "{} of {} rows have {how}: the first is at {} · a model would learn from what it is to predict · ask earlier with --before, end the views' windows with \
             `AND INTERVAL '1 microsecond' PRECEDING`, make the request an event with `REQUEST AS`, or allow it with --allow-own-events",
            grouped(counted as u64),
            grouped(own.counted.len() as u64),
            EventTime(rows.moments[row]),
        ))
        .into())
    }

    /// Writes the parts of a chunk, side by side.
    fn parts(&self, rows: &SpineRows, answered: &Answered, job: &Job, directory: &Directory) -> Result<Vec<PartReport>> {
        let slices: Vec<_> = slices(rows.moments.len()).collect();
        let first = directory.parts.len();
        let next = AtomicUsize::new(0);
        let some = || -> Result<Vec<(usize, PartReport)>> {
            let mut done = Vec::new();
            while let Some((number, slice)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|number| Some((number, slices.get(number)?.clone())))
            {
                let report = PartReport::new(&answered.slice(slice.clone()), &self.types, 0, &[])?;
                done.push((number, write_part(directory.partial(), first + number, &self.batch(rows, answered, slice)?, job, report)?));
            }
            Ok(done)
        };
        let mut parts = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.min(slices.len())).map(|_| scope.spawn(some)).collect();
            let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread that writes parts ended early"))?);
            Ok::<_, anyhow::Error>(joined.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect::<Vec<_>>())
        })?;
        parts.sort_by_key(|(number, _)| *number);
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }

    /// Tells the first part of a chunk what was compared.
    fn tell_compared(&self, parts: &mut [PartReport], compared: u64, differing: Vec<u64>) {
        let Some(part) = parts.first_mut() else { return };
        part.compared = compared;
        part.features.iter_mut().zip(differing).for_each(|(feature, differing)| feature.differing = differing);
    }

    /// Rows of the training set.
    fn batch(&self, rows: &SpineRows, answered: &Answered, slice: std::ops::Range<usize>) -> Result<RecordBatch> {
        let answered = answered.slice(slice.clone());
        let mut columns: Vec<ArrayRef> = self.carried.iter().map(|&at| rows.rows.column(at).slice(slice.start, slice.len())).collect();
        columns.extend(answered.columns);
        if self.arguments.statuses {
            columns.extend(
                answered
                    .statuses
                    .iter()
                    .map(|statuses| Arc::new(statuses.iter().map(|status| Some(status.to_string())).collect::<StringArray>()) as _),
            );
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn report(&self, parts: &[PartReport], own: Option<&Own>, units: &[u64]) -> Result<TrainingReport> {
        let names: Vec<String> = self.asked.features().fields().iter().map(|field| field.name().clone()).collect();
        let mut report = TrainingReport::new(&names, &self.types, parts, own)?;
        let mut units = units.to_vec();
        units.sort_unstable();
        let at =
            |share: f64| units.get(((units.len() as f64 * share) as usize).min(units.len().saturating_sub(1))).map_or(0.0, |&us| us as f64 / 1000.0);
        report.unit_ms = [at(0.5), at(0.99), at(1.0)];
        Ok(report)
    }

    fn job(&self, spine: &Spine) -> Result<Job> {
        let views = self.asked.views.iter().map(|view| ViewUsed {
            view: view.view.clone(),
            meaning: view.meaning.to_string(),
            state: Some(view.state.to_string()),
        });
        let inputs = self.histories.positions.iter().map(|(id, position)| {
            let (size, identity, rows) = match position {
                Position::File(file) => (file.size, format!("{:016x}", file.hash), Some(file.rows)),
                _ => (None, String::new(), None),
            };
            InputFile { source: Some(id.source.clone()), file: history_path(&id.partition).unwrap_or(&id.partition).to_owned(), size, identity, rows }
        });
        Ok(Job {
            format: FORMAT,
            name: self.asked.name.clone(),
            meaning: self.asked.meaning().to_string(),
            views: views.collect(),
            time: if self.time == TimeMode::Known { "known" } else { "event" }.to_owned(),
            spine: match (&self.arguments.spine_sql, self.range) {
                (Some(sql), _) => vec![InputFile { source: None, file: "a query".to_owned(), size: None, identity: sql.clone(), rows: None }],
                (None, Some((step, (from, to)))) => {
                    vec![InputFile {
                        source: None,
                        file: "every entity".to_owned(),
                        size: None,
                        identity: format!("every {step} from {from} to {to}"),
                        rows: None,
                    }]
                }
                (None, None) => spine.files(),
            },
            timestamp: spine.columns.field(spine.timestamp).name().clone(),
            before: self.arguments.before.micros(),
            statuses: self.arguments.statuses,
            until: self.arguments.until.map(|until| until.to_string()),
            inputs: inputs.collect(),
            part_rows: PART_ROWS as u64,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            from_log: None,
        })
    }

    fn manifest(&self, spine: &Spine, job: Job, parts: &[PartReport], digest: String, report: TrainingReport) -> Manifest {
        let carried = self.carried.len();
        let timestamp = spine.columns.field(spine.timestamp).name();
        let features = carried + self.types.len();
        let request = self.asked.request();
        let role = |(at, field): (usize, &Arc<Field>)| {
            let role = match at {
                at if at >= features => "status",
                at if at >= carried => "feature",
                _ if field.name() == timestamp => "timestamp",
                _ if request.iter().any(|column| column.name() == field.name()) => "request",
                _ => "carried",
            };
            ManifestColumn { name: field.name().clone(), data_type: sql_name(field.data_type()), role: role.to_owned() }
        };

        Manifest {
            job,
            created_at: SystemClock.now().to_string(),
            columns: self.schema.fields().iter().enumerate().map(role).collect(),
            parts: parts.iter().map(ManifestPart::of).collect(),
            digest,
            report,
        }
    }
}

/// The rows of each part of a chunk.
fn slices(rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..rows).step_by(PART_ROWS).map(move |start| start..rows.min(start + PART_ROWS))
}

fn read_histories(
    project: &Project,
    catalog: &Catalog,
    asked: &Asked,
    arguments: &Arguments,
    stop: &Arc<AtomicBool>,
    display: &mut Display,
) -> Result<Histories> {
    let options = BackfillOptions {
        until: arguments.until,
        base: project.dir.clone(),
        stores: Stores::local(),
        memory_bytes: project.config.memory.train.0,
        batch_rows: project.config.batch_rows.get(),
        shape: Shape::default(),
        threads: project.config.threads(),
        stop: Arc::clone(stop),
        clock: Arc::new(SystemClock),
    };
    // Beside what is made, since that has room for as much.
    let out = Some(arguments.out.as_path()).filter(|out| *out != Path::new("-")).and_then(Path::parent);
    let spill_dir = out.map_or_else(std::env::temp_dir, |dir| if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_owned() });
    std::fs::create_dir_all(&spill_dir)?;
    let histories = Histories::read(catalog, &asked.views, &options, Some(&spill_dir), &mut |progress| display.show(progress))?;
    histories.ok_or_else(|| Error::unavailable("told to stop").into())
}

/// The columns of the spine that are carried along: all, but for what is asked with and comes out under its own name.
fn carried(spine: &Spine, asked: &Asked) -> Result<Vec<usize>> {
    let (features, request) = (asked.features(), asked.request());
    let mut carried = Vec::new();
    for (at, field) in spine.columns.fields().iter().enumerate() {
        let name = field.name();
        let is_feature = features.fields().iter().any(|feature| feature.name() == name);
        if !is_feature {
            carried.push(at);
        } else if at == spine.timestamp || !request.iter().any(|column| column.name() == name) {
            return Err(
                Error::invalid(format!("the spine has a column `{name}`, and `{}` a feature of that name · rename the spine's", asked.name)).into()
            );
        }
    }
    Ok(carried)
}

/// The columns of the training set.
fn schema_of(spine: &Spine, carried: &[usize], asked: &Asked, statuses: bool) -> SchemaRef {
    let mut fields: Vec<Field> = carried.iter().map(|&at| spine.columns.field(at).clone()).collect();
    let features = asked.features();
    fields.extend(features.fields().iter().map(|feature| feature.as_ref().clone().with_nullable(true)));
    if statuses {
        fields.extend(features.fields().iter().map(|feature| Field::new(format!("{}_status", feature.name()), DataType::Utf8, false)));
    }
    Arc::new(Schema::new(fields))
}

/// What of a spine deserves a look before the costly part begins.
fn warnings(asked: &Asked, spine: &Spine, rows: &SpineRows) -> Vec<String> {
    const DAY: i64 = 86_400_000_000;
    let mut warnings = Vec::new();
    let count = rows.moments.len();
    let name = spine.columns.field(spine.timestamp).name();
    let tell = |what: &str, moments: Vec<i64>, warnings: &mut Vec<String>| {
        if let Some(&first) = moments.first() {
            let rows = counted(moments.len() as u64, "moment", "moments");
            warnings.push(format!("{rows} {what}, such as {} (column {name})", EventTime(first)));
        }
    };
    let now = SystemClock.now().0;
    tell("more than a day ahead of now", rows.moments.iter().copied().filter(|at| *at > now.saturating_add(DAY)).collect(), &mut warnings);
    // A number of seconds or milliseconds taken for one of microseconds lies in the first weeks of 1970.
    let early = |at: &i64| (-DAY..365 * DAY).contains(at);
    tell(
        "within a year of 1970, where seconds lie that are read as microseconds",
        rows.moments.iter().copied().filter(early).collect(),
        &mut warnings,
    );
    // What can be a key: numbers with fractions, and lists, are no part of one.
    let columns: Vec<ArrayRef> = rows.request.columns().iter().filter(|column| Keys::encode(std::slice::from_ref(column)).is_ok()).cloned().collect();
    let Ok(keys) = Keys::encode(&columns) else { return warnings };
    let nulls = (0..keys.len()).filter(|&row| keys.has_null(row)).count();
    if nulls > 0 {
        warnings.push(format!(
            "{} a NULL in what `{}` is asked with: a view whose key is NULL has no events for them",
            counted_have(nulls),
            asked.name
        ));
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

/// Rows of the histories that count nowhere.
fn put_aside(histories: &Histories) -> Vec<String> {
    let mut by_source: HashMap<&str, (u64, u64)> = HashMap::new();
    for ((_, source), counters) in &histories.tally {
        // Each view that reads a source tells the same.
        let told = by_source.entry(source).or_default();
        *told = (told.0.max(counters.dead_lettered), told.1.max(counters.conflicts));
    }
    let mut lines: Vec<String> = by_source
        .into_iter()
        .filter(|(_, told)| *told != (0, 0))
        .map(|(source, (dead, conflicts))| format!("{source}: {} put aside, {} in conflict with an earlier one", grouped(dead), grouped(conflicts)))
        .collect();
    lines.sort();
    lines
}
