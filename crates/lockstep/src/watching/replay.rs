//! What was served, computed again all the time: `lockstep audit`'s own replay, of the newest vectors of the feature log, at a share of one core.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_model::{Clock, SystemClock};
use lockstep_serve::watch::reading::ReplayReading;
use lockstep_store::{CutRead, OnlineStore};

use super::config::ReplayConfig;
use crate::audit::{Audited, audit};
use crate::bytes::Bytes;
use crate::feature_log::LogDir;
use crate::kept::{Kept, KeptFile};
use crate::owned::Owned;
use crate::verbs::verify;

/// How often it looks whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Reasons that are told apart, and differences that are told, at most.
const TOLD_MAX: usize = 10;

/// What has come of it so far.
#[derive(Debug, Default)]
pub struct Replays {
    reading: Mutex<ReplayReading>,
}

impl Replays {
    /// What has come of it so far.
    pub fn reading(&self) -> ReplayReading {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Computes again until it is told to end.
    #[allow(clippy::disallowed_methods, reason = "how much of a core it takes; nothing is computed from it")]
    pub fn run(&self, owned: &Owned, config: &ReplayConfig, stop: &Arc<AtomicBool>) {
        let every = Duration::from_micros(u64::try_from(config.every.micros()).unwrap_or_default());
        let (mut pause, mut through) = (every, 0);
        while wait(pause, stop) {
            let begun = Instant::now();
            let round = round(owned, config, &mut through, stop);
            let rest = begun.elapsed().div_f64(config.share.0.max(1e-3)).saturating_sub(begun.elapsed());
            pause = every.max(rest);
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            match round {
                Ok(Some(audited)) => add(&mut reading, audited),
                Ok(None) => {}
                Err(error) => reading.why_not = Some(format!("{error:#}")),
            }
        }
    }
}

/// Waits, but not for longer than until it is told to end; whether it is to go on.
fn wait(pause: Duration, stop: &AtomicBool) -> bool {
    let mut waited = Duration::ZERO;
    while waited < pause && !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    !stop.load(Ordering::Relaxed)
}

/// What an audit of some vectors found, and the services and views of which something differs.
struct Round {
    audited: Audited,
    differing: Vec<String>,
}

/// Audits the newest vectors of the log that were not audited yet; `None` where there are none.
fn round(owned: &Owned, config: &ReplayConfig, through: &mut u64, stop: &AtomicBool) -> Result<Option<Round>> {
    let files = LogDir::new(owned.project.feature_log_dir()).files()?;
    let Some(newest) = files.last().map(|file| file.named.number).filter(|newest| newest > through) else { return Ok(None) };
    let mut kept: Vec<Kept> = Vec::new();
    for file in files.iter().rev().filter(|file| file.named.number > *through) {
        let bytes = Bytes(fs::read(&file.path).with_context(|| format!("read {}", file.path.display()))?);
        let read = KeptFile { name: file.path.display().to_string(), bytes }.read()?;
        for some in read.into_iter().rev() {
            if kept.iter().map(Kept::len).sum::<usize>() < config.vectors {
                kept.push(some);
            }
        }
    }
    *through = newest;
    let cut = OnlineStore::cut(&*owned.store);
    check_size(&*cut, &kept, config.events_max)?;
    let go_on = |_: &str| if stop.load(Ordering::Relaxed) { bail!("the server ends") } else { Ok(()) };
    let go_on = |text: &str| go_on(text).map_err(|error| crate::failure::as_told(&error));
    let files = verify::files(owned, &*cut)?;
    let models = owned.models();
    let audited = audit(&*cut, (&files, &models), &kept, false, &go_on)?;
    let mut differing = Vec::new();
    if !audited.holds() {
        let mut names: Vec<&str> = kept.iter().map(|kept| kept.from.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let of: Vec<Kept> = kept.iter().filter(|kept| kept.from.name == name).cloned().collect();
            if !audit(&*cut, (&files, &models), &of, false, &go_on)?.holds() {
                differing.push(name.to_owned());
            }
        }
    }
    Ok(Some(Round { audited, differing }))
}

/// Refuses to read inputs that are too much for memory.
fn check_size(cut: &dyn CutRead, kept: &[Kept], events_max: u64) -> Result<()> {
    let mut generations: Vec<_> = kept.iter().flat_map(|kept| kept.from.views.iter().map(|view| view.generation)).collect();
    generations.sort_unstable();
    generations.dedup();
    let mut events = 0;
    for generation in generations {
        events += cut.counters(generation)?.values().map(|counters| counters.applied).sum::<u64>();
    }
    if events > events_max {
        bail!("the views have {events} events, and [watch.replay] reads {events_max} at most · run `lockstep audit` when it suits you");
    }
    Ok(())
}

fn add(reading: &mut ReplayReading, Round { audited, differing }: Round) {
    let Audited { replay, hindsight, not_auditable, predictions, .. } = audited;
    reading.vectors += replay.vectors;
    reading.values += replay.values;
    reading.differ += replay.differ;
    reading.first.extend(replay.first);
    if let Some(predictions) = predictions {
        reading.values += predictions.values;
        reading.differ += predictions.differ;
        reading.first.extend(predictions.first);
    }
    reading.first.truncate(TOLD_MAX);
    for name in differing {
        if !reading.differing.contains(&name) {
            reading.differing.push(name);
        }
    }
    for reason in not_auditable {
        let why = if reading.not_auditable.len() < TOLD_MAX || reading.not_auditable.contains_key(&reason.why) {
            reason.why
        } else {
            "other reasons".to_owned()
        };
        *reading.not_auditable.entry(why).or_default() += reason.vectors;
    }
    reading.hindsight_values += hindsight.values;
    for (cause, values) in hindsight.causes {
        *reading.hindsight.entry(cause.word().to_owned()).or_default() += values;
    }
    (reading.last_micros, reading.why_not) = (Some(SystemClock.now().0), None);
}
