//! `verify`: is what is served what history says?

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use lockstep_ingest::offline::Files;
use lockstep_ingest::source::Stores;
use lockstep_model::TimeMode;
use lockstep_store::OnlineStore;

use super::Context;
use crate::failure::Outcome;
use crate::feed;
use crate::progress::Display;
use crate::verify::{VerifyOptions, self_test, verify, verify_served};

/// Compute everything that the store says again from the inputs, and compare it bit by bit
///
/// Reads every input as far as the store has applied it. Each value is computed by the online store, by the offline driver in memory, and by an oracle
/// (DataFusion running the view's own SQL): at events, at the edges of windows and a microsecond to either side, and at random moments. Every event, tile
/// and remembered key of the store is compared too. Exits with 1 if anything differs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many values to compare, about
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub values: usize,
    /// Decides the random moments
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Which clock counts events; each view's own by default
    #[arg(long, value_enum)]
    pub time: Option<Time>,
    /// How many rows the oracle may look at, per view, where every moment sees rows of its own
    #[arg(long, value_name = "N", default_value_t = 30_000_000)]
    pub oracle_rows: usize,
    /// Instead, compute the answers that a directory keeps again, as they were served
    #[arg(long, value_name = "DIR", conflicts_with_all = ["values", "seed", "time", "oracle_rows", "self_test"])]
    pub served: Option<PathBuf>,
    /// Instead, damage a copy of the store in one place after the other, and see whether each is noticed
    #[arg(long)]
    pub self_test: bool,
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
    let files = Files { base: project.dir.clone(), stores: Stores::local() };
    if let Some(dir) = &arguments.served {
        let report = verify_served(&catalog, &*OnlineStore::cut(&store), &targets, &files, dir)?;
        context.out.show(&report)?;
        return Ok(Outcome::of(report.differ == 0));
    }
    let Arguments { values, seed, oracle_rows, .. } = *arguments;
    let options = VerifyOptions { values, seed, time: arguments.time.map(TimeMode::from), oracle_rows, files };
    if arguments.self_test {
        let report = self_test(&catalog, &store, project.config.store_options("verify --self-test"), &targets, &options)?;
        context.out.show(&report)?;
        return Ok(Outcome::of(report.all_noticed()));
    }
    let mut display = Display::new();
    let cut = OnlineStore::cut(&store);
    let report = verify(&catalog, &*cut, &targets, &options, &mut |progress| display.show(progress));
    display.finish();
    let report = report?;
    context.out.show(&report)?;
    Ok(Outcome::of(report.agrees()))
}
