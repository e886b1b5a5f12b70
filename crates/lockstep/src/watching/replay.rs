//! What was served, computed again all the time: `lockstep audit`'s own replay, of the newest vectors of the feature log, at a share of one core.
//!
//! An audit reads inputs from their beginning, which takes the longer the older a store is. Here the store is held as it was a moment before the vectors were served ([`held`]), and what came
//! since is read again, admitted and folded by the offline driver. So a round costs what came since, for ever; each event goes through one round or another; and of entities that are asked for, the
//! trees are built anew of their events, so that no tile of the store is believed. What came before the server looked first is for `lockstep audit`.

mod held;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_ingest::offline::Since;
use lockstep_model::{Clock, SystemClock};
use lockstep_serve::watch::reading::ReplayReading;
use lockstep_store::{CutRead, OnlineStore};

use super::config::ReplayConfig;
use crate::audit::{Audited, Inputs, Versions, audit};
use crate::bytes::Bytes;
use crate::feature_log::{LogDir, LogFile};
use crate::kept::{Kept, KeptFile};
use crate::owned::Owned;
use crate::verbs::verify;
use held::{Group, Held};

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
        let (mut pause, mut rounds) = (every, Rounds::new(owned, config));
        while wait(pause, stop, || rounds.look()) {
            let begun = Instant::now();
            let round = rounds.next(stop);
            let rest = begun.elapsed().div_f64(config.share.0.max(1e-3)).saturating_sub(begun.elapsed());
            pause = every.max(rest);
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            match round {
                Ok(all) => all.into_iter().for_each(|audited| add(&mut reading, audited)),
                Err(error) => reading.why_not = Some(format!("{error:#}")),
            }
        }
    }
}

/// Waits, but not for longer than until it is told to end; whether it is to go on.
fn wait(pause: Duration, stop: &AtomicBool, mut meanwhile: impl FnMut()) -> bool {
    let mut waited = Duration::ZERO;
    while waited < pause && !stop.load(Ordering::Relaxed) {
        meanwhile();
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    !stop.load(Ordering::Relaxed)
}

/// What is known from round to round.
struct Rounds<'o> {
    owned: &'o Owned,
    config: &'o ReplayConfig,
    /// The number of the last file of the log that was looked at.
    through: u64,
    held: Held<'o>,
    versions: Versions,
}

impl<'o> Rounds<'o> {
    /// From now on: what is logged already was served before.
    fn new(owned: &'o Owned, config: &'o ReplayConfig) -> Rounds<'o> {
        let through = files(owned).ok().and_then(|files| files.last().map(|file| file.named.number)).unwrap_or_default();
        let roll = owned.project.config.serve.feature_log.as_ref().map_or(0, |log| log.roll.micros());
        let mut rounds = Rounds { owned, config, through, held: Held::new(roll), versions: Versions::default() };
        rounds.look();
        rounds
    }

    /// Holds the store as it is, now and then.
    fn look(&mut self) {
        if self.held.is_due(SystemClock.now()) {
            let cut = OnlineStore::cut(&*self.owned.store);
            self.held.hold(SystemClock.now(), cut);
        }
    }

    /// Audits the newest vectors of the log that were not audited yet.
    fn next(&mut self, stop: &AtomicBool) -> Result<Vec<Audited>> {
        // What comes to the log from here on was served since, or waited for its file meanwhile.
        let (owned, begun) = (self.owned, SystemClock.now());
        let kept = self.newest()?;
        let now = OnlineStore::cut(&*owned.store);
        let (groups, early) = self.held.groups(&*now, kept, self.config.events_max)?;
        self.versions.find_all(&*now, groups.iter().flat_map(|group| group.kept.iter()))?;
        let (files, models) = (verify::files(owned, &*now)?, owned.models());
        let go_on = |_: &str| if stop.load(Ordering::Relaxed) { bail!("the server ends") } else { Ok(()) };
        let go_on = |text: &str| go_on(text).map_err(|error| crate::failure::as_told(&error));
        let mut all = vec![early];
        for Group { base, today, kept } in &groups {
            let since = Since { cut: self.held.cut(*base), events_max: self.config.events_max };
            let inputs = Inputs { files: &files, models: &models, since: Some(since) };
            let today: &dyn CutRead = today.map_or(&*now, |held| self.held.cut(held));
            all.push(audit(today, &self.versions, inputs, kept, false, &go_on)?);
        }
        self.held.let_go(begun);
        Ok(all)
    }

    /// Vectors that are in the log since it was looked at last: the newest, as many as are wanted.
    fn newest(&mut self) -> Result<Vec<Kept>> {
        let files = files(self.owned)?;
        let mut kept: Vec<Kept> = Vec::new();
        for file in files.iter().rev().take_while(|file| file.named.number > self.through) {
            let enough = |kept: &Vec<Kept>| kept.iter().map(Kept::len).sum::<usize>() >= self.config.vectors;
            if enough(&kept) {
                break;
            }
            let bytes = Bytes(fs::read(&file.path).with_context(|| format!("read {}", file.path.display()))?);
            let read = KeptFile { name: file.path.display().to_string(), bytes }.read()?;
            for some in read.into_iter().rev() {
                if !enough(&kept) {
                    kept.push(some);
                }
            }
        }
        self.through = files.last().map_or(self.through, |file| self.through.max(file.named.number));
        Ok(kept)
    }
}

fn files(owned: &Owned) -> Result<Vec<LogFile>> {
    LogDir::new(owned.project.feature_log_dir()).files()
}

fn add(reading: &mut ReplayReading, audited: Audited) {
    let Audited { vectors, replay, hindsight, not_auditable, predictions, differing, .. } = audited;
    if vectors == 0 {
        return;
    }
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
