//! Watching what a server serves: who looks, how often, and what is told.
//!
//! Two threads. One looks: it folds the sampled answers, makes a reading, and has it judged. One computes again what was logged. Neither is waited for by a request, and the first waits for no
//! disk: what is in the store is read by the thread that looks after the server ([`Watching::measure`]), and what it read last is taken, however old. The same thread writes down what is to be
//! known after a restart.

pub mod config;
mod decided;
mod published;
mod replay;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use lockstep_model::{Clock, Error, EventTime, Generation, SystemClock};
use lockstep_serve::feature_log::{Taker, Vectors};
use lockstep_serve::live::{Live, Reach, State};
use lockstep_serve::server::{Service, Standing};
use lockstep_serve::watch::reading::{FeatureReading, HotKey, Reading, VersionReading, ViewReading};
use lockstep_serve::watch::{Limits, Severity, Signal, Skew, Stored, Watch, Watcher, kept, of_server};
use lockstep_store::OnlineStore;

pub use config::WatchConfig;
use decided::Decided;
use published::{Published, References};
use replay::Replays;

use crate::owned::Owned;
use crate::release::beside::Sample;

/// How often sampled answers are folded, and how many of that apart a reading is made.
const TICK: Duration = Duration::from_millis(100);
const LOOK_TICKS: u32 = 10;
/// How long it is waited for in the end.
const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// How many looks are between two times that windows are written down: five minutes.
const KEEP_LOOKS: u32 = 300;
/// The file in the store's directory that has them.
const KEPT: &str = "watched";
/// Drift is compared so many times a window, and not more often than at each look.
const COMPARED_A_WINDOW: i64 = 720;
/// The longest pause between two comparisons, µs.
const COMPARED_EVERY_MAX: i64 = 10_000_000;

/// What watches a server of this process.
#[derive(Debug)]
pub struct Watching {
    watcher: Arc<Watcher>,
    sample: Arc<Sample>,
    taken: Mutex<Option<Receiver<Vectors>>>,
    config: WatchConfig,
    measured: Mutex<Arc<Measured>>,
    references: Mutex<References>,
    decided: Decided,
    /// Where what is served is logged.
    log: OnceLock<PathBuf>,
    /// What windows have come to, to be written down.
    to_keep: Mutex<Option<Vec<u8>>>,
    replays: Arc<Replays>,
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What was read off the store last.
#[derive(Debug, Default)]
struct Measured {
    stored: Stored,
    versions: Vec<VersionReading>,
    /// What the runs predicted that are published.
    published: Published,
}

impl Watching {
    /// One that does not look yet.
    pub fn new(config: &WatchConfig) -> Arc<Watching> {
        let (sample, taken) = Sample::new();
        Arc::new(Watching {
            watcher: Arc::new(Watcher::new(config.limits())),
            sample,
            taken: Mutex::new(Some(taken)),
            config: config.clone(),
            measured: Mutex::default(),
            references: Mutex::default(),
            decided: Decided::default(),
            log: OnceLock::new(),
            to_keep: Mutex::default(),
            replays: Arc::default(),
            stop: Arc::default(),
            threads: Mutex::default(),
        })
    }

    /// What is to see the answers that are given.
    pub fn taker(&self) -> Arc<dyn Taker> {
        Arc::clone(&self.sample) as _
    }

    /// What is seen, for whoever asks.
    pub fn watcher(&self) -> Arc<Watcher> {
        Arc::clone(&self.watcher)
    }

