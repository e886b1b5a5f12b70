//! What a store has applied, as inputs of a history that is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_model::{Error, EventTime, PartitionId, Position};
use lockstep_store::GenerationInfo;
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::transformation::Transformation;

use crate::admission::Kind;
use crate::offline::applied::{Applied, AppliedGeneration, Together};
use crate::offline::log::Log;
use crate::offline::{Files, NOW, kind_of};
use crate::pipeline::{BackfillOptions, HistoryInput, Picked, Rows, SomeRows, Target};
use crate::source::Progress;

/// Views that are read together, since what several of them read they have read alike.
pub(super) struct Group<'a> {
    pub(super) targets: Vec<Target>,
    generations: Vec<&'a AppliedGeneration>,
}

/// Groups views by what was applied for them: one source may stand at one place in one generation and at another in the next.
///
/// # Errors
/// Unavailable where nothing was applied for a view.
pub(super) fn groups<'a>(catalog: &Catalog, views: &[Arc<Transformation>], applied: &'a Applied) -> Result<Vec<Group<'a>>, Error> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for view in views {
        let is_of = |info: &GenerationInfo| info.view == view.view && info.meaning == view.meaning && info.state == view.state;
        let generation = applied.generations.iter().find(|generation| is_of(&generation.info));
        let generation = generation.ok_or_else(|| Error::unavailable(format!("nothing was applied for `{}`", view.view)))?;
        let target = Target::new(catalog, view, generation.info.clone())?;
        match groups.iter_mut().find(|group| group.reads_alike(&target, generation)) {
            Some(group) => {
                group.targets.push(target);
                group.generations.push(generation);
            }
            None => groups.push(Group { targets: vec![target], generations: vec![generation] }),
        }
    }
    Ok(groups)
}

impl Group<'_> {
    /// Whether another generation has read what it shares with each of these as that one has.
    fn reads_alike(&self, target: &Target, generation: &AppliedGeneration) -> bool {
        self.targets.iter().zip(&self.generations).all(|(known, of_known)| {
            let shared = target.sources.iter().filter(|source| known.branches_of(&source.name).next().is_some());
            shared.into_iter().all(|source| same(of_known, generation, &source.name))
        })
    }

    /// The inputs of all views, each once, in the order in which they are read again.
    ///
    /// # Errors
    /// Where a source is not defined.
    pub(super) fn inputs<'s>(&'s self, catalog: &'s Catalog, applied: &'s Applied, files: &'s Files) -> Result<Vec<Again<'s>>, Error> {
        let mut by_source: BTreeMap<&str, Vec<Again<'s>>> = BTreeMap::new();
        for (target, generation) in self.targets.iter().zip(&self.generations) {
            for source in &target.sources {
                let again = |(id, position): &'s (PartitionId, Position)| Again {
                    source,
                    id,
                    position,
                    until: generation.until().filter(|_| kind_of(id) == Kind::History),
                    ahead: generation.ahead.rows(id),
                    together: &applied.together,
                    files,
                };
                by_source.entry(&source.name).or_insert_with(|| generation.of_source(&source.name).map(again).collect());
            }
        }
        if let Some(unknown) = by_source.keys().find(|name| !catalog.sources.contains_key(**name)) {
            return Err(Error::internal(format!("no source named `{unknown}`")));
        }
        Ok(by_source.into_values().flatten().collect())
    }

    /// How far each partition was read.
    pub(super) fn positions(&self) -> BTreeMap<PartitionId, Position> {
        self.generations.iter().flat_map(|generation| generation.positions.iter().cloned()).collect()
    }

    /// How many rows the clock put aside, by view and source.
    pub(super) fn ahead(&self) -> Vec<((String, String), u64)> {
        let of_view = |(target, generation): (&Target, &&AppliedGeneration)| -> Vec<((String, String), u64)> {
            generation.ahead.by_source().map(|(source, rows)| ((target.view.view.clone(), source.to_owned()), rows)).collect()
        };
        self.targets.iter().zip(&self.generations).flat_map(of_view).collect()
    }
}

/// Whether two generations have read a source alike.
fn same(a: &AppliedGeneration, b: &AppliedGeneration, source: &str) -> bool {
    // How many partitions of other sources came before is no matter.
    let placed = |generation: &AppliedGeneration| -> Vec<(PartitionId, Position)> {
        let positions = generation.of_source(source);
        positions.map(|(id, position)| (id.clone(), position.applied(Some(position), position.event_time_max(), position.begun_at(), 0))).collect()
    };
    let (of_a, of_b) = (placed(a), placed(b));
    of_a == of_b && a.until() == b.until() && of_a.iter().all(|(id, _)| a.ahead.rows(id) == b.ahead.rows(id))
}

/// A partition that is read again, as far as it was applied.
pub(super) struct Again<'a> {
    source: &'a Arc<SourcePlan>,
    id: &'a PartitionId,
    position: &'a Position,
    until: Option<EventTime>,
    ahead: Option<&'a BTreeSet<u64>>,
    together: &'a Together,
    files: &'a Files,
}

impl HistoryInput for Again<'_> {
    fn source(&self) -> &Arc<SourcePlan> {
        self.source
    }

    fn partition(&self) -> PartitionId {
        self.id.clone()
    }

    fn name(&self) -> &str {
        lockstep_model::position::history_path(&self.id.partition).unwrap_or(&self.id.partition)
    }

    fn kind(&self) -> Kind {
        kind_of(self.id)
    }

    fn open<'s>(&'s self, catalog: &'s Catalog, _: &'s BackfillOptions) -> Result<Box<dyn Rows + 's>, Error> {
        let log = Log::open(catalog, self.together, self.files, (self.id, self.position))?;
        Ok(Box::new(RowsAgain { begun_at: log.event_time_max, log, of: self }))
    }
}

/// The rows of a partition that is read again.
struct RowsAgain<'a> {
    log: Log,
    begun_at: Option<i64>,
    of: &'a Again<'a>,
}

impl Rows for RowsAgain<'_> {
    fn next(&mut self) -> Result<Option<SomeRows>, Error> {
        let Again { source, position, until, ahead, .. } = self.of;
        let Some((rows, batch)) = self.log.rows_to(position.rows())? else {
            self.log.compare(position)?;
            return Ok(None);
        };
        let counts = |row: u64| rows.contains(&row) && ahead.is_none_or(|ahead| !ahead.contains(&row));
        let mut batches = Vec::new();
        if let Some(batch) = batch {
            let picked = Picked::new(batch, counts, *until, source)?;
            let mut batch = batch.clone();
            batch.heartbeat = batch.heartbeat.filter(|heartbeat| rows.contains(&heartbeat.row));
            batches.push((batch, picked));
        }
        Ok(Some(SomeRows { rows: rows.end - rows.start, batches }))
    }

    fn begun_at(&self) -> Option<i64> {
        self.begun_at
    }

    fn now(&self) -> EventTime {
        NOW
    }

    fn progress(&self) -> Progress {
        Progress { bytes_done: 0, bytes_total: None, rows_done: self.log.done(), rows_total: None }
    }
}
