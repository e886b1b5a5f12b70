//! `verify`: is what is served what history says?

use std::io;

use anyhow::Result;
use clap::{Args, ValueEnum};
use lockstep_ingest::offline::Files;
use lockstep_ingest::source::Stores;
use lockstep_model::{EventTime, TimeMode};
use lockstep_store::OnlineStore;

use super::Context;
use crate::failure::Outcome;
use crate::feed;
use crate::verify::{VerifyOptions, verify};

/// Compare the online state with what the offline driver computes, bit by bit
///
/// Reads every input again as far as the store has applied it, computes each view in memory, and compares values and statuses: at events, at
/// the edges of windows and a microsecond to either side, and at random moments. Exits with 1 if anything differs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many values to compare, about
    #[arg(long, default_value_t = 1_000_000)]
    pub values: usize,
    /// Decides the random moments
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Which clock counts events; each view's own by default
    #[arg(long, value_enum)]
    pub time: Option<Time>,
    /// The `--until` of the backfill
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub until: Option<EventTime>,
}

/// Which clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Time {
    /// When an event was known
    Known,
    /// When it happened
    Event,
}

impl From<Time> for TimeMode {
    fn from(time: Time) -> Self {
        match time {
            Time::Known => TimeMode::Known,
            Time::Event => TimeMode::Event,
        }
    }
}

/// Verifies the store of the project.
///
/// # Errors
/// Where the store or an input cannot be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let (store, catalog) = project.open("verify")?;
    let targets = feed::targets(&store, &catalog, true)?;
    let files = Files { base: project.dir.clone(), stores: Stores::local(), until: arguments.until };
    let options = VerifyOptions { values: arguments.values, seed: arguments.seed, time: arguments.time.map(TimeMode::from), files };
    let cut = OnlineStore::cut(&store);
    let reports = verify(&catalog, &*cut, &targets, &options, &mut io::stdout().lock())?;
    let differs = reports.iter().any(|report| report.differ() > 0);
    Ok(if differs { Outcome::Differs } else { Outcome::Fine })
}
