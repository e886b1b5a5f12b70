//! What was done with the rows of a log, and who decided that: the model by itself, chance, or its caller.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Int64Array, StringArray};
use lockstep_model::key::Keys;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::log::Scan;
use crate::reports::Reported;
use crate::text::{counted, grouped};

/// What was served of a row: the action that the log says, and how it came about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Served {
    /// The action: its place among those of the log.
    pub action: Option<u32>,
    /// With which probability it was chosen.
    pub propensity: Option<f64>,
    /// Whether the row explores.
    pub explored: bool,
}

/// What was done with a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// The action: its place among [`Decisions::actions`].
    pub action: u32,
    /// With which probability it was chosen, as far as that is known.
    pub propensity: Option<f64>,
    /// Who decided.
    pub by: DecidedBy,
}

/// Who decided what is done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The model, by what it predicted, or what stands in for it.
    Model,
    /// Chance: the row explores.
    Explored,
    /// The caller, who did something else than was answered, or was answered no action.
    Caller,
}

impl DecidedBy {
    /// As training sets call it.
    pub fn name(self) -> &'static str {
        match self {
            DecidedBy::Model => "MODEL",
            DecidedBy::Explored => "EXPLORED",
            DecidedBy::Caller => "CALLER",
        }
    }
}

/// What was done with the rows of a log.
#[derive(Debug, Default)]
pub struct Decisions {
    /// Names of actions.
    pub actions: Vec<String>,
    /// What was done with each row, as far as it is known.
    pub of_rows: Vec<Option<Decision>>,
    /// Decisions that were reported.
    reported: u64,
    /// Those of no row of the log.
    no_row: u64,
    /// Those in whose place a later one counts.
    changed: u64,
}

impl Decisions {
    /// What was done with the rows of a log: what was reported, where that is of them, else what was answered. `None` where nothing says anything of that.
    ///
    /// # Errors
    /// Where ids are no keys.
    pub fn of(scan: &Scan, reported: Option<&Reported>) -> Result<Option<Decisions>> {
        let mut decisions = Decisions { actions: scan.actions.clone(), ..Decisions::default() };
        let mut said = HashMap::new();
        if let Some(reported) = reported {
            (decisions.reported, decisions.changed) = (reported.decisions.len() as u64, reported.changed);
            said = decisions.said(reported)?;
        }
        decisions.of_rows = Vec::with_capacity(scan.rows.len());
        for row in &scan.rows {
            let told = row.report.and_then(|key| said.get_mut(&key)).map(|told| {
                told.met = true;
                (told.action, told.propensity)
            });
            decisions.of_rows.push(decision(row.served, told));
        }
        decisions.no_row = said.values().filter(|told| !told.met).count() as u64;
        Ok(decisions.of_rows.iter().any(Option::is_some).then_some(decisions))
    }

    /// What was reported, by the keys of rows.
    fn said(&mut self, reported: &Reported) -> Result<HashMap<u128, Told>> {
        let mut places: HashMap<String, u32> = self.actions.iter().cloned().zip(0..).collect();
        let (ids, rows): (Vec<&str>, Vec<i64>) = reported.decisions.keys().map(|(id, row)| (id.as_str(), *row)).unzip();
        let columns: [ArrayRef; 2] = [Arc::new(StringArray::from(ids)), Arc::new(Int64Array::from(rows))];
        let keys = Keys::encode(&columns)?;
        let mut said = HashMap::with_capacity(reported.decisions.len());
        for (at, (action, propensity)) in reported.decisions.values().enumerate() {
            let action = *places.entry(action.clone()).or_insert_with(|| {
                self.actions.push(action.clone());
                self.actions.len() as u32 - 1
            });
            said.insert(xxh3_128(keys.get(at)), Told { action, propensity: *propensity, met: false });
        }
        Ok(said)
    }

    /// The propensity of each row.
    pub fn propensities(&self) -> Vec<Option<f64>> {
        self.of_rows.iter().map(|decision| decision.and_then(|decision| decision.propensity)).collect()
    }

    /// What became of rows that stay, of which some have an outcome.
    pub fn report(&self, stays: &[bool], outcomes: &[Option<u32>]) -> DecisionsReport {
        let mut actions: Vec<ActionMet> = self.actions.iter().map(|action| ActionMet { action: action.clone(), ..ActionMet::default() }).collect();
        let mut report = DecisionsReport { reported: self.reported, no_row: self.no_row, changed: self.changed, ..DecisionsReport::default() };
        for (row, decision) in self.of_rows.iter().enumerate().filter(|(row, _)| stays[*row]) {
            let is_label = outcomes[row].is_some();
            report.rows.count(*decision);
            if is_label {
                report.labels.count(*decision);
            }
            if let Some(met) = decision.and_then(|decision| actions.get_mut(decision.action as usize)) {
                met.rows += 1;
                met.labels += u64::from(is_label);
            }
        }
        report.actions = actions.into_iter().filter(|met| met.rows > 0).collect();
        report.model_share = report.labels.model_share();
        report
    }
}

