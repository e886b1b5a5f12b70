//! The state of a generation from what a store had at an earlier moment, and what its logs brought since: what can be computed again for ever, however long the logs are.
//!
//! Entities are computed when they are asked for, and only these. Of one whose tree is whole in the earlier store, the events are taken and a tree of another shape is built of them, so that no tile is
//! believed. Of one that has forgotten events, or has too many to build, the tree is taken as it is, and what came since is folded into it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use lockstep_model::{Error, Generation, PartitionId, Position, StateKey, StateRead, state};
use lockstep_store::CutRead;
use lockstep_transform::tiles::audit::{FaultKind, OwnedRow, walk};
use lockstep_transform::tiles::node::Row;
use lockstep_transform::tiles::{self, EntityChanges, MemoryState, Shape, Written};
use lockstep_transform::transformation::Transformation;

/// A store at an earlier moment, from which a generation is computed on.
#[derive(Clone, Copy)]
pub struct Since<'a> {
    /// The store as it was.
    pub cut: &'a dyn CutRead,
    /// Most events of entities that are built anew; beyond it trees are taken as they are.
    pub events_max: u64,
}

impl std::fmt::Debug for Since<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Since").field("events_max", &self.events_max).finish_non_exhaustive()
    }
}

/// What an entity is computed from besides: changes of one step, in their order.
#[derive(Debug, Default)]
struct Later {
    removes: Vec<Vec<u8>>,
    upserts: Vec<OwnedRow>,
}

impl Later {
    fn of(changes: &EntityChanges<'_>) -> Later {
        let owned = |row: &Row<'_>| OwnedRow { key: row.key.to_vec(), known: (row.known_from, row.known_until), args: row.args.to_vec() };
        Later { removes: changes.removes.iter().map(|key| key.to_vec()).collect(), upserts: changes.upserts.iter().map(owned).collect() }
    }

    fn changes<'a>(&'a self, entity: &'a [u8]) -> EntityChanges<'a> {
        EntityChanges { entity, removes: self.removes.iter().map(Vec::as_slice).collect(), upserts: self.upserts.iter().map(row).collect() }
    }
}

fn row(row: &OwnedRow) -> Row<'_> {
    Row { key: &row.key, known_from: row.known.0, known_until: row.known.1, args: &row.args }
}

/// The state of a generation since an earlier moment.
#[derive(Debug)]
pub(super) struct Recent<'a> {
    since: Since<'a>,
    generation: Generation,
    /// How far it had come then.
    pub(super) positions: Vec<(PartitionId, Position)>,
    view: &'a Transformation,
    shape: Shape,
    /// What came since of entities that nobody has asked for yet.
    later: RefCell<HashMap<Vec<u8>, Vec<Later>>>,
    asked: RefCell<HashMap<Vec<u8>, Entity>>,
    /// The order keys of events that gave way to others.
    pub(super) superseded: Vec<Vec<u8>>,
    /// Events that were built anew.
    built: Cell<u64>,
}

/// An entity that was asked for.
#[derive(Debug)]
enum Entity {
    /// A tree that was built of its events.
    Built(MemoryState),
    /// What was written since, over the tree that the earlier store had.
    Over(Written),
}

/// The state of a store at a moment, of one generation.
struct Stored<'a>(&'a dyn CutRead, Generation);

impl StateRead for Stored<'_> {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.0.get_state(self.1, keys, found)
    }
}

