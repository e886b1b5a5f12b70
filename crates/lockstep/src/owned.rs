//! The store that this process owns, and answers others about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};

use anyhow::Result;
use lockstep_ingest::pipeline::Target;
use lockstep_model::{Clock, Error, EventTime, Generation, PartitionId, SystemClock};
use lockstep_serve::Served;
use lockstep_serve::admin::{Description, Progress, Server};
use lockstep_serve::live::Live;
use lockstep_serve::scoring::Models;
use lockstep_store::{Claim, CrashPlan, CutRead, Definitions, OnlineStore, Store, StoreOptions, Taken};
use lockstep_transform::catalog::Catalog;

use crate::ask;
use crate::failure::{self, Wrong};
use crate::pinned::AllPinned;
use crate::project::{Project, compile, sources_of_texts};
use crate::watching::Watching;

/// A project whose store this process has open. Shared by the verb that it runs and by the questions of others.
#[derive(Debug)]
pub struct Owned {
    /// The project.
    pub project: Project,
    /// Its store.
    pub store: Arc<Store>,
    /// Applied definitions that were compiled, by version: those asked for last come first.
    compiled: Mutex<Vec<(u64, Arc<Catalog>)>>,
    /// What [`Self::change`] guards.
    fed: Mutex<BTreeSet<Generation>>,
    /// By set of definitions: where the partitions end that are followed for it.
    ends: Mutex<BTreeMap<u64, Ends>>,
    /// Held by who backfills.
    backfilling: Mutex<()>,
    /// The snapshots of the store that are open.
    pub pinned: AllPinned,
    /// Who serves from the store, where this process does.
    live: OnceLock<Weak<Live>>,
    /// What watches that, likewise.
    watching: OnceLock<Weak<Watching>>,
}

/// Where partitions end that are followed, by what was heard last: the row behind the last.
pub type Ends = BTreeMap<PartitionId, u64>;

/// Where a process is to crash: how tests look at what is left then.
const CRASH: &str = "LOCKSTEP_CRASH";

/// Sets of definitions that are kept compiled: those that are fed, and some that are asked about.
const COMPILED_MAX: usize = 8;

/// How long a file of a model may lie in the store that no definitions name, µs: an hour.
const MODELS_UNNAMED_FOR: i64 = 3_600_000_000;

impl Owned {
    /// The definitions that were applied to the store last, compiled.
    ///
    /// # Errors
    /// NotFound where none were; as [`Self::applied`].
    pub fn catalog(&self) -> Result<Arc<Catalog>> {
        Ok(self.applied()?.ok_or_else(|| self.project.nothing_applied())?)
    }

    /// As [`Self::catalog`], for whoever can do without.
    ///
    /// # Errors
    /// [`Wrong`] where this release has something against the definitions.
    pub fn applied(&self) -> Result<Option<Arc<Catalog>>> {
        OnlineStore::cut(&*self.store).definitions()?.map(|applied| self.compiled(&applied)).transpose()
    }

    /// The definitions of a number, compiled.
    ///
    /// # Errors
    /// NotFound where no such set was applied; as [`Self::applied`].
    pub fn definitions(&self, number: u64) -> Result<Arc<Catalog>> {
        let unknown = || match self.store.definitions_version() {
            0 => self.project.nothing_applied(),
            newest => Error::not_found(format!("no definitions number {number} were applied · the newest are number {newest}")),
        };
        self.compiled(&OnlineStore::cut(&*self.store).definitions_numbered(number)?.ok_or_else(unknown)?)
    }

    /// The definitions that answer, with the generations that they read: those of the release that serves; where none was promoted, the definitions that were applied last.
    ///
    /// # Errors
    /// As [`Self::catalog`].
    pub fn answering(&self, cut: &dyn CutRead) -> Result<Served> {
        match cut.serving()? {
            Some((release, _)) => Ok(Served::among(self.definitions(release.new.definitions)?, cut, Some(&release.new.generations))?),
            None => Ok(Served::new(self.catalog()?, cut)?),
        }
    }

