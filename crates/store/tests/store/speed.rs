//! How fast it is: `cargo test --release --workspace --test store -- --ignored --nocapture speed`.

use std::hint::black_box;

use lockstep_model::{Generation, StateKey};
use lockstep_store::{Commit, CutRead, KeyWrite, OnlineStore, Store, StoreOptions, SyncPolicy};

use crate::support::{entry, new_generation, node, put};

/// Entities, each with a head and [`NODES`] nodes.
const ENTITIES: u32 = 20_000;
const NODES: i64 = 9;
/// Bytes of a state value, which do not compress.
const VALUE: usize = 200;
/// Entities of one lookup.
const BATCH: u32 = 100;

/// Seconds of this thread that `work` takes at best: others on the machine only ever slow it down.
fn at_best(rounds: usize, mut work: impl FnMut()) -> f64 {
    let mut round = || {
        let start = processor_time();
        work();
        processor_time() - start
    };
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Seconds that this thread was running.
fn processor_time() -> f64 {
    // The kernel brings the count up to date when the thread gives way.
    std::thread::yield_now();
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    nanos.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn entity(i: u32) -> [u8; 4] {
    i.wrapping_mul(2_654_435_761).to_be_bytes()
}

fn value(seed: u64) -> Vec<u8> {
    let words = (0..VALUE as u64 / 8).map(|i| (seed << 8 | i).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(|word| (word ^ word >> 29).to_le_bytes()).collect()
}

/// State and dedup entries of a range of entities, as an ingester writes them.
fn commit_of(generation: Generation, store: &Store, entities: std::ops::Range<u32>) -> Commit {
    let mut commit = Commit::new(generation, store.epoch());
    for i in entities {
        commit.state.push(put(StateKey::head(&entity(i)), &value(u64::from(i))));
        commit.state.extend((0..NODES).map(|t| put(node(&entity(i), t << 40), &value(u64::from(i) << 8 | t as u64))));
        commit.keys.extend((0..NODES).map(|t| {
            let key = [entity(i).as_slice(), &t.to_be_bytes()].concat();
            KeyWrite { source: 0, key: key.into(), value: Some(entry(t, &[7; 16]).into()) }
        }));
    }
    commit
}

fn bytes_of(commit: &Commit) -> usize {
    let state = commit.state.iter().map(|write| write.key.as_bytes().len() + write.value.as_ref().map_or(0, Vec::len));
    let keys = commit.keys.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, |value| value.len()));
    state.chain(keys).sum()
}

fn write(store: &Store, generation: Generation, entities_per_commit: u32) {
    let starts = (0..ENTITIES).step_by(entities_per_commit as usize);
    let commits: Vec<Commit> = starts.map(|i| commit_of(generation, store, i..i + entities_per_commit)).collect();
    let rows = commits.iter().map(|commit| commit.state.len() + commit.keys.len()).sum::<usize>() / commits.len();
    let bytes = commits.iter().map(bytes_of).sum::<usize>() / commits.len();
    let mut commits = commits.into_iter();
    let one = at_best(commits.len(), || commits.by_ref().take(1).for_each(|commit| store.commit(commit).unwrap()));
    println!(
        "commit of {rows} rows, {} KB: {:.0} MB/s, {:.2} M rows/s, {:.0} µs",
        bytes / 1000,
        bytes as f64 / one / 1e6,
        rows as f64 / one / 1e6,
        one * 1e6
    );
}

/// The head and two nodes of each entity of a lookup.
fn lookup(round: u32) -> Vec<StateKey> {
    let entities = (0..BATCH).map(|i| entity((round * 7919 + i * 104_729) % ENTITIES));
    entities.flat_map(|entity| [StateKey::head(&entity), node(&entity, 3 << 40), node(&entity, 5 << 40)]).collect()
}

fn read(store: &Store, generation: Generation, what: &str) {
    let lookups: Vec<Vec<StateKey>> = (0..400).map(lookup).collect();
    let mut lookups = lookups.iter();
    let one = at_best(lookups.len(), || {
        let keys = lookups.next().unwrap();
        let mut bytes = 0;
        store.cut().get_state(generation, keys, &mut |_, value| bytes += black_box(value).map_or(0, <[u8]>::len)).unwrap();
        assert_eq!(bytes, keys.len() * VALUE, "everything asked for is there");
    });
    let keys = f64::from(3 * BATCH);
    println!("cut and {keys} states, {what}: {:.2} M reads/s, {:.0} µs", keys / one / 1e6, one * 1e6);
}

fn keys(store: &Store, generation: Generation) {
    let key = |i: u32| [entity(i * 7).as_slice(), &(i64::from(i) % (2 * NODES)).to_be_bytes()].concat();
    let owned: Vec<Vec<u8>> = (0..2_000).map(key).collect();
    let asked: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
    let one = at_best(50, || {
        let mut hits = 0;
        store.cut().get_keys(generation, 0, &asked, &mut |_, entry| hits += usize::from(entry.is_some())).unwrap();
        assert!(hits > 0 && hits < asked.len(), "about half of the keys are known");
    });
    println!("cut and {} dedup entries: {:.2} M reads/s", asked.len(), asked.len() as f64 / one / 1e6);
}

fn cuts(store: &Store, generation: Generation) {
    let count = 10_000u32;
    let key = [StateKey::head(&entity(5))];
    let one_read = || store.cut().get_state(generation, &key, &mut |_, value| assert!(black_box(value).is_some())).unwrap();
    let alone = at_best(20, || (0..count).for_each(|_| drop(black_box(store.cut())))) / f64::from(count);
    let with_read = at_best(20, || (0..count).for_each(|_| one_read())) / f64::from(count);
    println!("cut: {:.0} ns, with one read {:.0} ns", alone * 1e9, with_read * 1e9);
}

#[test]
#[ignore = "a measurement, for people to read"]
fn speed() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { sync: SyncPolicy::OnClose, ..StoreOptions::new("test") };
    let store = Store::open(dir.path(), options).unwrap();
    let generation = new_generation(&store);
    write(&store, generation, 2_000);
    write(&store, generation, 100);
    write(&store, generation, 1);
    read(&store, generation, "memtables and files");
    store.compact().unwrap();
    read(&store, generation, "files");
    keys(&store, generation);
    cuts(&store, generation);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| (0..20).for_each(|i| store.commit(commit_of(generation, &store, i * 1000..(i + 1) * 1000)).unwrap()));
        read(&store, generation, "beside a writer");
        writer.join().unwrap();
    });
}