    /// Reads off the store what signals are made of, and writes down what is to be known after a restart; waits for its disk. To be called every second or so.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn measure(&self, owned: &Owned, live: &Live) -> Result<()> {
        let state = live.state(Reach::Disk)?;
        let stored = Stored::read(&state.served, state.cut(Reach::Disk))?;
        let versions = versions::waiting(owned, Some(live.lags()))?;
        let published = self.references.lock().unwrap_or_else(PoisonError::into_inner).look(owned, state.catalog())?;
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Measured { stored, versions, published });
        self.keep(owned);
        Ok(())
    }

    /// Writes down what windows have come to, where that is due.
    fn keep(&self, owned: &Owned) {
        let Some(bytes) = self.to_keep.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if let Err(error) = kept::write(&owned.project.store.join(KEPT), &bytes) {
            tracing::warn!(%error, "write down what is watched");
        }
    }

    /// The windows as they were when the server before this one ended; empty ones where it was watched otherwise, or where what it left does not say it.
    fn goes_on(&self, owned: &Owned) -> Skew {
        let window = self.config.drift_window.micros();
        match kept::read(&owned.project.store.join(KEPT)) {
            Ok(Some((skew, past))) => {
                self.watcher.goes_on_with(past);
                if skew.window() == Skew::new(window).window() {
                    return skew;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "read what was watched before"),
        }
        Skew::new(window)
    }

    /// Begins to look.
    ///
    /// # Errors
    /// Internal where there can be no thread for it.
    pub fn start(self: &Arc<Self>, owned: &Arc<Owned>, live: &Arc<Live>, service: &Arc<Service>) -> Result<()> {
        self.sample.take_more(self.config.sampled_per_second.div_ceil(LOOK_TICKS));
        if owned.project.config.serve.feature_log.is_some() {
            let _ = self.log.set(owned.project.feature_log_dir());
        }
        let failed = |error| Error::internal(format!("start the thread that watches: {error}")).caused_by(error);
        let Some(taken) = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let (watching, live, service, skew) = (Arc::clone(self), Arc::clone(live), Arc::clone(service), self.goes_on(owned));
        let looks = thread::Builder::new().name("watch".to_owned()).spawn(move || watching.run(&live, &service, &taken, skew)).map_err(failed)?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(looks);
        if self.config.replay.share.0 > 0.0 && owned.project.config.serve.feature_log.is_some() {
            let (replays, owned, config, stop) = (Arc::clone(&self.replays), Arc::clone(owned), self.config.replay.clone(), Arc::clone(&self.stop));
            threads.push(thread::Builder::new().name("replay".to_owned()).spawn(move || replays.run(&owned, &config, &stop)).map_err(failed)?);
        }
        Ok(())
    }

    /// Looks no more, and writes down what it has seen. A thread that waits for a disk which does not answer is not waited for.
    pub fn finish(&self, owned: &Owned) {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for _ in 0..FINISH_WITHIN.as_millis() / TICK.as_millis() {
            if threads.iter().all(JoinHandle::is_finished) {
                return self.keep(owned);
            }
            thread::sleep(TICK);
        }
        tracing::warn!("what watches has not ended within {FINISH_WITHIN:?}, and is left");
    }

    fn run(&self, live: &Live, service: &Service, taken: &Receiver<Vectors>, skew: Skew) {
        let mut looking = Looking::new(skew);
        let since = live.now();
        let mut ticks = 0_u32;
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(TICK);
            ticks = ticks.wrapping_add(1);
            self.sample.take_more(self.config.sampled_per_second.div_ceil(LOOK_TICKS));
            let (state, now) = (live.last_state(), live.now());
            looking.fold(&state, taken.try_iter(), now);
            if ticks.is_multiple_of(LOOK_TICKS) {
                self.look(&mut looking, live, (service, &state), since);
            }
            if ticks.is_multiple_of(LOOK_TICKS * KEEP_LOOKS) {
                self.to_be_kept(&looking);
            }
        }
        self.to_be_kept(&looking);
    }

    fn to_be_kept(&self, looking: &Looking) {
        match self.watcher.to_keep(&looking.skew) {
            Ok(bytes) => *self.to_keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes),
            Err(error) => tracing::warn!(%error, "write down what is watched"),
        }
    }

    fn look(&self, looking: &mut Looking, live: &Live, (service, state): (&Service, &State), since: EventTime) {
        let measured = Arc::clone(&self.measured.lock().unwrap_or_else(PoisonError::into_inner));
        for (deployment, prediction, reference) in measured.published.iter() {
            looking.skew.published(deployment, prediction, reference);
        }
        let mut reading = of_server(&measured.stored, live, state, &service.metrics, since);
        reading.versions.clone_from(&measured.versions);
        looking.fill(&mut reading, live);
        self.who_decides(&mut reading, live.now());
        reading.replay = (self.config.replay.share.0 > 0.0 && service.logged().is_some()).then(|| self.replays.reading());
        reading.log_failing = service.logged().and_then(|figures| figures.failing);
        reading.breakers_open =
            service.breakers().into_iter().filter(|(_, seen)| seen.standing != Standing::Closed).map(|(of, _)| of.to_owned()).collect();
        for signal in self.watcher.look(reading, state.version, state.release.map(|at| at.release)) {
            tell(&signal);
        }
    }
}

