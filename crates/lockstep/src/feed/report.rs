//! What filling and feeding came to, as it is told.

use lockstep_ingest::pipeline::{BackfillReport, StreamReport, Tally};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Followed;
use crate::output::{Paint, Report};
use crate::row_counts::RowCounts;
use crate::text::counted;

/// What a backfill did.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Backfilled {
    /// Rows read.
    pub rows: u64,
    /// Events kept, counted once per view.
    pub events: u64,
    /// Views that are published now.
    pub published: Vec<String>,
    /// Whether it was told to stop before it was done.
    pub stopped: bool,
    /// What became of the rows.
    pub sources: Vec<SourceTally>,
}

/// What an ingestion did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ingested {
    /// Rows read.
    pub rows: u64,
    /// Commits made.
    pub commits: u64,
    /// The least of the newest event times of all partitions.
    pub watermark: Option<String>,
    /// Whether the end of the log was reached.
    pub complete: bool,
    /// Requests answered on the way, and kept.
    pub answered: Option<u64>,
    /// What became of the rows.
    pub sources: Vec<SourceTally>,
    /// What was applied for other definitions than those that serve.
    pub beside: Vec<Beside>,
}

/// What was applied for definitions that do not serve, or not alone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Beside {
    /// The number of the set of definitions.
    pub definitions: u64,
    /// Rows read.
    pub rows: u64,
    /// Commits made.
    pub commits: u64,
    /// The least of the newest event times of all partitions.
    pub watermark: Option<String>,
}

/// What became of the rows of a source, in the views that took them alike.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceTally {
    /// The source.
    pub source: String,
    /// How many views took them so.
    pub views: usize,
    /// How many of them came to what.
    #[serde(flatten)]
    pub rows: RowCounts,
}

/// One line per source where all views agree, else one for each way they took it.
fn by_source(tally: &Tally) -> Vec<SourceTally> {
    let mut sources: Vec<SourceTally> = Vec::new();
    for ((_, source), counters) in tally {
        // Null keys and failed expressions belong to views; the rest is the same for all that stood at the same position.
        let rows = RowCounts::from(counters);
        let same =
            |known: &&mut SourceTally| known.source == *source && known.rows.applied == rows.applied && known.rows.duplicates == rows.duplicates;
        match sources.iter_mut().find(same) {
            Some(known) => known.views += 1,
            None => sources.push(SourceTally { source: source.clone(), views: 1, rows }),
        }
    }
    sources
}

fn tally_text(sources: &[SourceTally]) -> String {
    let mut text = String::new();
    for source in sources {
        let SourceTally { source, views, rows } = source;
        text += &format!("  {source:<20} {:>10} applied to {}{}\n", rows.applied, counted(*views, "view", "views"), rows.others());
    }
    text
}

impl From<BackfillReport> for Backfilled {
    fn from(report: BackfillReport) -> Self {
        let BackfillReport { rows, events, tally, published, stopped } = report;
        Backfilled { rows, events, published, stopped, sources: by_source(&tally) }
    }
}

impl Report for Backfilled {
    fn text(&self, paint: Paint) -> String {
        if self.stopped {
            return format!("{} nothing is visible yet · run the same command again to go on\n", paint.yellow("stopped:"));
        }
        if self.published.is_empty() {
            return "nothing to backfill: every applied view has published state\n".to_owned();
        }
        let published = self.published.join(", ");
        format!("{} {published}\n{} rows read, {} events kept\n{}", paint.green("published:"), self.rows, self.events, tally_text(&self.sources))
    }
}

impl From<Followed> for Ingested {
    fn from(followed: Followed) -> Self {
        let Followed { report: StreamReport { rows, commits, tally, watermark, complete, stopped: _ }, beside } = followed;
        let watermark = watermark.map(|watermark| watermark.to_string());
        let told = |(definitions, report): (u64, StreamReport)| {
            let StreamReport { rows, commits, watermark, .. } = report;
            Beside { definitions, rows, commits, watermark: watermark.map(|watermark| watermark.to_string()) }
        };
        let beside = beside.into_iter().map(told).collect();
        Ingested { rows, commits, watermark, complete, answered: None, sources: by_source(&tally), beside }
    }
}

impl Report for Ingested {
    fn text(&self, paint: Paint) -> String {
        let end = if self.complete { paint.green("applied to its end:") } else { paint.yellow("stopped:") };
        let watermark = self.watermark.as_ref().map(|watermark| format!(", watermark {watermark}")).unwrap_or_default();
        let commits = counted(self.commits, "commit", "commits");
        let answered =
            self.answered.map(|answered| format!("{} answered and kept on the way\n", counted(answered, "request", "requests"))).unwrap_or_default();
        let beside: String = self.beside.iter().map(Beside::text).collect();
        format!("{end} {} rows in {commits}{watermark}\n{answered}{}{beside}", self.rows, tally_text(&self.sources))
    }
}

impl Beside {
    fn text(&self) -> String {
        let Beside { definitions, rows, commits, watermark } = self;
        let watermark = watermark.as_ref().map(|watermark| format!(", watermark {watermark}")).unwrap_or_default();
        format!("  version {definitions} of the definitions beside it: {rows} rows in {}{watermark}\n", counted(*commits, "commit", "commits"))
    }
}
