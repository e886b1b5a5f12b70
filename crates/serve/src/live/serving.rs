//! What serves: a set of definitions, compiled, and the release that says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_model::{Error, Generation};
use lockstep_store::{CutRead, Definitions, NewRelease, Store};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{self, SourceFile};
use lockstep_transform::next_event::NextEvent;

use crate::desk::{Lists, Wanted};
use crate::scoring::{Deployed, Deployments, Models, Of};
use crate::{Served, chosen};

/// Sets of definitions that are kept compiled.
const COMPILED_MAX: usize = 5;

/// A set of definitions that was applied, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// Its number.
    pub version: u64,
    /// What it says.
    pub catalog: Arc<Catalog>,
    /// All outputs of each service and view, which is what most requests want.
    pub(super) wanted: Arc<HashMap<String, Arc<Wanted>>>,
    /// Lists of features that were asked for lately.
    pub(super) lists: Arc<Lists>,
    /// The record that it was compiled from.
    record: Definitions,
    /// Its deployments, where they were loaded: those of what serves, served before, and is about to.
    deployments: Mutex<Option<Arc<Deployments>>>,
}

impl Compiled {
    /// Its deployments, warm. It takes the time that loading models takes.
    pub(super) fn deployments(&self, models: Option<&Models>) -> Result<Arc<Deployments>, Error> {
        let known = || self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        let (None, Some(models)) = (known().clone(), models) else { return Ok(known().clone().unwrap_or_default()) };
        // Not under the lock, since it takes a while.
        let loaded = Arc::new(Deployments::load(models, Of { definitions: &self.record, catalog: &self.catalog })?);
        *known() = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// One of its deployments, loaded to be run by so many threads.
    pub(super) fn load_one(&self, models: &Models, name: &str, threads: usize) -> Result<Deployed, Error> {
        Deployments::load_one(models, Of { definitions: &self.record, catalog: &self.catalog }, name, threads)
    }

    /// Lets its models go, as far as nobody else has them.
    pub(super) fn unload(&self) {
        *self.deployments.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What serves: a set of definitions, and where a release said so, that release with the generations it named.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) compiled: Arc<Compiled>,
    pub(super) release: Option<ReleaseAt>,
    pub(super) generations: Option<Vec<Generation>>,
    pub(super) deployments: Arc<Deployments>,
}

/// A release, and when it came to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseAt {
    /// The release.
    pub release: u32,
    /// How often the pointer to what serves had been moved.
    pub epoch: u64,
}

impl Serving {
    /// What is to serve; `compile` compiles a set of definitions.
    pub(super) fn choose(store: &Store, compile: &dyn Fn(&Definitions) -> Result<Arc<Compiled>, Error>) -> Result<Serving, Error> {
        let cut = store.cut();
        if let Some((release, switch)) = cut.serving()? {
            let NewRelease { definitions, generations, .. } = release.new;
            let found = cut.definitions_numbered(definitions)?;
            let gone = || Error::data(format!("release {} is of definitions number {definitions}, which the store does not have", release.release));
            let at = ReleaseAt { release: release.release, epoch: switch.epoch };
            return Ok(Serving {
                compiled: compile(&found.ok_or_else(gone)?)?,
                release: Some(at),
                generations: Some(generations),
                deployments: Arc::default(),
            });
        }
        let compiled = chosen::chosen(&cut, compile, |compiled| &*compiled.catalog)?;
        let compiled = compiled.ok_or_else(|| Error::not_found("no definitions were applied to this store · run `lockstep apply`"))?;
        Ok(Serving { compiled, release: None, generations: None, deployments: Arc::default() })
    }

    /// With its deployments, which are loaded where they were not.
    pub(super) fn scoring(self, models: Option<&Models>) -> Result<Serving, Error> {
        Ok(Serving { deployments: self.compiled.deployments(models)?, ..self })
    }

    /// Its views, with their generations.
    pub(super) fn served(&self, cut: &dyn CutRead) -> Result<Served, Error> {
        Served::among(Arc::clone(&self.compiled.catalog), cut, self.generations.as_deref())
    }
}

/// A set of definitions, compiled where it was not lately.
pub(super) fn compiled_set(known: &Mutex<Vec<Arc<Compiled>>>, definitions: &Definitions, next: &Arc<dyn NextEvent>) -> Result<Arc<Compiled>, Error> {
    let sets = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compiled) = sets().iter().find(|compiled| compiled.version == definitions.version) {
        return Ok(Arc::clone(compiled));
    }
    // Not under the lock, since it takes a while.
    let compiled = Arc::new(compiled(definitions, next)?);
    let mut sets = sets();
    sets.truncate(COMPILED_MAX - 1);
    sets.insert(0, Arc::clone(&compiled));
    Ok(compiled)
}

fn compiled(definitions: &Definitions, next: &Arc<dyn NextEvent>) -> Result<Compiled, Error> {
    let files: Vec<SourceFile> = definitions.applied.texts.iter().map(|text| SourceFile::new(text.path.clone(), text.text.clone())).collect();
    let wrong = |diagnostics: Vec<definition::Diagnostic>| {
        let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
        Error::invalid(format!("this release has something against definitions number {}: {first}", definitions.version))
    };
    let catalog = definition::Definitions::parse(&files).and_then(|parsed| Catalog::compile_with(parsed, next)).map_err(wrong)?;
    let names = catalog.views.keys().chain(catalog.services.keys());
    let wanted = names.map(|name| Ok((name.clone(), Arc::new(Wanted::find(&catalog, name, &[])?)))).collect::<Result<_, Error>>()?;
    let (version, record) = (definitions.version, definitions.clone());
    Ok(Compiled { version, catalog: Arc::new(catalog), wanted: Arc::new(wanted), lists: Arc::default(), record, deployments: Mutex::default() })
}
