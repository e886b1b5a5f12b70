//! The third opinion: stock DataFusion over the view's own SQL.

use std::time::Duration;

use anyhow::Result;
use lockstep_ingest::offline::Replayed;
use lockstep_ingest::pipeline::Target;
use lockstep_model::{Error, TimeMode, key};
use lockstep_serve::admin::Progress;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::oracle::{CallText, Kind, Oracle, OracleFeatures, Probes};
use lockstep_transform::transformation::Transformation;

use super::Probe;

/// How often whoever waits is told that the oracle is at it.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What the oracle says at some of the probes.
pub(super) struct Answers {
    /// Per probe: its row in `features`, if the oracle was asked.
    pub(super) rows: Vec<Option<usize>>,
    pub(super) features: OracleFeatures,
    /// Which oracle it was.
    pub(super) kind: Kind,
    /// Per feature, the windows it is made of.
    pub(super) windows: Vec<Vec<CallText>>,
}

/// Asks the oracle at every probe, or, where each moment sees rows of its own, at as many, evenly, as `rows_most` rows allow.
pub(super) fn answers(
    catalog: &Catalog,
    target: &Target,
    replayed: &Replayed,
    probes: &[Probe],
    mode: TimeMode,
    rows_most: usize,
    progress: &Progress<'_>,
) -> Result<Answers> {
    let view = &*target.view;
    let oracle = Oracle::new(catalog, &view.view)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let answers = async {
        let loaded = oracle.load(&replayed.winners).await?;
        let kind = loaded.kind(mode);
        let step = match kind {
            Kind::Windows => 1,
            Kind::Groups => rows_seen(view, replayed, probes).div_ceil(rows_most.max(1) as u64).max(1) as usize,
        };
        let asked: Vec<usize> = (0..probes.len()).step_by(step).collect();
        let mut rows = vec![None; probes.len()];
        asked.iter().enumerate().for_each(|(row, &probe)| rows[probe] = Some(row));
        let types: Vec<_> = view.entity.iter().map(|field| field.data_type().clone()).collect();
        let keys = key::decode(&types, asked.iter().map(|&probe| replayed.entities[probes[probe].entity].0.as_slice()))?;
        let at = asked.iter().map(|&probe| probes[probe].at).collect();
        let features = loaded.answer(&Probes { keys, at }, mode).await?;
        Ok(Answers { rows, features, kind, windows: oracle.windows_of_features() })
    };
    let doing = format!("asking the oracle of {}", view.view);
    runtime.block_on(async {
        tokio::select! {
            answers = answers => answers,
            unwanted = unwanted(&doing, progress) => Err(unwanted.into()),
        }
    })
}

/// Ends once nobody wants the answer any more.
async fn unwanted(doing: &str, progress: &Progress<'_>) -> Error {
    loop {
        if let Err(error) = progress(doing) {
            return error;
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// How many rows all probes see through the longest frame, about.
fn rows_seen(view: &Transformation, replayed: &Replayed, probes: &[Probe]) -> u64 {
    let reach = view.reach().unwrap_or(i64::MAX);
    let seen = |probe: &Probe| {
        let times = &replayed.entities[probe.entity].1;
        let first = times.partition_point(|&time| time < probe.at.saturating_sub(reach));
        times.partition_point(|&time| time <= probe.at).saturating_sub(first) as u64
    };
    probes.iter().map(seen).sum()
}
