//! The model: what a value is, said as plainly as possible.

use std::collections::BTreeMap;

use chrono::offset::LocalResult;
use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike};
use lockstep_model::key::KeyWriter;
use lockstep_model::{StateKey, StateRead, StateWrite, TimeMode};

use super::super::measure::Folder;
use super::super::node::{self, Node, Row};
use super::super::order::Path;
use super::super::{EntityChanges, Frame, Measures, MemoryState, ReadPlan, Request, Series, Shape, Values, apply, build, order, read_at, sweep};
use super::Stored;
use crate::aggregate::{Finished, OrderKeys, Rows};
use crate::calendar::{Calendar, Unit};

/// An event as it was given, with what orders it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub time: i64,
    pub branch: u8,
    pub pk: u16,
    pub version: u8,
    pub known_from: i64,
    pub known_until: i64,
    pub stored: Stored,
}

impl Event {
    pub fn key(&self) -> Vec<u8> {
        let mut pk = KeyWriter::new();
        // Texts of many lengths, some the beginning of others.
        pk.push_str(&format!("{:b}", self.pk).replace('1', "one "));
        let mut key = Vec::new();
        order::write(&mut key, self.time, self.branch, pk.as_bytes(), &[self.version]);
        key
    }
}

/// One entity: its rows by (time, branch, primary key, version).
pub type Rowset = BTreeMap<Vec<u8>, Event>;

/// A change: an event comes (and replaces that of its key), or goes.
#[derive(Debug, Clone)]
pub enum Op {
    Come(Event),
    Go(Event),
}

/// All entities of a test, stored and modelled.
pub struct World {
    pub measures: Measures,
    pub shape: Shape,
    pub state: MemoryState,
    pub model: BTreeMap<Vec<u8>, Rowset>,
}

impl World {
    pub fn new(shape: Shape) -> World {
        World { measures: super::measures(), shape, state: MemoryState::default(), model: BTreeMap::new() }
    }

    /// Applies a batch to both.
    pub fn apply(&mut self, batch: &[(Vec<u8>, Op)]) {
        // Per entity and order key: whether there may be a row of it in the state.
        let mut touched: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, bool>> = BTreeMap::new();
        for (entity, op) in batch {
            let rows = self.model.entry(entity.clone()).or_default();
            let (Op::Come(event) | Op::Go(event)) = op;
            let key = event.key();
            let was_there = rows.contains_key(&key) || matches!(op, Op::Go(_));
            *touched.entry(entity.clone()).or_default().entry(key.clone()).or_default() |= was_there;
            match op {
                Op::Come(event) => rows.insert(key, event.clone()),
                Op::Go(_) => rows.remove(&key),
            };
        }
        let args = self.encoded();
        let mut changes: Vec<EntityChanges<'_>> = Vec::new();
        for (entity, keys) in &touched {
            let rows = &self.model[entity];
            let upserts = keys.keys().filter_map(|key| Some(row(rows.get_key_value(key)?, &args[entity][key])));
            let removes = keys.iter().filter(|(_, may_be_there)| **may_be_there).map(|(key, _)| key.as_slice());
            changes.push(EntityChanges { entity, removes: removes.collect(), upserts: upserts.collect() });
        }
        let writes = apply(&self.measures, self.shape, &self.state, &mut changes).unwrap();
        self.state.write(writes);
    }

    fn encoded(&self) -> BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>> {
        let of_entity = |rows: &Rowset| rows.iter().map(|(key, event)| (key.clone(), event.stored.encode(&self.measures.codec))).collect();
        self.model.iter().map(|(entity, rows)| (entity.clone(), of_entity(rows))).collect()
    }

    /// What a bulk load of the same rows writes.
    pub fn built(&self) -> Vec<StateWrite> {
        let args = self.encoded();
        let mut writes = Vec::new();
        for (entity, rows) in &self.model {
            let rows: Vec<Row<'_>> = rows.iter().map(|(key, event)| row((key, event), &args[entity][key])).collect();
            writes.extend(build(&self.measures, self.shape, entity, &rows).unwrap());
        }
        writes
    }

    /// The values of `outputs` by the tree in `state`.
    pub fn read(&self, state: &dyn StateRead, frames: &[Frame], outputs: &[(usize, usize)], requests: &[(Vec<u8>, i64)], mode: TimeMode) -> Values {
        let requests: Vec<Request<'_>> = requests.iter().map(|(entity, at)| Request { entity, at: *at }).collect();
        read_at(&ReadPlan::new(&self.measures, frames, outputs), &self.measures, state, &requests, mode, None).unwrap()
    }

