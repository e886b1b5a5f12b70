//! Carrying what waits in queues, each on a thread of its own, for as long as some work goes on.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lockstep_model::{Clock, Error};
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::SourcePlan;

use super::Outlets;
use super::letters::Letters;
use super::roll::Roller;

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
    let mut carriers: Vec<Box<dyn Carrier + 'a>> = Vec::new();
    for source in sources {
        if let (Some(logs), Some(keep)) = (&outlets.applied, source.options.applied_log) {
            carriers.push(Box::new(Roller::new(store, logs, source, keep, outlets.rolling, clock)));
        }
        if let (Some(routes), Some(sink)) = (&outlets.letters, &source.options.dead_letters) {
            carriers.push(Box::new(Letters::new(store, routes, &source.name, sink)));
        }
    }
    carriers
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
