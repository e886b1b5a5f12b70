//! The definitions that rows are answered by, and the events that they are answered from: batch files, or all that a store has applied.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use lockstep_ingest::offline::Files;
use lockstep_ingest::offline::applied::{Applied, AppliedGeneration};
use lockstep_ingest::offline::training::Histories;
use lockstep_ingest::pipeline::BackfillOptions;
use lockstep_ingest::source::Stores;
use lockstep_model::position::{come_to, history_path};
use lockstep_model::{Error, EventTime, PartitionId, Position, SystemClock};
use lockstep_serve::Served;
use lockstep_serve::admin::Progress;
use lockstep_serve::live::check_moments;
use lockstep_store::{CutRead, Definitions, GenerationInfo, OnlineStore, Snapshots};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::Shape;
use lockstep_transform::transformation::Transformation;
use serde::{Deserialize, Serialize};

use super::given::Events;
use crate::ask;
use crate::failure::Wrong;
use crate::owned::Owned;
use crate::pinned::Pinned;
use crate::predictions::refuse_without_store;
use crate::progress::Display;
use crate::project::{Project, compile, sources_of_texts};
use crate::train::{FromStore, GenerationUsed, InputFile, PositionUsed};
use crate::verbs::Context;

/// The definitions that rows are answered by, and what is read for them.
#[derive(Debug)]
pub struct Origin {
    /// The definitions.
    pub catalog: Arc<Catalog>,
    /// What the store has applied, where that is what is read, and not batch files.
    pub store: Option<StoreAt>,
}

/// A store, or a snapshot of one, as far as it had come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreAt {
    /// The snapshot and its moment, where it is one.
    pub snapshot: Option<(String, EventTime)>,
    /// The definitions, with the files of their models.
    pub definitions: Definitions,
    /// The release that served, and the epoch since which it did.
    pub release: Option<(u32, u64)>,
    /// What its generations have applied: one for each view of the definitions that has a published one.
    pub applied: Applied,
}

/// How far a store has come: asked of its owner.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {}

impl ask::Question for Question {
    const VERB: &'static str = "train";
    type Answer = StoreAt;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<StoreAt> {
        let cut = OnlineStore::cut(&*owned.store);
        let served = owned.answering(&*cut)?;
        let number = cut.serving()?.map_or_else(|| owned.store.definitions_version(), |(release, _)| release.new.definitions);
        StoreAt::of(&served, &*cut, number)
    }
}

impl StoreAt {
    /// How far the generations that definitions are served from have come in a cut.
    fn of(served: &Served, cut: &dyn CutRead, number: u64) -> Result<StoreAt> {
        let definitions = cut.definitions_history()?.into_iter().find(|definitions| definitions.version == number);
        let definitions = definitions.ok_or_else(|| Error::not_found(format!("no definitions number {number} were applied")))?;
        let published: Vec<GenerationInfo> = served.catalog().views.keys().filter_map(|view| served.generation(view).cloned()).collect();
        Ok(StoreAt {
            snapshot: None,
            definitions,
            release: cut.serving()?.map(|(release, switch)| (release.release, switch.epoch)),
            applied: Applied::of(cut, published)?,
        })
    }

    /// A snapshot, which needs no owner.
    fn of_snapshot(project: &Project, name: &str) -> Result<StoreAt> {
        if !project.store.exists() {
            return Err(project.nothing_applied().into());
        }
        let pinned = Pinned::open(&Snapshots::of(&project.store).find(name)?)?;
        let manifest = pinned.manifest();
        // One without definitions does not open.
        let number = manifest.definitions.as_ref().map_or(0, |mark| mark.version);
        let store = StoreAt::of(pinned.served(), &pinned.cut(), number)?;
        Ok(StoreAt { snapshot: Some((manifest.name.clone(), manifest.moment)), ..store })
    }