    /// The values of `outputs` by the model, and the newest event of each request.
    pub fn expected(
        &self,
        frames: &[Frame],
        outputs: &[(usize, usize)],
        requests: &[(Vec<u8>, i64)],
        mode: TimeMode,
    ) -> (Vec<Finished>, Vec<Option<i64>>) {
        let none = Rowset::new();
        let mut rows: Vec<Vec<u8>> = Vec::new();
        let mut keys = Keys(Vec::new());
        let mut newest = Vec::new();
        let mut pairs: Vec<Vec<(u32, u32)>> = vec![Vec::new(); frames.len()];
        for (number, (entity, at)) in requests.iter().enumerate() {
            let visible: Vec<(&Vec<u8>, &Event)> =
                self.model.get(entity).unwrap_or(&none).iter().filter(|(_, event)| is_visible(event, *at, mode)).collect();
            let first = rows.len();
            rows.extend(visible.iter().map(|(_, event)| event.stored.encode(&self.measures.codec)));
            keys.0.extend(visible.iter().map(|(key, _)| (*key).clone()));
            newest.push(visible.last().map(|(_, event)| event.time));
            for (frame, pairs) in frames.iter().zip(&mut pairs) {
                let inside: Vec<usize> = (0..visible.len()).filter(|&i| is_inside(frame, visible[i].1.time, *at)).collect();
                pairs.extend(last_rows(frame, &inside).iter().map(|i| ((first + i) as u32, number as u32)));
            }
        }
        let columns = self.measures.codec.decode(rows.iter().map(Vec::as_slice)).unwrap();
        let finished = outputs.iter().map(|&(measure, frame)| {
            let measure = &self.measures.measures[measure];
            let mut groups = measure.aggregate.groups();
            groups.resize(requests.len());
            let mut scratch = Vec::new();
            let pairs = measure.filtered(&columns, &pairs[frame], &mut scratch);
            groups.update(Rows { args: &measure.args(&columns), pairs, order: &keys });
            groups.finish()
        });
        (finished.collect(), newest)
    }

    /// Holds the tree in `state` to the model, bit by bit.
    pub fn check(&self, state: &dyn StateRead, frames: &[Frame], outputs: &[(usize, usize)], requests: &[(Vec<u8>, i64)], mode: TimeMode) {
        let values = self.read(state, frames, outputs, requests, mode);
        self.compare(&values, frames, outputs, requests, mode);
    }

    /// Holds a sweep over the same events to the model, bit by bit; requests are in order.
    pub fn check_sweep(&self, frames: &[Frame], outputs: &[(usize, usize)], requests: &[(Vec<u8>, i64)], mode: TimeMode) {
        let (none, args) = (Rowset::new(), self.encoded());
        let mut all = Vec::new();
        for of_entity in requests.chunk_by(|a, b| a.0 == b.0) {
            let entity = &of_entity[0].0;
            let rows = self.model.get(entity).unwrap_or(&none).iter().map(|(key, event)| row((key, event), &args[entity][key]));
            all.push((rows.collect::<Vec<_>>(), of_entity.iter().map(|(_, at)| *at).collect::<Vec<_>>()));
        }
        let series: Vec<Series<'_>> = all.iter().map(|(rows, moments)| Series { rows, moments }).collect();
        let values = sweep(&ReadPlan::new(&self.measures, frames, outputs), &self.measures, &series, mode).unwrap();
        self.compare(&values, frames, outputs, requests, mode);
    }

    fn compare(&self, values: &Values, frames: &[Frame], outputs: &[(usize, usize)], requests: &[(Vec<u8>, i64)], mode: TimeMode) {
        let (expected, newest) = self.expected(frames, outputs, requests, mode);
        assert_eq!(values.newest, newest, "newest events at {requests:?}");
        for (at, (expected, &(measure, frame))) in expected.iter().zip(outputs).enumerate() {
            let name = self.measures.measures[measure].aggregate.name();
            for (row, request) in requests.iter().enumerate() {
                let (found, wanted) = (values.columns[at].slice(row, 1), expected.values.slice(row, 1));
                assert_eq!(found.to_data(), wanted.to_data(), "{name} over {:?} at {request:?}, {mode:?}", frames[frame]);
                let failed = |errors: &Option<arrow::array::BooleanArray>| errors.as_ref().is_some_and(|errors| errors.value(row));
                assert_eq!(failed(&values.errors[at]), failed(&expected.errors), "error of {name} over {:?} at {request:?}, {mode:?}", frames[frame]);
            }
        }
    }
}

fn row<'a>((key, event): (&'a Vec<u8>, &Event), args: &'a [u8]) -> Row<'a> {
    Row { key, known_from: event.known_from, known_until: event.known_until, args }
}

#[derive(Debug)]
struct Keys(Vec<Vec<u8>>);

impl OrderKeys for Keys {
    fn get(&self, row: usize) -> &[u8] {
        &self.0[row]
    }
}

fn is_visible(event: &Event, at: i64, mode: TimeMode) -> bool {
    let is_winner = event.known_until == i64::MAX;
    event.time <= at
        && match mode {
            TimeMode::Event => is_winner,
            TimeMode::Known => event.known_from <= at && (is_winner || at < event.known_until),
        }
}

