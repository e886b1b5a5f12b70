//! A cut that many requests read, for as long as any of them does.

use std::sync::Arc;

use lockstep_model::Error;
use self_cell::self_cell;

use crate::database::Database;
use crate::{Cut, CutRead, Snapshot, Store};

self_cell!(
    struct Held {
        owner: Holder,
        #[covariant]
        dependent: Both,
    }
);

/// What is kept open for as long as it is read.
enum Holder {
    Store(Arc<Store>),
    Snapshot(Arc<Snapshot>),
}

impl Holder {
    fn database(&self) -> &Database {
        match self {
            Holder::Store(store) => &store.database,
            Holder::Snapshot(snapshot) => snapshot.database(),
        }
    }
}

/// One moment, read with and without the disk.
struct Both<'a> {
    whole: Cut<'a>,
    in_memory: Cut<'a>,
}

/// A [`Cut`] that keeps its store or snapshot open. Making one takes a snapshot of RocksDB's and reads nothing; one that is shared by the requests between two commits has read
/// what it says of generations once.
pub struct SharedCut(Held);

/// The store at one moment, for whoever must not wait for a disk and for whoever can.
pub trait SharedRead: Send + Sync {
    /// All of it.
    fn whole(&self) -> &dyn CutRead;

    /// What is in memory of it: reading never waits for the disk, and fails as Unavailable, caused by [`NotInMemory`], where that would have to be asked.
    fn in_memory(&self) -> &dyn CutRead;
}

/// Why reading what is in memory failed: it is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotInMemory;

impl std::fmt::Display for NotInMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what was to be read is not in memory")
    }
}

impl std::error::Error for NotInMemory {}

impl From<NotInMemory> for Error {
    fn from(error: NotInMemory) -> Self {
        Error::unavailable(error.to_string()).caused_by(error)
    }
}

impl NotInMemory {
    /// Whether this is why something failed.
    pub fn caused(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(|source| source.is::<NotInMemory>())
    }
}

impl SharedCut {
    /// The store at this moment.
    pub fn new(store: &Arc<Store>) -> Self {
        SharedCut::held(Holder::Store(Arc::clone(store)))
    }

    /// The moment of a snapshot.
    pub fn of_snapshot(snapshot: &Arc<Snapshot>) -> Self {
        SharedCut::held(Holder::Snapshot(Arc::clone(snapshot)))
    }

    fn held(holder: Holder) -> Self {
        SharedCut(Held::new(holder, |holder| {
            let whole = Cut::new(holder.database());
            Both { in_memory: whole.in_memory(), whole }
        }))
    }
}

impl SharedRead for SharedCut {
    fn whole(&self) -> &dyn CutRead {
        &self.0.borrow_dependent().whole
    }

    fn in_memory(&self) -> &dyn CutRead {
        &self.0.borrow_dependent().in_memory
    }
}

impl std::fmt::Debug for SharedCut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCut").finish_non_exhaustive()
    }
}
