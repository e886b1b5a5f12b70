//! Why a value is another one by now: the events that were served are changed into those that are known today, cause by cause, and each time the value is read again.
//!
//! The events of an entity are few beside those of a store, so that only entities whose values differ are looked at, and these whole: what the served state held, against what today's state
//! holds. Events that came in between have one cause each:
//!
//! - *lag*: its log had the event before the moment, and it was not applied yet;
//! - *unapplied*: it was not applied yet, and its log does not say when it took the event, so that it may have lagged or been late;
//! - *late*: it could not be known at the moment;
//! - *corrected*: a greater version of an event that was there, or its deletion, which could not be known at the moment;
//! - *refused*: it came later than its source allows, so that it is no event of the store.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use lockstep_ingest::offline::Replay;
use lockstep_ingest::pipeline::Target;
use lockstep_model::{Error, EventTime, KeyIndex, StateKey, StateRead, TimeMode, key, state};
use lockstep_transform::definition::Version as VersionOf;
use lockstep_transform::tiles::audit::{OwnedRow, walk};
use lockstep_transform::tiles::node::Row;
use lockstep_transform::tiles::{self, MemoryState, Shape, order};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a value is another one by now, in the order in which causes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An event that its log had before the moment was not applied yet.
    Lag,
    /// An event was not applied yet, and its log does not say since when it had it.
    Unapplied,
    /// An event could not be known at the moment.
    Late,
    /// An event was corrected or deleted since.
    Corrected,
    /// An event came later than its source allows, and is no event of the store.
    Refused,
    /// The store did not answer, and the last known good was given.
    Fallback,
    /// What is logged is not what was computed: see the replay.
    Replay,
}

impl Cause {
    /// Those that events have, in their order.
    pub const OF_EVENTS: [Cause; 5] = [Cause::Lag, Cause::Unapplied, Cause::Late, Cause::Corrected, Cause::Refused];
    /// All of them.
    pub const ALL: [Cause; 7] = [Cause::Lag, Cause::Unapplied, Cause::Late, Cause::Corrected, Cause::Refused, Cause::Fallback, Cause::Replay];

    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Lag => "lag",
            Cause::Unapplied => "unapplied",
            Cause::Late => "late",
            Cause::Corrected => "corrected",
            Cause::Refused => "refused",
            Cause::Fallback => "fallback",
            Cause::Replay => "replay",
        }
    }
}

/// A view as it stands today.
#[derive(Debug)]
pub struct Today<'a> {
    /// All events that the store takes.
    pub taken: Replay<'a>,
    /// With those that it refused, where there are any.
    pub whole: Option<Replay<'a>>,
    /// The primary keys, each after its branch, of events that have been corrected.
    pub corrected: HashSet<Vec<u8>>,
}

impl Today<'_> {
    /// All that is known, whether or not the store takes it.
    pub fn all(&self) -> &dyn StateRead {
        self.whole.as_ref().unwrap_or(&self.taken).state()
    }
}

/// The events of a view: those that an answer was read from, and those of today.
#[derive(Clone, Copy)]
pub struct Between<'a> {
    /// The view, and what feeds it.
    pub target: &'a Target,
    /// The state at the positions of the answer.
    pub served: &'a dyn StateRead,
    /// That of today.
    pub today: &'a Today<'a>,
    /// The clock that the answer went by.
    pub time: TimeMode,
    /// Its moment, µs.
    pub at: i64,
}

/// An event that came in between, or went.
#[derive(Debug, Clone)]
struct Change {
    cause: Cause,
    comes: bool,
    row: OwnedRow,
}

/// What an answer was read from, and what happened to the entity since.
#[derive(Debug)]
struct Entity {
    served: Vec<OwnedRow>,
    changes: Vec<Change>,
}

/// The state of a view after the changes of some causes.
pub struct Stage<'a> {
    between: Between<'a>,
    /// Causes up to this one have come; `None` before the first.
    upto: Option<Cause>,
    entities: &'a Entities,
    built: RefCell<HashMap<Vec<u8>, MemoryState>>,
}

/// Entities that were looked at.
#[derive(Debug, Default)]
pub struct Entities(RefCell<BTreeMap<Vec<u8>, Rc<Entity>>>);

