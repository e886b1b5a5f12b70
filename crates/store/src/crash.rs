//! Crash points: named places at which a test ends the process the hard way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_model::Error;

/// A place where a crash matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// A commit is about to be built.
    CommitBefore,
    /// Half of a commit's bytes have reached the log.
    CommitInside,
    /// A commit has reached the log, and nobody has been told.
    CommitAfter,
    /// Commits are about to be forced to the disk.
    SyncBefore,
    /// Commits have been forced to the disk.
    SyncAfter,
    /// A file of a bulk load is written but not finished.
    SstWrite,
    /// The files of a part are finished but not in the store.
    SstBeforeIngest,
    /// Some families of a part are in the store, others are not.
    SstInsideIngest,
    /// The files of a part are in the store, which is not recorded yet.
    SstAfterIngest,
    /// A generation is about to be published.
    PublishBefore,
    /// A generation is published, and nobody has been told.
    PublishAfter,
    /// The snapshot of a candidate is there, and nothing of it was read.
    ValidateBefore,
    /// Some of a candidate was read.
    ValidateInside,
    /// A candidate was validated, and nothing was made of it.
    ValidateAfter,
    /// A release is about to be promoted.
    PromoteBefore,
    /// A release is promoted, and nobody has been told.
    PromoteAfter,
    /// A release is about to be rolled back to.
    RollBackBefore,
    /// A release serves again, and nobody has been told.
    RollBackAfter,
    /// A store is about to be marked as one of another format.
    FormatBefore,
    /// The mark is written, but does not have its name yet.
    FormatWritten,
    /// A store is of another format, and nobody has been told.
    FormatAfter,
    /// A checkpoint is about to be made.
    CheckpointBefore,
    /// A checkpoint is made but does not have its name yet.
    CheckpointInside,
    /// A checkpoint has its name.
    CheckpointAfter,
    /// A generation is about to be dropped.
    DropBefore,
    /// A generation is dropped, its files are still there.
    DropInside,
    /// Some families of a dropped generation have lost their files, others have not.
    DropDeleting,
    /// A generation is dropped with its files, and nobody has been told.
    DropAfter,
    /// A snapshot is about to be made.
    SnapshotBefore,
    /// A snapshot has its files, and says nothing of them yet.
    SnapshotLinked,
    /// A snapshot is whole but does not have its name yet.
    SnapshotWritten,
    /// A snapshot has its name, and nobody has been told.
    SnapshotAfter,
    /// A snapshot is about to be dropped.
    UnsnapshotBefore,
    /// A dropped snapshot has lost its name, its files are still there.
    UnsnapshotRenamed,
    /// A dropped snapshot has lost some of its files.
    UnsnapshotInside,
    /// A snapshot is dropped, and nobody has been told.
    UnsnapshotAfter,
    /// A file of a log of applied events is written, but does not have its name yet.
    RollBefore,
    /// Files of a log are written as one, which does not have its name yet.
    MergeBefore,
    /// The one has its name, and the many are still there.
    MergeInside,
    /// Some of the many are gone.
    MergeAfter,
    /// Rows of the outbox are where they are to go, and still wait.
    OutBefore,
    /// They are gone, and nobody has been told.
    OutAfter,
    /// A run's predictions are written where the store keeps them, but do not have their name yet.
    RunWritten,
    /// They have their name, and there is no generation of them.
    RunNamed,
    /// A run is published, and what it replaces for good is still there.
    RunPublished,
    /// A run is about to be taken back.
    TakeBackBefore,
    /// A run is taken back, and nobody has been told.
    TakeBackAfter,
}

