//! Verifying all views of a store, and telling about it.

use std::io::Write;

use anyhow::Result;
use lockstep_ingest::offline::{Files, replay};
use lockstep_ingest::pipeline::Target;
use lockstep_model::TimeMode;
use lockstep_store::CutRead;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::Shape;

use super::{CutState, ViewReport, compare, probes};

/// How much to compare.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Values to compare, about, over all views.
    pub values: usize,
    /// Decides the probes at random moments.
    pub seed: u64,
    /// Which clock counts; `None` for each view's own.
    pub time: Option<TimeMode>,
    /// Where the inputs are.
    pub files: Files,
}

/// A tree of another shape than the store's, so that a fault in either shows.
const OTHER_SHAPE: Shape = Shape { leaf_rows_max: 24, buffer_rows_max: 0 };

/// Compares the online state with the offline driver, view by view.
///
/// # Errors
/// Where the store or an input cannot be read.
pub fn verify(catalog: &Catalog, cut: &dyn CutRead, targets: &[Target], options: &VerifyOptions, out: &mut dyn Write) -> Result<Vec<ViewReport>> {
    let features: usize = targets.iter().map(|target| target.view.features.fields().len()).sum();
    let probes_a_view = options.values / features.max(1);
    let mut reports = Vec::with_capacity(targets.len());
    for target in targets {
        let generation = target.generation.generation;
        let replayed = replay(catalog, target, cut, &options.files, OTHER_SHAPE)?;
        let from = cut.horizon(generation)?.readable_from.0;
        let probes = probes(&target.view, &replayed.entities, from, probes_a_view, options.seed);
        let mode = options.time.unwrap_or_else(|| catalog.time_mode(&target.view));
        let report = compare(target, &CutState { cut, generation }, &replayed, &probes, mode)?;
        print_view(out, &report, replayed.entities.len(), replayed.rows)?;
        let kept = cut.refusals(generation).count();
        if kept != replayed.refusals.len() {
            writeln!(out, "  refusals: {kept} in the ledger, {} by the log", replayed.refusals.len())?;
        }
        reports.push(report);
    }
    print_sum(out, &reports)?;
    Ok(reports)
}

fn print_view(out: &mut dyn Write, report: &ViewReport, entities: usize, rows: u64) -> std::io::Result<()> {
    let mode = match report.mode {
        TimeMode::Known => "known",
        TimeMode::Event => "event",
    };
    writeln!(out, "{} ({mode} time, {entities} entities, {rows} rows read again, {})", report.view, report.range)?;
    for feature in &report.features {
        let share = |n: u64| 100.0 * n as f64 / feature.compared.max(1) as f64;
        let (name, telling) = (&feature.name, share(feature.telling));
        writeln!(out, "  {name:<32} {:>9} compared  {:>6} differ  {telling:>5.1}% telling", feature.compared, feature.differ)?;
    }
    for difference in &report.differences {
        writeln!(out, "  differs: {difference}")?;
    }
    Ok(())
}

fn print_sum(out: &mut dyn Write, reports: &[ViewReport]) -> std::io::Result<()> {
    let sum = |count: fn(&ViewReport) -> u64| reports.iter().map(count).sum::<u64>();
    let (compared, differ, telling) = (sum(ViewReport::compared), sum(ViewReport::differ), sum(ViewReport::telling));
    let share = 100.0 * telling as f64 / compared.max(1) as f64;
    writeln!(out, "{compared} values compared, {differ} differ; {share:.1}% are neither NULL nor what no events give")
}
