//! Bulk loads: whole, resumed, refused.

use lockstep_model::{ErrorKind, Fingerprint, Generation, StateKey};
use lockstep_store::{BulkJob, Commit, CutRead, OnlineStore, Store, StoreOptions};

use crate::support::{self, all_keys, all_state, assert_says, entry, get, new_generation, node, put};

/// Parts of the job the tests load.
pub const PARTS: u32 = 4;
/// Rows in each part, of state and of dedup entries.
const ROWS: u32 = 300;

pub fn job(store: &Store, generation: Generation) -> BulkJob {
    BulkJob { generation, epoch: store.epoch(), fingerprint: Fingerprint([7; 32]), parts: PARTS }
}

/// The state of the whole job, ascending, cut into parts.
fn state() -> Vec<(StateKey, Vec<u8>)> {
    let mut rows: Vec<_> = (0..PARTS * ROWS).map(|i| (node(&(i % 97).to_be_bytes(), i64::from(i)), vec![i as u8; 100])).collect();
    rows.sort();
    rows
}

fn keys() -> impl Iterator<Item = (u16, Vec<u8>, Vec<u8>)> {
    (0..PARTS * ROWS).map(|i| ((i / (2 * ROWS)) as u16, i.to_be_bytes().to_vec(), entry(i64::from(i), b"known")))
}

pub fn load_part(store: &Store, job: BulkJob, part: u32) {
    let mut loading = store.bulk_load(job).unwrap().part(part).unwrap();
    let rows = (part * ROWS) as usize..((part + 1) * ROWS) as usize;
    state()[rows.clone()].iter().for_each(|(key, value)| loading.put_state(key, value).unwrap());
    keys().skip(rows.start).take(rows.len()).for_each(|(source, key, value)| loading.put_key(source, &key, &value).unwrap());
    loading.finish().unwrap();
}

pub fn load_missing(store: &Store, generation: Generation) -> Vec<u32> {
    let missing = store.bulk_load(job(store, generation)).unwrap().missing().unwrap();
    missing.iter().for_each(|&part| load_part(store, job(store, generation), part));
    missing
}

#[track_caller]
pub fn assert_loaded(store: &Store, generation: Generation) {
    assert_loaded_in(&store.cut(), generation);
}

#[track_caller]
pub fn assert_loaded_in(cut: &dyn CutRead, generation: Generation) {
    let expected: Vec<_> = state().into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)).collect();
    assert!(all_state(cut, generation) == expected, "the state of generation {} is the whole job's", generation.0);
    assert!(all_keys(cut, generation) == keys().collect::<Vec<_>>(), "so are its dedup entries");
}

#[test]
fn parts_load_in_any_order_and_from_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions { bulk_file_bytes: 4 << 10, ..support::options() }).unwrap();
    let generation = new_generation(&store);
    let job = job(&store, generation);
    std::thread::scope(|threads| {
        for part in (0..PARTS).rev() {
            let store = &store;
            threads.spawn(move || load_part(store, job, part));
        }
    });
    assert_loaded(&store, generation);
    assert_eq!(store.bulk_load(job).unwrap().missing().unwrap(), [] as [u32; 0]);
    store.publish(vec![Commit::new(generation, store.epoch())]).unwrap();
    drop(store);
    let store = support::open(dir.path());
    assert_loaded(&store, generation);
    store.compact().unwrap();
    assert_loaded(&store, generation);
}

#[test]
fn a_load_that_was_stopped_goes_on_with_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    load_part(&store, job(&store, generation), 2);
    // Begun and never finished: its file stays behind.
    let mut begun = store.bulk_load(job(&store, generation)).unwrap().part(1).unwrap();
    begun.put_state(&StateKey::head(b"never"), b"seen").unwrap();
    drop(begun);
    assert_says(store.publish(vec![Commit::new(generation, store.epoch())]), ErrorKind::Invalid, &["not complete", "3 parts"]);
    drop(store);

    let store = support::open(dir.path());
    assert!(!dir.path().join("bulk").exists(), "leftovers are cleaned up");
    assert_eq!(load_missing(&store, generation), [0, 1, 3]);
    assert_loaded(&store, generation);
    assert_eq!(load_missing(&store, generation), [] as [u32; 0]);
    store.publish(vec![Commit::new(generation, store.epoch())]).unwrap();
}

#[test]
fn loading_a_part_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    load_missing(&store, generation);
    load_part(&store, job(&store, generation), 1);
    assert_loaded(&store, generation);
    store.compact().unwrap();
    assert_loaded(&store, generation);
}

#[test]
fn commits_and_cuts_go_on_beside_a_load() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let before = store.cut();
    load_part(&store, job(&store, generation), 0);
    let (key, _) = &state()[0];
    let mut commit = Commit::new(generation, store.epoch());
    commit.state = vec![put(key.clone(), b"newer")];
    store.commit(commit).unwrap();
    assert_eq!(all_state(&before, generation), []);
    assert_eq!(get(&store.cut(), generation, std::slice::from_ref(key)), [Some(b"newer".to_vec())]);
}

#[test]
fn what_cannot_be_one_load_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let first = job(&store, generation);
    load_part(&store, first, 0);
    let other = BulkJob { fingerprint: Fingerprint([8; 32]), ..first };
    assert_says(store.bulk_load(other), ErrorKind::Invalid, &["begun: 070707070707 in 4 parts, asked for: 080808080808"]);
    assert_says(store.bulk_load(BulkJob { parts: 5, ..first }), ErrorKind::Invalid, &["asked for: 070707070707 in 5 parts"]);
    assert_says(store.bulk_load(first).unwrap().part(PARTS).map(|_| ()), ErrorKind::Internal, &["part 4 is not one"]);

    let mut part = store.bulk_load(first).unwrap().part(1).unwrap();
    part.put_key(0, b"b", b"").unwrap();
    assert_says(part.put_key(0, b"a", b""), ErrorKind::Internal, &["do not ascend"]);
    assert_says(part.put_key(0, b"b", b""), ErrorKind::Internal, &["do not ascend"]);

    load_missing(&store, generation);
    store.publish(vec![Commit::new(generation, store.epoch())]).unwrap();
    assert_says(store.bulk_load(first), ErrorKind::Invalid, &["is published"]);
    store.fence().unwrap();
    assert_says(store.bulk_load(first), ErrorKind::Unavailable, &["replaced"]);
}

#[test]
fn a_part_may_be_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let job = BulkJob { parts: 1, ..job(&store, generation) };
    store.bulk_load(job).unwrap().part(0).unwrap().finish().unwrap();
    store.publish(vec![Commit::new(generation, store.epoch())]).unwrap();
    assert!(store.cut().generation(generation).unwrap().published());
}
