//! What every test of the store needs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lockstep_model::{Clock, Error, EventTime, FilePosition, Fingerprint, Generation, PartitionId, Position, StateKey, StateRead, StateWrite};
use lockstep_store::{Commit, Counters, CutRead, Epoch, KeyEntryHeader, KeyWrite, NewGeneration, OnlineStore, Store, StoreOptions, SyncPolicy};

/// A clock that goes only as told.
#[derive(Debug, Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

/// Small buffers, so that a test passes through flushes, and no sync but when asked.
pub fn options() -> StoreOptions {
    StoreOptions {
        block_cache_bytes: 8 << 20,
        write_buffer_bytes: 1 << 20,
        sync: SyncPolicy::OnClose,
        clock: Arc::new(TestClock::default()),
        ..StoreOptions::new("test")
    }
}

pub fn open(dir: &Path) -> Store {
    Store::open(dir, options()).unwrap()
}

pub fn view(name: &str, version: u32) -> NewGeneration {
    NewGeneration { view: name.to_owned(), version, meaning: Fingerprint([1; 32]), state: Fingerprint([2; 32]) }
}

pub fn new_generation(store: &Store) -> Generation {
    store.create_generation(view("airport_load", 1)).unwrap().generation
}

/// The node right above one event of an entity.
pub fn node(entity: &[u8], micros: i64) -> StateKey {
    StateKey::node(entity, Some((16, &order_key(micros))))
}

/// The start of the order key of an event at this moment.
pub fn order_key(micros: i64) -> [u8; 8] {
    (micros as u64 ^ (1 << 63)).to_be_bytes()
}

pub fn put(key: StateKey, value: &[u8]) -> StateWrite {
    StateWrite { key, value: Some(value.to_vec()) }
}

pub fn entry(micros: i64, rest: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    KeyEntryHeader { event_time: EventTime(micros) }.put(&mut entry);
    entry.extend_from_slice(rest);
    entry
}

pub fn partition(name: &str) -> PartitionId {
    PartitionId { source: "departures".to_owned(), partition: name.to_owned() }
}

pub fn rows_done(rows: u64) -> Position {
    Position::File(FilePosition {
        rows,
        bytes: 0,
        size: None,
        etag: None,
        hash: rows,
        event_time_max: None,
        begun_at: None,
        order: 0,
        complete: false,
    })
}

/// The `n`-th commit of a run, counted from 1: two heads in different shards, a node, a dedup entry, counters and the position, all saying `n`.
pub fn numbered(generation: Generation, epoch: Epoch, n: u64) -> Commit {
    let value = n.to_be_bytes();
    let mut commit = Commit::new(generation, epoch);
    commit.state = vec![put(StateKey::head(b"EWR"), &value), put(StateKey::head(b"JFK"), &value), put(node(b"EWR", n as i64), &value)];
    commit.keys = vec![KeyWrite { source: 0, key: value.as_slice().into(), value: Some(entry(n as i64, &value).into()) }];
    commit.positions = vec![(partition("a.ndjson"), rows_done(n))];
    commit.counters = vec![("departures".to_owned(), Counters { applied: 1, ..Counters::default() })];
    commit
}

/// Checks that a cut holds exactly the numbered commits up to some `n`, and returns it.
pub fn numbered_up_to(cut: &dyn CutRead, generation: Generation) -> u64 {
    let n = match cut.positions(generation).unwrap().as_slice() {
        [] => 0,
        [(_, Position::File(position))] => position.rows,
        more => panic!("one partition was applied, not {more:?}"),
    };
    let keys: Vec<StateKey> =
        [b"EWR", b"JFK"].into_iter().map(|entity| StateKey::head(entity)).chain((1..=n + 1).map(|i| node(b"EWR", i as i64))).collect();
    let newest = (n > 0).then(|| n.to_be_bytes().to_vec());
    let nodes = (1..=n).map(|i| Some(i.to_be_bytes().to_vec())).chain([None]);
    let expected: Vec<_> = [newest.clone(), newest].into_iter().chain(nodes).collect();
    assert_eq!(get(cut, generation, &keys), expected, "state agrees with position {n}");

    let mut entries = 0;
    cut.each_key(generation, &mut |_, _, _| {
        entries += 1;
        Ok(())
    })
    .unwrap();
    let applied = cut.counters(generation).unwrap().get("departures").map_or(0, |counters| counters.applied);
    assert_eq!((entries, applied), (n, n), "dedup entries and counters agree with position {n}");
    n
}

pub fn get(cut: &dyn CutRead, generation: Generation, keys: &[StateKey]) -> Vec<Option<Vec<u8>>> {
    let mut values = Vec::new();
    let found = &mut |i, bytes: Option<&[u8]>| {
        assert_eq!(i, values.len(), "answers come in the order asked for");
        values.push(bytes.map(<[u8]>::to_vec));
    };
    cut.state(generation).get_many(keys, found).unwrap();
    values
}

pub fn all_state(cut: &dyn CutRead, generation: Generation) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    cut.each_state(generation, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok(())
    })
    .unwrap();
    rows
}

pub fn all_keys(cut: &dyn CutRead, generation: Generation) -> Vec<(u16, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    cut.each_key(generation, &mut |source, key, value| {
        rows.push((source, key.to_vec(), value.to_vec()));
        Ok(())
    })
    .unwrap();
    rows
}

#[track_caller]
pub fn assert_says<T: std::fmt::Debug>(outcome: Result<T, Error>, kind: lockstep_model::ErrorKind, parts: &[&str]) {
    let error = outcome.expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is missing in: {error}");
    }
}

/// Makes a store what the first format was: one without the outbox.
pub fn make_format_1(dir: &Path) {
    let (options, path) = (rocksdb::Options::default(), dir.join("db"));
    let families = rocksdb::DB::list_cf(&options, &path).unwrap();
    let mut db = rocksdb::DB::open_cf(&options, &path, families).unwrap();
    db.drop_cf("outbox").unwrap();
    drop(db);
    std::fs::write(dir.join("FORMAT"), "lockstep-store 1\n").unwrap();
}
