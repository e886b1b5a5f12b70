//! `lockstep verify`: everything the store says, computed again from the inputs in other ways, and compared as bits.
//!
//! Of each view, three answers to the same questions: the *online* store; the *offline* driver, which reads the inputs again and builds trees of
//! another shape in memory; and the *oracle*, stock DataFusion running the view's own SQL over the events. Beside the answers, the state itself is
//! walked from end to end: every event against the inputs, every tile against what lies below it, every remembered key.

mod compare;
mod oracle;
mod probes;
mod report;
mod selftest;
mod served;
mod state;

use anyhow::Result;
use lockstep_ingest::offline::{Files, replay};
use lockstep_ingest::pipeline::Target;
use lockstep_model::TimeMode;
use lockstep_serve::admin::Progress;
use lockstep_store::CutRead;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::Shape;

pub use compare::{same, same_at};
pub use probes::Probe;
pub use report::{Verified, ViewReport, shown};
pub use selftest::{SelfTested, self_test};
pub use served::{ServedReport, verify_served};

/// How much to compare.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Values to compare, about, over all views.
    pub values: usize,
    /// Decides the probes at random moments.
    pub seed: u64,
    /// Which clock counts; `None` for each view's own.
    pub time: Option<TimeMode>,
    /// How many rows the oracle of groups may look at, per view.
    pub oracle_rows: usize,
    /// Where the inputs are.
    pub files: Files,
}

/// A tree of another shape than the store's, so that a fault in either shows.
pub const OTHER_SHAPE: Shape = Shape { leaf_rows_max: 24, buffer_rows_max: 0 };

/// Verifies views, one after the other.
///
/// # Errors
/// Where the store or an input cannot be read, or an input is no longer the one that was applied; as `progress` has.
pub fn verify(catalog: &Catalog, cut: &dyn CutRead, targets: &[Target], options: &VerifyOptions, progress: &Progress<'_>) -> Result<Verified> {
    let features: usize = targets.iter().map(|target| target.view.features.fields().len()).sum();
    let probes_a_view = options.values / features.max(1);
    let mut views = Vec::with_capacity(targets.len());
    for target in targets {
        views.push(view(catalog, cut, target, probes_a_view, None, options, progress)?);
    }
    Ok(Verified::new(views))
}

/// Verifies one view at about so many moments, and at one more.
fn view(
    catalog: &Catalog,
    cut: &dyn CutRead,
    target: &Target,
    probes_most: usize,
    more: Option<Probe>,
    options: &VerifyOptions,
    progress: &Progress<'_>,
) -> Result<ViewReport> {
    let name = &target.view.view;
    progress(&format!("reading the inputs of {name} again"))?;
    let generation = target.generation.generation;
    let online = cut.state(generation);
    let replayed = replay(catalog, target, cut, &options.files, OTHER_SHAPE)?;
    let horizon = cut.horizon(generation)?;
    let mut probes = probes::probes(&target.view, &replayed.entities, horizon.readable_from.0, probes_most, options.seed);
    probes.extend(more.filter(|probe| probe.entity < replayed.entities.len()));
    let mode = options.time.unwrap_or_else(|| catalog.time_mode(&target.view));

    progress(&format!("walking through the state of {name}"))?;
    let state = state::check(target, cut, &online, &replayed, &horizon)?;
    let answers = oracle::answers(catalog, target, &replayed, &probes, mode, options.oracle_rows, progress)?;
    let mut report = ViewReport::new(target, mode, &replayed, state.report, &answers);
    compare::compare(&mut report, target, (&online, &replayed), &probes, mode, (&answers, &state.faults), progress)?;
    Ok(report)
}
