//! What became of the rows of a log, and of outcomes.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decisions::DecisionsReport;
use super::join::Joined;
use super::log::Scan;
use super::weight::Weighed;
use crate::output::Paint;
use crate::text::{counted, grouped};

/// What became of the rows of a log: `rows` of the report and all that was left out are `logged`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServedReport {
    /// Rows in the log.
    pub logged: u64,
    /// By meaning, whose definitions answered them, the oldest first.
    pub definitions: Vec<DefinitionsMet>,
    /// Rows of other definitions than those that count.
    pub other_definitions: u64,
    /// Rows that the cap on requests left out.
    pub capped_per_decision: u64,
    /// Rows that the cap on entities left out.
    pub capped_per_entity: u64,
    /// Rows here without an outcome.
    pub censored: u64,
    /// Rows here with more than one outcome, of which the newest counts.
    pub several_outcomes: u64,
    /// Rows here of which a value is the last known good.
    pub last_known_good: u64,
    /// When outcomes are known until; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes_until: Option<String>,
    /// What became of the outcomes.
    pub outcomes: OutcomesReport,
    /// The sum of all weights here.
    pub weight: f64,
    /// The largest of them.
    pub weight_largest: f64,
    /// Weights that were cut to the largest there may be.
    pub bounded: u64,
    /// Rows without a weight, since nobody knows with which probability it was decided so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_propensity: u64,
    /// Who has decided what is done with the rows here; absent where nothing says what was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decisions: Option<DecisionsReport>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Definitions that answered rows of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionsMet {
    /// Their fingerprint; absent in logs of earlier releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// Their numbers.
    pub definitions: Vec<u64>,
    /// Rows.
    pub rows: u64,
    /// Whether these count.
    pub used: bool,
}

/// What became of outcomes: each is counted once, so that all but `read` make up `read`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomesReport {
    /// Outcomes that were read.
    pub read: u64,
    /// Those of rows here.
    pub used: u64,
    /// Those of rows that were left out.
    pub left_out: u64,
    /// Those in whose place a newer one of the same row counts.
    pub superseded: u64,
    /// Those that were known before their request.
    pub before_request: u64,
    /// Those that were known too long after the row that they may be of.
    pub beyond: u64,
    /// Those that were known only later than outcomes are read.
    pub later: u64,
    /// Those of no row of the log.
    pub no_row: u64,
}

impl ServedReport {
    /// What became of rows, but for what is known only once their values are read.
    pub fn new(scan: &Scan, group: usize, joined: &Joined, weighed: &Weighed) -> ServedReport {
        let stay = || weighed.stays.iter().enumerate().filter(|(_, stays)| **stays).map(|(row, _)| row);
        let weights = || stay().filter_map(|row| weighed.weights[row]);
        let mut definitions: Vec<DefinitionsMet> = scan
            .groups
            .iter()
            .enumerate()
            .map(|(at, of)| DefinitionsMet {
                meaning: of.meaning.map(|meaning| meaning.to_string()),
                definitions: of.definitions.iter().copied().collect(),
                rows: of.rows,
                used: at == group,
            })
            .collect();
        definitions.sort_by_key(|of| of.definitions.last().copied());
        ServedReport {
            logged: scan.rows.len() as u64,
            definitions,
            other_definitions: weighed.other_definitions,
            capped_per_decision: weighed.capped_per_decision,
            capped_per_entity: weighed.capped_per_entity,
            censored: stay().filter(|&row| joined.outcomes[row].is_none()).count() as u64,
            several_outcomes: stay().filter(|&row| joined.several[row]).count() as u64,
            outcomes: joined.report(&weighed.stays),
            weight: weights().sum(),
            weight_largest: weights().fold(0.0, f64::max),
            bounded: weighed.bounded,
            without_propensity: weighed.without_propensity,
            ..ServedReport::default()
        }
    }

    /// The report as people read it.
    pub fn text(&self, rows: u64, paint: Paint) -> String {
        let mut out = String::from("\n");
        let mut line = |name: &str, parts: Vec<String>| {
            let _ = writeln!(out, "  {} {}", paint.bold(format!("{name:<9}")), parts.join(" · "));
        };
        let some = |count: u64, text: &str| (count > 0).then(|| format!("{} {text}", grouped(count)));
        let taken = [
            some(self.other_definitions, "of other definitions"),
            some(self.capped_per_decision, "more than a request may have"),
            some(self.capped_per_entity, "more than an entity may have"),
        ];
        line(
            "rows",
            [vec![format!("{} logged", grouped(self.logged))], taken.into_iter().flatten().collect(), vec![format!("{} here", grouped(rows))]]
                .concat(),
        );
        let of = &self.outcomes;
        let lost = [
            some(of.left_out, "of rows that were left out"),
            some(of.superseded, "superseded by a newer one of the same row"),
            some(of.before_request, "known before the request, and not used"),
            some(of.beyond, "too long after it"),
            some(of.later, "known only later"),
            some(of.no_row, "of no row of the log"),
        ];
        line(
            "outcomes",
            [vec![format!("{} read", grouped(of.read)), format!("{} of rows here", grouped(of.used))], lost.into_iter().flatten().collect()].concat(),
        );
        let until = self.outcomes_until.as_ref().map_or_else(String::new, |until| format!(" known by {until}"));
        line("censored", vec![format!("{} without an outcome{until}", counted(self.censored, "row", "rows"))]);
        if self.several_outcomes > 0 {
            line(
                "several",
                vec![format!("{} with more than one outcome, of which the newest counts", counted(self.several_outcomes, "row", "rows"))],
            );
        }
        let bounded = [some(self.bounded, "cut to that"), some(self.without_propensity, "rows without, of unknown propensity")];
        line(
            "weights",
            [vec![format!("{:.3} in all", self.weight), format!("{:.3} the largest", self.weight_largest)], bounded.into_iter().flatten().collect()]
                .concat(),
        );
        for (name, parts) in self.decisions.iter().flat_map(DecisionsReport::lines) {
            line(name, parts);
        }
        if self.last_known_good > 0 {
            line("fallback", vec![format!("{} with values of the last known good", counted(self.last_known_good, "row", "rows"))]);
        }
        out
    }
}
