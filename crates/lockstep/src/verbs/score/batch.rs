//! `score --spine`: a deployment's predictions for the rows of a file, each as of its moment.
//!
//! Features are computed as those of a training set are, from all that the store has applied, and go the way of a request from there on: the same tensors, sessions, fallbacks and defaults
//! ([`lockstep_serve::scoring::score`]). So a row has the predictions that `Score` would have answered at its moment, in every bit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use clap::Args;
use futures::executor::block_on;
use lockstep_ingest::offline::training::Histories;
use lockstep_model::{Error, Status, SystemClock, TimeMode};
use lockstep_serve::desk::{self, Wanted};
use lockstep_serve::scoring::{Deployed, Deployments, Looked, Lookups, Models, Of, Scored, Way, score};
use lockstep_serve::server::Failure;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::sql_name;

use super::layout::{Layout, TOLD};
use super::written::{ScoredAndPublished, Written};
use crate::feed::stop_on_signals;
use crate::predictions::{Defined, Publish, Runs, check_columns};
use crate::train::{
    Answered, Asked, Directory, FeaturePart, Job, MANIFEST, Manifest, ManifestColumn, ModelUsed, PartReport, ScoredPart, ScoredRows, Scores, Spine,
    SpineRows, TrainingReport, digest, write_part,
};
use crate::verbs::train::engine::{self, Engine, in_halves, write_parts};
use crate::verbs::train::given::Given;
use crate::verbs::train::origin::Origin;
use crate::verbs::{Context, predictions};
use crate::who::Signed;

/// What of rows that fell out follows from the rows alone. A model that fails, or takes too long, does so for another reason another time.
const OF_THE_ROW: [&str; 3] = ["missing", "stale", "unfit"];

/// Rows that are scored in one go, into a directory.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many rows")]
pub struct BatchArguments {
    /// The rows.
    #[command(flatten)]
    pub given: Given,
    /// The directory to make, of Parquet files with a manifest
    #[arg(long, value_name = "DIR", requires = "rows")]
    pub out: Option<PathBuf>,
    /// Publish the predictions under this name (CREATE PREDICTIONS): a view then serves them
    #[arg(long, value_name = "NAME", requires = "rows", conflicts_with = "out")]
    pub publish: Option<String>,
    /// Score by all that a snapshot of the store has, and by its definitions; moments after its own are refused
    #[arg(long, value_name = "NAME", requires = "target")]
    pub snapshot: Option<String>,
    /// Write the features that went into the models too
    #[arg(long, requires = "out")]
    pub features: bool,
    /// Replace the scores that are there
    #[arg(long, requires = "out")]
    pub replace: bool,
    /// Publish the predictions whatever validation finds
    #[arg(long, requires = "publish")]
    pub force: bool,
    /// Who publishes, and why.
    #[command(flatten)]
    pub signed: Signed,
}

/// Scores the rows of a spine.
///
/// # Errors
/// NotFound where there is no such deployment or snapshot; Invalid where a model was made for other features; where the spine or an input cannot be read, or a model fails.
pub fn run(context: &Context, deployment: &str, arguments: &BatchArguments, out: &Path) -> Result<Written> {
    refuse_server(context)?;
    Directory::check(out, arguments.replace, "set of scores")?;
    scored(context, deployment, arguments, (out, None))
}

/// Scores the rows of a spine, and publishes what was predicted.
///
/// # Errors
/// As [`run`] and as publishing; Invalid where the predictions are another deployment's, or what they are found by is not in the spine.
pub fn publish(context: &Context, deployment: &str, arguments: &BatchArguments, name: &str) -> Result<ScoredAndPublished> {
    refuse_server(context)?;
    let runs = Runs::of(&context.project()?.store, name);
    let _alone = runs.alone()?;
    // The owner may have been started elsewhere.
    let scores = std::path::absolute(runs.scores())?;
    let scored = scored(context, deployment, arguments, (&scores, Some(name)))?;
    let BatchArguments { force, signed, .. } = arguments;
    let publish = Publish { name: name.to_owned(), scores, force: *force, by: signed.by(), reason: signed.reason.clone() };
    Ok(ScoredAndPublished { scored, published: predictions::publish(context, publish)? })
}

fn refuse_server(context: &Context) -> Result<(), Error> {
    match &context.global.server {
        Some(_) => Err(Error::invalid("rows are scored where the store and their files are · run it beside them, without --server")),
        None => Ok(()),
    }
}

/// The predictions of a name, which are to be the deployment's.
fn predictions_of(catalog: &Arc<Catalog>, deployment: &str, name: &str) -> Result<Defined, Error> {
    let of = Defined::find(catalog, name)?;
    let by = &of.predictions().deployment;
    if by == deployment {
        return Ok(of);
    }
    let what = format!("`{name}` are predictions of `{by}`, and rows are to be scored by `{deployment}`");
    Err(Error::invalid(format!("{what} · name that deployment, or other predictions")))
}

