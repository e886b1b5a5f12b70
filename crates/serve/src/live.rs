//! What a server answers from: the definitions that serve, and the newest state of the store.

mod serving;
mod state;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use lockstep_model::{Clock, Error, EventTime};
use lockstep_store::{CutRead, Figures, NotInMemory, OnlineStore, Release, SharedCut, SharedRead, Snapshot, Store};
use lockstep_transform::next_event::NextEvent;

use crate::scoring::{Deployed, Models};
use crate::{Lags, SourceLag};

pub use serving::{Compiled, ReleaseAt};
use serving::{Serving, compiled_set};
pub use state::{PinnedAt, Standing, State, check_moments, newest};

/// Snapshots whose definitions are kept compiled.
const SNAPSHOTS_MAX: usize = 4;

/// How long a state may be used while a newer one is being read, µs.
const OLDER_STATE_FOR: i64 = 1_000_000;

/// How far a request goes for what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To what is in memory: it never waits for a disk, and fails where that would have to be asked ([`NotInMemory`]).
    Memory,
    /// To the disk, which may make it wait.
    Disk,
}

/// What lies over a store when it is read: in tests, a disk that stalls.
pub type Layer = dyn Fn(SharedCut) -> Box<dyn SharedRead> + Send + Sync;

/// A store that is read while it is written to. Between two commits all requests share one cut, so that what a cut has to look up is looked up once.
pub struct Live {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    lags: Arc<Lags>,
    next: Arc<dyn NextEvent>,
    serving: ArcSwap<Serving>,
    state: ArcSwap<State>,
    /// Held by who takes the next cut. Nobody waits for it: the cut before is as good for a moment.
    refreshing: Mutex<()>,
    /// Since when, µs; 0 where nobody does.
    refreshing_since: AtomicI64,
    layer: Box<Layer>,
    /// Those asked for last come first.
    compiled: Mutex<Vec<Arc<Compiled>>>,
    /// Snapshots that were asked for, those asked for last first.
    snapshots: Mutex<Vec<(Arc<Snapshot>, Arc<State>)>>,
    /// What loads models; `None` where nothing is scored.
    models: Option<Models>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Live {
    /// A store, read as its release says; where none was promoted, by the newest definitions all of whose generations keep up with their logs (see [`chosen::chosen`]). `next`
    /// decides what a request comes to that is an event.
    ///
    /// # Errors
    /// NotFound where no definitions were applied; Invalid where this release has something against them.
    pub fn new(store: Arc<Store>, clock: Arc<dyn Clock>, lags: Arc<Lags>, next: Arc<dyn NextEvent>) -> Result<Live, Error> {
        let plain = |cut: SharedCut| -> Box<dyn SharedRead> { Box::new(cut) };
        Live::under(Box::new(plain), store, clock, lags, next)
    }

    /// As [`Self::new`], with something between the store and who reads it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn under(layer: Box<Layer>, store: Arc<Store>, clock: Arc<dyn Clock>, lags: Arc<Lags>, next: Arc<dyn NextEvent>) -> Result<Live, Error> {
        let compiled = Mutex::default();
        let serving = Serving::choose(&store, &|definitions| compiled_set(&compiled, definitions, &next))?;
        let state = State::new(&store, &layer, &serving, Reach::Disk)?;
        let (serving, state) = (ArcSwap::from_pointee(serving), ArcSwap::from_pointee(state));
        let (refreshing, refreshing_since) = (Mutex::default(), AtomicI64::new(0));
        let snapshots = Mutex::default();
        Ok(Live { store, clock, lags, next, serving, state, refreshing, refreshing_since, layer, compiled, snapshots, models: None })
    }

    /// Scores, too: loads the models that are deployed in what serves, and from then on those of whatever is to serve, before it does.
    ///
    /// # Errors
    /// Where a model cannot be loaded.
    pub fn scoring(self, models: Models) -> Result<Live, Error> {
        let live = Live { models: Some(models), ..self };
        let serving = live.choose()?;
        live.state.store(Arc::new(State::new(&live.store, &live.layer, &serving, Reach::Disk)?));
        live.serving.store(Arc::new(serving));
        Ok(live)
    }

    /// What is to serve, compiled and with its models loaded.
    fn choose(&self) -> Result<Serving, Error> {
        let serving = Serving::choose(&self.store, &|definitions| compiled_set(&self.compiled, definitions, &self.next))?;
        serving.scoring(self.models.as_ref())
    }

