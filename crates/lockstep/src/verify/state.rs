//! The state itself against the inputs: events, tiles, remembered keys, refusals.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_ingest::offline::Replayed;
use lockstep_ingest::pipeline::Target;
use lockstep_model::{Error, StateRead, state};
use lockstep_store::{CutRead, Horizon, KeyEntryHeader};
use lockstep_transform::tiles::audit::{self, Fault};

use super::report::StateReport;

/// Faults told of each view.
const FAULTS_MAX: usize = 10;

/// What was found.
pub(super) struct Checked {
    pub(super) report: StateReport,
    /// By entity.
    pub(super) faults: BTreeMap<Vec<u8>, Vec<Fault>>,
}

/// Walks every tree of a generation, and compares its keys and refusals with what the inputs come to.
pub(super) fn check(target: &Target, cut: &dyn CutRead, online: &dyn StateRead, replayed: &Replayed, horizon: &Horizon) -> Result<Checked, Error> {
    let mut checked = Checked { report: StateReport::default(), faults: BTreeMap::new() };
    trees(&mut checked, target, cut, online, replayed, horizon)?;
    keys(&mut checked.report, target, cut, replayed, horizon)?;
    let report = &mut checked.report;
    for refusal in cut.refusals(target.generation.generation) {
        refusal?;
        report.refusals += 1;
    }
    report.refusals_by_log = replayed.refusals.len() as u64;
    Ok(checked)
}

fn trees(
    checked: &mut Checked,
    target: &Target,
    cut: &dyn CutRead,
    online: &dyn StateRead,
    replayed: &Replayed,
    horizon: &Horizon,
) -> Result<(), Error> {
    let generation = target.generation.generation;
    let before = horizon.state_before.0;
    let mut entities: BTreeSet<Vec<u8>> = replayed.entities.iter().map(|(entity, _)| entity.clone()).collect();
    cut.each_entity(generation, &mut |entity, _| {
        entities.insert(entity.to_vec());
        Ok(())
    })?;
    for entity in entities {
        let found = audit::walk(&target.view.measures, online, &entity, before)?;
        let expected = audit::walk(&target.view.measures, &replayed.state, &entity, i64::MIN)?;
        let mut faults = found.faults;
        faults.extend(audit::compare(&found.rows, &expected.rows, before));
        faults.extend(expected.faults);
        let report = &mut checked.report;
        report.entities += 1;
        report.nodes += found.nodes;
        report.tiles += found.tiles;
        report.events += found.rows.len() as u64;
        if !faults.is_empty() {
            report.tell(&entity, &faults, FAULTS_MAX);
            checked.faults.insert(entity, faults);
        }
    }
    // What no tree leads to. Nodes that may be gone can outlive the page that knew them.
    let mut nodes = 0;
    cut.each_state(generation, &mut |key, _| {
        nodes += u64::from(state::newest_time_below(key).is_none_or(|newest| newest >= before));
        Ok(())
    })?;
    checked.report.unreachable_nodes = nodes.saturating_sub(checked.report.nodes);
    Ok(())
}

/// Every key of the store is one of the inputs, with the same content; every one of the inputs is in the store unless it may be forgotten.
fn keys(report: &mut StateReport, target: &Target, cut: &dyn CutRead, replayed: &Replayed, horizon: &Horizon) -> Result<(), Error> {
    let generation = target.generation.generation;
    let before = |source: u16| horizon.keys_before.iter().find(|(ordinal, _)| *ordinal == source).map(|(_, before)| *before);
    let is_kept = |source: u16, entry: &[u8]| {
        before(source).is_none_or(|before| KeyEntryHeader::split(entry).is_none_or(|(header, _)| header.event_time >= before))
    };
    let mut found = BTreeMap::<u16, usize>::new();
    cut.each_key(generation, &mut |source, key, entry| {
        report.keys += 1;
        match replayed.keys.get(source, key) {
            Some(expected) if expected == entry => *found.entry(source).or_default() += usize::from(is_kept(source, entry)),
            _ => report.keys_differ += 1,
        }
        Ok(())
    })?;
    for source in 0..target.sources.len() as u16 {
        let expected: Vec<&[u8]> = replayed.keys.of(source).filter(|(_, entry)| is_kept(source, entry)).map(|(key, _)| key).collect();
        // Only where the counts say that something is missing is it looked for.
        if expected.len() > found.get(&source).copied().unwrap_or_default() {
            cut.get_keys(generation, source, &expected, &mut |_, entry| report.keys_differ += u64::from(entry.is_none()))?;
        }
    }
    Ok(())
}
