//! Random events in random batches: whatever the order, the cuts and the shape, the tree answers as the model does.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use lockstep_model::TimeMode;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Frame, LastRows, MemoryState, Shape};
use super::model::{Event, Op, World};
use super::{SPECS, Stored};
use crate::calendar::{Calendar, Unit};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

const EXACT: Frame = Frame { preceding: None, ends_before: 0, last: None, calendar: None, resolution: 1 };

fn calendar(unit: Unit, zone: Tz) -> Option<Calendar> {
    Some(Calendar { unit, zone })
}

/// Every kind of frame, at scales that the events' times have.
pub(super) fn frames() -> Vec<Frame> {
    let last = |n: Option<u64>, skip: u64| Some(LastRows { n, skip });
    vec![
        EXACT,
        Frame { preceding: Some(0), ..EXACT },
        Frame { preceding: Some(10), ..EXACT },
        Frame { preceding: Some(100), ends_before: 1, ..EXACT },
        Frame { preceding: Some(70), ends_before: 30, ..EXACT },
        Frame { preceding: Some(HOUR), ..EXACT },
        Frame { preceding: Some(DAY), ends_before: HOUR, ..EXACT },
        Frame { ends_before: 1, ..EXACT },
        Frame { ends_before: HOUR, ..EXACT },
        Frame { preceding: Some(i64::MAX), ..EXACT },
        Frame { preceding: Some(i64::MAX), ends_before: i64::MAX - 5, ..EXACT },
        Frame { preceding: Some(40), resolution: 16, ..EXACT },
        Frame { preceding: Some(96), ends_before: 32, resolution: 16, ..EXACT },
        Frame { preceding: Some(HOUR), resolution: 60 * SECOND, ..EXACT },
        Frame { preceding: Some(0), resolution: 16, ..EXACT },
        Frame { last: last(Some(1), 0), ..EXACT },
        Frame { last: last(Some(3), 0), ..EXACT },
        Frame { last: last(Some(5), 2), ..EXACT },
        Frame { last: last(Some(20), 0), ..EXACT },
        Frame { last: last(None, 1), ..EXACT },
        Frame { calendar: calendar(Unit::Day, chrono_tz::America::New_York), ..EXACT },
        Frame { calendar: calendar(Unit::Hour, chrono_tz::America::New_York), preceding: Some(HOUR), ..EXACT },
        Frame { calendar: calendar(Unit::Day, chrono_tz::Australia::Lord_Howe), ..EXACT },
        Frame { calendar: calendar(Unit::Day, chrono_tz::Pacific::Apia), last: last(Some(4), 1), ..EXACT },
        Frame { calendar: calendar(Unit::Week, chrono_tz::America::New_York), ends_before: 1, ..EXACT },
        Frame { calendar: calendar(Unit::Month, chrono_tz::UTC), last: last(Some(2), 0), ..EXACT },
    ]
}

/// Both clock changes of New York in 2013, one of Lord Howe, and the day that Apia left out: 00:00 local or the change, in UTC.
const CHANGES: [i64; 6] = [1_362_891_600, 1_362_898_800, 1_383_454_800, 1_383_458_400, 1_365_260_400, 1_325_239_200];

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -40i64..40,
        3 => -500i64..500,
        1 => (0u32..10, -2i64..3).prop_map(|(power, off)| 16i64.pow(power) + off),
        4 => (0..CHANGES.len(), prop_oneof![-3i64..3, (-30i64..30).prop_map(|half| half * HOUR / 2)]).prop_map(|(at, off)| CHANGES[at] * SECOND + off),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MIN + 1), Just(i64::MIN + 50), Just(i64::MAX - 1), Just(i64::MAX)],
    ]
}

/// From when and until when a row was known: from ever, within its event's time, or later.
fn known(time: i64) -> impl Strategy<Value = (i64, i64)> {
    let moment = (-20i64..60).prop_map(move |off| time.saturating_add(off));
    let from = prop_oneof![2 => Just(i64::MIN), 3 => moment.clone()];
    let until = prop_oneof![3 => Just(i64::MAX), 1 => moment.prop_map(|until| until.min(i64::MAX - 1))];
    (from, until)
}

fn event() -> impl Strategy<Value = Event> {
    time().prop_flat_map(|time| (Just(time), 0u8..3, 0u16..9, 0u8..2, known(time), any::<u16>())).prop_map(
        |(time, branch, pk, version, known, seed)| Event {
            time,
            branch,
            pk,
            version,
            known_from: known.0,
            known_until: known.1,
            stored: Stored::of(seed),
        },
    )
}

pub(super) type Batch = Vec<(Vec<u8>, Op)>;