/// Scores that the same job has written whole.
fn whole(out: &Path, job: &Job) -> Option<Manifest> {
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(out.join(MANIFEST)).ok()?).ok()?;
    (manifest.job == *job).then_some(manifest)
}

/// Scores rows into a directory; for predictions of a name, what the same job has written whole is not written again.
fn scored(context: &Context, deployment: &str, arguments: &BatchArguments, (out, name): (&Path, Option<&str>)) -> Result<Written> {
    let project = context.project()?;
    let origin = Origin::of_store(context, &project, arguments.snapshot.as_deref())?;
    let of_name = name.map(|name| predictions_of(&origin.catalog, deployment, name)).transpose()?;
    let threads = project.config.threads();
    let models = Models::new(lockstep_store::Models::of(&project.store), project.config.serve.limits().breaker, Arc::new(SystemClock));
    let of = Of { definitions: origin.definitions()?, catalog: &origin.catalog };
    let deployed = Deployments::load_one(&models, of, deployment, threads)?;
    let asked = asked(&origin, &deployed)?;
    let layout = Layout::new(&deployed, &asked, arguments.features);
    let (mut carried, stop) = (Vec::new(), stop_on_signals()?);
    let mut check = |spine: &Spine| {
        carried = layout.carried(spine)?;
        Ok(of_name.as_ref().map_or(Ok(()), |of| check_columns(of, &layout.schema(spine, &carried)))?)
    };
    let wanted = engine::Wanted { name: deployment.to_owned(), request: deployed.asked.fields().clone(), asked: asked.clone() };
    let say = |warning: &str| context.out.say(&format!("{} {warning}", context.out.err().yellow("warning:")));
    let mut engine = Engine::open(&project, &arguments.given, (origin, None), wanted, out, &mut check, &say, &stop)?;
    let scoring = Scoring { schema: layout.schema(&engine.spine, &carried), carried, layout };
    let job = scoring.job(&engine)?;
    if let Some(manifest) = name.and_then(|_| whole(out, &job)) {
        return Ok(Written::new(deployment, out, &engine, manifest));
    }
    let directory = scoring.write(&mut engine, out, &job, &stop)?;
    let parts = directory.parts.clone();
    let digest = digest(&parts);
    let report = scoring.report(&engine, &parts)?;
    let manifest = scoring.manifest(&engine, job, &parts, digest, report);
    directory.finish(&manifest)?;
    deployed.stages().for_each(|stage| stage.model.finish());
    Ok(Written::new(deployment, out, &engine, manifest))
}

/// The services that its models take features of, each once.
fn asked(origin: &Origin, deployed: &Deployed) -> Result<Vec<Arc<Asked>>> {
    let mut asked: Vec<Arc<Asked>> = Vec::new();
    for stage in deployed.steps.iter().chain(&deployed.fallback) {
        let service = &stage.model.bound.service;
        if !asked.iter().any(|known| known.name == *service) {
            asked.push(Arc::new(Asked::new(&origin.catalog, service)?));
        }
    }
    Ok(asked)
}

/// Features from all that was read, in place of a store's state.
struct FromEvents<'a> {
    histories: &'a Histories,
    catalog: &'a Catalog,
    asked: &'a [Arc<Asked>],
    time: TimeMode,
}

impl Lookups for FromEvents<'_> {
    async fn look_up(&self, wanted: &Arc<Wanted>, rows: RecordBatch, moments: Vec<i64>) -> Result<Looked, Failure> {
        Ok(Looked { answered: self.answer(wanted, rows, moments)?, recalled: false })
    }
}

impl FromEvents<'_> {
    fn answer(&self, wanted: &Wanted, rows: RecordBatch, moments: Vec<i64>) -> Result<desk::Answered, Error> {
        let asked = self.asked.iter().find(|asked| asked.name == wanted.name());
        let asked = asked.ok_or_else(|| Error::internal(format!("nobody said that `{}` is read", wanted.name())))?;
        let count = moments.len();
        let rows = SpineRows { request: rows.clone(), rows, moments };
        let (answered, by_request) = asked.answer_rows(self.histories, self.catalog, &rows, self.time, &SystemClock)?;
        let Answered { columns, statuses, filled_by, oldest_inputs, .. } = answered;
        let count = by_request.as_ref().map_or(count, |by| by.requests.len());
        let none: Arc<[Option<i64>]> = vec![None; count].into();
        let features = wanted.outputs().iter().map(|output| desk::Feature {
            name: Arc::clone(&output.name),
            head: Arc::clone(&output.head),
            values: Arc::clone(&columns[output.index]),
            statuses: statuses[output.index].clone(),
            stale: None,
            filled_by: Arc::clone(&filled_by[output.index]),
            event_times: Arc::clone(&none),
            known_at: None,
        });
        let oldest_inputs = oldest_inputs.into();
        Ok(desk::Answered { features: features.collect(), oldest_inputs, reads: Vec::new(), time: self.time, rows: count, by_request })
    }
}

