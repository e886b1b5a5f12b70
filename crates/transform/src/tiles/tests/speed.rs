//! What applying and reading cost, printed: `cargo test --release --workspace --lib tiles::tests::speed -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::time::Instant;

use lockstep_model::TimeMode;

use super::super::node::Row;
use super::super::{EntityChanges, Frame, Measures, MemoryState, ReadPlan, ReadStats, Request, Shape, apply, order, read_at};
use super::{SPECS, Stored, measures};

const BATCH: usize = 8192;
const HOUR: i64 = 3_600_000_000;

/// A counter of everything, sums and means of floats, and an extreme: what most views are made of.
const TILED: [usize; 4] = [0, 4, 7, 9];
/// Those, and a filtered count, a deviation and the last text.
const READ: [usize; 7] = [0, 4, 7, 9, 1, 13, 16];

fn some(indices: &[usize]) -> Measures {
    let Measures { codec, measures } = measures();
    Measures { codec, measures: indices.iter().map(|&at| measures[at].clone()).collect() }
}

fn frames() -> Vec<Frame> {
    let exact = Frame { preceding: None, ends_before: 0, last: None, calendar: None, resolution: 1 };
    [HOUR, 24 * HOUR, 30 * 24 * HOUR].map(|preceding| Frame { preceding: Some(preceding), ..exact.clone() }).to_vec()
}

/// A numbered event of a stream that spreads 60 days over all of its events and its entities evenly, in no order.
struct Stream {
    events: usize,
    entities: u64,
}

impl Stream {
    fn time(&self, number: usize) -> i64 {
        (number as i64) * (60 * 24 * HOUR) / self.events as i64
    }

    fn entity(&self, number: usize) -> Vec<u8> {
        let hash = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xd6e8_feb8_6659_fd93);
        format!("entity {:06}", hash % self.entities).into_bytes()
    }

    fn key(&self, number: usize) -> Vec<u8> {
        let mut key = Vec::new();
        order::write(&mut key, self.time(number), 0, &(number as u64).to_be_bytes(), &[]);
        key
    }

    /// Applies all of it; nanoseconds an event, and the state.
    #[allow(clippy::disallowed_methods, reason = "only printed")]
    fn apply(&self, measures: &Measures) -> (f64, MemoryState) {
        let args: Vec<Vec<u8>> = (0..1000u16).map(|seed| Stored::of(seed * 61).encode(&measures.codec)).collect();
        let mut state = MemoryState::default();
        let mut spent = std::time::Duration::ZERO;
        for first in (0..self.events).step_by(BATCH) {
            let numbers = first..(first + BATCH).min(self.events);
            let keyed: Vec<(Vec<u8>, Vec<u8>, usize)> = numbers.map(|number| (self.entity(number), self.key(number), number % args.len())).collect();
            let mut by_entity: BTreeMap<&[u8], Vec<Row<'_>>> = BTreeMap::new();
            for (entity, key, args_of) in &keyed {
                by_entity.entry(entity).or_default().push(Row { key, known_from: i64::MIN, known_until: i64::MAX, args: &args[*args_of] });
            }
            let mut changes: Vec<EntityChanges<'_>> =
                by_entity.into_iter().map(|(entity, upserts)| EntityChanges { entity, removes: Vec::new(), upserts }).collect();
            let start = Instant::now();
            let writes = apply(measures, Shape::default(), &state, &mut changes).unwrap();
            spent += start.elapsed();
            state.write(writes);
        }
        (spent.as_nanos() as f64 / self.events as f64, state)
    }
}

#[test]
#[ignore = "prints timings"]
fn apply_and_read() {
    let frames = frames();
    for (entities, events) in [(1, 1 << 18), (1000, 1 << 19), (10_000, 1 << 19), (100_000, 1 << 19)] {
        let stream = Stream { events, entities };
        let (nanos, _) = stream.apply(&some(&TILED));
        let measures = some(&READ);
        let (nanos_more, state) = stream.apply(&measures);
        let bytes: usize = state.sorted().iter().map(|(key, value)| key.as_bytes().len() + value.len()).sum();
        println!(
            "{entities} entities: apply {nanos:.0} ns an event with {} measures, {nanos_more:.0} with {}; {:.0} bytes an event",
            TILED.len(),
            READ.len(),
            bytes as f64 / events as f64
        );
        let outputs: Vec<(usize, usize)> =
            (0..READ.len()).flat_map(|measure| (0..frames.len()).map(move |frame| (measure, frame))).take(20).collect();
        for batch in [1, 100] {
            let (micros, stats) = read(&stream, &measures, &frames, &outputs, &state, batch);
            let per = |count: u64| count as f64 / 2000.0;
            println!(
                "    read {batch} at a time: {micros:.1} µs a lookup of {} features; {:.1} keys, {:.0} bytes, {:.1} rows, {:.1} tiles, {:.1} rounds a batch",
                outputs.len(),
                per(stats.keys),
                per(stats.bytes),
                per(stats.rows),
                per(stats.tiles),
                stats.rounds as f64 / (2000 / batch) as f64
            );
        }
    }
    assert_eq!(SPECS[TILED[3]].name, "min");
}

/// Microseconds a lookup, and what 2000 of them cost, each at a moment in the last third of the stream.
#[allow(clippy::disallowed_methods, reason = "only printed")]
fn read(stream: &Stream, measures: &Measures, frames: &[Frame], outputs: &[(usize, usize)], state: &MemoryState, batch: usize) -> (f64, ReadStats) {
    let asked: Vec<(Vec<u8>, i64)> =
        (0..2000usize).map(|i| (stream.entity(i * 37), stream.time(stream.events * 2 / 3 + (i * 7919) % (stream.events / 3)) + 17)).collect();
    let mut stats = ReadStats::default();
    let plan = ReadPlan::new(measures, frames, outputs);
    let start = Instant::now();
    for asked in asked.chunks(batch) {
        let requests: Vec<Request<'_>> = asked.iter().map(|(entity, at)| Request { entity, at: *at }).collect();
        stats += read_at(&plan, measures, state, &requests, TimeMode::Event, None).unwrap().stats;
    }
    (start.elapsed().as_nanos() as f64 / 1000.0 / asked.len() as f64, stats)
}
