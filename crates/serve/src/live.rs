//! What a server answers from: the definitions that serve, and the newest state of the store.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use lockstep_model::position::watermark;
use lockstep_model::{Clock, Error, EventTime, Generation, PartitionId, Position};
use lockstep_store::{CutRead, Definitions, Figures, NewRelease, NotInMemory, OnlineStore, SharedCut, SharedRead, Snapshot, Store, StoreOptions};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{self, SourceFile};
use lockstep_transform::next_event::NextEvent;

use crate::desk::Wanted;
use crate::{Lags, Served, SourceLag, chosen};

/// Snapshots that are kept open, and the memory of each for what is read of it.
const SNAPSHOTS_MAX: usize = 4;
const SNAPSHOT_CACHE_BYTES: usize = 64 << 20;
/// Sets of definitions that are kept compiled beside those that serve.
const COMPILED_MAX: usize = 4;

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
    snapshots: Mutex<Vec<Arc<State>>>,
}

/// A set of definitions that was applied, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// Its number.
    pub version: u64,
    /// What it says.
    pub catalog: Arc<Catalog>,
    /// All outputs of each service and view, which is what most requests want.
    wanted: Arc<HashMap<String, Arc<Wanted>>>,
}

/// What serves: a set of definitions, and where a release said so, that release with the generations it named.
#[derive(Debug)]
struct Serving {
    compiled: Arc<Compiled>,
    release: Option<ReleaseAt>,
    generations: Option<Vec<Generation>>,
}

/// A release, and when it came to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseAt {
    /// The release.
    pub release: u32,
    /// How often the pointer to what serves had been moved.
    pub epoch: u64,
}

/// The store at one moment, as one set of definitions reads it.
pub struct State {
    cut: Box<dyn SharedRead>,
    /// The definitions, with the generation of each view.
    pub served: Served,
    /// The number of the definitions.
    pub version: u64,
    /// The release that it is; `None` where none was promoted, and for definitions that were pinned.
    pub release: Option<ReleaseAt>,
    /// The snapshot that it is; `None` for what is live.
    pub snapshot: Option<PinnedAt>,
    wanted: Arc<HashMap<String, Arc<Wanted>>>,
    sequence: u64,
    standings: OnceLock<Arc<Vec<Standing>>>,
}

/// A snapshot that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedAt {
    /// Its name.
    pub name: String,
    /// The moment up to which it answers.
    pub moment: EventTime,
    /// Which directory it is: another snapshot may come to have the name.
    made: (u64, Option<std::time::SystemTime>),
}

impl PinnedAt {
    /// Refuses moments that come after it.
    ///
    /// # Errors
    /// OutOfRange.
    pub fn check(&self, moments: &[i64]) -> Result<(), Error> {
        check_moments(&self.name, self.moment, moments)
    }
}

/// Refuses moments after that of a snapshot: not all that counts then is in it.
///
/// # Errors
/// OutOfRange.
pub fn check_moments(name: &str, moment: EventTime, moments: &[i64]) -> Result<(), Error> {
    match moments.iter().max() {
        Some(&latest) if latest > moment.0 => Err(Error::out_of_range(format!(
            "snapshot `{name}` answers up to {moment}, and {} is after that · ask for an earlier moment, or make another snapshot",
            EventTime(latest)
        ))),
        _ => Ok(()),
    }
}