impl<'a> Recent<'a> {
    /// A generation of a view as it stands in the earlier store.
    ///
    /// # Errors
    /// Where that cannot be read.
    pub(super) fn new(since: Since<'a>, generation: Generation, view: &'a Transformation, shape: Shape) -> Result<Recent<'a>, Error> {
        let positions = since.cut.positions(generation)?;
        let (later, asked) = (RefCell::default(), RefCell::default());
        Ok(Recent { since, generation, positions, view, shape, later, asked, superseded: Vec::new(), built: Cell::new(0) })
    }

    /// Where a partition stood.
    pub(super) fn position(&self, id: &PartitionId) -> Option<&Position> {
        self.positions.iter().find(|(known, _)| known == id).map(|(_, position)| position)
    }

    fn stored(&self) -> Stored<'a> {
        Stored(self.since.cut, self.generation)
    }

    /// Takes in what the logs brought, each entity once.
    ///
    /// # Errors
    /// Where state does not decode.
    pub(super) fn apply(&mut self, changes: &mut [EntityChanges<'_>]) -> Result<(), Error> {
        let gave_way = changes.iter().flat_map(|changes| &changes.upserts).filter(|row| !row.is_live());
        self.superseded.extend(gave_way.map(|row| row.key.to_vec()));
        let (mut asked, mut later) = (self.asked.borrow_mut(), self.later.borrow_mut());
        for changes in changes {
            match asked.get_mut(changes.entity) {
                Some(entity) => self.fold(entity, changes)?,
                None => later.entry(changes.entity.to_vec()).or_default().push(Later::of(changes)),
            }
        }
        Ok(())
    }

    fn fold(&self, entity: &mut Entity, changes: &mut EntityChanges<'_>) -> Result<(), Error> {
        let (measures, changes) = (&self.view.measures, std::slice::from_mut(changes));
        match entity {
            Entity::Built(state) => {
                let writes = tiles::apply(measures, self.shape, state, changes)?;
                state.write(writes);
            }
            Entity::Over(written) => {
                let writes = tiles::apply(measures, self.shape, &written.over(&self.stored()), changes)?;
                written.write(writes);
            }
        }
        Ok(())
    }

    /// An entity that is asked for the first time.
    fn load(&self, key: &[u8]) -> Result<Entity, Error> {
        let later = self.later.borrow_mut().remove(key).unwrap_or_default();
        if let Some(state) = self.build(key, &later)? {
            return Ok(Entity::Built(state));
        }
        let mut entity = Entity::Over(Written::default());
        for later in &later {
            self.fold(&mut entity, &mut later.changes(key))?;
        }
        Ok(entity)
    }

    /// The state that the events of an entity come to, with none of its tiles; `None` where not all of them are there, or too many.
    fn build(&self, key: &[u8], later: &[Later]) -> Result<Option<MemoryState>, Error> {
        let measures = &self.view.measures;
        let events = tiles::events(&self.stored(), key)?;
        if self.built.get().saturating_add(events) > self.since.events_max {
            return Ok(None);
        }
        let walked = walk(measures, &self.stored(), key, i64::MIN)?;
        self.built.set(self.built.get() + walked.rows.len() as u64);
        // What is gone cannot be built, and what does not decode is to fail as it does for whoever is served.
        if walked.faults.iter().any(|fault| matches!(fault.kind, FaultKind::NodeMissing | FaultKind::Unreadable(_))) {
            return Ok(None);
        }
        let (is_known, mut rows) = (walked.nodes > 0 || !later.is_empty(), BTreeMap::new());
        rows.extend(walked.rows.iter().map(|row| (row.key.as_slice(), row)));
        for Later { removes, upserts } in later {
            for key in removes {
                rows.remove(key.as_slice());
            }
            rows.extend(upserts.iter().map(|row| (row.key.as_slice(), row)));
        }
        let mut state = MemoryState::default();
        if is_known {
            let rows: Vec<Row<'_>> = rows.into_values().map(row).collect();
            state.write(tiles::build(measures, self.shape, key, &rows)?);
        }
        Ok(Some(state))
    }
}

impl StateRead for Recent<'_> {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        for (place, key) in keys.iter().enumerate() {
            let entity = state::entity_of(key.as_bytes()).ok_or_else(|| Error::internal("a state key without an entity"))?;
            if !self.asked.borrow().contains_key(entity) {
                let loaded = self.load(entity)?;
                self.asked.borrow_mut().insert(entity.to_vec(), loaded);
            }
            let (asked, key) = (self.asked.borrow(), std::slice::from_ref(key));
            let mut found = |_: usize, bytes: Option<&[u8]>| found(place, bytes);
            match asked.get(entity) {
                Some(Entity::Built(state)) => state.get_many(key, &mut found)?,
                Some(Entity::Over(written)) => written.over(&self.stored()).get_many(key, &mut found)?,
                None => {}
            }
        }
        Ok(())
    }
}