impl<'a> Stage<'a> {
    /// The state of a view after the changes of the causes up to one.
    pub fn new(between: Between<'a>, upto: Option<Cause>, entities: &'a Entities) -> Stage<'a> {
        Stage { between, upto, entities, built: RefCell::default() }
    }

    fn build(&self, entity: &[u8]) -> Result<MemoryState, Error> {
        let found = self.entities.of(&self.between, entity)?;
        let mut rows: BTreeMap<&[u8], &OwnedRow> = found.served.iter().map(|row| (row.key.as_slice(), row)).collect();
        for Change { comes, row, .. } in found.changes.iter().filter(|change| Some(change.cause) <= self.upto) {
            if *comes {
                rows.insert(&row.key, row)
            } else {
                rows.remove(row.key.as_slice())
            };
        }
        let rows: Vec<Row<'_>> =
            rows.into_values().map(|row| Row { key: &row.key, known_from: i64::MIN, known_until: i64::MAX, args: &row.args }).collect();
        let mut state = MemoryState::default();
        if !rows.is_empty() {
            state.write(tiles::build(&self.between.target.view.measures, Shape::default(), entity, &rows)?);
        }
        Ok(state)
    }
}

impl StateRead for Stage<'_> {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        for (place, key) in keys.iter().enumerate() {
            let entity = state::entity_of(key.as_bytes()).ok_or_else(|| Error::internal("a state key without an entity"))?;
            if !self.built.borrow().contains_key(entity) {
                let state = self.build(entity)?;
                self.built.borrow_mut().insert(entity.to_vec(), state);
            }
            if let Some(state) = self.built.borrow().get(entity) {
                state.get_many(std::slice::from_ref(key), &mut |_, bytes| found(place, bytes))?;
            }
        }
        Ok(())
    }
}

/// What is remembered of keys where the state alone says which events there are.
#[derive(Debug)]
pub struct NoKeys;

impl KeyIndex for NoKeys {
    fn get_many(&self, _: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        (0..keys.len()).for_each(|place| found(place, None));
        Ok(())
    }
}

/// That keys may be forgotten at any moment.
pub fn forgotten(target: &Target) -> Vec<(u16, i64)> {
    (0..target.sources.len()).map(|source| (source as u16, i64::MAX)).collect()
}

impl Entities {
    /// When the events happened that have a cause, of all entities that were looked at: for people.
    pub fn times(&self, cause: Cause) -> Vec<EventTime> {
        let all = self.0.borrow();
        let changes = all.values().flat_map(|entity| &entity.changes).filter(|change| change.cause == cause);
        let mut times: Vec<EventTime> = changes.map(|change| EventTime(order::time_of(&change.row.key))).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    fn of(&self, between: &Between<'_>, entity: &[u8]) -> Result<Rc<Entity>, Error> {
        if let Some(known) = self.0.borrow().get(entity) {
            return Ok(Rc::clone(known));
        }
        let found = Rc::new(between.entity(entity)?);
        self.0.borrow_mut().insert(entity.to_vec(), Rc::clone(&found));
        Ok(found)
    }
}

impl Between<'_> {
    fn entity(&self, entity: &[u8]) -> Result<Entity, Error> {
        let rows = |state: &dyn StateRead| -> Result<Vec<OwnedRow>, Error> {
            let mut rows = walk(&self.target.view.measures, state, entity, i64::MIN)?.rows;
            // What happened after the moment never counts.
            rows.retain(|row| order::time_of(&row.key) <= self.at);
            Ok(rows)
        };
        let mut served = rows(self.served)?;
        served.retain(|row| self.was_served(row));
        let today = rows(self.today.taken.state())?;
        let whole = self.today.whole.as_ref().map(|whole| rows(whole.state())).transpose()?;
        let is_live = |row: &&OwnedRow| row.known.1 == i64::MAX;
        let taken: BTreeMap<&[u8], &OwnedRow> = today.iter().map(|row| (row.key.as_slice(), row)).collect();
        let all: BTreeMap<&[u8], &OwnedRow> = whole.as_ref().unwrap_or(&today).iter().filter(is_live).map(|row| (row.key.as_slice(), row)).collect();
        let before: BTreeMap<&[u8], &OwnedRow> = served.iter().map(|row| (row.key.as_slice(), row)).collect();
        let mut changes = Vec::new();
        for (key, row) in all.iter().filter(|(key, _)| !before.contains_key(*key)) {
            let cause = match taken.get(key).copied().filter(is_live) {
                Some(taken) => self.cause(taken.known.0, self.is_correction(key, &served)),
                None => Cause::Refused,
            };
            changes.push(Change { cause, comes: true, row: (*row).clone() });
        }
        for row in served.iter().filter(|row| !all.contains_key(row.key.as_slice())) {
            changes.push(Change { cause: self.went(row, &changes, taken.get(row.key.as_slice()).copied()), comes: false, row: row.clone() });
        }
        Ok(Entity { served, changes })
    }

