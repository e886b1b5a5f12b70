//! One definition with its events, seen from many moments, by tiles and by the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use fastrand::Rng;
use lockstep_model::TimeMode;
use lockstep_model::key::Keys;
use lockstep_testkit::definitions::{Definition, More, pick};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::changes::{SourceChanges, StagedChanges};
use lockstep_transform::definition::{Definitions, SourceFile};
use lockstep_transform::oracle::{Kind, Oracle, OracleFeatures, Probes, Winners};
use lockstep_transform::tiles::{MemoryState, Request, Shape, apply};
use lockstep_transform::transformation::{Features, Transformation};

pub struct Case {
    seed: u64,
    sql: String,
    /// Per branch.
    winners: Vec<Winners>,
    probes: Probes,
    shape: Shape,
    /// In which order, and in how many batches, the engine is given the events.
    arrival: u64,
}

/// How many values were compared, by status.
#[derive(Debug, Default)]
pub struct Compared(pub BTreeMap<String, usize>);

const KEYS: &[&str] = &["p", "p", "p", "P", "q", "", "none"];

impl Case {
    pub fn new(seed: u64) -> Case {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let definition = Definition::new(&mut rng);
        let sql = definition.sql([More::default(); 2]);
        let (base, step) = definition.moments(&mut rng);
        let winners: Vec<Winners> = (0..definition.branches).map(|branch| winners(&mut rng, branch, base, step)).collect();
        let probes = probes(&mut rng, &definition, &winners, base, step);
        let shape = Shape { leaf_rows_max: 1 + rng.usize(..5), buffer_rows_max: rng.usize(..6) };
        Case { seed, sql, winners, probes, shape, arrival: rng.u64(..) }
    }

    pub async fn check(&self, compared: &mut Compared) {
        let sql = &self.sql;
        let parsed = Definitions::parse(&[SourceFile::new("v.sql", sql.clone())]);
        let definitions = parsed.unwrap_or_else(|errors| panic!("seed {}: {}\n{sql}", self.seed, errors[0]));
        let catalog = Catalog::compile(definitions).unwrap_or_else(|errors| panic!("seed {}: {}\n{sql}", self.seed, errors[0]));
        let view = &catalog.views["v"];
        let state = self.state(view);
        let oracle = Oracle::new(&catalog, "v").unwrap();
        let loaded = oracle.load(&self.winners).await.unwrap_or_else(|error| panic!("seed {}: {error}\n{sql}", self.seed));
        for mode in [TimeMode::Event, TimeMode::Known] {
            let keys = view.entity_keys(&self.probes.keys).unwrap();
            let requests: Vec<Request<'_>> = self.probes.at.iter().enumerate().map(|(i, &at)| Request { entity: keys.get(i), at }).collect();
            let tiles = view.read_at(&state, &requests, mode, None).unwrap_or_else(|error| panic!("seed {}: {error}\n{sql}", self.seed));
            for kind in [Kind::Windows, Kind::Groups] {
                if kind == Kind::Windows && loaded.kind(mode) == Kind::Groups {
                    continue;
                }
                let answer = loaded.answer_by(kind, &self.probes, mode).await;
                let answer = answer.unwrap_or_else(|error| panic!("seed {}, {mode:?}, {kind:?}: {error}\n{sql}", self.seed));
                self.compare(view, &tiles, &answer, mode, compared);
            }
        }
    }

    fn state(&self, view: &Transformation) -> MemoryState {
        let mut rng = Rng::with_seed(self.arrival);
        let mut state = MemoryState::default();
        let mut staged = StagedChanges::default();
        for (branch, winners) in self.winners.iter().enumerate() {
            let mut order: Vec<u32> = (0..winners.rows.num_rows() as u32).collect();
            rng.shuffle(&mut order);
            let cut = 1 + rng.usize(..order.len().max(1));
            for rows in order.chunks(cut) {
                stage(view, branch, winners, rows, &mut staged);
                let mut changes = staged.by_entity();
                let writes = apply(&view.measures, self.shape, &state, &mut changes).unwrap();
                state.write(writes);
                staged.clear();
            }
        }
        state
    }

