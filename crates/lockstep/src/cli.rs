//! What can be asked on the command line.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{smoke, verbs};

const EXAMPLES: &str = "\
Examples:
  lockstep init shop && cd shop     a small project that runs at once
  lockstep check                    are the definitions right?
  lockstep test                     do features come out as their tests say?
  lockstep plan                     what would applying them change?
  lockstep apply                    put them into the store
  lockstep backfill                 fill new views with their history
  lockstep ingest --from log.ndjson apply a log
  lockstep serve                    apply what comes, and answer
  lockstep release promote          validate what is new, and let it serve
  lockstep get card_activity card=7 look features up
  lockstep train delay_v1 --spine labels.parquet --out train/
                                    a training set: features as they were then
  lockstep verify                   is what is served what history says?
  lockstep audit                    is what was served what was known then, and what has changed?
  lockstep snapshot create          keep the store as it is now, to be read at any time
  lockstep status                   how far the store has come

Exit statuses: 0 fine · 1 found a difference, or failed a check · 2 an error";

/// A streaming feature store in which training and serving cannot drift apart.
///
/// Features are defined in SQL, in the `*.sql` files of a project. The same compiled definition computes them over history and
/// over the live stream, and the two give the same bits.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, after_help = EXAMPLES, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Project and output")]
pub struct Global {
    /// The project's directory; by default the nearest one above with a lockstep.toml, or this one
    #[arg(long, global = true, value_name = "DIR", env = "LOCKSTEP_PROJECT")]
    pub project: Option<PathBuf>,
    /// The store's directory, instead of the project's setting
    #[arg(long, global = true, value_name = "DIR", env = "LOCKSTEP_STORE")]
    pub store: Option<PathBuf>,
    /// The directory of the definitions, instead of the project's setting
    #[arg(long, global = true, value_name = "DIR")]
    pub definitions: Option<PathBuf>,
    /// Ask the server at this address, instead of the store of the project
    #[arg(long, global = true, value_name = "URL", env = "LOCKSTEP_SERVER")]
    pub server: Option<String>,
    /// The token that the server wants; better said in the environment
    #[arg(long, global = true, value_name = "TOKEN", env = "LOCKSTEP_TOKEN", hide_env_values = true, requires = "server")]
    pub token: Option<String>,
    /// The authority of the server's certificate, a PEM file, where the system does not trust it
    #[arg(long, global = true, value_name = "FILE", env = "LOCKSTEP_AUTHORITY", requires = "server")]
    pub authority: Option<PathBuf>,
    /// Print JSON; `lockstep schema` describes it
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = When::Auto, alias = "colour")]
    pub color: When,
    /// How the log on standard error is written
    #[arg(long, global = true, value_enum, value_name = "FORMAT", env = "LOCKSTEP_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Say more on standard error; twice for everything
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// An object a line
    Json,
}

impl When {
    /// Whether to use colours on a stream.
    pub fn applies_to(self, stream: &impl IsTerminal) -> bool {
        match self {
            When::Auto => stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            When::Always => true,
            When::Never => false,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Init(verbs::init::Arguments),
    Check(verbs::check::Arguments),
    Schema(verbs::schema::Arguments),
    Test(verbs::test::Arguments),
    Plan(verbs::plan::Arguments),
    Apply(verbs::apply::Arguments),
    Explain(verbs::explain::Arguments),
    Backfill(verbs::backfill::Arguments),
    Ingest(verbs::ingest::Arguments),
    Serve(verbs::serve::Arguments),
    Release(verbs::release::Arguments),
    Model(verbs::model::Arguments),
    Get(verbs::get::Arguments),
    Score(Box<verbs::score::Arguments>),
    Predictions(verbs::predictions::Arguments),
    Train(Box<verbs::train::Arguments>),
    Diff(verbs::diff::Arguments),
    Sql(verbs::sql::Arguments),
    Verify(verbs::verify::Arguments),
    Audit(verbs::audit::Arguments),
    Reports(verbs::reports::Arguments),
    Status(verbs::status::Arguments),
    Alerts(verbs::alerts::Arguments),
    Doctor(verbs::doctor::Arguments),
    DeadLetters(verbs::dead_letters::Arguments),
    Refusals(verbs::refusals::Arguments),
    ReplayDlq(verbs::replay_dlq::Arguments),
    AppliedLog(verbs::applied_log::Arguments),
    Drop(verbs::drop::Arguments),
    Snapshot(verbs::snapshot::Arguments),
    Migrate(verbs::migrate::Arguments),
    #[command(hide = true, name = smoke::VERB)]
    SmokeModel(smoke::Arguments),
}

/// Starts the log on standard error. `LOCKSTEP_LOG` says more finely what is in it.
pub fn start_log(verbose: u8, format: LogFormat) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(verbose > 1).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
