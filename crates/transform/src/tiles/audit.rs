//! Checks the state of an entity from one end to the other: every tile against what lies below it, every event against those that there should be.
//!
//! Lookups touch a few nodes of a tree and trust its tiles. This trusts nothing: it is what `verify` names causes by, and finds what no moment happened to
//! touch.

use std::fmt;

use lockstep_model::codec::{CodecError, Reader};
use lockstep_model::{Error, EventTime, StateKey, StateRead};

use super::Measures;
use super::measure::Folder;
use super::node::{self, Leaf, Node, Page, Row, TileMeta};
use super::order::{self, Path};

/// An event, with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRow {
    /// Its order key.
    pub key: Vec<u8>,
    /// From when to when it was known, µs.
    pub known: (i64, i64),
    /// Its stored arguments.
    pub args: Vec<u8>,
}

/// What a walk through the whole tree of an entity found.
#[derive(Debug, Clone, Default)]
pub struct Walked {
    /// Its events, ascending by order key.
    pub rows: Vec<OwnedRow>,
    /// Heads and nodes read.
    pub nodes: u64,
    /// Tiles computed again.
    pub tiles: u64,
    /// What is not as it should be.
    pub faults: Vec<Fault>,
}

/// Something in a tree that is not as it should be, and the first and last event time that it can touch, µs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// Where it is.
    pub span: (i64, i64),
}

/// What can be wrong with a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// A head or node that does not decode.
    Unreadable(String),
    /// A node that its page knows and that is not there.
    NodeMissing,
    /// A tile that is not the sum of what lies below it; what of it differs.
    Tile(Vec<String>),
    /// An event of the inputs that is not in the state.
    EventMissing,
    /// An event in the state that the inputs do not have.
    EventExtra,
    /// An event whose content or known time differs, and how.
    EventDiffers(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (EventTime(self.span.0), EventTime(self.span.1));
        match &self.kind {
            FaultKind::Unreadable(why) => write!(f, "state from {first} to {last} does not decode: {why}"),
            FaultKind::NodeMissing => write!(f, "the node from {first} to {last} is missing"),
            FaultKind::Tile(what) => write!(f, "the tile from {first} to {last} is not the sum of what lies below it: {}", what.join(", ")),
            FaultKind::EventMissing => write!(f, "the event at {first} is missing"),
            FaultKind::EventExtra => write!(f, "the inputs have no such event at {first}"),
            FaultKind::EventDiffers(how) => write!(f, "the event at {first} {how}"),
        }
    }
}

/// Walks the whole tree of an entity. Nodes with nothing at or after `state_before` may be gone, and what depends on them is not checked.
///
/// # Errors
/// Where the state cannot be read. What it says is never an error, but a fault.
pub fn walk(measures: &Measures, state: &dyn StateRead, entity: &[u8], state_before: i64) -> Result<Walked, Error> {
    let mut walker = Walker { state, entity, state_before, folder: Folder::new(measures), measures, walked: Walked::default() };
    if let Some(head) = walker.load(StateKey::head(entity))? {
        match node::decode_head(&head) {
            Ok(rows) => walker.take(&rows),
            Err(error) => walker.fault(FaultKind::Unreadable(error.to_string()), (i64::MIN, i64::MAX)),
        }
    }
    if let Some(root) = walker.load(walker.key(&Path::root()))? {
        walker.visit(&Path::root(), &root)?;
    }
    let mut walked = walker.walked;
    walked.rows.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(walked)
}

/// What the events of a state differ in from those that there should be, of the ones at or after `from`.
pub fn compare(found: &[OwnedRow], expected: &[OwnedRow], from: i64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |kind: FaultKind, row: &OwnedRow| {
        let time = order::time_of(&row.key);
        if time >= from {
            faults.push(Fault { kind, span: (time, time) });
        }
    };
    let mut expected = expected.iter().peekable();
    for row in found {
        while let Some(missing) = expected.next_if(|next| next.key < row.key) {
            fault(FaultKind::EventMissing, missing);
        }
        match expected.next_if(|next| next.key == row.key) {
            None => fault(FaultKind::EventExtra, row),
            Some(same) if same != row => fault(FaultKind::EventDiffers(difference(row, same)), row),
            Some(_) => {}
        }
    }
    expected.for_each(|missing| fault(FaultKind::EventMissing, missing));
    faults
}

/// In what an event differs from what it should be.
fn difference(found: &OwnedRow, expected: &OwnedRow) -> String {
    let moment = |micros: i64| match micros {
        i64::MIN => "ever".to_owned(),
        i64::MAX => "now".to_owned(),
        micros => EventTime(micros).to_string(),
    };
    let known = |(from, until): (i64, i64)| format!("known from {} until {}", moment(from), moment(until));
    if found.args == expected.args {
        format!("is {}, by the inputs {}", known(found.known), known(expected.known))
    } else {
        "has another content than in the inputs".to_owned()
    }
}

struct Walker<'a> {
    state: &'a dyn StateRead,
    entity: &'a [u8],
    state_before: i64,
    folder: Folder<'a>,
    measures: &'a Measures,
    walked: Walked,
}

