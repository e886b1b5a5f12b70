//! One definition with its sources, the rows of its history and of its logs, and the moments that are asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StringArray};
use fastrand::Rng;
use lockstep_model::EventTime;
use lockstep_testkit::definitions::{Definition, More, pick};
use lockstep_transform::catalog::Catalog;

use super::files;
use super::rows::Row;

/// Where a row is, in the plain course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file of its source's history.
    History(usize),
    /// A log, which has rows of both sources.
    Log(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    None,
    Column,
    Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Available {
    WithEvent,
    Seen,
    AppendTime,
}

/// What a source declares.
#[derive(Debug, Clone)]
pub struct Source {
    pub lateness: Option<i64>,
    pub version: Version,
    available: Available,
    options: String,
}

pub struct Case {
    pub seed: u64,
    pub definition: Definition,
    pub sources: [Source; 2],
    /// Rows in the order of their files.
    pub rows: Vec<(Place, Row)>,
    /// Whether equal keys and versions have equal content.
    pub has_conflicts: bool,
    /// Around which moment events lie, and how far apart, µs.
    base: i64,
    step: i64,
}

/// Files of a source's history, and logs, at most.
pub const FILES: usize = 3;
pub const LOGS: usize = 2;

const GARBAGE: &[&[u8]] =
    &[b"not json", b"{\"id\":", b"[1]", b"{\"id\":1.5,\"name\":7}", b"{\"k\":\"\xff\xfe\"}", b"{\"_source\":\"nosuch\"}", b"\x00", UNNAMED];
const NAMES: &[&str] = &["p", "p", "p", "P", "q", "", "none"];

/// A row of the one source that is read, or of none of several.
const UNNAMED: &[u8] = b"{\"id\":1000000,\"name\":\"a\",\"v\":1,\"k\":\"p\",\"g\":0,\"t\":\"1970-01-01T00:00:00Z\",\"seen\":\"1970-01-01T00:00:00Z\",\"_append_time\":\"1970-01-01T00:00:00Z\"}";

/// After all events but those dated 2099.
pub const NOW: &str = "2033-01-01T00:00:00Z";

impl Source {
    fn new(rng: &mut Rng, name: &str, step: i64) -> Source {
        let lateness = rng.bool().then(|| step * rng.i64(0..12));
        let version = pick(rng, &[Version::None, Version::None, Version::None, Version::Column, Version::Column, Version::Position]);
        let available = pick(rng, &[Available::WithEvent, Available::WithEvent, Available::Seen, Available::AppendTime]);
        let mut options = format!(", batch = '{name}/*'");
        options += &match lateness {
            None => ", allowed_lateness = 'unbounded'".to_owned(),
            Some(lateness) => format!(", allowed_lateness = '{lateness} microseconds'"),
        };
        options += match version {
            Version::None => "",
            Version::Column => ", version = 'v'",
            Version::Position => ", version = 'position'",
        };
        options += match available {
            Available::WithEvent => "",
            Available::Seen => ", available_at = 'seen'",
            Available::AppendTime => ", available_at = 'append_time'",
        };
        if available != Available::WithEvent && rng.bool() {
            options += &format!(", serving_lag = '{} microseconds'", step * rng.i64(0..3));
        }
        options += pick(rng, &[", history = 'all'", ", history = 'all'", ", history = '1 second'", ""]);
        Source { lateness, version, available, options }
    }
}

impl Case {
    pub fn new(seed: u64) -> Case {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let definition = Definition::new(&mut rng);
        let (base, step) = definition.moments(&mut rng);
        let sources = ["a", "b"].map(|name| Source::new(&mut rng, name, step));
        let has_conflicts = rng.usize(..3) == 0;
        let mut case = Case { seed, definition, sources, rows: Vec::new(), has_conflicts, base, step };
        let in_history = pick(&mut rng, &[0, 30, 70, 100]);
        for source in 0..case.definition.branches {
            let most = pick(&mut rng, &[4, 40, 150]);
            let count = rng.usize(..most);
            let rows = (0..count).map(|_| (case.place(&mut rng, in_history), case.row(&mut rng, source, count))).collect::<Vec<_>>();
            case.rows.extend(rows);
        }
        case.sort(&mut rng);
        case
    }

    pub fn sql(&self) -> String {
        let columns = "v BIGINT, seen TIMESTAMP, ";
        let more = |source: usize| More { columns, options: &self.sources[source].options };
        let unread = More { columns, options: "" };
        self.definition.sql([more(0), if self.definition.branches == 2 { more(1) } else { unread }])
    }

    /// The case as it is where its logs are one and pushed: of rows that can be read, all appended now.
    pub fn pushed(mut self, catalog: &Catalog) -> Case {
        for (source, name) in ["a", "b"].into_iter().enumerate() {
            let of_log = |(place, row): &(Place, Row)| row.source == source && matches!(place, Place::Log(_));
            let rows: Vec<&Row> = self.rows.iter().filter(|row| of_log(row)).map(|(_, row)| row).collect();
            let bad = files::typed(&rows, &catalog.sources[name]).1;
            let mut number = 0;
            self.rows.retain(|row| {
                number += u64::from(of_log(row));
                !(of_log(row) && bad.contains(&(number - 1)))
            });
        }
        for (place, row) in &mut self.rows {
            if matches!(place, Place::Log(_)) {
                *place = Place::Log(0);
                row.clear("_append_time");
                row.text("_append_time", NOW);
            }
        }
        self
    }

    /// The case as it is where its logs are files of the history.
    pub fn in_history(mut self) -> Case {
        for (place, _) in &mut self.rows {
            if let Place::Log(log) = *place {
                *place = Place::History(log);
            }
        }
        self
    }

    /// Rows of source `a` that have not arrived, each with a moment at which it would not be late: some of known keys, some that are there already.
    pub fn requests(&self, rng: &mut Rng, count: usize) -> Vec<(Row, i64)> {
        let known: Vec<&Row> = self.rows.iter().map(|(_, row)| row).filter(|row| row.source == 0 && !row.is_garbage()).collect();
        let mut newest = self.base + self.step * 45;
        let mut one = || {
            newest += self.step * rng.i64(0..3);
            let at = if self.sources[0].lateness.is_none() { self.base + self.step * rng.i64(-50..=50) } else { newest };
            match (rng.usize(..4), known.get(rng.usize(..known.len().max(1)))) {
                (0, Some(row)) => ((*row).clone(), row.time.filter(|time| *time < newest && self.sources[0].lateness.is_none()).unwrap_or(at)),
                (1, _) => {
                    let mut row = self.row(rng, 0, 100);
                    row.clear("id");
                    row.bare("id", 1_000_000 + rng.i64(0..9));
                    (row, at)
                }
                _ => (self.row(rng, 0, known.len().max(2)), at),
            }
        };
        (0..count).map(|_| one()).collect()
    }

    fn place(&self, rng: &mut Rng, in_history: usize) -> Place {
        if rng.usize(..100) < in_history { Place::History(rng.usize(..FILES)) } else { Place::Log(rng.usize(..LOGS)) }
    }

    /// History in any order, logs about in the order of their events, where it matters.
    fn sort(&mut self, rng: &mut Rng) {
        rng.shuffle(&mut self.rows);
        let Some(lateness) = self.sources.iter().filter_map(|source| source.lateness).max() else { return };
        let jitter = lateness + lateness / 3 + self.step;
        self.rows.sort_by_cached_key(|(place, row)| match place {
            Place::History(_) => (*place, rng.i64(..)),
            Place::Log(_) => (*place, row.time.unwrap_or(self.base) + rng.i64(-jitter..=jitter)),
        });
    }

    fn row(&self, rng: &mut Rng, source: usize, count: usize) -> Row {
        let odd = rng.usize(..100);
        if odd == 0 {
            return Row::garbage(source, pick(rng, GARBAGE));
        }
        let declared = &self.sources[source];
        let key = rng.i64(0..(count as i64 * 2 / 3).max(1));
        let version = if declared.version == Version::Column { rng.i64(0..4) } else { 0 };
        let seed = match declared.version {
            Version::Position => rng.u64(..),
            _ if self.has_conflicts && rng.usize(..8) == 0 => rng.u64(..),
            _ => self.seed ^ ((key as u64) << 20) ^ ((version as u64) << 8) ^ source as u64,
        };
        let mut row = self.content(&mut Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), source);
        self.key(&mut row, source, key);
        row.bare("v", version);
        self.appended(rng, &mut row, declared);
        match odd {
            1 => row.clear("t"),
            2 => row.clear("id"),
            3 => {
                row.clear("g");
                row.text("g", "many");
            }
            4 if declared.version == Version::Column => row.clear("v"),
            5 if declared.available == Available::Seen => row.clear("seen"),
            6..12 => self.make_tombstone(&mut row),
            _ => {}
        }
        row
    }

    fn key(&self, row: &mut Row, source: usize, key: i64) {
        row.bare("id", key - 9);
        if source == 1 && key % 7 > 0 {
            row.text("name", ["", "a", "a\0", "b"][key as usize % 4]);
        }
    }

    /// All that follows from key and version.
    fn content(&self, rng: &mut Rng, source: usize) -> Row {
        let mut row = Row::new(source);
        let maybe = |rng: &mut Rng| rng.usize(..6) > 0;
        let spread = pick(rng, &[5, 40, 40]);
        let time = if rng.usize(..150) == 0 { 4_070_908_800_000_000 } else { self.base + self.step * rng.i64(-spread..=spread) };
        row.time = Some(time);
        row.text("t", EventTime(time).to_string());
        let seen = time + self.step * rng.i64(-2..6);
        row.moments.push(seen);
        row.text("seen", EventTime(seen).to_string());
        let (k, g) = (maybe(rng).then(|| pick(rng, NAMES)), maybe(rng).then(|| i32::from(rng.usize(..4) == 0)));
        row.entity = k.zip(g).map(|(k, g)| (k.to_owned(), g));
        k.into_iter().for_each(|k| row.text("k", k));
        g.into_iter().for_each(|g| row.bare("g", g));
        let floats = ["0.1", "-0.0", "0.0", "1e16", "-1e16", "1e300", "5e-324", "12.34"];
        if maybe(rng) {
            row.bare(["x", "y"][source], pick(rng, &floats));
        }
        if maybe(rng) {
            row.bare(["i", "j"][source], if rng.usize(..30) == 0 { i64::MAX - rng.i64(0..3) } else { rng.i64(-5..9) });
        }
        if maybe(rng) {
            row.text("s", pick(rng, &["", "p", "q", "P", "ß", "pp", "7", "a,\"b\"\n"]));
        }
        if maybe(rng) {
            row.bare("b", rng.bool());
        }
        if maybe(rng) {
            row.bare("d", format!("{}.{:02}", rng.i64(-3..4), rng.u8(..100)));
        }
        row
    }

    /// When the log took a row. What is known by the clock alone cannot be replayed, so that where it matters every row says it.
    fn appended(&self, rng: &mut Rng, row: &mut Row, declared: &Source) {
        let time = row.time.unwrap_or(self.base).min(self.base + self.step * 50);
        if declared.available != Available::WithEvent || rng.usize(..3) == 0 {
            let appended = time + self.step * rng.i64(-1..8);
            row.moments.push(appended);
            row.text("_append_time", EventTime(appended).to_string());
        }
    }

    fn make_tombstone(&self, row: &mut Row) {
        ["t", "seen", "k", "g", "x", "y", "i", "j", "s", "b", "d"].iter().for_each(|name| row.clear(name));
        row.bare("_tombstone", true);
        row.time = None;
    }

    /// Whether a history may lie in any order.
    pub fn history_has_no_order(&self) -> bool {
        !self.has_conflicts && self.read().all(|source| source.version != Version::Position)
    }

    /// Whether a log may come in any order, and be part of the history as well.
    pub fn logs_have_no_order(&self) -> bool {
        self.history_has_no_order() && self.read().all(|source| source.lateness.is_none())
    }

    /// Whether logs may be begun in any order: nothing that decides about their rows is forgotten.
    pub fn logs_may_take_turns(&self) -> bool {
        self.history_has_no_order() && self.read().all(|source| source.lateness.is_none() || source.version != Version::None)
    }

    /// The sources that the view reads.
    fn read(&self) -> impl Iterator<Item = &Source> {
        self.sources[..self.definition.branches].iter()
    }

    /// Entities, known and unknown, at moments that matter: events, edges of windows, changes of what is known, a microsecond to either side, and random ones.
    pub fn probes(&self, most: usize) -> Probes {
        let mut rng = Rng::with_seed(self.seed);
        let names = ["p", "P", "q", "", "none", "nobody"];
        let mut probes: Vec<(i64, (String, i32))> = Vec::new();
        for _ in 0..20 {
            probes.push((self.base + self.step * rng.i64(-50..=50), (pick(&mut rng, &names).to_owned(), pick(&mut rng, &[0, 0, 1, 2]))));
        }
        for (_, row) in &self.rows {
            let (Some(time), Some((k, g))) = (row.time, &row.entity) else { continue };
            let entity = (self.definition.entity_of(k, row.source), *g);
            let edge = if self.definition.edges.is_empty() { 0 } else { pick(&mut rng, &self.definition.edges) };
            let moments = [time, time + edge].into_iter().chain(row.moments.iter().copied());
            probes.extend(moments.map(|moment| (moment + rng.i64(-1..=1), entity.clone())));
            probes.push((time, entity));
        }
        rng.shuffle(&mut probes);
        probes.truncate(most);
        Probes::new(&probes, self.definition.two_keys)
    }
}

/// Entities at moments.
pub struct Probes {
    pub keys: Vec<ArrayRef>,
    pub at: Vec<i64>,
}

impl Probes {
    fn new(probes: &[(i64, (String, i32))], two_keys: bool) -> Probes {
        let mut keys: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(probes.iter().map(|(_, (name, _))| name)))];
        if two_keys {
            keys.push(Arc::new(Int32Array::from_iter_values(probes.iter().map(|(_, (_, group))| *group))));
        }
        Probes { keys, at: probes.iter().map(|(at, _)| *at).collect() }
    }
}