/// Batches of changes, some of which take out or replace what earlier ones put in.
pub(super) fn batches(goes: bool) -> impl Strategy<Value = Vec<Batch>> {
    let change = (0u8..3, event(), 0u8..8, any::<prop::sample::Index>());
    vec(vec(change, 1..40), 1..7).prop_map(move |batches| {
        let mut came: Vec<(Vec<u8>, Event)> = Vec::new();
        let mut op = |(entity, event, what, earlier): (u8, Event, u8, prop::sample::Index)| {
            let entity = vec![1, entity];
            if goes && what < 3 && !came.is_empty() {
                let (entity, old) = earlier.get(&came).clone();
                // Another content or known interval of the same order key.
                let new = Event { stored: event.stored, known_from: event.known_from, known_until: event.known_until, ..old.clone() };
                return (entity, if what == 0 { Op::Come(new) } else { Op::Go(old) });
            }
            came.push((entity.clone(), event.clone()));
            (entity, Op::Come(event))
        };
        batches.into_iter().map(|batch| batch.into_iter().map(&mut op).collect()).collect()
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    let size = || prop_oneof![3 => 0usize..5, 2 => 5usize..65];
    (size(), size()).prop_map(|(leaf_rows_max, buffer_rows_max)| Shape { leaf_rows_max, buffer_rows_max })
}

fn outputs() -> impl Strategy<Value = Vec<(usize, usize)>> {
    vec((0..SPECS.len(), 0..frames().len()), 1..24)
}

/// Moments of interest: at each event, a microsecond beside it, where an edge of a frame meets it, and far from all; at most `max` of them.
fn moments(world: &World, frames: &[Frame], outputs: &[(usize, usize)], max: usize) -> Vec<(Vec<u8>, i64)> {
    let mut all = BTreeSet::new();
    for (entity, rows) in &world.model {
        for event in rows.values() {
            let edges = outputs.iter().flat_map(|&(_, frame)| [frames[frame].preceding.unwrap_or(0), frames[frame].ends_before]);
            let known = [event.known_from, event.known_until];
            for moment in edges.map(|edge| event.time.saturating_add(edge)).chain(known) {
                all.extend([-1, 0, 1].map(|off| (entity.clone(), moment.saturating_add(off))));
            }
        }
        all.extend([i64::MIN, -1, 0, i64::MAX - 1, i64::MAX].map(|moment| (entity.clone(), moment)));
    }
    let stride = all.len().div_ceil(max).max(1);
    let mut picked: Vec<_> = all.into_iter().step_by(stride).collect();
    picked.push((b"of nobody".to_vec(), 0));
    picked
}

pub(super) fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(700))]

    #[test]
    fn reads_as_the_model_does(batches in batches(true), shape in shape(), outputs in outputs(), check_all in any::<bool>()) {
        let frames = frames();
        let mut world = World::new(shape);
        for (at, batch) in batches.iter().enumerate() {
            world.apply(batch);
            if check_all || at + 1 == batches.len() {
                world.check_tree();
                let moments = moments(&world, &frames, &outputs, 60);
                for mode in [TimeMode::Event, TimeMode::Known] {
                    world.check(&world.state, &frames, &outputs, &moments, mode);
                }
            }
        }
    }

    #[test]
    fn a_sweep_reads_as_the_model_does(batches in batches(true), outputs in outputs(), many in any::<bool>(), repeated in any::<bool>()) {
        let frames = frames();
        let mut world = World::new(Shape::default());
        batches.iter().for_each(|batch| world.apply(batch));
        let mut moments = moments(&world, &frames, &outputs, if many { 400 } else { 30 });
        moments.sort();
        if repeated {
            moments = moments.into_iter().flat_map(|moment| [moment.clone(), moment]).collect();
        }
        for mode in [TimeMode::Event, TimeMode::Known] {
            world.check_sweep(&frames, &outputs, &moments, mode);
        }
    }

    #[test]
    fn a_bulk_load_reads_as_batches_do(batches in batches(true), shape in shape(), outputs in outputs()) {
        let frames = frames();
        let mut world = World::new(shape);
        batches.iter().for_each(|batch| world.apply(batch));
        let mut built = MemoryState::default();
        built.write(world.built());
        let moments = moments(&world, &frames, &outputs, 60);
        for mode in [TimeMode::Event, TimeMode::Known] {
            world.check(&built, &frames, &outputs, &moments, mode);
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Without a buffer and without removals, the tree is a function of the set of events.
    #[test]
    fn the_tree_is_canonical(batches in batches(false), leaf_rows_max in 0usize..9) {
        let mut world = World::new(Shape { leaf_rows_max, buffer_rows_max: 0 });
        batches.iter().for_each(|batch| world.apply(batch));
        let mut built = MemoryState::default();
        built.write(world.built());
        prop_assert_eq!(world.state.sorted(), built.sorted());
    }

    /// What came goes again, and nothing is left but heads.
    #[test]
    fn nothing_is_left_of_what_went(batches in batches(true), shape in shape()) {
        let mut world = World::new(shape);
        batches.iter().for_each(|batch| world.apply(batch));
        let rest: Batch = world.model.iter().flat_map(|(entity, rows)| rows.values().map(|event| (entity.clone(), Op::Go(event.clone())))).collect();
        rest.chunks(7).for_each(|batch| world.apply(batch));
        prop_assert_eq!(world.state.sorted().len(), world.model.len());
    }
}
