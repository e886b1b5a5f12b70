//! Who decides: whether what is known to have come of a deployment's rows is of what its model decided by itself.
//!
//! It takes a look at the feature log and at all that callers reported, so that it is looked for where scores creep, on a thread of its own, and not more often than once an hour.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use lockstep_model::EventTime;
use lockstep_serve::watch::reading::{DecidedLabels, DeploymentReading};

use crate::feature_log::LogDir;
use crate::kept::{Kept, ScoredBy};
use crate::reports::Reported;
use crate::train::served::{By, DecidedRows, Decisions, Outcomes, Scan, ServedLog, Wants, join};

/// How long it is believed, µs.
const EVERY: i64 = 3_600_000_000;
/// Rows of the log that are looked at, the newest ones.
const ROWS_MAX: usize = 200_000;

/// What is known of who decides, by deployment.
#[derive(Debug, Default)]
pub struct Decided {
    known: Arc<Mutex<BTreeMap<String, Known>>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    asked_at: i64,
    labels: Option<DecidedLabels>,
}

impl Decided {
    /// Fills in what is known, and begins to look for it where scores creep; the thread that does, if there is one. `log` is where what is served is logged.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn fill(
        &self,
        deployments: &mut BTreeMap<String, DeploymentReading>,
        log: Option<&PathBuf>,
        now: EventTime,
    ) -> std::io::Result<Option<JoinHandle<()>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due: Vec<(String, Vec<String>)> = Vec::new();
        for (name, deployment) in deployments {
            let before = known.get(name).copied();
            deployment.decided = before.and_then(|known| known.labels);
            let creeps = deployment.scores.iter().any(|score| score.creeping_seconds.is_some());
            if creeps && log.is_some() && before.is_none_or(|known| now.0.saturating_sub(known.asked_at) >= EVERY) {
                known.insert(name.clone(), Known { asked_at: now.0, labels: deployment.decided });
                due.push((name.clone(), deployment.services.clone()));
            }
        }
        let Some(log) = log.filter(|_| !due.is_empty()).cloned() else { return Ok(None) };
        let all = Arc::clone(&self.known);
        let look = move || {
            for (name, services) in due {
                match labels(&log, &name, &services) {
                    Ok(labels) => {
                        all.lock().unwrap_or_else(PoisonError::into_inner).entry(name).and_modify(|known| known.labels = Some(labels));
                    }
                    Err(error) => tracing::warn!("look who decides about the rows of `{name}`: {error:#}"),
                }
            }
        };
        thread::Builder::new().name("decisions".to_owned()).spawn(look).map(Some)
    }
}

/// Who decided about the newest rows of a deployment that have an outcome.
///
/// # Errors
/// Where the log or the reports cannot be read.
pub fn labels(log: &Path, deployment: &str, services: &[String]) -> Result<DecidedLabels> {
    let (reported, dir) = (Reported::read(log, None)?, LogDir::new(log.to_owned()));
    let mut all = DecidedLabels::default();
    if reported.outcomes.is_empty() {
        return Ok(all);
    }
    let outcomes = Outcomes::reported(&reported, None)?;
    for service in services {
        let (scan, is_of_it) = scan(&dir, deployment, service)?;
        let joined = join(&scan.rows, &outcomes, &By::RequestRow, None)?;
        let labels = match Decisions::of(&scan, Some(&reported))? {
            Some(decisions) => decisions.report(&is_of_it, &joined.outcomes).labels,
            None => DecidedRows {
                unknown: joined.outcomes.iter().zip(&is_of_it).filter(|(outcome, is_of_it)| outcome.is_some() && **is_of_it).count() as u64,
                ..DecidedRows::default()
            },
        };
        all.model += labels.model;
        all.explored += labels.explored;
        all.caller += labels.caller;
        all.unknown += labels.unknown;
    }
    Ok(all)
}

/// The newest rows of a service that are logged, and which of them a deployment scored.
fn scan(dir: &LogDir, deployment: &str, service: &str) -> Result<(Scan, Vec<bool>)> {
    let (mut scan, mut is_of_it) = (Scan::default(), Vec::new());
    if dir.files_of(service)?.is_empty() {
        return Ok((scan, is_of_it));
    }
    let log = ServedLog::open(dir, service, false)?;
    let wants = Wants { by: &By::RequestRow, entity: None, propensity: None };
    for file in log.files().iter().rev() {
        if scan.rows.len() >= ROWS_MAX {
            break;
        }
        for kept in log.read(file)?.0 {
            scan.add(service, &kept, &wants)?;
            is_of_it.extend((0..kept.len()).map(|row| scored_by(&kept, row, deployment)));
        }
    }
    Ok((scan, is_of_it))
}

fn scored_by(kept: &Kept, row: usize, deployment: &str) -> bool {
    let by = kept.predicted.as_ref().and_then(|predicted| serde_json::from_str::<ScoredBy>(predicted.by.value(row)).ok());
    by.is_some_and(|by| by.deployment == deployment)
}