    /// Refuses views that have no published state, as an answer of the store would be.
    fn check(&self, views: &[Arc<Transformation>]) -> Result<(), Error> {
        for view in views {
            let is_of = |info: &GenerationInfo| info.view == view.view && info.meaning == view.meaning && info.state == view.state;
            if !self.applied.generations.iter().any(|generation| is_of(&generation.info)) {
                let what = format!("`{}` has no published state · run `lockstep apply`, then `lockstep backfill {}`", view.view, view.view);
                return Err(Error::unavailable(what));
            }
        }
        Ok(())
    }

    /// Where its inputs are.
    fn files(&self, project: &Project) -> Result<Files> {
        let mut positions = self.applied.generations.iter().flat_map(|generation| &generation.positions);
        let has_topics = positions.any(|(_, position)| matches!(position, Position::Kafka(_)));
        let kafka = has_topics.then(|| project.kafka()).transpose()?;
        Ok(Files { base: project.dir.clone(), stores: Stores::local(), kafka, push: Some(project.push_dir()) })
    }

    /// The generations that these views read.
    fn read_by<'a>(&'a self, views: &'a [Arc<Transformation>]) -> impl Iterator<Item = &'a AppliedGeneration> {
        self.applied.generations.iter().filter(|generation| views.iter().any(|view| view.view == generation.info.view))
    }

    /// The event time up to which these views have come, where their logs say so.
    fn come_to(&self, views: &[Arc<Transformation>]) -> Option<EventTime> {
        // Predictions come run by run.
        let waits = |generation: &&AppliedGeneration| generation.info.run.is_none();
        self.read_by(views).filter(waits).filter_map(|generation| come_to(&generation.positions)).min().map(EventTime)
    }

    /// What a manifest says of it, as far as these views read it.
    fn used(&self, views: &[Arc<Transformation>]) -> Result<FromStore> {
        let generation = |generation: &AppliedGeneration| {
            let position = |(id, position): &(PartitionId, Position)| {
                let PartitionId { source, partition } = id.clone();
                Ok(PositionUsed { source, partition, position: serde_json::to_value(position)? })
            };
            Ok(GenerationUsed {
                view: generation.info.view.clone(),
                version: generation.info.version,
                generation: generation.info.generation.0,
                positions: generation.positions.iter().map(position).collect::<Result<_>>()?,
            })
        };
        Ok(FromStore {
            snapshot: self.snapshot.as_ref().map(|(name, _)| name.clone()),
            moment: self.snapshot.as_ref().map(|(_, moment)| moment.to_string()),
            definitions: self.definitions.version,
            release: self.release.map(|(release, _)| release),
            epoch: self.release.map(|(_, epoch)| epoch),
            generations: self.read_by(views).map(generation).collect::<Result<_>>()?,
        })
    }
}

impl Origin {
    /// The definitions of the project and its batch files; or those of its store, or of a snapshot, and what that has applied.
    ///
    /// # Errors
    /// NotFound where there is no such snapshot or nothing was applied; [`Wrong`] where something is wrong with the definitions.
    pub fn of(context: &Context, project: &Project, events: &Events) -> Result<Origin> {
        if events.snapshot.is_none() && !events.applied {
            return Ok(Origin { catalog: Arc::new(project.catalog()?), store: None });
        }
        Origin::of_store(context, project, events.snapshot.as_deref())
    }