    /// Whether an answer counted an event of the state that it was read from.
    fn was_served(&self, row: &OwnedRow) -> bool {
        let (from, until) = row.known;
        match self.time {
            TimeMode::Event => until == i64::MAX,
            TimeMode::Known => from <= self.at && (self.at < until || until == i64::MAX),
        }
    }

    /// Why an event that is known since a moment was not counted.
    fn cause(&self, known_from: i64, is_correction: bool) -> Cause {
        match (known_from, is_correction) {
            (i64::MIN, false) => Cause::Unapplied,
            (known_from, _) if known_from != i64::MIN && known_from <= self.at => Cause::Lag,
            (_, true) => Cause::Corrected,
            (_, false) => Cause::Late,
        }
    }

    /// Why an event is none any more.
    fn went(&self, row: &OwnedRow, changes: &[Change], today: Option<&OwnedRow>) -> Cause {
        let identity = self.identity(&row.key);
        if let Some(instead) = changes.iter().find(|change| change.comes && self.identity(&change.row.key) == identity) {
            return instead.cause;
        }
        match today.map(|row| row.known.1) {
            // The store still counts it: what it refused took its place.
            Some(i64::MAX) => Cause::Refused,
            Some(until) => self.cause(until, true),
            None => Cause::Corrected,
        }
    }

    fn is_correction(&self, key: &[u8], served: &[OwnedRow]) -> bool {
        let identity = self.identity(key);
        self.today.corrected.contains(identity) || served.iter().any(|row| self.identity(&row.key) == identity)
    }

    fn identity<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        identity(self.target, key)
    }
}

/// The branch and the primary key of an order key, without time and version.
pub fn identity<'k>(target: &Target, key: &'k [u8]) -> &'k [u8] {
    let Some(rest) = key.get(order::TIME_LEN..) else { return key };
    let source = rest.first().and_then(|branch| target.sources.get(usize::from(*branch)));
    let end = match source.map(|source| (source.version, source.primary_key.len())) {
        // A row's number, after a byte that tells history from logs.
        Some((Some(VersionOf::Position), _)) => rest.len().checked_sub(9),
        Some((Some(VersionOf::Column(_)), columns)) => rest.get(1..).and_then(|key| key::prefix_len(key, columns)).map(|length| 1 + length),
        _ => None,
    };
    &rest[..end.unwrap_or(rest.len())]
}

/// The events that have been corrected, as [`Today::corrected`] has them: those of sources with versions that there is more than one content of.
///
/// # Errors
/// Where the state does not decode.
pub fn corrected(target: &Target, today: &Replay<'_>) -> Result<HashSet<Vec<u8>>, Error> {
    let mut corrected: HashSet<Vec<u8>> = today.superseded().iter().map(|key| identity(target, key).to_vec()).collect();
    let Some(state) = today.whole().filter(|_| target.sources.iter().any(|source| source.version.is_some())) else { return Ok(corrected) };
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let keys = state.sorted();
    let mut entities: Vec<&[u8]> = keys.iter().filter_map(|(key, _)| state::entity_of(key.as_bytes())).collect();
    entities.dedup();
    for entity in entities {
        for row in walk(&target.view.measures, state, entity, i64::MIN)?.rows {
            let identity = identity(target, &row.key).to_vec();
            if !seen.insert(identity.clone()) {
                corrected.insert(identity);
            }
        }
    }
    Ok(corrected)
}
