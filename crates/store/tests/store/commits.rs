//! What is committed is read back, whole, and by one cut at one moment.

use std::sync::Arc;
use std::time::Duration;

use lockstep_model::{ErrorKind, EventTime, Generation, PartitionId, StateKey, StateWrite};
use lockstep_store::{Commit, Counters, CutRead, DeadLetter, Epoch, Horizon, KeyWrite, OnlineStore, Refusal, Store, StoreOptions, SyncPolicy};

use crate::support::{self, TestClock, assert_says, get, new_generation, node, numbered, numbered_up_to, partition, put, rows_done};

fn refusal(name: &str, row: u64) -> Refusal {
    let (event_time, watermark) = (EventTime(5), EventTime(9));
    Refusal { partition: partition(name), row, event_time, primary_key: "77".to_owned(), watermark, reason: "4 µs late, 3 µs allowed".to_owned() }
}

fn dead_letter(row: u64, bytes: &[u8]) -> DeadLetter {
    let (reason, detail) = ("unparsable".to_owned(), "`x` is no number".to_owned());
    DeadLetter { partition: partition("a"), row, reason, detail, bytes: bytes.to_vec(), at: EventTime(1) }
}

#[test]
fn everything_a_commit_carries_is_read_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let mut commit = numbered(generation, store.epoch(), 1);
    commit.refusals = vec![refusal("b", 256), refusal("a", 3), refusal("b", 4)];
    commit.dead_letters = vec![dead_letter(2, b"\xff\0not text"), dead_letter(1, b"")];
    commit.horizon = Some(Horizon { readable_from: EventTime(-5), state_before: EventTime(-9), keys_before: vec![(0, EventTime(-7))] });
    store.commit(commit.clone()).unwrap();
    store.close().unwrap();

    let store = support::open(dir.path());
    let cut = store.cut();
    assert_eq!(numbered_up_to(&cut, generation), 1);
    assert_eq!(cut.horizon(generation).unwrap(), commit.horizon.unwrap());
    let refusals: Vec<_> = cut.refusals(generation).collect::<Result<_, _>>().unwrap();
    assert_eq!(refusals, [refusal("a", 3), refusal("b", 4), refusal("b", 256)]);
    let letters: Vec<_> = cut.dead_letters(generation).collect::<Result<_, _>>().unwrap();
    assert_eq!(letters, [dead_letter(1, b""), dead_letter(2, b"\xff\0not text")]);
    let from = |row| cut.dead_letters_from(generation, &letters[0].partition, row).map(|letter| letter.unwrap().row).collect::<Vec<_>>();
    assert_eq!([from(0), from(1), from(2), from(3)], [vec![1, 2], vec![1, 2], vec![2], vec![]]);
    let other = PartitionId { partition: "another".to_owned(), ..letters[0].partition.clone() };
    assert_eq!(cut.dead_letters_from(generation, &other, 0).count(), 0);
}

#[test]
fn many_keys_are_answered_in_the_order_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let mut commit = Commit::new(generation, store.epoch());
    commit.state = (0..500).map(|i| put(node(format!("e{}", i % 7).as_bytes(), i), &i.to_be_bytes())).collect();
    commit.state.push(put(StateKey::head(b"empty"), b""));
    commit.keys = (0..500u16)
        .map(|i| KeyWrite { source: i % 2, key: i.to_be_bytes().as_slice().into(), value: Some(support::entry(0, &i.to_be_bytes()).into()) })
        .collect();
    store.commit(commit).unwrap();

    let cut = store.cut();
    let asked: Vec<i64> = (0..600).rev().chain([3, 3, 599]).collect();
    let keys: Vec<StateKey> = asked.iter().map(|i| node(format!("e{}", i % 7).as_bytes(), *i)).collect();
    let expected: Vec<_> = asked.iter().map(|i| (*i < 500).then(|| i.to_be_bytes().to_vec())).collect();
    assert_eq!(get(&cut, generation, &keys), expected);
    assert_eq!(get(&cut, generation, &[StateKey::head(b"empty")]), [Some(Vec::new())]);
    assert_eq!(get(&cut, generation, &[]), [] as [Option<Vec<u8>>; 0]);

    let keys: Vec<[u8; 2]> = (0..10u16).rev().map(u16::to_be_bytes).collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 2]>::as_slice).collect();
    let mut found = Vec::new();
    cut.get_keys(generation, 1, &keys, &mut |i, entry| found.push((i, entry.map(|entry| entry[8..].to_vec())))).unwrap();
    let expected: Vec<_> = (0..10u16).rev().enumerate().map(|(i, n)| (i, (n % 2 == 1).then(|| n.to_be_bytes().to_vec()))).collect();
    assert_eq!(found, expected, "the other source's keys are not this one's");
}

#[test]
fn a_delete_hides_and_the_later_write_of_a_key_holds() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let key = StateKey::head(b"EWR");
    let mut commit = Commit::new(generation, store.epoch());
    commit.state = vec![put(key.clone(), b"1"), StateWrite { key: key.clone(), value: None }, put(key.clone(), b"2")];
    store.commit(commit).unwrap();
    assert_eq!(get(&store.cut(), generation, std::slice::from_ref(&key)), [Some(b"2".to_vec())]);

    let mut commit = Commit::new(generation, store.epoch());
    commit.state = vec![StateWrite { key: key.clone(), value: None }];
    store.commit(commit).unwrap();
    assert_eq!(get(&store.cut(), generation, &[key]), [None]);
}

