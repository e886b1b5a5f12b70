//! The `lockstep` command: arguments and settings in, one verb run, its answer printed.
//!
//! Data goes to standard output, everything else to standard error. Exit statuses: 0 fine, 1 found a difference or failed a check, 2 an error.
//! [`cli`] says what can be asked, a module of [`verbs`] answers each, and [`output`] is how everything is shown.

mod answering;
mod ask;
mod audit;
mod bytes;
mod cli;
mod config;
mod diff;
mod explain;
mod failure;
mod feature_log;
mod feed;
mod golden;
mod kafka;
mod kept;
mod ledger;
mod models;
mod output;
mod owned;
mod pinned;
mod predictions;
mod progress;
mod project;
mod query;
mod recompute;
mod release;
mod reports;
mod requests;
mod row_counts;
mod schemas;
mod secret;
mod serving;
mod smoke;
#[allow(dead_code, reason = "numbers are set flush right by few verbs")]
mod table;
#[allow(dead_code, reason = "a vocabulary that verbs share: sizes, spans, ages")]
mod text;
mod touched;
mod train;
mod usage;
mod verbs;
mod verify;
mod watching;
mod who;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};
use failure::Outcome;
use verbs::Context;

/// Rows come and go in small pieces: with the C library's allocator a backfill spent a fifth of its time in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { global, verb } = Cli::parse();
    let context = Context::new(global);
    cli::start_log(context.global.verbose, context.global.log_format);
    match run(&context, verb) {
        Ok(outcome) => outcome.into(),
        Err(error) => failure::report(&error, &context.out),
    }
}

fn run(context: &Context, verb: Verb) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Init(args) => verbs::init::run(context, &args),
        Verb::Check(args) => verbs::check::run(context, &args),
        Verb::Schema(args) => verbs::schema::run(context, &args),
        Verb::Test(args) => verbs::test::run(context, &args),
        Verb::Plan(args) => verbs::plan::run(context, &args),
        Verb::Apply(args) => verbs::apply::run(context, &args),
        Verb::Explain(args) => verbs::explain::run(context, &args),
        Verb::Backfill(args) => verbs::backfill::run(context, &args),
        Verb::Ingest(args) => verbs::ingest::run(context, &args),
        Verb::Serve(args) => verbs::serve::run(context, &args),
        Verb::Release(args) => verbs::release::run(context, &args),
        Verb::Model(args) => verbs::model::run(context, &args),
        Verb::Get(args) => verbs::get::run(context, &args),
        Verb::Predictions(args) => verbs::predictions::run(context, &args),
        Verb::Score(args) => verbs::score::run(context, &args),
        Verb::Diff(args) => verbs::diff::run(context, &args),
        Verb::Sql(args) => verbs::sql::run(context, &args),
        Verb::Train(args) => verbs::train::run(context, &args),
        Verb::Verify(args) => verbs::verify::run(context, &args),
        Verb::Audit(args) => verbs::audit::run(context, &args),
        Verb::Doctor(args) => verbs::doctor::run(context, &args),
        Verb::Alerts(args) => verbs::alerts::run(context, &args),
        Verb::Reports(args) => verbs::reports::run(context, &args),
        Verb::Status(args) => verbs::status::run(context, &args),
        Verb::DeadLetters(args) => verbs::dead_letters::run(context, &args),
        Verb::Refusals(args) => verbs::refusals::run(context, &args),
        Verb::ReplayDlq(args) => verbs::replay_dlq::run(context, &args),
        Verb::AppliedLog(args) => verbs::applied_log::run(context, &args),
        Verb::Drop(args) => verbs::drop::run(context, &args),
        Verb::Snapshot(args) => verbs::snapshot::run(context, &args),
        Verb::Migrate(args) => verbs::migrate::run(context, &args),
        Verb::SmokeModel(args) => smoke::run(&args),
    }
}