    /// A set of definitions that was applied, compiled now or before.
    ///
    /// # Errors
    /// [`Wrong`] where this release has something against it.
    pub fn compiled(&self, definitions: &Definitions) -> Result<Arc<Catalog>> {
        // Kept while it compiles, so that many questions at once compile once.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, catalog)) = compiled.iter().find(|(version, _)| *version == definitions.version) {
            return Ok(Arc::clone(catalog));
        }
        let catalog = Arc::new(compile(&sources_of_texts(&definitions.applied.texts)).map_err(Wrong)?);
        compiled.truncate(COMPILED_MAX - 1);
        compiled.insert(0, (definitions.version, Arc::clone(&catalog)));
        Ok(catalog)
    }

    /// Says who serves from the store in this process, and is to be told when something else is to serve.
    pub fn serves(&self, live: &Arc<Live>) {
        // There is one server in a process.
        let _ = self.live.set(Arc::downgrade(live));
    }

    /// Who serves from the store in this process, where this does.
    pub fn serving(&self) -> Option<Arc<Live>> {
        self.live.get().and_then(Weak::upgrade)
    }

    /// Says what watches the server of this process.
    pub fn watched_by(&self, watching: &Arc<Watching>) {
        // There is one server in a process.
        let _ = self.watching.set(Arc::downgrade(watching));
    }

    /// What watches the server of this process, where it has one.
    pub fn watching(&self) -> Option<Arc<Watching>> {
        self.watching.get().and_then(Weak::upgrade)
    }

    /// Drops snapshots that nothing keeps, whose names are given back, and files of models that no definitions name. Whoever asks is alone in changing the store ([`Self::change`]).
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn collect(&self) -> Result<Vec<String>, Error> {
        let collected = self.store.collect_snapshots(self.project.config.snapshots.keep_last)?;
        self.store.collect_models(EventTime(SystemClock.now().0.saturating_sub(MODELS_UNNAMED_FOR)))?;
        Ok(collected)
    }

    /// What loads models from the store.
    pub fn models(&self) -> Models {
        Models::new(self.store.models(), self.project.config.serve.limits().breaker, Arc::new(SystemClock))
    }

    /// Has whoever serves from the store make ready for a set of definitions, so that switching to it takes no time.
    ///
    /// # Errors
    /// Where this release has something against them.
    pub fn prepare(&self, definitions: u64) -> Result<()> {
        Ok(self.serving().map_or(Ok(()), |live| live.prepare(definitions))?)
    }

    /// Tells whoever serves from the store that something else is to serve. Where it cannot take that up, it tries again every second.
    pub fn switched(&self) {
        if let Some(Err(error)) = self.serving().map(|live| live.refresh()) {
            tracing::error!(%error, "take up what is to serve");
        }
    }

    /// Keeps other changes of definitions and generations away until it is dropped, and says which generations this process feeds: they are not to be dropped.
    pub fn change(&self) -> MutexGuard<'_, BTreeSet<Generation>> {
        self.fed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the partitions end that this process follows, whatever for.
    pub fn ends(&self) -> Ends {
        let mut all = Ends::new();
        for (partition, end) in self.ends.lock().unwrap_or_else(PoisonError::into_inner).values().flatten() {
            let known = all.entry(partition.clone()).or_default();
            *known = (*end).max(*known);
        }
        all
    }

    /// Tells where the partitions end that are followed for a set of definitions; `None` where that is followed no more.
    pub fn tell_ends(&self, set: u64, ends: Option<&Ends>) {
        let mut all = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        match ends {
            Some(ends) => all.entry(set).or_default().clone_from(ends),
            None => drop(all.remove(&set)),
        }
    }

    /// Keeps other backfills away until it is dropped; `None` where one is under way.
    pub fn backfill_alone(&self) -> Option<MutexGuard<'_, ()>> {
        match self.backfilling.try_lock() {
            Ok(alone) => Some(alone),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Chooses what this process feeds from now on.
    ///
    /// # Errors
    /// As `choose` has.
    pub fn feed(&self, choose: impl FnOnce() -> Result<Vec<Target>>) -> Result<Vec<Target>> {
        let mut fed = self.change();
        let targets = choose()?;
        fed.extend(targets.iter().map(|target| target.generation.generation));
        Ok(targets)
    }

    /// That this process feeds generations no more.
    pub fn leave(&self, generations: &[Generation]) {
        self.change().retain(|generation| !generations.contains(generation));
    }
}

/// An [`Owned`] that is open to the questions of other processes until this is dropped.
#[derive(Debug)]
pub struct Held {
    /// First, so that the store is closed once nobody reads it any more.
    _server: Option<Server>,
    owned: Arc<Owned>,
}

impl Held {
    /// Opens the store of a project for `verb`; who has it where another process does.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn claim(project: Project, verb: &str) -> Result<Result<Held, Taken>> {
        let crash = CrashPlan::parse(&std::env::var(CRASH).unwrap_or_default())?;
        Ok(match Store::claim(&project.store, StoreOptions { crash, ..project.config.store_options(verb) })? {
            Claim::Owned(store) => Ok(Held::new(project, *store, verb)),
            Claim::Taken(taken) => Err(taken),
        })
    }

    fn new(project: Project, store: Store, verb: &str) -> Held {
        let owned = Arc::new(Owned {
            project,
            store: Arc::new(store),
            compiled: Mutex::default(),
            fed: Mutex::default(),
            pinned: AllPinned::default(),
            ends: Mutex::default(),
            backfilling: Mutex::default(),
            live: OnceLock::new(),
            watching: OnceLock::new(),
        });
        let asked = Arc::clone(&owned);
        let answer = move |verb: &str, question: &str, progress: &Progress<'_>| {
            ask::answer(&asked, verb, question, progress).map_err(|error| failure::as_told(&error))
        };
        let owner = Description::new(verb, owned.project.store.display().to_string(), SystemClock.now());
        let server = Server::start(&owned.project.store, owner, Arc::new(answer));
        if let Err(error) = &server {
            tracing::warn!(%error, "nobody else can ask about the store until this ends");
        }
        Held { _server: server.ok(), owned }
    }
}

impl Held {
    /// The same, for a thread that goes on while this is held.
    pub fn shared(&self) -> Arc<Owned> {
        Arc::clone(&self.owned)
    }
}

impl Deref for Held {
    type Target = Owned;

    fn deref(&self) -> &Owned {
        &self.owned
    }
}