    /// The definitions that the store of a project serves, and what it has applied by now; or those of a snapshot.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_store(context: &Context, project: &Project, snapshot: Option<&str>) -> Result<Origin> {
        let store = match snapshot {
            Some(name) => StoreAt::of_snapshot(project, name)?,
            None => context.ask(&Question {})?,
        };
        let catalog = compile(&sources_of_texts(&store.definitions.applied.texts)).map_err(Wrong)?;
        Ok(Origin { catalog: Arc::new(catalog), store: Some(store) })
    }

    /// The record of the definitions, where they are a store's.
    ///
    /// # Errors
    /// Internal where they are the project's.
    pub fn definitions(&self) -> Result<&Definitions, Error> {
        let store = self.store.as_ref().ok_or_else(|| Error::internal("definitions that were not applied"))?;
        Ok(&store.definitions)
    }

    /// Reads all that the views are computed from. What does not fit into memory goes beside `out`, since that has room for as much.
    ///
    /// # Errors
    /// As reading does; Unavailable where it was told to stop.
    pub fn read(
        &self,
        project: &Project,
        views: &[Arc<Transformation>],
        until: Option<EventTime>,
        out: &Path,
        stop: &Arc<AtomicBool>,
        display: &mut Display,
    ) -> Result<Histories> {
        let options = BackfillOptions {
            until,
            base: project.dir.clone(),
            stores: Stores::local(),
            memory_bytes: project.config.memory.train.0,
            batch_rows: project.config.batch_rows.get(),
            shape: Shape::default(),
            threads: project.config.threads(),
            stop: Arc::clone(stop),
            clock: Arc::new(SystemClock),
        };
        let spill_dir = spill_dir(out)?;
        let mut observe = |progress: &lockstep_ingest::pipeline::Progress| display.show(progress);
        let histories = match &self.store {
            None => {
                refuse_without_store(&self.catalog, views)?;
                Histories::read(&self.catalog, views, &options, Some(&spill_dir), &mut observe)?
            }
            Some(store) => {
                store.check(views)?;
                let read = (&store.applied, &store.files(project)?);
                Histories::read_applied(&self.catalog, views, read, &options, Some(&spill_dir), &mut observe)?
            }
        };
        histories.ok_or_else(|| Error::unavailable("told to stop").into())
    }

    /// Refuses moments after that of the snapshot: not all that counts then is in it.
    ///
    /// # Errors
    /// OutOfRange.
    pub fn check_moments(&self, moments: &[i64]) -> Result<(), Error> {
        match self.store.as_ref().and_then(|store| store.snapshot.as_ref()) {
            Some((name, moment)) => check_moments(name, *moment, moments),
            None => Ok(()),
        }
    }

    /// Up to which event time the logs of the views were applied, where they are what is read.
    pub fn come_to(&self, views: &[Arc<Transformation>]) -> Option<EventTime> {
        self.store.as_ref()?.come_to(views)
    }

    /// What events are read from, for people.
    pub fn told(&self) -> String {
        match &self.store {
            None => "batch files".to_owned(),
            Some(StoreAt { snapshot: Some((name, _)), .. }) => format!("snapshot {name}"),
            Some(_) => "the store".to_owned(),
        }
    }

    /// What a manifest says of the store, where one was read.
    ///
    /// # Errors
    /// Where a position cannot be said.
    pub fn used(&self, views: &[Arc<Transformation>]) -> Result<Option<FromStore>> {
        self.store.as_ref().map(|store| store.used(views)).transpose()
    }

    /// The inputs of views as they were read, each once.
    pub fn inputs(&self, views: &[Arc<Transformation>], histories: &Histories) -> Vec<InputFile> {
        let of_files = histories.positions.iter().filter(|_| self.store.is_none());
        let of_store = self.store.iter().flat_map(|store| store.read_by(views)).flat_map(|generation| &generation.positions);
        let mut known: BTreeSet<(&PartitionId, u64)> = BTreeSet::new();
        let all = of_files.chain(of_store.map(|(id, position)| (id, position)));
        all.filter(|(id, position)| known.insert((*id, position.rows()))).map(|(id, position)| input(id, position)).collect()
    }
}

fn input(id: &PartitionId, position: &Position) -> InputFile {
    let (size, identity) = match position {
        Position::File(file) => (file.size, format!("{:016x}", file.hash)),
        Position::Kafka(topic) => (None, format!("{}/{}", topic.cluster, topic.topic_id)),
        Position::Push(push) => (None, format!("{:016x}", push.mark)),
    };
    let file = history_path(&id.partition).unwrap_or(&id.partition).to_owned();
    InputFile { source: Some(id.source.clone()), file, size, identity, rows: Some(position.rows()) }
}

fn spill_dir(out: &Path) -> Result<PathBuf> {
    let beside = Some(out).filter(|out| *out != Path::new("-")).and_then(Path::parent);
    let dir = beside.map_or_else(std::env::temp_dir, |dir| if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_owned() });
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
