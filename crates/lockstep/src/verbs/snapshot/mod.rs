//! `snapshot`: immutable, named cuts of the store.

pub mod create;
pub mod diff;
pub mod drop;
pub mod export;
pub mod list;
pub mod show;
pub mod validate;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Context;
use crate::failure::Outcome;

const EXAMPLES: &str = "\
Examples:
  lockstep snapshot create --reason 'before the new view'
  lockstep snapshot list
  lockstep get airport_load airport=EWR --snapshot s0001
  lockstep snapshot export s0001 --out scores/   every entity of every view, as Parquet
  lockstep snapshot diff s0001 s0002 --values    what changed between the two?
  lockstep snapshot validate s0002 --against s0001";

/// Keep the store as it is, under a name, to be read at any time
///
/// A snapshot answers the same for ever: it has the state of every view, where each stood in its logs, and the definitions that read it. It answers up to a moment,
/// by default the one that all logs had come to. Making one takes little time and space, and stops nobody; what the store replaces later stays on the disk
/// for as long as a snapshot has it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(create::Arguments),
    List(list::Arguments),
    Show(show::Arguments),
    Diff(diff::Arguments),
    Export(export::Arguments),
    Validate(validate::Arguments),
    Drop(drop::Arguments),
}

/// Does what is asked of snapshots.
///
/// # Errors
/// As each has.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    match &arguments.action {
        Action::Create(arguments) => create::run(context, arguments),
        Action::List(arguments) => list::run(context, arguments),
        Action::Show(arguments) => show::run(context, arguments),
        Action::Diff(arguments) => diff::run(context, arguments),
        Action::Export(arguments) => export::run(context, arguments),
        Action::Validate(arguments) => validate::run(context, arguments),
        Action::Drop(arguments) => drop::run(context, arguments),
    }
}
