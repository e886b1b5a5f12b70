//! Deployments that are loaded: what each is asked with, which models it runs on which features, and what stands in.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use indexmap::IndexMap;
use lockstep_model::{Clock, Error, Fingerprint};
use lockstep_score::{Model, PoolOptions};
use lockstep_store::Definitions;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{self, Interval, Literal, When, suggestion};
use lockstep_transform::service::ServicePlan;

use super::loaded::Loaded;
use super::pinned;
use super::policy::Policy;
use crate::desk::Wanted;
use crate::server::BreakerSettings;

/// How long a model may take to load and to run its first rows.
const WARM_WITHIN: Duration = Duration::from_secs(120);

/// How long a model may take, at the least, where nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands between a model, by its name, and who runs it: in tests, one that hangs.
pub type ModelLayer = dyn Fn(&str, Arc<dyn Model>) -> Arc<dyn Model> + Send + Sync;

/// What loads models, and knows those that are loaded.
pub struct Models {
    layer: Box<ModelLayer>,
    files: lockstep_store::Models,
    breaker: BreakerSettings,
    clock: Arc<dyn Clock>,
    known: Mutex<Vec<(Key, Weak<Loaded>)>>,
}

/// Which model it is, how it is bound and how it is run: what is the same is loaded once, whatever deployments and sets of definitions have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    meaning: Fingerprint,
    sha256: String,
    options: PoolOptions,
}

/// A set of definitions, compiled, with the record that pins its models.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// The record.
    pub definitions: &'a Definitions,
    /// What it says.
    pub catalog: &'a Catalog,
}

/// The deployments of a set of definitions, warm.
#[derive(Debug, Default)]
pub struct Deployments {
    by_name: IndexMap<String, Arc<Deployed>>,
}

/// A deployment that is loaded.
#[derive(Debug)]
pub struct Deployed {
    /// Its name.
    pub name: String,
    /// Digest of what it means, its models and their features included.
    pub meaning: Fingerprint,
    /// What it is asked with.
    pub asked: Wanted,
    /// What it predicts.
    pub schema: SchemaRef,
    /// Its models, in the order in which they are run.
    pub steps: Vec<Stage>,
    /// What answers where they do not.
    pub fallback: Option<Stage>,
    /// What is scored beside it, and does not answer.
    pub shadow: Option<Stage>,
    /// What is answered where no model does, one value each; a NULL where nothing is declared.
    pub defaults: Vec<ArrayRef>,
    /// Whether any default is declared.
    pub has_defaults: bool,
    /// What is done with a row of which a feature has no value.
    pub when_missing: When,
    /// What is done with a row of which a feature is stale.
    pub when_stale: When,
    /// How old the oldest input of a row may be before the row is stale, µs.
    pub max_age: Option<i64>,
    /// How candidates are ranked, where the service of the first step has them.
    pub ranking: Option<Ranking>,
    /// What decides about its rows, where it has actions or explores.
    pub policy: Option<Policy>,
}

/// How candidates are ranked.
#[derive(Debug)]
pub struct Ranking {
    /// The predictions by which they are, by their places, and whether the greatest comes first.
    pub by: Vec<(usize, bool)>,
    /// How many of a request are answered at the most.
    pub top: Option<usize>,
    /// Which outputs of the first step's service say which candidate a row is.
    pub items: Vec<usize>,
}

/// A model in its place: whence it takes the columns that its service is asked with.
#[derive(Debug)]
pub struct Stage {
    /// What the deployment calls it.
    pub name: String,
    /// The model.
    pub model: Arc<Loaded>,
    /// All outputs of its service.
    pub wanted: Arc<Wanted>,
    /// Where each column comes from that its service is asked with.
    pub columns: Vec<Given>,
    /// Which outputs of its service go into it.
    pub features: Vec<usize>,
}

/// Where a column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The caller, as this column of what the deployment is asked with.
    Caller(usize),
    /// The prediction of this name of a step before.
    Predicted(String),
    /// This output of the first step's service, of the candidate at hand.
    Candidate(usize),
}

/// What a step takes of those before it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken<'a> {
    /// The columns that are predictions.
    predicted: Option<&'a IndexMap<String, String>>,
    /// Those that are outputs of the candidate at hand.
    of_candidate: &'a [String],
}

/// Gives a model by its name, loaded.
pub(super) type Load<'a> = dyn Fn(&str) -> Result<Arc<Loaded>, Error> + 'a;

