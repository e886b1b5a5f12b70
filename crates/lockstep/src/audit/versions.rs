//! The definitions that vectors were served by, compiled again; and the views that can still be computed from their inputs.

use std::collections::BTreeMap;

use anyhow::Result;
use lockstep_ingest::pipeline::Target;
use lockstep_model::Generation;
use lockstep_store::{CutRead, Definitions, GenerationInfo};
use lockstep_transform::catalog::Catalog;

use crate::kept::Kept;
use crate::project::{compile, sources_of_texts};

/// A set of definitions.
#[derive(Debug)]
pub struct Version {
    /// As it was applied: what is served is computed by it.
    pub applied: Compiled,
    /// The same, noting when events could be known.
    pub noted: Compiled,
    /// The same, with what came too late.
    pub whole: Compiled,
}

/// Compiled definitions, with what feeds the generations of their views.
#[derive(Debug)]
pub struct Compiled {
    /// What they say.
    pub catalog: Catalog,
    /// What feeds each generation.
    pub targets: BTreeMap<Generation, Target>,
}

/// Sets of definitions, by number; those that were applied last have none.
#[derive(Debug, Default)]
pub struct Versions {
    known: BTreeMap<Option<u64>, Result<Version, String>>,
    /// Of what they are compiled: how many sets the store has, and its generations.
    of: (usize, Vec<(Generation, bool)>),
}

impl Versions {
    /// Those that answers were given by.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn of(cut: &dyn CutRead, kept: &[Kept]) -> Result<Versions> {
        let mut versions = Versions::default();
        versions.find_all(cut, kept)?;
        Ok(versions)
    }

    /// Finds those that answers were given by, and keeps what it has found before for as long as the store has the same sets and generations: compiling hundreds of views takes a while.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn find_all<'k>(&mut self, cut: &dyn CutRead, kept: impl IntoIterator<Item = &'k Kept>) -> Result<()> {
        let (history, generations) = (cut.definitions_history()?, cut.generations()?);
        let of = (history.len(), generations.iter().map(|info| (info.generation, info.published())).collect());
        if self.of != of {
            *self = Versions { known: BTreeMap::new(), of };
        }
        for number in kept.into_iter().map(|kept| kept.from.definitions) {
            self.known.entry(number).or_insert_with(|| Version::find(number, &history, &generations));
        }
        Ok(())
    }

    /// The definitions that an answer was given by, if they and the views that it read are still there; else why not.
    pub fn find(&self, kept: &Kept) -> Result<&Version, String> {
        let version = match self.known.get(&kept.from.definitions) {
            Some(Ok(version)) => version,
            Some(Err(why)) => return Err(why.clone()),
            None => return Err("their definitions are not known".to_owned()),
        };
        let catalog = &version.applied.catalog;
        let name = &kept.from.name;
        let meaning = catalog.services.get(name).map(|service| service.meaning).or_else(|| catalog.views.get(name).map(|view| view.meaning));
        match (meaning, kept.from.meaning) {
            (None, _) => return Err(format!("`{name}` is not in the definitions of this store that they name")),
            (Some(means), Some(meant)) if means != meant => {
                return Err(format!("`{name}` means something else in the definitions of this store that they name"));
            }
            _ => {}
        }
        match kept.from.views.iter().find(|view| !version.applied.targets.contains_key(&view.generation)) {
            Some(view) => Err(format!("version {} of `{}` is dropped", view.version, view.view)),
            None => Ok(version),
        }
    }

    /// Definitions that a generation is one of.
    pub fn with(&self, generation: Generation) -> Option<&Version> {
        self.known.values().filter_map(|version| version.as_ref().ok()).find(|version| version.applied.targets.contains_key(&generation))
    }
}

impl Version {
    fn find(number: Option<u64>, history: &[Definitions], generations: &[GenerationInfo]) -> Result<Version, String> {
        let found = match number {
            None => history.last(),
            Some(number) => history.iter().find(|definitions| definitions.version == number),
        };
        let definitions = found.ok_or_else(|| match number {
            Some(number) => format!("definitions number {number} were not applied to this store"),
            None => "no definitions were applied to this store".to_owned(),
        })?;
        let compiled = |change: &dyn Fn(&mut Catalog)| {
            let mut catalog = compile(&sources_of_texts(&definitions.applied.texts)).map_err(|wrong| {
                format!(
                    "this release has something against definitions number {}: {}",
                    definitions.version,
                    wrong.first().map(ToString::to_string).unwrap_or_default()
                )
            })?;
            change(&mut catalog);
            Compiled::new(catalog, generations)
        };
        let note = |is_late_taken: bool| {
            move |catalog: &mut Catalog| catalog.sources.values_mut().for_each(|source| *source = std::sync::Arc::new(source.noted(is_late_taken)))
        };
        Ok(Version { applied: compiled(&|_| ())?, noted: compiled(&note(false))?, whole: compiled(&note(true))? })
    }
}

impl Compiled {
    fn new(catalog: Catalog, generations: &[GenerationInfo]) -> Result<Compiled, String> {
        let mut targets = BTreeMap::new();
        for info in generations {
            let view = catalog.views.get(&info.view).filter(|view| view.meaning == info.meaning && view.state == info.state);
            if let Some(view) = view {
                targets.insert(info.generation, Target::new(&catalog, view, info.clone()).map_err(|error| error.to_string())?);
            }
        }
        Ok(Compiled { catalog, targets })
    }
}
