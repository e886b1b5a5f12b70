//! Gives up threads that hang, and refuses what is too late while all are at work.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::state::State;
use super::{HUNG_MORE, PoolError, Shared, now, worker};

/// How long it sleeps at the most while something runs: a deadline that comes sooner than those that it knows of is seen by then.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_EVERY_AT_LEAST: Duration = Duration::from_millis(1);
/// How often it looks after nothing has run any more before it sleeps until it is woken: being woken costs each request that comes alone some microseconds.
const LOOKS_AT_NOTHING: u32 = 50;

/// Watches until the pool has ended.
pub fn watch(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    let (mut runs, mut looks_at_nothing) = (0, 0);
    loop {
        look(shared, &mut state);
        if state.ending && state.workers.is_empty() {
            // Whatever waits has nobody left to run it.
            state.refuse(&PoolError::Ended);
            return;
        }
        let next = state.next_look();
        let is_nothing = next.is_none() && state.counted.runs == runs;
        runs = state.counted.runs;
        looks_at_nothing = if is_nothing { looks_at_nothing + 1 } else { 0 };
        if looks_at_nothing > LOOKS_AT_NOTHING {
            state.unwatched = true;
            state = shared.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.unwatched = false;
            looks_at_nothing = 0;
        } else {
            let pause = next.map_or(LOOK_EVERY, |next| next.saturating_duration_since(now()));
            let pause = pause.clamp(LOOK_EVERY_AT_LEAST, LOOK_EVERY);
            state = shared.watch.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn look(shared: &Arc<Shared>, state: &mut State) {
    let now = now();
    state.drop_late(now);
    let stalled = |worker: &super::state::Worker| worker.run.as_ref().is_some_and(|run| run.stalls_at <= now);
    let numbers: Vec<u64> = state.workers.iter().filter(|(_, worker)| stalled(worker)).map(|(number, _)| *number).collect();
    for number in numbers {
        let run = state.workers.remove(&number).and_then(|worker| worker.run);
        state.hanging += 1;
        state.counted.hung += 1;
        tracing::warn!(runtime = %shared.model.runtime(), hanging = state.hanging, "a model does not answer: its thread is taken out of the pool");
        for (asked, block) in run.into_iter().flat_map(|run| run.of) {
            asked.block_ended(block, Err(PoolError::TimedOut(shared.options.timeout)));
        }
        // More of them would only hang beside the others, with a session each.
        let is_replaced = !state.ending && state.hanging <= shared.options.threads + HUNG_MORE;
        if is_replaced && let Err(error) = worker::start(shared, state, None) {
            tracing::error!(%error, "replace a thread of a model that hangs");
        }
    }
    if state.workers.is_empty() && !state.ending {
        state.refuse(&PoolError::Stuck(state.hanging));
    }
}