    /// What is read.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The clock that says what time it is.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What time it is.
    pub fn now(&self) -> EventTime {
        self.clock.now()
    }

    /// The store's own figures.
    ///
    /// # Errors
    /// Where RocksDB does not tell.
    pub fn figures(&self) -> Result<Figures, Error> {
        self.store.figures()
    }

    /// How the logs stand that are followed here.
    pub fn lags(&self) -> &Arc<Lags> {
        &self.lags
    }

    /// How the logs of a source stand, as the generation sees them that is furthest behind of those that serve; `None` where none of them is fed from it here.
    pub fn source_lag(&self, state: &State, source: &str, now: EventTime) -> Option<Arc<SourceLag>> {
        let generations = state.catalog().views.keys().filter_map(|view| state.served.generation(view));
        generations.filter_map(|info| self.lags.source(info.generation, source)).max_by_key(|lag| lag.at(now.0))
    }

    /// The definitions that serve.
    pub fn definitions(&self) -> Arc<Compiled> {
        Arc::clone(&self.serving.load().compiled)
    }

    /// The release that serves; `None` where none was promoted yet.
    pub fn release(&self) -> Option<ReleaseAt> {
        self.serving.load().release
    }

    /// The newest state, or one from a moment ago where another request is taking that.
    ///
    /// # Errors
    /// Where the store cannot be read, or is not in memory as far as is needed.
    pub fn state(&self, reach: Reach) -> Result<Arc<State>, Error> {
        let state = self.state.load_full();
        if state.sequence == self.store.sequence() {
            return Ok(state);
        }
        let Ok(_refreshing) = self.refreshing.try_lock() else { return self.older(state, reach) };
        self.refreshing_since.store(self.now().0, Ordering::Relaxed);
        let next = State::new(&self.store, &self.layer, &self.serving.load(), reach).map(Arc::new);
        self.refreshing_since.store(0, Ordering::Relaxed);
        let next = next?;
        self.state.store(Arc::clone(&next));
        Ok(next)
    }

    /// A state that is not the newest any more. It is as good for a moment; where who reads the newest waits for the disk, it is not.
    fn older(&self, state: Arc<State>, reach: Reach) -> Result<Arc<State>, Error> {
        let since = self.refreshing_since.load(Ordering::Relaxed);
        if since == 0 || self.now().0.saturating_sub(since) <= OLDER_STATE_FOR {
            return Ok(state);
        }
        match reach {
            Reach::Memory => Err(NotInMemory.into()),
            Reach::Disk => {
                Err(Error::unavailable("the newest state of the store is being read, and its disk does not answer · try again in a moment"))
            }
        }
    }