impl Given {
    /// The column, where it is the caller's.
    pub(super) fn of_caller(&self, request: &RecordBatch) -> Result<ArrayRef, Error> {
        match self {
            Given::Caller(at) => Ok(Arc::clone(request.column(*at))),
            Given::Predicted(name) => Err(Error::internal(format!("no step before predicts `{name}`"))),
            Given::Candidate(_) => Err(Error::internal("a first step that takes something of the candidates that it looks up")),
        }
    }
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Models {
    /// Of the files of a store. Models that fail are asked no more as `breaker` says.
    pub fn new(files: lockstep_store::Models, breaker: BreakerSettings, clock: Arc<dyn Clock>) -> Models {
        Models::under(Box::new(|_: &str, model: Arc<dyn Model>| model), files, breaker, clock)
    }

    /// As [`Self::new`], with something between each model and who runs it.
    pub fn under(layer: Box<ModelLayer>, files: lockstep_store::Models, breaker: BreakerSettings, clock: Arc<dyn Clock>) -> Models {
        Models { layer, files, breaker, clock, known: Mutex::default() }
    }

    fn deployed(&self, of: Of<'_>, deployment: &definition::Deployment, threads: Option<usize>) -> Result<Deployed, Error> {
        let options = pool_options(&deployment.options, threads);
        Deployed::of(of.catalog, deployment, &|model| self.load(of, model, options))
    }

    /// A model, loaded and warm, or as it was loaded before.
    fn load(&self, of: Of<'_>, model: &str, options: PoolOptions) -> Result<Arc<Loaded>, Error> {
        let meaning = of.catalog.models.get(model).copied().ok_or_else(|| unchecked("such model"))?;
        let applied = of.definitions.applied.models.iter().find(|applied| applied.model == model);
        let sha256 = applied.map(|applied| applied.sha256.clone()).unwrap_or_default();
        let key = Key { meaning, sha256, options };
        if let Some(loaded) = self.known(&key) {
            return Ok(loaded);
        }
        let bound = pinned::model(of.catalog, of.definitions, &self.files, model)?;
        let layered = (self.layer)(model, Arc::clone(&bound.model));
        let loaded = Arc::new(Loaded::new(bound, layered, options, self.breaker, &self.clock)?);
        // Where two load the same at once, each has its own until it lets go of it.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, loaded)| loaded.strong_count() > 0);
        known.push((key, Arc::downgrade(&loaded)));
        Ok(loaded)
    }

    fn known(&self, key: &Key) -> Option<Arc<Loaded>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(of, _)| of == key).find_map(|(_, loaded)| loaded.upgrade())
    }
}

impl Deployments {
    /// Loads and warms all models of a set of definitions that are deployed.
    ///
    /// # Errors
    /// NotFound and Data where a file is gone or damaged, Data where a model does not run; Invalid where this release has something against one.
    pub fn load(models: &Models, of: Of<'_>) -> Result<Deployments, Error> {
        let load = |(name, deployment): (&String, &definition::Deployment)| Ok((name.clone(), Arc::new(models.deployed(of, deployment, None)?)));
        let by_name = of.catalog.definitions.deployments.iter().map(load).collect::<Result<_, Error>>()?;
        Ok(Deployments { by_name })
    }

    /// Loads one of them, to be run by so many threads.
    ///
    /// # Errors
    /// NotFound where there is none of the name; as [`Self::load`].
    pub fn load_one(models: &Models, of: Of<'_>, name: &str, threads: usize) -> Result<Deployed, Error> {
        let all = &of.catalog.definitions.deployments;
        models.deployed(of, all.get(name).ok_or_else(|| unknown(name, all.keys()))?, Some(threads))
    }

    /// A deployment by its name.
    ///
    /// # Errors
    /// NotFound where there is none.
    pub fn find(&self, name: &str) -> Result<&Arc<Deployed>, Error> {
        self.by_name.get(name).ok_or_else(|| unknown(name, self.by_name.keys()))
    }

    /// Whether there is one of the name that ranks candidates.
    pub fn ranks(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|deployed| deployed.ranking.is_some())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Deployed>> {
        self.by_name.values()
    }

    /// Ends the threads of all models; what waits is answered before.
    pub fn finish(&self) {
        self.all().flat_map(|deployed| deployed.stages()).for_each(|stage| stage.model.finish());
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let names: Vec<&str> = known.map(String::as_str).collect();
    let meant = suggestion(name, names.iter().copied()).map_or_else(String::new, |near| format!(" · did you mean `{near}`?"));
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Error::not_found(format!("no deployment named `{name}` · there are: {there}{meant}"))
}

/// The service that a model takes features of.
fn plan_of<'c>(catalog: &'c Catalog, model: &str) -> Result<&'c ServicePlan, Error> {
    let service = &catalog.definitions.models.get(model).ok_or_else(|| unchecked("such model"))?.service;
    catalog.services.get(service).map(|plan| &**plan).ok_or_else(|| unchecked("such service"))
}

fn unchecked(what: &str) -> Error {
    Error::internal(format!("deployments are checked, and there is no {what}"))
}

