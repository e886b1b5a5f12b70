//! Training sets that are computed: from batch files, or from all that a store has applied.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use lockstep_model::{Error, EventTime};
use lockstep_transform::definition::sql_name;

use super::engine::{Engine, Wanted, slices, write_parts};
use super::origin::Origin;
use super::{Arguments, Trained, check_stop};
use crate::feed::stop_on_signals;
use crate::text::grouped;
use crate::train::{Answered, Asked, Directory, Job, Manifest, ManifestColumn, Own, PartReport, Spine, SpineRows, TrainingReport};
use crate::train::{digest, write_part};
use crate::verbs::Context;

/// How the rows of a training set are laid out.
struct Training {
    /// Whether rows may count their own events.
    allow_own_events: bool,
    /// Whether statuses are written.
    statuses: bool,
    /// The columns of the spine that are carried along.
    carried: Vec<usize>,
    schema: SchemaRef,
    types: Vec<DataType>,
}

/// What was told of the rows that were written.
#[derive(Default)]
struct Told {
    parts: Vec<PartReport>,
    own: Option<Own>,
    /// How long each unit of work took, µs.
    units: Vec<u64>,
}

/// Makes a training set.
///
/// # Errors
/// Where the spine or an input cannot be read; Invalid where rows have their own events counted and nobody said that they may.
pub fn make(context: &Context, arguments: &Arguments) -> Result<Trained> {
    let project = context.project()?;
    let origin = Origin::of(context, &project, &arguments.events)?;
    let asked = Arc::new(Asked::new(&origin.catalog, &arguments.name)?);
    let (features, stop) = (asked.features(), stop_on_signals()?);
    let types = features.fields().iter().map(|field| field.data_type().clone()).collect();
    let mut carries = Vec::new();
    let mut check = |spine: &Spine| {
        carries = carried(spine, &asked)?;
        Ok(())
    };
    let wanted = Wanted { name: asked.name.clone(), request: asked.request(), asked: vec![Arc::clone(&asked)] };
    let say = |warning: &str| context.out.say(&format!("{} {warning}", context.out.err().yellow("warning:")));
    let mut engine = Engine::open(&project, &arguments.given, (origin, arguments.events.until), wanted, &arguments.out, &mut check, &say, &stop)?;
    let schema = schema_of(&engine.spine, &carries, &asked, arguments.statuses);
    let training = Training { allow_own_events: arguments.allow_own_events, statuses: arguments.statuses, carried: carries, schema, types };
    if arguments.out == Path::new("-") {
        let told = training.stream(&mut engine, &asked, &stop)?;
        return Ok(trained(&engine, &asked, training.report(&engine, &asked, &told)?, None));
    }
    let job = engine.job(asked.meaning().to_string(), arguments.statuses)?;
    let (told, directory) = training.write(&mut engine, &asked, arguments, &job, &stop)?;
    let report = training.report(&engine, &asked, &told)?;
    let made = trained(&engine, &asked, report, Some((arguments, &told.parts)));
    if let Some(digest) = made.digest.clone() {
        directory.finish(&training.manifest(&engine, &asked, job, &told.parts, digest, made.report.clone()))?;
    }
    Ok(made)
}

fn trained(engine: &Engine<'_>, asked: &Asked, report: TrainingReport, written: Option<(&Arguments, &[PartReport])>) -> Trained {
    let parts = written.map_or(&[][..], |(_, parts)| parts);
    Trained {
        name: asked.name.clone(),
        out: written.map(|(arguments, _)| arguments.out.display().to_string()),
        time: engine.time,
        files: parts.len() as u64,
        bytes: parts.iter().map(|part| part.bytes).sum(),
        digest: written.map(|(_, parts)| digest(parts)),
        events: engine.histories.events(),
        origin: engine.origin.told(),
        put_aside: engine.put_aside(),
        report,
    }
}

impl Training {
    /// Writes the training set to standard output.
    fn stream(&self, engine: &mut Engine<'_>, asked: &Asked, stop: &AtomicBool) -> Result<Told> {
        let mut writer = StreamWriter::try_new(io::BufWriter::new(io::stdout().lock()), &self.schema)?;
        let mut told = Told::default();
        while let Some(rows) = engine.next()? {
            check_stop(stop)?;
            let (answered, compared, differing) = self.answer(engine, asked, &rows)?;
            told.units.extend(&answered.units);
            for slice in slices(rows.moments.len()) {
                told.parts.push(PartReport::new(&answered.slice(slice.clone()), &self.types, 0, &[])?);
                writer.write(&self.batch(&rows, &answered, slice)?)?;
            }
            let first = told.parts.len() - slices(rows.moments.len()).count();
            tell_compared(&mut told.parts[first..], compared, differing);
            told.own = Some(answered.own);
        }
        writer.finish()?;
        Ok(told)
    }