/// A run.
struct Scoring<'a> {
    layout: Layout<'a>,
    /// The columns of the spine that are carried along.
    carried: Vec<usize>,
    schema: SchemaRef,
}

impl Scoring<'_> {
    /// Writes the scores to a directory, or goes on with one.
    fn write(&self, engine: &mut Engine<'_>, out: &Path, job: &Job, stop: &AtomicBool) -> Result<Directory> {
        let mut directory = Directory::begin(out, job)?;
        engine.write(&mut directory, stop, |engine, rows, directory| {
            let (batch, scored) = self.rows(engine, rows)?;
            let make = |slice: std::ops::Range<usize>| {
                let report = self.part(&scored, slice.clone())?;
                Ok((batch.slice(slice.start, slice.len()), report))
            };
            write_parts((directory, job), rows.moments.len(), engine.project.config.threads(), &make)
        })?;
        if directory.parts.is_empty() {
            // Rows that are none have scores that are none, which still have their columns.
            let none = RecordBatch::new_empty(Arc::clone(&self.schema));
            let part = write_part(directory.partial(), 0, &none, job, PartReport::scored(0, self.no_features()?, ScoredPart::default()))?;
            directory.parts.push(part);
        }
        Ok(directory)
    }

    /// Scores rows.
    fn rows(&self, engine: &Engine<'_>, rows: &SpineRows) -> Result<(RecordBatch, Scored)> {
        let scored = match self.layout.deployed.ranking {
            Some(_) => in_halves(rows, &|rows| self.scored(engine, rows), &Scored::and)?,
            None => self.scored(engine, rows)?,
        };
        let mut columns: Vec<ArrayRef> = self.carried.iter().map(|&at| Arc::clone(rows.rows.column(at))).collect();
        columns.extend(scored.predictions.iter().cloned());
        columns.push(Arc::new(scored.ways.iter().map(|way| Some(way.name())).collect::<StringArray>()));
        columns.push(Arc::new(scored.whys.iter().map(|why| why.as_ref().map(|why| &*why.text)).collect::<StringArray>()));
        columns.push(Arc::new(TimestampMicrosecondArray::from(scored.oldest_inputs())));
        if let Some(decided) = &scored.decided {
            let (actions, propensities) = (Arc::new(decided.actions.clone()), Arc::new(decided.propensities.clone()));
            columns.extend([actions as ArrayRef, propensities, Arc::new(decided.explored.clone())]);
        }
        if self.layout.features {
            columns.extend(self.feature_columns(&scored, rows.moments.len())?);
        }
        Ok((RecordBatch::try_new(Arc::clone(&self.schema), columns)?, scored))
    }

    /// What rows come to, with one row for each of the spine.
    fn scored(&self, engine: &Engine<'_>, rows: &SpineRows) -> Result<Scored, Error> {
        let deployed = self.layout.deployed;
        let (histories, catalog) = (&engine.histories, &engine.origin.catalog);
        let events = FromEvents { histories, catalog, asked: &engine.wanted.asked, time: engine.time };
        let mut scored = block_on(score(deployed, &events, &rows.request, &rows.moments, None)).map_err(Error::from)?;
        scored.decide(deployed, "", &rows.request, &rows.moments)?;
        check_whys(deployed, &scored)?;
        scored.by_requests()
    }

    /// The features of all steps: NULL for rows that did not come to a step.
    fn feature_columns(&self, scored: &Scored, rows: usize) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for (stage, written) in self.layout.by_step() {
            match scored.looked.iter().find(|looked| looked.step == stage.name) {
                None => columns.extend(written.iter().map(|(_, field)| new_null_array(field.data_type(), rows))),
                Some(looked) => {
                    let mut places: Vec<Option<u32>> = vec![None; rows];
                    looked.rows.iter().zip(0u32..).for_each(|(&row, at)| places[row as usize] = Some(at));
                    let places = UInt32Array::from(places);
                    for (output, _) in written {
                        columns.push(take(&looked.looked.answered.features[output].values, &places, None)?);
                    }
                }
            }
        }
        Ok(columns)
    }

    /// What is told of a part.
    fn part(&self, scored: &Scored, slice: std::ops::Range<usize>) -> Result<PartReport> {
        let mut features = Vec::new();
        for (stage, written) in self.layout.by_step() {
            let Some(looked) = scored.looked.iter().find(|looked| looked.step == stage.name) else {
                features.extend(written.iter().map(|(_, field)| FeaturePart::none(field.data_type())).collect::<Result<Vec<_>, _>>()?);
                continue;
            };
            // Rows ascend, so that those of the slice follow each other.
            let (start, end) = (slice.start as u32, slice.end as u32);
            let of_slice = looked.rows.partition_point(|&row| row < start)..looked.rows.partition_point(|&row| row < end);
            for feature in written.iter().map(|(output, _)| &looked.looked.answered.features[*output]) {
                let values = feature.values.slice(of_slice.start, of_slice.len());
                features.push(FeaturePart::new(&values, &feature.statuses[of_slice.clone()], &feature.filled_by[of_slice.clone()])?);
            }
        }
        let mut told = ScoredPart::default();
        for row in slice.clone() {
            told.count(scored.ways[row].name(), scored.whys[row].as_ref().map(|why| why.word));
        }
        for column in &scored.predictions {
            let values = column.slice(slice.start, slice.len());
            let status = |row: usize| if values.is_null(row) { Status::Null } else { Status::Present };
            told.predictions.push(FeaturePart::new(&values, &(0..values.len()).map(status).collect::<Vec<_>>(), &[])?);
        }
        Ok(PartReport::scored(slice.len() as u64, features, told))
    }

    fn no_features(&self) -> Result<Vec<FeaturePart>, Error> {
        self.layout.features().iter().map(|field| FeaturePart::none(field.data_type())).collect()
    }

    fn job(&self, engine: &Engine<'_>) -> Result<Job> {
        let deployed = self.layout.deployed;
        let model = |stage: &lockstep_serve::scoring::Stage| {
            let bound = &stage.model.bound;
            ModelUsed {
                step: stage.name.clone(),
                model: bound.name.clone(),
                sha256: bound.sha256.clone(),
                runtime: bound.runtime.to_string(),
                service: bound.service.clone(),
                service_meaning: bound.service_meaning.to_string(),
            }
        };
        let models = deployed.steps.iter().chain(&deployed.fallback).map(model).collect();
        let scores = Scores { deployment: deployed.name.clone(), models, features: self.layout.features };
        Ok(Job { scores: Some(scores), ..engine.job(deployed.meaning.to_string(), false)? })
    }

    fn report(&self, engine: &Engine<'_>, parts: &[PartReport]) -> Result<TrainingReport> {
        let fields: Fields = self.layout.features().into();
        let of = |fields: &Fields| -> (Vec<String>, Vec<DataType>) {
            fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).unzip()
        };
        let (names, types) = of(&fields);
        let mut report = TrainingReport::new(&names, &types, parts, None)?;
        let (names, types) = of(self.layout.predicted.fields());
        report.scored = Some(ScoredRows::new(&names, &types, parts)?);
        report.warnings.extend(engine.warnings.iter().cloned());
        Ok(report)
    }

    fn manifest(&self, engine: &Engine<'_>, job: Job, parts: &[PartReport], digest: String, report: TrainingReport) -> Manifest {
        let (carried, predictions) = (self.carried.len(), self.layout.predicted.fields().len());
        let timestamp = engine.spine.columns.field(engine.spine.timestamp).name();
        let request = self.layout.deployed.asked.fields();
        let role = |(at, field): (usize, &Arc<Field>)| {
            let role = match at {
                at if at >= carried + self.layout.before_features() => "feature",
                at if at >= carried + predictions + TOLD => "decision",
                at if at >= carried + predictions => "way",
                at if at >= carried => "prediction",
                _ if field.name() == timestamp => "timestamp",
                _ if request.find(field.name()).is_some() => "request",
                _ => "carried",
            };
            ManifestColumn { name: field.name().clone(), data_type: sql_name(field.data_type()), role: role.to_owned() }
        };
        Manifest::new(job, self.schema.fields().iter().enumerate().map(role).collect(), parts, digest, report)
    }
}

/// Refuses what would be otherwise another time: rows that fell out since a model failed or was too slow.
fn check_whys(deployed: &Deployed, scored: &Scored) -> Result<(), Error> {
    let mut fallen = scored.whys.iter().zip(&scored.ways).filter(|(_, way)| **way != Way::Model).filter_map(|(why, _)| why.as_ref());
    match fallen.find(|why| !OF_THE_ROW.contains(&why.word)) {
        None => Ok(()),
        Some(why) => Err(Error::unavailable(format!(
            "`{}` failed while rows were scored, and what stands in then is for callers that wait · {} · the same command goes on behind the parts that are written",
            deployed.name, why.text
        ))),
    }
}