#[test]
fn a_cut_stays_at_its_moment_while_commits_go_on() {
    // A check reads all that was committed: a writer without a bound would outrun it further with every cut.
    const COMMITS: u64 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let epoch = store.epoch();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| (1..=COMMITS).for_each(|n| store.commit(numbered(generation, epoch, n)).unwrap()));
        let mut last = 0;
        while last < COMMITS {
            let done = writer.is_finished();
            let cut = store.cut();
            let seen = numbered_up_to(&cut, generation);
            std::thread::yield_now();
            assert_eq!(numbered_up_to(&cut, generation), seen);
            assert!(seen >= last, "time does not go back");
            assert!(!done || seen == COMMITS, "a cut shows what was committed before it");
            last = seen;
        }
    });
}

#[test]
fn commits_of_several_generations_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let first = new_generation(&store);
    let second = store.create_generation(support::view("carrier_load", 1)).unwrap().generation;
    let epoch = store.epoch();
    store.commit_all(vec![numbered(first, epoch, 1), numbered(second, epoch, 1), numbered(first, epoch, 2)]).unwrap();
    let cut = store.cut();
    assert_eq!((numbered_up_to(&cut, first), numbered_up_to(&cut, second)), (2, 1));

    let unknown = Generation(99);
    assert_says(
        store.commit_all(vec![numbered(first, epoch, 3), numbered(unknown, epoch, 1)]),
        ErrorKind::NotFound,
        &["generation 99", "1 (airport_load v1)"],
    );
    assert_eq!(numbered_up_to(&store.cut(), first), 2, "all or none");
}

#[test]
fn a_fenced_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let old = store.epoch();
    let new = store.fence().unwrap();
    assert!(new > old);
    assert_says(store.commit(numbered(generation, old, 1)), ErrorKind::Unavailable, &["replaced by a newer one"]);
    assert_says(store.publish(vec![Commit::new(generation, old)]), ErrorKind::Unavailable, &["replaced by a newer one"]);
    store.commit(numbered(generation, new, 1)).unwrap();
    drop(store);
    let store = support::open(dir.path());
    assert!(store.epoch() > new, "whoever opens the store fences those before");
    assert_says(store.commit(numbered(generation, Epoch(new.0), 2)), ErrorKind::Unavailable, &[]);
    assert_eq!(numbered_up_to(&store.cut(), generation), 1);
}

#[test]
fn counters_add_up_and_stay_at_the_largest_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let add = |source: &str, counters: Counters| {
        let mut commit = Commit::new(generation, store.epoch());
        commit.counters = vec![(source.to_owned(), counters)];
        store.commit(commit).unwrap();
    };
    add("departures", Counters { applied: 2, refused: 1, ..Counters::default() });
    add("departures", Counters { applied: 3, conflicts: u64::MAX, ..Counters::default() });
    add("departures", Counters { conflicts: 1, ..Counters::default() });
    add("departures_2", Counters { null_keys: 1, ..Counters::default() });
    let counters = store.cut().counters(generation).unwrap();
    assert_eq!(counters["departures"], Counters { applied: 5, refused: 1, conflicts: u64::MAX, ..Counters::default() });
    assert_eq!(counters["departures_2"].null_keys, 1);
    assert_eq!(counters.len(), 2);
}

#[test]
fn an_interval_forces_the_first_commit_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let options = StoreOptions { sync: SyncPolicy::Interval(Duration::from_micros(10)), clock: clock.clone(), ..support::options() };
    let store = Store::open(dir.path(), options).unwrap();
    let generation = new_generation(&store);
    let expire = |micros: i64| {
        let mut commit = Commit::new(generation, store.epoch());
        commit.state = vec![put(node(b"EWR", micros - 1), b"old")];
        commit.horizon = Some(Horizon { readable_from: EventTime(micros), state_before: EventTime(micros), ..Horizon::default() });
        store.commit(commit).unwrap();
        store.compact().unwrap();
        support::all_state(&store.cut(), generation).len()
    };
    clock.advance(9);
    assert_eq!(expire(100), 1, "what a power cut could undo lets nothing go");
    clock.advance(1);
    assert_eq!(expire(200), 0, "this commit was forced, and its horizon with it");
}

#[test]
fn positions_keep_to_their_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let mut commit = Commit::new(generation, store.epoch());
    commit.positions = vec![(partition("b"), rows_done(2)), (partition("a/x.ndjson"), rows_done(1)), (partition("-"), rows_done(3))];
    store.commit(commit).unwrap();
    let mut commit = Commit::new(generation, store.epoch());
    commit.positions = vec![(partition("b"), rows_done(7))];
    store.commit(commit).unwrap();
    let expected = [(partition("-"), rows_done(3)), (partition("a/x.ndjson"), rows_done(1)), (partition("b"), rows_done(7))];
    assert_eq!(store.cut().positions(generation).unwrap(), expected);
}