/// How far one generation has come.
#[derive(Debug)]
pub struct Standing {
    /// The generation.
    pub generation: Generation,
    /// Where its logs stand.
    pub positions: Vec<(PartitionId, Position)>,
    /// The least of the newest event times of its logs, µs; absent until each source has one.
    pub watermark: Option<i64>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("store", &self.store).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("version", &self.version).field("sequence", &self.sequence).finish_non_exhaustive()
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
        Ok(Live { store, clock, lags, next, serving, state, refreshing, refreshing_since, layer, compiled, snapshots })
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
        if self.may_be_another() {
            // Held from before the pointer is read, so that of two who refresh at once none puts back what the other has replaced.
            let _refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
            let next = Serving::choose(&self.store, &|definitions| compiled_set(&self.compiled, definitions, &self.next))?;
            let serving = self.serving.load();
            if next.compiled.version != serving.compiled.version || next.release != serving.release {
                tracing::info!(definitions = next.compiled.version, release = next.release.map(|at| at.release), "something else serves");
                // The state first: whoever takes the next one from what serves finds both.
                self.state.store(Arc::new(State::new(&self.store, &self.layer, &next, Reach::Disk)?));
                self.serving.store(Arc::new(next));
            }
        }
        self.state(Reach::Disk).map(|_| ())
    }

    /// Whether something else may have to serve by now.
    fn may_be_another(&self) -> bool {
        let serving = self.serving.load();
        match serving.release {
            Some(at) => at.epoch != self.store.serving_epoch(),
            None => self.store.serving_epoch() > 0 || self.store.definitions_version() != serving.compiled.version,
        }
    }

    /// Compiles a set of definitions that is about to serve, so that [`Self::refresh`] takes it up at once.
    ///
    /// # Errors
    /// NotFound where no such set was applied; Invalid where this release has something against it.
    pub fn prepare(&self, definitions: u64) -> Result<(), Error> {
        self.definitions_numbered(definitions).map(|_| ())
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
        let pinned = Serving { compiled, release: None, generations: None };
        Ok(Arc::new(State::new(&self.store, &self.layer, &pinned, Reach::Disk)?))
    }

    /// A snapshot of the store, read by its own definitions. It is opened where it was not lately, which reads every byte of it once.
    ///
    /// # Errors
    /// NotFound where there is none of the name; Data where it is damaged; Invalid where this release has something against its definitions.
    pub fn snapshot(&self, name: &str) -> Result<Arc<State>, Error> {
        let open = || self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.store.snapshots().find(name)?;
        let made = std::fs::metadata(&dir).map(|dir| (dir.ino(), dir.modified().ok())).unwrap_or_default();
        let is_it = |state: &&Arc<State>| state.snapshot.as_ref().is_some_and(|snapshot| snapshot.name == name && snapshot.made == made);
        if let Some(known) = open().iter().find(is_it) {
            return Ok(Arc::clone(known));
        }
        let snapshot = Arc::new(Snapshot::open(dir, &StoreOptions { block_cache_bytes: SNAPSHOT_CACHE_BYTES, ..StoreOptions::new("serve") })?);
        let manifest = snapshot.manifest();
        let number = manifest.definitions.as_ref().map_or(0, |definitions| definitions.version);
        let all = snapshot.cut().definitions_history()?;
        let found = all.iter().find(|definitions| definitions.version == number);
        let without = || Error::data(format!("snapshot `{name}` is of definitions number {number}, which it does not have"));
        let compiled = compiled_set(&self.compiled, found.ok_or_else(without)?, &self.next)?;
        let generations = Some(manifest.generations.iter().map(|known| known.generation).collect());
        let at = PinnedAt { name: name.to_owned(), moment: manifest.moment, made };
        let serving = Serving { compiled, release: None, generations };
        let state = Arc::new(State::of_snapshot(&snapshot, at, &serving)?);
        let mut open = open();
        open.truncate(SNAPSHOTS_MAX - 1);
        open.insert(0, Arc::clone(&state));
        Ok(state)
    }

    fn definitions_numbered(&self, version: u64) -> Result<Arc<Compiled>, Error> {
        let all = OnlineStore::cut(&*self.store).definitions_history()?;
        let found = all.iter().find(|definitions| definitions.version == version);
        let latest = all.last().map_or(0, |definitions| definitions.version);
        let unknown = || Error::not_found(format!("no definitions number {version} were applied · the newest are number {latest}"));
        compiled_set(&self.compiled, found.ok_or_else(unknown)?, &self.next)
    }
}

impl Serving {
    /// What is to serve; `compile` compiles a set of definitions.
    fn choose(store: &Store, compile: &dyn Fn(&Definitions) -> Result<Arc<Compiled>, Error>) -> Result<Serving, Error> {
        let cut = store.cut();
        if let Some((release, switch)) = cut.serving()? {
            let history = cut.definitions_history()?;
            let NewRelease { definitions, generations, .. } = release.new;
            let found = history.iter().find(|known| known.version == definitions);
            let gone = || Error::data(format!("release {} is of definitions number {definitions}, which the store does not have", release.release));
            let at = ReleaseAt { release: release.release, epoch: switch.epoch };
            return Ok(Serving { compiled: compile(found.ok_or_else(gone)?)?, release: Some(at), generations: Some(generations) });
        }
        let compiled = chosen::chosen(&cut, compile, |compiled| &*compiled.catalog)?;
        let compiled = compiled.ok_or_else(|| Error::not_found("no definitions were applied to this store · run `lockstep apply`"))?;
        Ok(Serving { compiled, release: None, generations: None })
    }

    /// Its views, with their generations.
    fn served(&self, cut: &dyn CutRead) -> Result<Served, Error> {
        Served::among(Arc::clone(&self.compiled.catalog), cut, self.generations.as_deref())
    }
}