impl CrashPoint {
    /// Every point with the name a plan calls it by.
    pub const NAMES: [(&'static str, CrashPoint); 47] = [
        ("commit.before", CrashPoint::CommitBefore),
        ("commit.inside", CrashPoint::CommitInside),
        ("commit.after", CrashPoint::CommitAfter),
        ("sync.before", CrashPoint::SyncBefore),
        ("sync.after", CrashPoint::SyncAfter),
        ("sst.write", CrashPoint::SstWrite),
        ("sst.before_ingest", CrashPoint::SstBeforeIngest),
        ("sst.inside_ingest", CrashPoint::SstInsideIngest),
        ("sst.after_ingest", CrashPoint::SstAfterIngest),
        ("publish.before", CrashPoint::PublishBefore),
        ("publish.after", CrashPoint::PublishAfter),
        ("validate.before", CrashPoint::ValidateBefore),
        ("validate.inside", CrashPoint::ValidateInside),
        ("validate.after", CrashPoint::ValidateAfter),
        ("promote.before", CrashPoint::PromoteBefore),
        ("promote.after", CrashPoint::PromoteAfter),
        ("rollback.before", CrashPoint::RollBackBefore),
        ("rollback.after", CrashPoint::RollBackAfter),
        ("format.before", CrashPoint::FormatBefore),
        ("format.written", CrashPoint::FormatWritten),
        ("format.after", CrashPoint::FormatAfter),
        ("checkpoint.before", CrashPoint::CheckpointBefore),
        ("checkpoint.inside", CrashPoint::CheckpointInside),
        ("checkpoint.after", CrashPoint::CheckpointAfter),
        ("drop.before", CrashPoint::DropBefore),
        ("drop.inside", CrashPoint::DropInside),
        ("drop.deleting", CrashPoint::DropDeleting),
        ("drop.after", CrashPoint::DropAfter),
        ("snapshot.before", CrashPoint::SnapshotBefore),
        ("snapshot.linked", CrashPoint::SnapshotLinked),
        ("snapshot.written", CrashPoint::SnapshotWritten),
        ("snapshot.after", CrashPoint::SnapshotAfter),
        ("unsnapshot.before", CrashPoint::UnsnapshotBefore),
        ("unsnapshot.renamed", CrashPoint::UnsnapshotRenamed),
        ("unsnapshot.inside", CrashPoint::UnsnapshotInside),
        ("unsnapshot.after", CrashPoint::UnsnapshotAfter),
        ("roll.before", CrashPoint::RollBefore),
        ("merge.before", CrashPoint::MergeBefore),
        ("merge.inside", CrashPoint::MergeInside),
        ("merge.after", CrashPoint::MergeAfter),
        ("out.before", CrashPoint::OutBefore),
        ("out.after", CrashPoint::OutAfter),
        ("run.written", CrashPoint::RunWritten),
        ("run.named", CrashPoint::RunNamed),
        ("run.published", CrashPoint::RunPublished),
        ("takeback.before", CrashPoint::TakeBackBefore),
        ("takeback.after", CrashPoint::TakeBackAfter),
    ];
}

/// At which hit of which point to abort. The default plan never does, and costs one comparison a point.
#[derive(Debug, Clone, Default)]
pub struct CrashPlan {
    steps: Option<Arc<[Step]>>,
}

#[derive(Debug)]
struct Step {
    point: CrashPoint,
    hits_left: AtomicU64,
    /// Whether the thread stops there, as if the disk did not answer, instead of the process.
    stalls: bool,
}

impl CrashPlan {
    /// Parses `commit.after:3` (abort at the third hit), several of them separated by commas; `:1` may be left out, and `commit.after:3:stall` has the thread wait there for ever. Empty
    /// text plans nothing.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let steps = text.split(',').map(str::trim).filter(|step| !step.is_empty()).map(Step::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(CrashPlan { steps: (!steps.is_empty()).then(|| steps.into()) })
    }

    /// Aborts the process if the plan says so.
    pub fn hit(&self, point: CrashPoint) {
        match self.due(point) {
            Some(Step { stalls: true, .. }) => loop {
                std::thread::park();
            },
            Some(_) => std::process::abort(),
            None => {}
        }
    }

    /// Counts a hit, and says whether this is the one to abort at.
    pub(crate) fn is_due(&self, point: CrashPoint) -> bool {
        self.due(point).is_some()
    }

    fn due(&self, point: CrashPoint) -> Option<&Step> {
        self.steps.as_ref()?.iter().filter(|step| step.point == point).find(|step| step.count_down())
    }
}

impl Step {
    fn parse(text: &str) -> Result<Self, Error> {
        let (crash, stalls) = text.strip_suffix(":stall").map_or((text, false), |crash| (crash, true));
        let (name, hits) = crash.split_once(':').unwrap_or((crash, "1"));
        let known = CrashPoint::NAMES.iter().find(|(known, _)| *known == name);
        let &(_, point) = known.ok_or_else(|| {
            let names = CrashPoint::NAMES.map(|(name, _)| name).join(", ");
            Error::invalid(format!("`{name}` is not a crash point · known: {names} · write `commit.after:3`"))
        })?;
        let hits = hits.parse::<u64>().ok().filter(|&hits| hits > 0);
        let hits =
            hits.ok_or_else(|| Error::invalid(format!("`{text}` does not say at which hit to crash · hits count from 1 · write `{name}:3`")))?;
        Ok(Step { point, hits_left: AtomicU64::new(hits), stalls })
    }

    fn count_down(&self) -> bool {
        let counted = self.hits_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        counted == Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_due_at_its_hit_and_only_there() {
        let plan = CrashPlan::parse("commit.after:2, publish.before").unwrap();
        let due = |point| plan.is_due(point);
        assert!(!due(CrashPoint::CommitBefore));
        assert_eq!([due(CrashPoint::CommitAfter), due(CrashPoint::CommitAfter), due(CrashPoint::CommitAfter)], [false, true, false]);
        assert!(due(CrashPoint::PublishBefore));
        let stalls = CrashPlan::parse("commit.after:2:stall, publish.before:stall").unwrap();
        assert_eq!(
            stalls.steps.unwrap().iter().map(|step| (step.hits_left.load(Ordering::Relaxed), step.stalls)).collect::<Vec<_>>(),
            [(2, true), (1, true)]
        );
        assert!(!CrashPlan::parse("").unwrap().is_due(CrashPoint::CommitAfter));
    }

    #[test]
    fn a_plan_that_cannot_be_meant_is_refused() {
        for (text, said) in [
            ("commit.middle", "`commit.middle` is not a crash point"),
            ("commit.after:0", "hits count from 1"),
            ("sst.write:x", "write `sst.write:3`"),
        ] {
            let error = CrashPlan::parse(text).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }
}
