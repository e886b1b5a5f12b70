//! `verify`: is what is served what history says?

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueEnum};
use lockstep_ingest::kafka::Settings;
use lockstep_ingest::offline::Files;
use lockstep_ingest::source::Stores;
use lockstep_model::{Position, TimeMode};
use lockstep_serve::admin::Progress;
use lockstep_store::{CutRead, OnlineStore};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::feed;
use crate::kept::{self, KeptFile};
use crate::owned::Owned;
use crate::verify::{SelfTested, ServedReport, Verified, VerifyOptions, self_test, verify, verify_served};

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
    /// The set of definitions, by its number; by default that which serves, or the newest where no release was promoted
    #[arg(long, value_name = "NUMBER", conflicts_with = "served")]
    pub set: Option<u64>,
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
    let Arguments { values, seed, time, oracle_rows, served, self_test, set } = arguments;
    let how = match served {
        Some(dir) => How::Served(kept::files(dir)?),
        None => {
            let moments = Moments { values: *values, seed: *seed, time: time.map(TimeMode::from), oracle_rows: *oracle_rows };
            if *self_test { How::SelfTest(moments) } else { How::All(moments) }
        }
    };
    let (shown, held) = match context.ask(&Question { how, definitions: *set })? {
        Answer::All(report) => (context.out.show(&report), report.agrees()),
        Answer::Served(report) => (context.out.show(&report), report.differ == 0),
        Answer::SelfTest(report) => (context.out.show(&report), report.all_noticed()),
    };
    shown?;
    Ok(Outcome::of(held))
}

/// What to verify.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// What, and how.
    pub how: How,
    /// The number of the definitions; those that answer where absent.
    pub definitions: Option<u64>,
}

/// What to verify, and how.
#[derive(Debug, Serialize, Deserialize)]
pub enum How {
    /// Everything that the store says.
    All(Moments),
    /// Answers that were kept.
    Served(Vec<KeptFile>),
    /// Whether damage is noticed.
    SelfTest(Moments),
}

/// At which moments.
#[derive(Debug, Serialize, Deserialize)]
pub struct Moments {
    /// How many values to compare, about.
    pub values: usize,
    /// Decides the random ones.
    pub seed: u64,
    /// Which clock counts events.
    pub time: Option<TimeMode>,
    /// How many rows the oracle may look at, per view.
    pub oracle_rows: usize,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Of everything that the store says.
    All(Verified),
    /// Of answers that were kept.
    Served(ServedReport),
    /// Of damage.
    SelfTest(SelfTested),
}

impl ask::Question for Question {
    const VERB: &'static str = "verify";
    type Answer = Answer;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Answer> {
        let cut = OnlineStore::cut(&*owned.store);
        let catalog = match self.definitions {
            Some(number) => owned.definitions(number)?,
            None => Arc::clone(owned.answering(&*cut)?.catalog()),
        };
        let catalog = &*catalog;
        let targets = feed::targets(&*cut, catalog, true)?;
        let files = files(owned, &*cut)?;
        let options = |moments: &Moments| {
            let Moments { values, seed, time, oracle_rows } = *moments;
            VerifyOptions { values, seed, time, oracle_rows, files: files.clone() }
        };
        Ok(match &self.how {
            How::All(moments) => Answer::All(verify(catalog, &*cut, &targets, &options(moments), progress)?),
            How::Served(kept) => Answer::Served(verify_served(catalog, &*cut, &targets, &files, &kept::read(kept)?, progress)?),
            How::SelfTest(moments) => {
                let copied = owned.project.config.store_options("verify --self-test");
                Answer::SelfTest(self_test(catalog, &owned.store, copied, &targets, &options(moments), progress)?)
            }
        })
    }
}

/// Where the inputs of a store are.
///
/// # Errors
/// Where the store cannot be read, or the settings do not say where brokers are that topics were read from.
pub fn files(owned: &Owned, cut: &dyn CutRead) -> Result<Files> {
    Ok(Files { base: owned.project.dir.clone(), stores: Stores::local(), kafka: brokers(owned, cut)?, push: Some(owned.project.push_dir()) })
}

/// How to speak to the brokers, where any topic was read.
fn brokers(owned: &Owned, cut: &dyn CutRead) -> Result<Option<Arc<Settings>>> {
    for info in cut.generations()? {
        if cut.positions(info.generation)?.iter().any(|(_, position)| matches!(position, Position::Kafka(_))) {
            return Ok(Some(owned.project.kafka()?));
        }
    }
    Ok(None)
}
