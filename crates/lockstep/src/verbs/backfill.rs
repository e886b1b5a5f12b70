//! `backfill`: fills new generations with history.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use lockstep_ingest::pipeline::Progress as PipelineProgress;
use lockstep_model::EventTime;
use lockstep_serve::admin::Progress;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::feed::{self, Backfilled};
use crate::owned::Owned;
use crate::progress::Display;

/// How often who asked is told how far it is, and by that whether anybody waits for it.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Fill new versions of views with their history, and publish them
///
/// Reads the batch files of the sources and loads them into generations that nobody sees until they are whole. Run it again after a crash: it does what is
/// missing. Views that have published state are left alone.
///
/// Beside a `lockstep serve` or `lockstep ingest` it is that process which backfills, within `memory.backfill`, and goes on with its work meanwhile; a new version then
/// catches up with the logs, and serves once it has. Ended before it is done, this command stops the backfill too; run again, it goes on.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these views
    #[arg(value_name = "VIEW")]
    pub views: Vec<String>,
    /// Only what was known before this moment: the stream brings the rest
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub until: Option<EventTime>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Only these views; all where empty.
    pub views: Vec<String>,
    /// Only what was known before this moment.
    pub until: Option<EventTime>,
}

/// Backfills, or has who feeds the store do it.
///
/// # Errors
/// Where an input cannot be read or the store cannot be written.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { views, until } = arguments;
    let filled = match context.own_or_ask(&context.project()?, "backfill")? {
        Some(held) => {
            let mut display = Display::new();
            let report = feed::run_backfill(&held, views, *until, &feed::stop_on_signals()?, &mut |progress| display.show(progress));
            display.finish();
            Backfilled::from(report?)
        }
        None => context.ask(&Question { views: views.clone(), until: *until })?,
    };
    context.out.show(&filled)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "backfill";
    const WRITES: bool = true;
    const RESUMES: bool = true;
    type Answer = Backfilled;

    /// Backfills on a thread of its own, so that nobody waiting for it any more is noticed whatever it is at.
    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Backfilled> {
        let (stop, said) = (Arc::<AtomicBool>::default(), Mutex::new("begins to backfill".to_owned()));
        let mut gone = None;
        let report = thread::scope(|scope| {
            let observe = |progress: &PipelineProgress| *said.lock().unwrap_or_else(PoisonError::into_inner) = told(progress);
            let (stopped, mut observe) = (Arc::clone(&stop), observe);
            let work = scope.spawn(move || feed::run_backfill(owned, &self.views, self.until, &stopped, &mut observe));
            while !work.is_finished() && gone.is_none() {
                thread::sleep(TELL_EVERY);
                let text = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                gone = progress(&text).err();
                stop.store(gone.is_some(), Ordering::Relaxed);
            }
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        match gone {
            Some(error) if report.stopped => Err(error.into()),
            _ => Ok(report.into()),
        }
    }
}

fn told(progress: &PipelineProgress) -> String {
    let PipelineProgress { stage, rows, bytes, bytes_total, .. } = progress;
    let share = bytes_total.filter(|total| *total > 0).map(|total| format!("{}% ", bytes * 100 / total)).unwrap_or_default();
    format!("{share}{stage} · {rows} rows")
}
