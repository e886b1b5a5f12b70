//! `replay-dlq`: dead letters, tried again.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use lockstep_ingest::source::{Stores, locate};
use lockstep_store::{DeadLetter, OnlineStore};
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::dead_letters::{Letter, letters_text};
use crate::failure::Outcome;
use crate::feed::followers::{Followers, How};
use crate::feed::{self, Ingested};
use crate::ledger::{self, Wanted};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::text::counted;

const EXAMPLES: &str = "\
Examples:
  lockstep replay-dlq kafka://payments-dlq      the topic that dead_letters = 'kafka://payments-dlq' names
  lockstep replay-dlq dead/payments.ndjson      a file, as it was written or mended";

/// Try dead letters again
///
/// Reads a topic or a file of dead letters, as the option dead_letters of a source has them written, or mended by whatever means, and applies the rows to the published state. It
/// is a log of its own: with its own positions, so that a second run applies nothing twice and goes on with what has come since, and with its own lateness, like any log that
/// is begun after others. What fails again is said, counted and kept in the ledger; it is not sent to where dead letters go.
///
/// A record that says by the header `lockstep.source` that it is of another source is passed over. Mended rows are best written to a new file or topic: a
/// file that was read must not change but at its end.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A topic, as kafka://TOPIC, or the path of an NDJSON file
    #[arg(value_name = "FROM")]
    from: String,
    /// Only rows of these sources
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Go on with a topic as it is now, though it is not the one that was read or lacks records
    #[arg(long)]
    accept_gap: bool,
    /// Most rows of one commit, instead of the project's setting
    #[arg(long, value_name = "N")]
    batch_rows: Option<NonZeroUsize>,
    /// Show at most so many of the rows that fail again
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

/// What came of trying dead letters again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Replayed {
    /// What was read now, and what became of it.
    #[serde(flatten)]
    pub ingested: Ingested,
    /// Rows of this log that have failed again, in this run and earlier ones.
    pub failed: usize,
    /// The first of them.
    pub letters: Vec<Letter>,
}

/// Applies dead letters.
///
/// # Errors
/// As ingesting a log has.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut project = context.project()?;
    project.config.batch_rows = arguments.batch_rows.unwrap_or(project.config.batch_rows);
    let stop = feed::stop_on_signals()?;
    let held = context.own(&project, "replay-dlq")?;
    let topic = arguments.from.strip_prefix("kafka://");
    let mut followed = match topic {
        Some(topic) => {
            let (sources, accept_gap) = (sources_of(&held, &arguments.source, topic)?, arguments.accept_gap);
            let topics = feed::Topics { sources, until_end: true, accept_gap, instead: Some(topic.to_owned()) };
            let how = How { topics, push: None, lags: None, out: context.out, stays: false };
            Followers::new(held.shared(), how, &stop)?.run()?
        }
        None => {
            let logs = feed::LogFiles { from: &arguments.from, sources: &arguments.source, are_letters: true };
            feed::run_ingest(&held, &logs, None, &stop)?
        }
    };
    let stopped = std::mem::take(&mut followed.report.stopped);
    let (failed, letters) = failing(&held, &arguments.from, arguments.limit)?;
    context.out.show(&Replayed { ingested: Ingested::from(followed), failed, letters })?;
    feed::say_stopped(&stopped)?;
    Ok(Outcome::Fine)
}

/// The sources that are asked for; else those that send their dead letters to the topic; else all.
fn sources_of(owned: &Owned, asked: &[String], topic: &str) -> Result<Vec<String>> {
    use lockstep_transform::definition::DeadLetterSink;
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let catalog = owned.catalog()?;
    let sends = |sink: &Option<DeadLetterSink>| matches!(sink, Some(DeadLetterSink::Topic(name)) if name == topic);
    Ok(catalog.sources.values().filter(|source| sends(&source.options.dead_letters)).map(|source| source.name.clone()).collect())
}

/// How many rows of a log are in the ledgers, and the first of them.
fn failing(owned: &Owned, from: &str, limit: usize) -> Result<(usize, Vec<Letter>)> {
    let names: Vec<String> = match from.starts_with("kafka://") {
        true => vec![format!("{from}/")],
        false => locate(from, Path::new("."), &Stores::local())?.iter().map(|file| file.name().to_owned()).collect(),
    };
    let is_of_topic = from.starts_with("kafka://");
    let is_of_log = |partition: &str| names.iter().any(|name| if is_of_topic { partition.starts_with(name) } else { partition == name });
    let (catalog, cut) = (owned.catalog()?, OnlineStore::cut(&*owned.store));
    let wanted = Wanted { source: None, view: None, limit: usize::MAX };
    let place = |letter: &DeadLetter| (letter.partition.clone(), letter.row);
    let keep = |letter: &DeadLetter| is_of_log(&letter.partition.partition);
    let found = ledger::read(&*cut, &catalog, &wanted, |cut, generation| cut.dead_letters(generation), place, keep)?;
    let failed = found.entries.len();
    Ok((failed, found.entries.into_iter().take(limit).map(Letter::from).collect()))
}

impl Report for Replayed {
    fn text(&self, paint: Paint) -> String {
        let Replayed { ingested, failed, letters } = self;
        let mut text = ingested.text(paint);
        if *failed == 0 {
            return text + "no row of it fails\n";
        }
        let _ = writeln!(text, "{}", paint.yellow(counted(*failed, "row of it still fails:", "rows of it still fail:")));
        text += &letters_text(letters, paint);
        if letters.len() < *failed {
            let more = if letters.is_empty() { "" } else { "and more · " };
            let _ = writeln!(text, "{more}--limit shows them");
        }
        text
    }
}