impl Walker<'_> {
    fn key(&self, path: &Path) -> StateKey {
        StateKey::node(self.entity, Some((path.nibbles(), path.prefix())))
    }

    fn load(&mut self, key: StateKey) -> Result<Option<Vec<u8>>, Error> {
        let mut value = None;
        self.state.get_many(&[key], &mut |_, bytes| value = bytes.map(<[u8]>::to_vec))?;
        self.walked.nodes += u64::from(value.is_some());
        Ok(value)
    }

    fn fault(&mut self, kind: FaultKind, span: (i64, i64)) {
        self.walked.faults.push(Fault { kind, span });
    }

    fn take(&mut self, rows: &[Row<'_>]) {
        let owned = |row: &Row<'_>| OwnedRow { key: row.key.to_vec(), known: (row.known_from, row.known_until), args: row.args.to_vec() };
        self.walked.rows.extend(rows.iter().map(owned));
    }

    /// Takes in a node and all below it; the tile it comes to, where that can be told.
    fn visit(&mut self, path: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let tile = match node::decode_node(path, bytes) {
            Ok(Node::Leaf(leaf)) => self.visit_leaf(&leaf),
            Ok(Node::Page(page)) => return self.visit_page(path, &page),
            Err(error) => Err(error),
        };
        Ok(self.readable(tile, path))
    }

    fn visit_leaf(&mut self, leaf: &Leaf<'_>) -> Result<Option<Vec<u8>>, CodecError> {
        let runs = leaf.decode()?;
        for (run, rows) in leaf.runs.iter().zip(&runs) {
            self.take(rows);
            let (Some((first, stored)), Some(last)) = (run.tile, rows.last()) else { continue };
            if let Some(computed) = self.tile_of(rows)? {
                self.hold(stored, &computed, (first, order::time_of(last.key)));
            }
        }
        self.tile_of(&runs.concat())
    }

    fn tile_of(&mut self, rows: &[Row<'_>]) -> Result<Option<Vec<u8>>, CodecError> {
        let all = 0..rows.len();
        self.folder.tiles_of_rows(rows, std::slice::from_ref(&all)).map(|mut tiles| tiles.pop())
    }

    /// Holds a stored tile to what it should be.
    fn hold(&mut self, stored: &[u8], computed: &[u8], span: (i64, i64)) {
        self.walked.tiles += 1;
        if computed != stored {
            let what = self.difference(stored, computed);
            self.fault(FaultKind::Tile(what), span);
        }
    }

    fn visit_page(&mut self, path: &Path, page: &Page<'_>) -> Result<Option<Vec<u8>>, Error> {
        for (slot, stored) in page.tiles.iter().enumerate() {
            let Some(stored) = stored else { continue };
            let child = page.child(slot);
            let Some(bytes) = self.load(self.key(&child))? else {
                if child.time_bounds().1 >= self.state_before {
                    self.fault(FaultKind::NodeMissing, child.time_bounds());
                }
                continue;
            };
            if let Some(computed) = self.visit(&child, &bytes)? {
                self.hold(stored, &computed, child.time_bounds());
            }
        }
        // Of the stored tiles: whether each of them is right was said above.
        let tile = self.folder.tile_of_tiles(page.tiles.iter().flatten().copied());
        Ok(self.readable(tile.map(Some), path))
    }

    fn readable(&mut self, tile: Result<Option<Vec<u8>>, CodecError>, path: &Path) -> Option<Vec<u8>> {
        tile.unwrap_or_else(|error| {
            self.fault(FaultKind::Unreadable(error.to_string()), path.time_bounds());
            None
        })
    }

    /// Names the parts in which two tiles differ.
    fn difference(&self, stored: &[u8], computed: &[u8]) -> Vec<String> {
        match (Parts::of(stored, self.measures.measures.len()), Parts::of(computed, self.measures.measures.len())) {
            (Ok(stored), Ok(computed)) => stored.differences(&computed, self.measures),
            _ => vec!["it does not decode".to_owned()],
        }
    }
}

/// A tile taken apart.
struct Parts<'a> {
    meta: TileMeta,
    states: Vec<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn of(tile: &'a [u8], measures: usize) -> Result<Parts<'a>, CodecError> {
        let mut reader = Reader::new(tile);
        let meta = TileMeta::decode(&mut reader)?;
        let states = (0..measures).map(|_| reader.bytes()).collect::<Result<_, _>>()?;
        Ok(Parts { meta, states })
    }

    fn differences(&self, other: &Parts<'_>, measures: &Measures) -> Vec<String> {
        let (a, b) = (self.meta, other.meta);
        let counts = [("winners", a.live, b.live), ("events", a.rows, b.rows)];
        let mut what: Vec<String> = counts.iter().filter(|(_, a, b)| a != b).map(|(name, a, b)| format!("{a} {name} where there are {b}")).collect();
        let times = [("newest event time", a.newest, b.newest), ("newest known time", a.known_max, b.known_max)];
        what.extend(times.iter().filter(|(_, a, b)| a != b).map(|(name, ..)| (*name).to_owned()));
        let states = self.states.iter().zip(&other.states).zip(&measures.measures);
        what.extend(states.filter(|((a, b), _)| a != b).map(|(_, measure)| format!("the state of {}", measure.aggregate.name())));
        if what.is_empty() {
            what.push("bytes past its end".to_owned());
        }
        what
    }
}