/// A set of definitions, compiled where it was not lately.
fn compiled_set(known: &Mutex<Vec<Arc<Compiled>>>, definitions: &Definitions, next: &Arc<dyn NextEvent>) -> Result<Arc<Compiled>, Error> {
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
    Ok(Compiled { version: definitions.version, catalog: Arc::new(catalog), wanted: Arc::new(wanted) })
}

impl Reach {
    fn of(self, cut: &dyn SharedRead) -> &dyn CutRead {
        match self {
            Reach::Memory => cut.in_memory(),
            Reach::Disk => cut.whole(),
        }
    }
}

impl State {
    fn new(store: &Arc<Store>, layer: &Layer, serving: &Serving, reach: Reach) -> Result<State, Error> {
        // Before the cut: a commit that comes between the two is in the cut, and makes the next request look again, which is harmless.
        let sequence = store.sequence();
        let cut = layer(SharedCut::new(store));
        let served = serving.served(reach.of(&*cut))?;
        let Serving { compiled, release, .. } = serving;
        let wanted = Arc::clone(&compiled.wanted);
        let (version, release, standings) = (compiled.version, *release, OnceLock::new());
        Ok(State { cut, served, version, release, snapshot: None, wanted, sequence, standings })
    }

    fn of_snapshot(snapshot: &Arc<Snapshot>, at: PinnedAt, serving: &Serving) -> Result<State, Error> {
        let cut: Box<dyn SharedRead> = Box::new(SharedCut::of_snapshot(snapshot));
        let served = serving.served(cut.whole())?;
        let Serving { compiled, release, .. } = serving;
        let wanted = Arc::clone(&compiled.wanted);
        let (version, release, standings) = (compiled.version, *release, OnceLock::new());
        Ok(State { cut, served, version, release, snapshot: Some(at), wanted, sequence: 0, standings })
    }

    /// What is read.
    pub fn cut(&self, reach: Reach) -> &dyn CutRead {
        reach.of(&*self.cut)
    }

    /// The definitions.
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.served.catalog()
    }

    /// Finds what is asked for.
    ///
    /// # Errors
    /// As [`Wanted::find`].
    pub fn wanted(&self, name: &str, features: &[String]) -> Result<Arc<Wanted>, Error> {
        match self.wanted.get(name) {
            Some(wanted) if features.is_empty() => Ok(Arc::clone(wanted)),
            _ => Wanted::find(self.catalog(), name, features).map(Arc::new),
        }
    }

    /// How far a view's generation has come; `None` where it has none.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn standing(&self, view: &str, reach: Reach) -> Result<Option<&Standing>, Error> {
        if self.standings.get().is_none() {
            let read = Arc::new(self.read_standings(reach)?);
            self.standings.get_or_init(|| read);
        }
        Ok(self.known_standing(view))
    }

    /// How far all views have come, for whoever wants to know it longer than there is the state.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn standings(&self, reach: Reach) -> Result<Arc<Vec<Standing>>, Error> {
        match self.standings.get() {
            Some(known) => Ok(Arc::clone(known)),
            None => {
                let read = Arc::new(self.read_standings(reach)?);
                Ok(Arc::clone(self.standings.get_or_init(|| read)))
            }
        }
    }

    /// As [`Self::standings`], where it was read before.
    pub fn known_standings(&self) -> Option<Arc<Vec<Standing>>> {
        self.standings.get().cloned()
    }

    /// As [`Self::standing`], where it was read before.
    pub fn known_standing(&self, view: &str) -> Option<&Standing> {
        let info = self.served.generation(view)?;
        self.standings.get()?.iter().find(|standing| standing.generation == info.generation)
    }

    fn read_standings(&self, reach: Reach) -> Result<Vec<Standing>, Error> {
        let mut standings = Vec::new();
        for (name, view) in &self.catalog().views {
            let Some(info) = self.served.generation(name) else { continue };
            let positions = self.cut(reach).positions(info.generation)?;
            let sources = self.catalog().sources_of(view);
            let watermark = sources.iter().map(|source| watermark(&positions, &source.name)).collect::<Option<Vec<_>>>();
            let watermark = watermark.and_then(|all| all.into_iter().min());
            standings.push(Standing { generation: info.generation, positions, watermark });
        }
        Ok(standings)
    }
}

/// The newest event time of a source in any view that serves, µs, as far as the standing of views was read.
pub fn newest(state: &State, source: &str) -> Option<i64> {
    let standings = state.catalog().views.keys().filter_map(|view| state.known_standing(view));
    let of_source = standings.flat_map(|standing| standing.positions.iter().filter(|(id, _)| id.source == source));
    of_source.filter_map(|(_, position)| position.event_time_max()).max()
}