impl Deployed {
    /// A deployment of compiled definitions; `load` gives its models.
    pub(super) fn of(catalog: &Catalog, deployment: &definition::Deployment, load: &Load<'_>) -> Result<Deployed, Error> {
        let definition::Deployment { name, request, predictions, steps, defaults, options, .. } = deployment;
        let fields: Fields = request.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
        let beside = |step: &str, model: &Option<String>| {
            let stage = |model: &String| Stage::of(catalog, (step, model), (&fields, Taken::default()), None, load);
            model.as_ref().map(stage).transpose()
        };
        let schema = predictions.iter().map(|prediction| Field::new(&prediction.name, prediction.data_type.clone(), true)).collect::<Fields>();
        let default = |prediction: &definition::Prediction| default(defaults.get(&prediction.name), &prediction.data_type);
        let first = steps.first().map(|step| plan_of(catalog, &step.model)).transpose()?;
        let stage = |step: &definition::Step| {
            let taken = Taken { predicted: Some(&step.given), of_candidate: &step.of_candidate };
            Stage::of(catalog, (&step.name, &step.model), (&fields, taken), first, load)
        };
        let steps = steps.iter().map(stage).collect::<Result<Vec<_>, _>>()?;
        Ok(Deployed {
            meaning: catalog.deployments.get(name).copied().ok_or_else(|| unchecked("such deployment"))?,
            ranking: deployment.ranking.as_ref().zip(steps.first()).map(|(ranking, first)| Ranking::of(ranking, predictions, first)),
            steps,
            fallback: beside("fallback", &deployment.fallback)?,
            shadow: beside("shadow", &deployment.shadow)?,
            defaults: predictions.iter().map(default).collect::<Result<_, _>>()?,
            has_defaults: !defaults.is_empty(),
            when_missing: options.when_missing,
            when_stale: options.when_stale,
            policy: Policy::of(deployment),
            max_age: options.max_age.map(|max_age| max_age.micros()),
            asked: Wanted::asked_with(name, fields.clone()),
            schema: Arc::new(Schema::new(schema)),
            name: name.clone(),
        })
    }

    /// All models that are run for it.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.steps.iter().chain(&self.fallback).chain(&self.shadow)
    }
}

impl Ranking {
    fn of(ranking: &definition::Ranking, predictions: &[definition::Prediction], first: &Stage) -> Ranking {
        let by = ranking.by.iter().filter_map(|(name, descending)| Some((predictions.iter().position(|one| one.name == *name)?, *descending)));
        let outputs = first.wanted.outputs();
        let items = ranking.items.iter().filter_map(|name| outputs.iter().position(|output| *output.name == **name));
        Ranking { by: by.collect(), top: ranking.top.map(|top| top as usize), items: items.collect() }
    }
}

impl Stage {
    /// A model, called `step`; `taken` are the columns that it takes of earlier steps, of which the first has the service `first`; all others are the `caller`'s.
    pub(super) fn of(
        catalog: &Catalog,
        (step, model): (&str, &str),
        (caller, taken): (&Fields, Taken<'_>),
        first: Option<&ServicePlan>,
        load: &Load<'_>,
    ) -> Result<Stage, Error> {
        let plan = plan_of(catalog, model)?;
        let column = |field: &Arc<Field>| {
            let name = field.name();
            if taken.predicted.is_some_and(|predicted| predicted.contains_key(name)) {
                return Ok(Given::Predicted(name.clone()));
            }
            let given = match taken.of_candidate.contains(name) {
                true => first.and_then(|first| first.schema.index_of(name).ok()).map(Given::Candidate),
                false => caller.find(name).map(|(at, _)| Given::Caller(at)),
            };
            given.ok_or_else(|| unchecked("such column"))
        };
        let columns = plan.request.fields().iter().map(column).collect::<Result<_, _>>()?;
        let (model, wanted) = (load(model)?, Arc::new(Wanted::find(catalog, &plan.name, &[])?));
        Ok(Stage { name: step.to_owned(), features: model.bound.columns(), model, wanted, columns })
    }
}

fn pool_options(options: &definition::DeploymentOptions, threads: Option<usize>) -> PoolOptions {
    let time = |interval: Interval| Duration::from_micros(u64::try_from(interval.micros()).unwrap_or_default());
    PoolOptions {
        threads: threads.unwrap_or(options.threads as usize),
        max_batch: options.max_batch as usize,
        max_wait: time(options.max_wait),
        queue: options.queue as usize,
        // Who loads one by itself has rows to score, and no caller who waits.
        timeout: if threads.is_some() { time(options.timeout).max(PATIENCE) } else { time(options.timeout) },
        warm_within: WARM_WITHIN,
    }
}

/// A declared default, as one value of its type; NULL where none is declared.
fn default(literal: Option<&Literal>, data_type: &DataType) -> Result<ArrayRef, Error> {
    let value: ArrayRef = match literal {
        None => return Ok(new_null_array(data_type, 1)),
        Some(Literal::Boolean(value)) => Arc::new(BooleanArray::from(vec![*value])),
        Some(Literal::Number(text) | Literal::Text(text)) => Arc::new(StringArray::from(vec![text.as_str()])),
    };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&value, data_type, &strict).map_err(|error| Error::internal("defaults are checked where they are defined").caused_by(error))
}
