//! `refusals`: rows that came too late.

use std::fmt::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use lockstep_serve::admin::Progress;
use lockstep_store::{OnlineStore, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::ledger::{self, Entry, Wanted};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::text::counted;

/// Show rows that came too late to be taken
///
/// A row of a log whose event time is further behind its partition's newest than the source's `allowed_lateness` is refused, the same in every replay.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show them, with their place and how late they were
    List {
        /// Only rows of this source
        #[arg(long)]
        source: Option<String>,
        /// Only rows that this view refused
        #[arg(long)]
        view: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Which refusals.
    pub wanted: Wanted,
}

/// Refusals, by partition and row.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Refusals {
    /// The first of them.
    pub refusals: Vec<RefusedRow>,
    /// Whether there are more.
    pub more: bool,
}

/// A row that came too late.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RefusedRow {
    /// The source.
    pub source: String,
    /// The file it was read from; `-` for standard input.
    pub partition: String,
    /// Its number in the file, from 0.
    pub row: u64,
    /// Its primary key.
    pub primary_key: String,
    /// Its event time.
    pub event_time: String,
    /// The newest event time of the partition before it.
    pub watermark: String,
    /// Why.
    pub reason: String,
    /// The views that refused it.
    pub views: Vec<String>,
}

/// Lists refusals.
///
/// # Errors
/// NotFound for an unknown source or view; where the store cannot be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Action::List { source, view, limit } = &arguments.action;
    let wanted = Wanted { source: source.clone(), view: view.clone(), limit: *limit };
    context.out.show(&context.ask(&Question { wanted })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "refusals";
    type Answer = Refusals;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Refusals> {
        let (store, catalog) = (&*owned.store, &*owned.catalog()?);
        let cut = OnlineStore::cut(store);
        let place = |refusal: &Refusal| (refusal.partition.clone(), refusal.row);
        let found = ledger::read(&*cut, catalog, &self.wanted, |cut, generation| cut.refusals(generation), place, |_| true)?;
        Ok(Refusals { refusals: found.entries.into_iter().map(RefusedRow::from).collect(), more: found.more })
    }
}

impl From<Entry<Refusal>> for RefusedRow {
    fn from(Entry { item, views }: Entry<Refusal>) -> Self {
        let Refusal { partition, row, event_time, primary_key, watermark, reason } = item;
        RefusedRow {
            source: partition.source,
            partition: partition.partition,
            row,
            primary_key,
            event_time: event_time.to_string(),
            watermark: watermark.to_string(),
            reason,
            views,
        }
    }
}

impl Report for Refusals {
    fn text(&self, paint: Paint) -> String {
        if self.refusals.is_empty() {
            return "no refusals\n".to_owned();
        }
        let mut text = String::new();
        for refusal in &self.refusals {
            let RefusedRow { source, partition, row, primary_key, event_time, watermark, reason, views } = refusal;
            let _ = writeln!(text, "{} {source} {primary_key} of {event_time}, {partition} row {row}", paint.yellow("too late"));
            let _ = writeln!(text, "  {reason} · newest before it: {watermark}");
            let _ = writeln!(text, "  {}", paint.dim(format!("refused by {}", views.join(", "))));
        }
        let more = if self.more { ", and more · --limit shows them" } else { "" };
        text + &format!("{}{more}\n", counted(self.refusals.len(), "row", "rows"))
    }
}