/// Whether the moment `time` is inside a frame seen from `at`, in integers that do not overflow.
fn is_inside(frame: &Frame, time: i64, at: i64) -> bool {
    let grid = i128::from(frame.resolution);
    let edge = |before: i64| match i128::from(at) - i128::from(before) {
        exact if before == 0 => exact,
        exact => exact.div_euclid(grid) * grid,
    };
    let time_wide = i128::from(time);
    let after_first = frame.preceding.is_none_or(|preceding| time_wide >= edge(preceding));
    let before_last = time_wide <= edge(frame.ends_before);
    let same_period = frame.calendar.is_none_or(|calendar| period(calendar, time) == period(calendar, at));
    after_first && before_last && same_period
}

fn last_rows(frame: &Frame, inside: &[usize]) -> Vec<usize> {
    let Some(last) = frame.last else { return inside.to_vec() };
    let end = inside.len().saturating_sub(usize::try_from(last.skip).unwrap());
    let n = last.n.map_or(usize::MAX, |n| usize::try_from(n).unwrap());
    inside[end.saturating_sub(n)..end].to_vec()
}

/// What `date_trunc` gives in the zone, µs; outside chrono's years, the moment itself.
pub fn period(calendar: Calendar, at: i64) -> i64 {
    let Some(utc) = DateTime::from_timestamp_micros(at) else { return at };
    let offset = calendar.zone.offset_from_utc_datetime(&utc.naive_utc()).fix();
    let Some(local) = utc.naive_utc().checked_add_offset(offset) else { return at };
    let midnight = |date: NaiveDate| date.and_hms_opt(0, 0, 0).unwrap();
    let date = local.date();
    let truncated: NaiveDateTime = match calendar.unit {
        Unit::Hour => date.and_hms_opt(local.hour(), 0, 0).unwrap(),
        Unit::Day => midnight(date),
        Unit::Week => midnight(date - Duration::days(i64::from(date.weekday().num_days_from_monday()))),
        Unit::Month => midnight(date.with_day(1).unwrap()),
        Unit::Year => midnight(date.with_day(1).unwrap().with_month(1).unwrap()),
    };
    let start = match calendar.zone.from_local_datetime(&truncated) {
        LocalResult::Single(start) => start,
        LocalResult::Ambiguous(first, second) => {
            if first.offset().fix() == offset {
                first
            } else {
                second
            }
        }
        LocalResult::None => calendar.zone.from_local_datetime(&(truncated - Duration::hours(3))).single().unwrap() + Duration::hours(3),
    };
    start.timestamp_micros()
}

impl World {
    /// Holds every tile to the events below it, and every stored key to a tree.
    pub fn check_tree(&self) {
        let mut seen = self.model.len();
        for (entity, rows) in &self.model {
            let mut buffered = Vec::new();
            self.state
                .get_many(&[StateKey::head(entity)], &mut |_, head| {
                    buffered = node::decode_head(head.unwrap()).unwrap().iter().map(|row| row.key.to_vec()).collect()
                })
                .unwrap();
            assert!(buffered.len() <= self.shape.buffer_rows_max);
            let mut in_tree = Vec::new();
            self.check_node(entity, &Path::root(), &mut in_tree, &mut seen);
            assert!(in_tree.is_sorted());
            in_tree.extend(buffered);
            in_tree.sort();
            assert!(in_tree.iter().eq(rows.keys()), "rows of {entity:?}");
        }
        assert_eq!(self.state.sorted().len(), seen, "keys that no tree reaches");
    }

    /// Appends the order keys below a path; the tile of what lies there.
    fn check_node(&self, entity: &[u8], path: &Path, keys: &mut Vec<Vec<u8>>, seen: &mut usize) -> Option<Vec<u8>> {
        let mut bytes = None;
        self.state
            .get_many(&[StateKey::node(entity, Some((path.nibbles(), path.prefix())))], &mut |_, found| bytes = found.map(<[u8]>::to_vec))
            .unwrap();
        let bytes = bytes?;
        *seen += 1;
        let first = keys.len();
        match node::decode_node(path, &bytes).unwrap() {
            Node::Leaf(leaf) => {
                let runs = leaf.decode().unwrap();
                let all = runs.concat();
                let mut start = 0;
                for (run, rows) in leaf.runs.iter().zip(&runs) {
                    let tile = Folder::new(&self.measures).tiles_of_rows(&all, std::slice::from_ref(&(start..start + rows.len()))).unwrap().pop();
                    assert!(run.tile.is_none() && leaf.runs.len() == 1 || tile.as_deref() == run.tile.map(|(_, tile)| tile), "a run of {path:?}");
                    start += rows.len();
                }
                keys.extend(all.iter().map(|row| row.key.to_vec()));
            }
            Node::Page(page) => {
                for (slot, tile) in page.tiles.iter().enumerate() {
                    let below = tile.and_then(|_| self.check_node(entity, &page.child(slot), keys, seen));
                    assert_eq!(below.as_deref(), *tile, "tile {slot} of {path:?}");
                }
            }
        }
        let args = self.encoded();
        let rows: Vec<Row<'_>> = keys[first..].iter().map(|key| row((key, &self.model[entity][key]), &args[entity][key])).collect();
        Folder::new(&self.measures).tiles_of_rows(&rows, std::slice::from_ref(&(0..rows.len()))).unwrap().pop()
    }
}
