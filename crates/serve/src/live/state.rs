//! The store, or a snapshot, at one moment, as one set of definitions reads it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use lockstep_model::position::watermark;
use lockstep_model::{Error, EventTime, Generation, PartitionId, Position};
use lockstep_store::{CutRead, SharedCut, SharedRead, Snapshot, Store};
use lockstep_transform::catalog::Catalog;

use super::serving::{ReleaseAt, Serving};
use super::{Layer, Reach};
use crate::Served;
use crate::desk::{Lists, Wanted};
use crate::scoring::Deployments;

/// The store at one moment, as one set of definitions reads it.
pub struct State {
    cut: Box<dyn SharedRead>,
    /// The definitions, with the generation of each view.
    pub served: Served,
    /// The number of the definitions.
    pub version: u64,
    /// The release that it is; `None` where none was promoted, and for definitions that were pinned.
    pub release: Option<ReleaseAt>,
    /// The snapshot that it is; `None` for what is live.
    pub snapshot: Option<PinnedAt>,
    wanted: Arc<HashMap<String, Arc<Wanted>>>,
    lists: Arc<Lists>,
    deployments: Arc<Deployments>,
    pub(super) sequence: u64,
    standings: OnceLock<Arc<Vec<Standing>>>,
}

/// A snapshot that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedAt {
    /// Its name.
    pub name: String,
    /// The moment up to which it answers.
    pub moment: EventTime,
}

impl PinnedAt {
    /// Refuses moments that come after it.
    ///
    /// # Errors
    /// OutOfRange.
    pub fn check(&self, moments: &[i64]) -> Result<(), Error> {
        check_moments(&self.name, self.moment, moments)
    }
}

/// Refuses moments after that of a snapshot: not all that counts then is in it.
///
/// # Errors
/// OutOfRange.
pub fn check_moments(name: &str, moment: EventTime, moments: &[i64]) -> Result<(), Error> {
    match moments.iter().max() {
        Some(&latest) if latest > moment.0 => Err(Error::out_of_range(format!(
            "snapshot `{name}` answers up to {moment}, and {} is after that · ask for an earlier moment, or make another snapshot",
            EventTime(latest)
        ))),
        _ => Ok(()),
    }
}

/// How far one generation has come.
#[derive(Debug)]
pub struct Standing {
    /// The generation.
    pub generation: Generation,
    /// Where its logs stand.
    pub positions: Vec<(PartitionId, Position)>,
    /// The least of the newest event times of its logs, µs; absent until each source has one.
    pub watermark: Option<i64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("version", &self.version).field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Reach {
    pub(super) fn of(self, cut: &dyn SharedRead) -> &dyn CutRead {
        match self {
            Reach::Memory => cut.in_memory(),
            Reach::Disk => cut.whole(),
        }
    }
}

impl State {
    pub(super) fn new(store: &Arc<Store>, layer: &Layer, serving: &Serving, reach: Reach) -> Result<State, Error> {
        // Before the cut: a commit that comes between the two is in the cut, and makes the next request look again, which is harmless.
        let sequence = store.sequence();
        let cut = layer(SharedCut::new(store));
        let served = serving.served(reach.of(&*cut))?;
        let Serving { compiled, release, deployments, .. } = serving;
        let (wanted, lists, deployments) = (Arc::clone(&compiled.wanted), Arc::clone(&compiled.lists), Arc::clone(deployments));
        let (version, release, standings) = (compiled.version, *release, OnceLock::new());
        Ok(State { cut, served, version, release, snapshot: None, wanted, lists, deployments, sequence, standings })
    }

    pub(super) fn of_snapshot(snapshot: &Arc<Snapshot>, at: PinnedAt, serving: &Serving) -> Result<State, Error> {
        let cut: Box<dyn SharedRead> = Box::new(SharedCut::of_snapshot(snapshot));
        let served = serving.served(cut.whole())?;
        let Serving { compiled, release, deployments, .. } = serving;
        let (wanted, lists, deployments) = (Arc::clone(&compiled.wanted), Arc::clone(&compiled.lists), Arc::clone(deployments));
        let (version, release, standings) = (compiled.version, *release, OnceLock::new());
        Ok(State { cut, served, version, release, snapshot: Some(at), wanted, lists, deployments, sequence: 0, standings })
    }

    /// What is read.
    pub fn cut(&self, reach: Reach) -> &dyn CutRead {
        reach.of(&*self.cut)
    }

    /// The definitions.
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.served.catalog()
    }

    /// Finds what is asked for.
    ///
    /// # Errors
    /// As [`Wanted::find`].
    pub fn wanted(&self, name: &str, features: &[String]) -> Result<Arc<Wanted>, Error> {
        match self.wanted.get(name) {
            Some(wanted) if features.is_empty() => Ok(Arc::clone(wanted)),
            _ => self.lists.find(self.catalog(), name, features),
        }
    }

    /// The deployments of what serves, warm; none for definitions and snapshots that were pinned, and where nothing is scored.
    pub fn deployments(&self) -> &Arc<Deployments> {
        &self.deployments
    }

    /// How far a view's generation has come; `None` where it has none.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn standing(&self, view: &str, reach: Reach) -> Result<Option<&Standing>, Error> {
        if self.standings.get().is_none() {
            let read = Arc::new(self.read_standings(reach)?);
            self.standings.get_or_init(|| read);
        }
        Ok(self.known_standing(view))
    }

    /// How far all views have come, for whoever wants to know it longer than there is the state.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn standings(&self, reach: Reach) -> Result<Arc<Vec<Standing>>, Error> {
        match self.standings.get() {
            Some(known) => Ok(Arc::clone(known)),
            None => {
                let read = Arc::new(self.read_standings(reach)?);
                Ok(Arc::clone(self.standings.get_or_init(|| read)))
            }
        }
    }

    /// As [`Self::standings`], where it was read before.
    pub fn known_standings(&self) -> Option<Arc<Vec<Standing>>> {
        self.standings.get().cloned()
    }

    /// As [`Self::standing`], where it was read before.
    pub fn known_standing(&self, view: &str) -> Option<&Standing> {
        let info = self.served.generation(view)?;
        self.standings.get()?.iter().find(|standing| standing.generation == info.generation)
    }

    fn read_standings(&self, reach: Reach) -> Result<Vec<Standing>, Error> {
        let mut standings = Vec::new();
        for (name, view) in &self.catalog().views {
            let Some(info) = self.served.generation(name) else { continue };
            let positions = self.cut(reach).positions(info.generation)?;
            let sources = self.catalog().sources_of(view);
            let watermark = sources.iter().map(|source| watermark(&positions, &source.name)).collect::<Option<Vec<_>>>();
            let watermark = watermark.and_then(|all| all.into_iter().min());
            standings.push(Standing { generation: info.generation, positions, watermark });
        }
        Ok(standings)
    }
}

/// The newest event time of a source in any view that serves, µs, as far as the standing of views was read.
pub fn newest(state: &State, source: &str) -> Option<i64> {
    let standings = state.catalog().views.keys().filter_map(|view| state.known_standing(view));
    let of_source = standings.flat_map(|standing| standing.positions.iter().filter(|(id, _)| id.source == source));
    of_source.filter_map(|(_, position)| position.event_time_max()).max()
}
