//! A cut that many requests read, for as long as any of them does.

use std::sync::Arc;

use self_cell::self_cell;

use crate::{Cut, Store};

self_cell!(
    struct Held {
        owner: Arc<Store>,
        #[covariant]
        dependent: Cut,
    }
);

/// A [`Cut`] that keeps its store open. Making one takes a snapshot and reads nothing; one that is shared by the requests between two commits has read what it
/// says of generations once.
pub struct SharedCut(Held);

impl SharedCut {
    /// The store at this moment.
    pub fn new(store: &Arc<Store>) -> Self {
        SharedCut(Held::new(Arc::clone(store), |store| store.cut()))
    }

    /// What it reads.
    pub fn cut(&self) -> &Cut<'_> {
        self.0.borrow_dependent()
    }
}

impl std::fmt::Debug for SharedCut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCut").finish_non_exhaustive()
    }
}