impl Watching {
    /// Fills in who decides, where scores creep.
    fn who_decides(&self, reading: &mut Reading, now: EventTime) {
        match self.decided.fill(&mut reading.deployments, self.log.get(), now) {
            Ok(looks) => {
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.retain(|thread| !thread.is_finished());
                threads.extend(looks);
            }
            Err(error) => tracing::warn!(%error, "look who decides about rows"),
        }
    }
}

/// Says in the log that a signal was raised; without what was measured in words, which may name who was asked for.
fn tell(signal: &Signal) {
    let Signal { kind, subject, value, limit, cause, severity, .. } = signal;
    let (kind, subject, cause) = (kind.name(), subject.to_string(), cause.as_deref().unwrap_or_default());
    match severity {
        Severity::Critical => tracing::error!(kind, subject, value, limit, cause, "a signal was raised"),
        Severity::Warning => tracing::warn!(kind, subject, value, limit, cause, "a signal was raised"),
    }
}

/// What one thread has of what is served.
struct Looking {
    skew: Skew,
    every: i64,
    compared_at: i64,
    features: BTreeMap<String, Vec<FeatureReading>>,
    scores: BTreeMap<String, Vec<FeatureReading>>,
    /// Of requests, by service or view, and of events, by view.
    hottest: [BTreeMap<String, HotKey>; 2],
}

impl Looking {
    fn new(skew: Skew) -> Looking {
        let every = (skew.window() / COMPARED_A_WINDOW).min(COMPARED_EVERY_MAX);
        Looking {
            skew,
            every,
            compared_at: i64::MIN,
            features: BTreeMap::new(),
            scores: BTreeMap::new(),
            hottest: [BTreeMap::new(), BTreeMap::new()],
        }
    }

    fn fold(&mut self, state: &State, taken: impl Iterator<Item = Vectors>, now: EventTime) {
        let stages = || state.deployments().all().flat_map(|deployed| deployed.steps.iter());
        let trained = || stages().filter_map(|stage| Some((stage.model.bound.service.as_str(), stage.model.bound.training.as_ref()?)));
        self.skew.serves(state.version, trained());
        for vectors in taken {
            if let Err(error) = self.skew.fold(&vectors, now.0) {
                tracing::warn!(%error, name = vectors.name, "look at what was served");
            }
        }
    }

    /// Fills in what was compared, now or a moment ago.
    fn fill(&mut self, reading: &mut Reading, live: &Live) {
        let now = live.now();
        if now.0.saturating_sub(self.compared_at) >= self.every {
            self.compared_at = now.0;
            let came =
                |(name, view): (&String, &ViewReading)| Some((name.clone(), live.lags().entities().hottest(Generation(view.generation), name, now)?));
            (self.features, self.scores) = (self.skew.features(now.0), self.skew.scores(now.0));
            self.hottest = [self.skew.hottest(now.0), reading.views.iter().filter_map(came).collect()];
        }
        for (name, view) in &mut reading.views {
            view.hottest = self.hottest[1].get(name).cloned();
        }
        for (name, target) in &mut reading.targets {
            target.features = self.features.get(name).cloned().unwrap_or_default();
            target.hottest = self.hottest[0].get(name).cloned();
        }
        for (name, deployment) in &mut reading.deployments {
            deployment.scores = self.scores.get(name).cloned().unwrap_or_default();
        }
    }
}

/// What can be said of a store that nobody serves: what its sources and versions are like by now.
///
/// # Errors
/// Where it cannot be read.
pub fn of_store(owned: &Owned) -> Result<(Reading, Vec<Signal>)> {
    let cut = OnlineStore::cut(&*owned.store);
    let served = owned.answering(&*cut)?;
    let mut reading = Stored::read(&served, &*cut)?.reading(&served, SystemClock.now());
    reading.versions = versions::waiting(owned, None)?;
    let limits = Limits { raise_after: 0, ..owned.project.config.watch.limits() };
    let signals = Watch::new(limits).look(&mut reading);
    Ok((reading, signals))
}