    /// The state that was read last, whatever was written since. Nothing is read.
    pub fn last_state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Takes up what has changed while nobody asked: a cut that is kept for long keeps on the disk what was replaced since, definitions may have been applied, and the
    /// pointer to what serves may have moved. To be called every second or so, and right after the pointer was moved. It may take the time that compiling takes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn refresh(&self) -> Result<(), Error> {
        self.forget_snapshots();
        if self.may_be_another() {
            // What takes long is done before, so that requests go on from newer and newer states.
            drop(self.choose()?);
            // Held from before the pointer is read, so that of two who refresh at once none puts back what the other has replaced.
            let _refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
            let next = self.choose()?;
            let serving = self.serving.load();
            if next.compiled.version != serving.compiled.version || next.release != serving.release {
                tracing::info!(definitions = next.compiled.version, release = next.release.map(|at| at.release), "something else serves");
                // The state first: whoever takes the next one from what serves finds both.
                self.state.store(Arc::new(State::new(&self.store, &self.layer, &next, Reach::Disk)?));
                self.unload_others([next.compiled.version, serving.compiled.version]);
                self.serving.store(Arc::new(next));
            }
        }
        self.state(Reach::Disk).map(|_| ())
    }

    /// Closes snapshots that were dropped: one that is open keeps its room on the disk.
    fn forget_snapshots(&self) {
        let shelf = self.store.snapshots();
        let is_there = |state: &State| state.snapshot.as_ref().is_some_and(|snapshot| shelf.find(&snapshot.name).is_ok());
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, state)| is_there(state));
    }

    /// Whether something else may have to serve by now.
    fn may_be_another(&self) -> bool {
        let serving = self.serving.load();
        match serving.release {
            Some(at) => at.epoch != self.store.serving_epoch(),
            None => self.store.serving_epoch() > 0 || self.store.definitions_version() != serving.compiled.version,
        }
    }

    /// Lets models go that neither serve nor did before, so that going back takes no time.
    fn unload_others(&self, kept: [u64; 2]) {
        let sets = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        sets.iter().filter(|compiled| !kept.contains(&compiled.version)).for_each(|compiled| compiled.unload());
    }

    /// A deployment of what serves, loaded to be run by so many threads, for whoever scores little.
    ///
    /// # Errors
    /// NotFound where there is none of the name; where a model cannot be loaded.
    pub fn load_one(&self, models: &Models, name: &str, threads: usize) -> Result<Deployed, Error> {
        self.definitions().load_one(models, name, threads)
    }

    /// Ends the threads of all models that serve; what waits for them is answered before. Called once nobody asks any more.
    pub fn finish(&self) {
        self.last_state().deployments().finish();
    }

    /// Compiles a set of definitions that is about to serve and loads its models, so that [`Self::refresh`] takes it up at once.
    ///
    /// # Errors
    /// NotFound where no such set was applied; Invalid where this release has something against it; Data where a model cannot be loaded.
    pub fn prepare(&self, definitions: u64) -> Result<(), Error> {
        self.definitions_numbered(definitions)?.deployments(self.models.as_ref()).map(|_| ())
    }

    /// The newest state as an earlier set of definitions reads it.
    ///
    /// # Errors
    /// NotFound where no such set was applied; as [`Self::new`]. Takes the time of compiling where it was not asked for lately.
    pub fn pinned(&self, version: u64) -> Result<Arc<State>, Error> {
        let state = self.state(Reach::Disk)?;
        if state.version == version {
            return Ok(state);
        }
        let compiled = self.definitions_numbered(version)?;
        let pinned = Serving { compiled, release: None, generations: None, deployments: Arc::default() };
        Ok(Arc::new(State::new(&self.store, &self.layer, &pinned, Reach::Disk)?))
    }

    /// The newest state as a release reads it, whether it serves or not.
    ///
    /// # Errors
    /// As [`Self::pinned`].
    pub fn of_release(&self, release: &Release) -> Result<Arc<State>, Error> {
        let compiled = self.definitions_numbered(release.new.definitions)?;
        let generations = Some(release.new.generations.clone());
        let serving = Serving { compiled, release: None, generations, deployments: Arc::default() };
        Ok(Arc::new(State::new(&self.store, &self.layer, &serving, Reach::Disk)?))
    }

    /// A snapshot of the store, read by its own definitions. It is opened where it was not lately, which reads every byte of it once.
    ///
    /// # Errors
    /// NotFound where there is none of the name; Data where it is damaged; Invalid where this release has something against its definitions.
    pub fn snapshot(&self, name: &str) -> Result<Arc<State>, Error> {
        let states = || self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.store.open_snapshot(name)?;
        if let Some((_, state)) = states().iter().find(|(known, _)| Arc::ptr_eq(known, &snapshot)) {
            return Ok(Arc::clone(state));
        }
        let manifest = snapshot.manifest();
        let number = manifest.definitions.as_ref().map_or(0, |definitions| definitions.version);
        let without = || Error::data(format!("snapshot `{name}` is of definitions number {number}, which it does not have"));
        let definitions = snapshot.cut().definitions_numbered(number)?.ok_or_else(without)?;
        let compiled = compiled_set(&self.compiled, &definitions, &self.next)?;
        let generations = Some(manifest.generations.iter().map(|known| known.generation).collect());
        let at = PinnedAt { name: name.to_owned(), moment: manifest.moment };
        let serving = Serving { compiled, release: None, generations, deployments: Arc::default() };
        let state = Arc::new(State::of_snapshot(&snapshot, at, &serving)?);
        let mut states = states();
        states.truncate(SNAPSHOTS_MAX - 1);
        states.insert(0, (snapshot, Arc::clone(&state)));
        Ok(state)
    }

    fn definitions_numbered(&self, version: u64) -> Result<Arc<Compiled>, Error> {
        let found = OnlineStore::cut(&*self.store).definitions_numbered(version)?;
        let unknown = || {
            let latest = self.store.definitions_version();
            Error::not_found(format!("no definitions number {version} were applied · the newest are number {latest}"))
        };
        compiled_set(&self.compiled, &found.ok_or_else(unknown)?, &self.next)
    }
}