    /// Writes the training set to a directory, or goes on with one.
    fn write(&self, engine: &mut Engine<'_>, asked: &Asked, arguments: &Arguments, job: &Job, stop: &AtomicBool) -> Result<(Told, Directory)> {
        let mut directory = Directory::begin(&arguments.out, job)?;
        let mut told = Told::default();
        engine.write(&mut directory, stop, |engine, rows, directory| {
            let (answered, compared, differing) = self.answer(engine, asked, rows)?;
            told.units.extend(&answered.units);
            let make = |slice: std::ops::Range<usize>| {
                let report = PartReport::new(&answered.slice(slice.clone()), &self.types, 0, &[])?;
                Ok((self.batch(rows, &answered, slice)?, report))
            };
            let mut parts = write_parts((directory, job), rows.moments.len(), engine.project.config.threads(), &make)?;
            tell_compared(&mut parts, compared, differing);
            told.own = Some(answered.own);
            Ok(parts)
        })?;
        if directory.parts.is_empty() {
            // A spine without rows has a training set without rows, which still has its columns.
            let none = RecordBatch::new_empty(Arc::clone(&self.schema));
            let report = PartReport::new(&Answered::none(&self.types), &self.types, 0, &[])?;
            let part = write_part(directory.partial(), 0, &none, job, report)?;
            directory.parts.push(part);
        }
        told.parts.clone_from(&directory.parts);
        Ok((told, directory))
    }

    /// The features of a chunk; of how many of its rows both clocks were compared, and what differs.
    fn answer(&self, engine: &Engine<'_>, asked: &Asked, rows: &SpineRows) -> Result<(Answered, u64, Vec<u64>)> {
        let answered = engine.features(asked, rows)?;
        self.check_own(asked, &answered.own, rows)?;
        let (compared, differing) = engine.compared(asked, rows, &answered)?;
        Ok((answered, compared, differing))
    }

    /// Refuses rows that would learn from what they are to predict.
    fn check_own(&self, asked: &Asked, own: &Own, rows: &SpineRows) -> Result<()> {
        let counted = own.counted.iter().filter(|counted| **counted).count();
        // Events of the same moment may well be others': only where most rows have one are they told to be their own.
        let refused = if own.key.is_empty() { 2 * counted > own.counted.len() } else { counted > 0 };
        if !refused || self.allow_own_events || asked.request_as().is_some() {
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

    /// Rows of the training set.
    fn batch(&self, rows: &SpineRows, answered: &Answered, slice: std::ops::Range<usize>) -> Result<RecordBatch> {
        let answered = answered.slice(slice.clone());
        let mut columns: Vec<ArrayRef> = self.carried.iter().map(|&at| rows.rows.column(at).slice(slice.start, slice.len())).collect();
        columns.extend(answered.columns);
        if self.statuses {
            columns.extend(
                answered
                    .statuses
                    .iter()
                    .map(|statuses| Arc::new(statuses.iter().map(|status| Some(status.to_string())).collect::<StringArray>()) as _),
            );
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn report(&self, engine: &Engine<'_>, asked: &Asked, told: &Told) -> Result<TrainingReport> {
        let names: Vec<String> = asked.features().fields().iter().map(|field| field.name().clone()).collect();
        let mut report = TrainingReport::new(&names, &self.types, &told.parts, told.own.as_ref())?;
        let mut units = told.units.clone();
        units.sort_unstable();
        let at =
            |share: f64| units.get(((units.len() as f64 * share) as usize).min(units.len().saturating_sub(1))).map_or(0.0, |&us| us as f64 / 1000.0);
        report.unit_ms = [at(0.5), at(0.99), at(1.0)];
        report.warnings.splice(0..0, engine.warnings.iter().cloned());
        Ok(report)
    }

    fn manifest(&self, engine: &Engine<'_>, asked: &Asked, job: Job, parts: &[PartReport], digest: String, report: TrainingReport) -> Manifest {
        let carried = self.carried.len();
        let timestamp = engine.spine.columns.field(engine.spine.timestamp).name();
        let features = carried + self.types.len();
        let request = asked.request();
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
        Manifest::new(job, self.schema.fields().iter().enumerate().map(role).collect(), parts, digest, report)
    }
}

/// Tells the first part of a chunk what was compared.
fn tell_compared(parts: &mut [PartReport], compared: u64, differing: Vec<u64>) {
    let Some(part) = parts.first_mut() else { return };
    part.compared = compared;
    part.features.iter_mut().zip(differing).for_each(|(feature, differing)| feature.differing = differing);
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
