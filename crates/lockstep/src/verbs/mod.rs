//! The verbs: a module each, with its arguments, its answer, and `run`.

pub mod alerts;
pub mod applied_log;
pub mod apply;
pub mod audit;
pub mod backfill;
pub mod check;
pub mod dead_letters;
pub mod diff;
pub mod doctor;
pub mod drop;
pub mod explain;
pub mod get;
pub mod ingest;
pub mod init;
pub mod migrate;
pub mod model;
pub mod plan;
pub mod predictions;
pub mod refusals;
pub mod release;
pub mod replay_dlq;
pub mod reports;
pub mod requested;
pub mod schema;
pub mod score;
pub mod serve;
pub mod snapshot;
pub mod sql;
pub mod status;
pub mod test;
pub mod train;
pub mod verify;

use anyhow::Result;

use crate::cli::Global;
use crate::output::Output;
use crate::project::Project;

/// What every verb is given.
#[derive(Debug)]
pub struct Context {
    /// The options that every verb takes.
    pub global: Global,
    /// Where answers go.
    pub out: Output,
}

impl Context {
    /// The context of a command line.
    pub fn new(global: Global) -> Self {
        Context { out: Output::new(&global), global }
    }

    /// The project that the command is about.
    ///
    /// # Errors
    /// As [`Project::find`].
    pub fn project(&self) -> Result<Project> {
        Project::find(&self.global)
    }
}