    fn compare(&self, view: &Transformation, tiles: &Features, oracle: &OracleFeatures, mode: TimeMode, compared: &mut Compared) {
        for (index, field) in view.features.fields().iter().enumerate() {
            let (ours, theirs) = (&tiles.columns[index], &oracle.columns[index]);
            let place = format!("seed {}, {mode:?} time, {:?}, feature {}", self.seed, oracle.kinds[index], field.name());
            assert_eq!(ours.data_type(), theirs.data_type(), "{place}\n{}", self.sql);
            for row in 0..self.probes.at.len() {
                let (our_status, their_status) = (tiles.statuses[index][row], oracle.statuses[index][row]);
                let (our_value, their_value) = (ours.slice(row, 1), theirs.slice(row, 1));
                if our_status != their_status || our_value.to_data() != their_value.to_data() {
                    let keys: Vec<String> = self.probes.keys.iter().map(|key| format!("{:?}", key.slice(row, 1))).collect();
                    let events: Vec<String> = self.winners.iter().map(|winners| self.shown(winners)).collect();
                    panic!(
                        "{place}, at {} of {}: tiles say {our_status} {our_value:?}, the oracle says {their_status} {their_value:?}\n{}\n{}",
                        self.probes.at[row],
                        keys.join(", "),
                        self.sql,
                        if std::env::var("ORACLE_SEED").is_ok() { events.join("\n") } else { String::new() },
                    );
                }
                *compared.0.entry(our_status.to_string()).or_default() += 1;
            }
        }
    }

    fn shown(&self, winners: &Winners) -> String {
        let known: Vec<String> = winners.known_from.iter().zip(&winners.known_until).map(|known| format!("{known:?}")).collect();
        format!("{}\n{}", arrow::util::pretty::pretty_format_batches(std::slice::from_ref(&winners.rows)).unwrap(), known.join(" "))
    }
}

/// Brings some rows of a source to their entities.
fn stage(view: &Transformation, branch: usize, winners: &Winners, rows: &[u32], staged: &mut StagedChanges) {
    let batch = take_record_batch(&winners.rows, &arrow::array::UInt32Array::from(rows.to_vec())).unwrap();
    let key_columns: Vec<ArrayRef> = batch.columns()[..1 + branch].to_vec();
    let keys = Keys::encode(&key_columns).unwrap();
    let versions: Vec<[u8; 4]> = rows.iter().map(|row| row.to_be_bytes()).collect();
    let known = |known: &[i64]| rows.iter().map(|&row| known[row as usize]).collect::<Vec<_>>();
    let changes = SourceChanges {
        rows: &batch,
        sign: &vec![true; rows.len()],
        known_from: &known(&winners.known_from),
        known_until: &known(&winners.known_until),
        suffix: &|row| (keys.get(row), &versions[row]),
    };
    staged.stage(view, branch, changes).unwrap();
}

