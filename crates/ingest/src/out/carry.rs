//! Carrying what waits in queues, each on a thread of its own, for as long as some work goes on.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lockstep_model::{Clock, Error};
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::SourcePlan;

use super::letters::Letters;
use super::roll::Roller;
use super::{Outlets, What};

/// Takes what waits in a queue to where it is to go.
pub(super) trait Carrier: Send {
    /// What messages call what it carries.
    fn name(&self) -> String;

    /// Puts in order what a crash has left. Called first, and again where it failed.
    ///
    /// # Errors
    /// Where that cannot be done now.
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Carries what is due; `is_last` says that nobody will ask again.
    ///
    /// # Errors
    /// Where it cannot be carried now. It waits.
    fn look(&mut self, is_last: bool) -> Result<(), Error>;
}

/// Does the work, while what it puts into queues is carried; then carries what is left of it.
///
/// # Errors
/// As the work has. Where it has none: what could not be carried in the end, which waits for the next run.
pub(crate) fn carry<T>(
    store: &dyn OnlineStore,
    outlets: &Outlets,
    sources: &[Arc<SourcePlan>],
    clock: &dyn Clock,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let carriers = carriers(store, outlets, sources, clock);
    let failed = Mutex::new(None);
    let done = thread::scope(|scope| {
        // They take the end of their channels for the end of the work, however that comes.
        let ends: Vec<_> = carriers
            .into_iter()
            .map(|mut carrier| {
                let (end, ended) = channel::<()>();
                let failed = &failed;
                scope.spawn(move || {
                    if let Err(error) = run(&mut *carrier, &ended, outlets.rolling.look_every) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                });
                end
            })
            .collect();
        let done = work();
        drop(ends);
        done
    })?;
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

fn carriers<'a>(
    store: &'a dyn OnlineStore,
    outlets: &'a Outlets,
    sources: &'a [Arc<SourcePlan>],
    clock: &'a dyn Clock,
) -> Vec<Box<dyn Carrier + 'a>> {
    let each = sources.iter().flat_map(|source| outlets.of(source).map(move |(what, _)| (source, what)));
    each.filter_map(|(source, what)| carrier(store, outlets, source, what, clock)).collect()
}

fn carrier<'a>(
    store: &'a dyn OnlineStore,
    outlets: &'a Outlets,
    source: &'a SourcePlan,
    what: What,
    clock: &'a dyn Clock,
) -> Option<Box<dyn Carrier + 'a>> {
    Some(match what {
        What::Applied => Box::new(Roller::new(store, outlets.applied.as_ref()?, source, source.options.applied_log?, outlets.rolling, clock)),
        What::Letters => Box::new(Letters::new(store, outlets.letters.as_ref()?, &source.name, source.options.dead_letters.as_ref()?)),
    })
}

/// Carries what several runs put into queues, a thread for each, for longer than any of them.
pub struct Carriers {
    store: Arc<dyn OnlineStore>,
    outlets: Outlets,
    clock: Arc<dyn Clock>,
    /// By queue.
    carried: BTreeMap<String, Carried>,
}

/// A queue that is carried as a source says.
struct Carried {
    source: Arc<SourcePlan>,
    /// Its end is taken for the end of the work.
    end: Sender<()>,
    thread: JoinHandle<Result<(), Error>>,
}

impl std::fmt::Debug for Carriers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carriers").field("queues", &self.carried.keys()).finish_non_exhaustive()
    }
}

impl Carriers {
    /// Carries nothing yet.
    pub fn new(store: Arc<dyn OnlineStore>, outlets: Outlets, clock: Arc<dyn Clock>) -> Carriers {
        Carriers { store, outlets, clock, carried: BTreeMap::new() }
    }

    /// Carries what leaves of these sources from now on, and nothing else. Of those of one name, the first that has a queue says how it is carried.
    pub fn carry<'s>(&mut self, sources: impl IntoIterator<Item = &'s Arc<SourcePlan>>) {
        let mut wanted: BTreeMap<String, (What, &Arc<SourcePlan>)> = BTreeMap::new();
        for source in sources {
            for (what, queue) in self.outlets.of(source) {
                wanted.entry(queue).or_insert((what, source));
            }
        }
        let stays = |queue: &String, carried: &Carried| wanted.get(queue).is_some_and(|(what, source)| is_same(*what, source, &carried.source));
        let ending: Vec<String> = self.carried.iter().filter(|(queue, carried)| !stays(queue, carried)).map(|(queue, _)| queue.clone()).collect();
        for carried in ending.iter().filter_map(|queue| self.carried.remove(queue)) {
            if let Err(error) = carried.finish() {
                tracing::warn!("{error}");
            }
        }
        for (queue, (what, source)) in wanted {
            if !self.carried.contains_key(&queue) {
                let carried = self.start(what, source);
                self.carried.insert(queue, carried);
            }
        }
    }

    fn start(&self, what: What, source: &Arc<SourcePlan>) -> Carried {
        let (end, ended) = channel();
        let (store, outlets, clock, plan) = (Arc::clone(&self.store), self.outlets.clone(), Arc::clone(&self.clock), Arc::clone(source));
        let thread = thread::spawn(move || match carrier(&*store, &outlets, &plan, what, &*clock) {
            Some(mut carrier) => run(&mut *carrier, &ended, outlets.rolling.look_every),
            None => Ok(()),
        });
        Carried { source: Arc::clone(source), end, thread }
    }

    /// Carries what is left, once nobody puts anything into queues any more.
    ///
    /// # Errors
    /// What could not be carried, which waits for the next run.
    pub fn finish(self) -> Result<(), Error> {
        let done: Vec<Result<(), Error>> = self.carried.into_values().map(Carried::finish).collect();
        done.into_iter().collect()
    }
}

impl Carried {
    fn finish(self) -> Result<(), Error> {
        drop(self.end);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Whether two declarations of a source have a queue carried alike.
fn is_same(what: What, a: &SourcePlan, b: &SourcePlan) -> bool {
    match what {
        What::Applied => a.options.applied_log == b.options.applied_log,
        What::Letters => a.options.dead_letters == b.options.dead_letters,
    }
}

/// The longest pause between two tries of what fails.
const PAUSE_MAX: Duration = Duration::from_secs(15);

fn run(carrier: &mut dyn Carrier, ended: &Receiver<()>, look_every: Duration) -> Result<(), Error> {
    let (mut begun, mut told, mut pause) = (false, None, look_every);
    loop {
        let is_last = !matches!(ended.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
        let carried = if begun { Ok(()) } else { carrier.begin() };
        begun = carried.is_ok();
        let carried = carried.and_then(|()| carrier.look(is_last));
        match carried {
            Ok(()) => (told, pause) = (None, look_every),
            Err(error) if is_last => return Err(waits(&*carrier, &error)),
            Err(error) => {
                // Said once for each time that it begins to fail, and tried ever more seldom.
                if told.as_ref() != Some(&error.to_string()) {
                    tracing::warn!("{}", waits(&*carrier, &error));
                    told = Some(error.to_string());
                }
                pause = (pause * 2).clamp(look_every, PAUSE_MAX.max(look_every));
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

fn waits(carrier: &dyn Carrier, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error} · what was applied is kept, and this waits in the store for the next try", carrier.name()))
}