/// A decision that was reported, and whether it is of a row of the log.
struct Told {
    action: u32,
    propensity: Option<f64>,
    met: bool,
}

/// What was done with a row, by what was answered and what was reported.
fn decision(served: Option<Served>, told: Option<(u32, Option<f64>)>) -> Option<Decision> {
    let by = |served: Served| if served.explored { DecidedBy::Explored } else { DecidedBy::Model };
    match (served, told) {
        (served, None) => served.and_then(|served| Some(Decision { action: served.action?, propensity: served.propensity, by: by(served) })),
        (Some(served), Some((action, propensity))) if served.action.is_none_or(|of| of == action) => {
            Some(Decision { action, propensity: propensity.or(served.propensity), by: by(served) })
        }
        // What was answered with a probability says nothing of what was done instead.
        (_, Some((action, propensity))) => Some(Decision { action, propensity, by: DecidedBy::Caller }),
    }
}

/// Who has decided about rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecidedRows {
    /// The model by itself.
    pub model: u64,
    /// Chance.
    pub explored: u64,
    /// Callers, who did something else than was answered.
    pub caller: u64,
    /// What was done is not known.
    pub unknown: u64,
}

impl DecidedRows {
    fn count(&mut self, decision: Option<Decision>) {
        *match decision.map(|decision| decision.by) {
            Some(DecidedBy::Model) => &mut self.model,
            Some(DecidedBy::Explored) => &mut self.explored,
            Some(DecidedBy::Caller) => &mut self.caller,
            None => &mut self.unknown,
        } += 1;
    }

    fn known(&self) -> u64 {
        self.model + self.explored + self.caller
    }

    #[allow(clippy::cast_precision_loss, reason = "a share")]
    fn model_share(&self) -> Option<f64> {
        (self.known() > 0).then(|| self.model as f64 / self.known() as f64)
    }
}

/// An action, and what is known of the rows that were given it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActionMet {
    /// The action.
    pub action: String,
    /// Rows.
    pub rows: u64,
    /// Those with an outcome.
    pub labels: u64,
}

/// Who has decided what is done with rows, and so which labels there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionsReport {
    /// Decisions that were reported.
    pub reported: u64,
    /// Those of no row of the log.
    pub no_row: u64,
    /// Those in whose place a later one of the same row counts.
    pub changed: u64,
    /// Who has decided about the rows here.
    pub rows: DecidedRows,
    /// About those with an outcome.
    pub labels: DecidedRows,
    /// Of labels of which it is known who decided: the share for which the model did by itself; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_share: Option<f64>,
    /// By action.
    pub actions: Vec<ActionMet>,
}

impl DecisionsReport {
    /// Lines for people: a name, and what is said of it.
    pub fn lines(&self) -> Vec<(&'static str, Vec<String>)> {
        let some = |count: u64, text: &str| (count > 0).then(|| format!("{} {text}", grouped(count)));
        let DecidedRows { model, explored, caller, unknown } = self.rows;
        let by = [
            Some(format!("{} by the model", grouped(model))),
            some(explored, "explored"),
            some(caller, "by callers"),
            some(unknown, "not known"),
            some(self.changed, "reported again, of which the last counts"),
            some(self.no_row, "of no row of the log"),
        ];
        let mut lines = vec![("decisions", by.into_iter().flatten().collect())];
        let mut labels = Vec::new();
        if let Some(share) = self.model_share {
            labels.push(format!("{:.1}% of {} were decided by the model itself", 100.0 * share, counted(self.labels.known(), "label", "labels")));
        }
        let met = |met: &ActionMet| format!("{} {} of {}", met.action, grouped(met.labels), grouped(met.rows));
        labels.extend(self.actions.iter().map(met));
        lines.push(("labels", labels));
        lines
    }

    /// What is wrong with a set of which every label was decided by the model.
    pub fn warning(&self) -> Option<String> {
        if self.model_share? < 1.0 {
            return None;
        }
        let unseen: Vec<String> =
            self.actions.iter().filter(|met| met.labels == 0).map(|met| format!("`{}` ({} rows)", met.action, grouped(met.rows))).collect();
        let unseen = if unseen.is_empty() { String::new() } else { format!(", and none is of {}", unseen.join(", ")) };
        let mut text =
            String::from("this set has only what the model itself chose: every label is of a row for which it took the action by its own prediction");
        let _ = write!(
            text,
            "{unseen} · where it is wrong about what it never does, no label says so, and a model that is trained on this learns its own decisions · "
        );
        text += "let a share of requests explore (explore = 0.05 in CREATE DEPLOYMENT), and weigh by --propensity propensity --weight-max 100";
        Some(text)
    }
}