/// Events of a source, each once per version.
fn winners(rng: &mut Rng, branch: usize, base: i64, step: i64) -> Winners {
    let n = rng.usize(..80);
    let spread = pick(rng, &[5, 40, 40, 200]);
    let times: Vec<i64> = (0..n).map(|_| base + step * rng.i64(-spread..=spread)).collect();
    let maybe = |rng: &mut Rng| rng.usize(..6) > 0;
    let floats = [0.1, -0.0, 0.0, 1e16, -1e16, 1e300, 5e-324, 12.34, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    // Most cases have numbers alone, so that sums say something.
    let kinds = if rng.usize(..3) == 0 { floats.len() } else { 8 };
    let huge = rng.usize(..4) == 0;
    let x: Float64Array = (0..n).map(|_| maybe(rng).then(|| floats[rng.usize(..kinds)])).collect();
    let i: Int64Array = (0..n).map(|_| maybe(rng).then(|| if huge && rng.bool() { i64::MAX - rng.i64(0..3) } else { rng.i64(-5..9) })).collect();
    let s: StringArray = (0..n).map(|_| maybe(rng).then(|| pick(rng, &["", "p", "q", "P", "ß", "pp", "7"]))).collect();
    let b: BooleanArray = (0..n).map(|_| maybe(rng).then(|| rng.bool())).collect();
    let d: Decimal128Array = (0..n).map(|_| maybe(rng).then(|| i128::from(rng.i64(-300..300)))).collect();
    let k: StringArray = (0..n).map(|_| (rng.usize(..20) > 0).then(|| pick(rng, KEYS))).collect();
    let g: Int32Array = (0..n).map(|_| (rng.usize(..20) > 0).then(|| i32::from(rng.usize(..4) == 0))).collect();
    let mut columns: Vec<(&str, ArrayRef)> = match branch {
        0 => vec![("id", Arc::new(Int64Array::from_iter_values((0..n as i64).map(|id| id / 2 - 9))))],
        _ => {
            let names: StringArray = (0..n).map(|id| (id % 7 > 0).then(|| pick(rng, &["", "a", "a\0", "b"]))).collect();
            vec![("name", Arc::new(names)), ("id", Arc::new(Int32Array::from_iter_values((0..n as i32).map(|id| id - 20))))]
        }
    };
    let (x_name, i_name) = if branch == 0 { ("x", "i") } else { ("y", "j") };
    columns.extend([
        ("k", Arc::new(k) as ArrayRef),
        ("g", Arc::new(g)),
        (x_name, Arc::new(x)),
        (i_name, Arc::new(i)),
        ("s", Arc::new(s)),
        ("b", Arc::new(b)),
    ]);
    columns.push(("d", Arc::new(d.with_precision_and_scale(12, 2).unwrap())));
    columns.push(("t", Arc::new(TimestampMicrosecondArray::from(times.clone()))));
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap();
    let known_from: Vec<i64> = times.iter().map(|&time| if rng.bool() { i64::MIN } else { time + step * rng.i64(0..6) }).collect();
    let known_until = known_from.iter().map(|&from| if rng.usize(..5) > 0 { i64::MAX } else { from.max(base) + step * rng.i64(1..9) });
    let mut winners = Winners { known_until: known_until.collect(), known_from, rows };
    if branch == 0 {
        (0..n).step_by(2).filter(|row| row + 1 < n).for_each(|row| supersede(rng, &mut winners, row, base, step));
    }
    winners
}

/// The next row is of the same primary key: it is known from when this one no longer is.
fn supersede(rng: &mut Rng, winners: &mut Winners, row: usize, base: i64, step: i64) {
    let from = winners.known_from[row + 1].max(winners.known_from[row].max(base) + step * rng.i64(0..9));
    winners.known_until[row] = from;
    winners.known_from[row + 1] = from;
    winners.known_until[row + 1] = winners.known_until[row + 1].max(from);
}

/// Entities, known and unknown, at moments that matter: mostly those of an event for its own entity.
fn probes(rng: &mut Rng, definition: &Definition, winners: &[Winners], base: i64, step: i64) -> Probes {
    let anyone = |rng: &mut Rng| (pick(rng, &["p", "P", "q", "", "none", "nobody"]).to_owned(), pick(rng, &[0, 0, 1, 2]));
    let mut probes: Vec<(i64, (String, i32))> = Vec::new();
    for _ in 0..12 {
        probes.push((base + step * rng.i64(-50..=50) + rng.i64(-1..=1), anyone(rng)));
    }
    for (branch, winners) in winners.iter().enumerate() {
        let column = |name: &str| winners.rows.column_by_name(name).unwrap();
        let (times, names, groups) =
            (column("t").as_primitive::<TimestampMicrosecondType>(), column("k").as_string::<i32>(), column("g").as_primitive::<Int32Type>());
        for row in 0..winners.rows.num_rows() {
            let name = if names.is_valid(row) { names.value(row) } else { "none" };
            let own = (definition.entity_of(name, branch), groups.value(row));
            let time = times.value(row);
            probes.push((time, own.clone()));
            probes.push((time, anyone(rng)));
            if !definition.edges.is_empty() {
                probes.push((time + pick(rng, &definition.edges) + rng.i64(-1..=1), own.clone()));
            }
            for known in [winners.known_from[row], winners.known_until[row]].into_iter().filter(|&known| known > i64::MIN && known < i64::MAX) {
                probes.push((known + rng.i64(-1..=0), own.clone()));
            }
        }
    }
    let mut keys: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(probes.iter().map(|(_, (name, _))| name)))];
    if definition.two_keys {
        keys.push(Arc::new(Int32Array::from_iter_values(probes.iter().map(|(_, (_, group))| *group))));
    }
    Probes { keys, at: probes.iter().map(|(at, _)| *at).collect() }
}
