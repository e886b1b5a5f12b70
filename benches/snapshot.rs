//! Snapshots of a store of 1 GB (10 GB where long cases are wanted): what making one takes beside a bare checkpoint of RocksDB, which flushes what is in memory and makes as many
//! links; what opening one takes beside reading its files; what keeping one of 1 GB costs after as much new data has come; and what it costs to feed the generation that a release has replaced.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use lockstep_ingest::pipeline::ingest;
use lockstep_ingest::source::SourceFile;
use lockstep_model::{Error, EventTime, Fingerprint, Generation, StateKey, StateWrite};
use lockstep_store::{BulkJob, Commit, CutRead, Described, NewGeneration, NewSnapshot, OnlineStore, Snapshot, SnapshotFile, Store, StoreOptions};
use lockstep_transform::catalog::Catalog;
use support::{
    Payments, SPAN, compile, fill as backfill, heading, long, open, process_seconds, row, source, stream_options, targets_of, view, wall_seconds,
    written_bytes,
};

/// Bytes of a value, which nothing compresses.
const VALUE: usize = 4096;
/// Parts of the bulk load.
const PARTS: u32 = 16;
/// Values of a store of 1 GB.
const GIGABYTE: usize = (1 << 30) / VALUE;

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    make_and_open(&dir.join("one"), if long() { 10 * GIGABYTE } else { GIGABYTE });
    // Its files would be in the way of what follows.
    fs::remove_dir_all(dir.join("one")).expect("removed");
    keep(dir);
    feed_on(dir);
}

/// Prints what making snapshots of a store with so many values takes, and opening them.
fn make_and_open(dir: &Path, values: usize) {
    let kept = dir.join("store");
    let (store, generation) = fill(&kept, values);
    let size = store.figures().expect("figures").file_bytes as f64;
    heading(&format!("a snapshot of a store of {:.2} GB", size / 1e9), "ms");
    let floor = |name: &str| milliseconds(|| store.checkpoint(&dir.join(name)).expect("a checkpoint"));
    let floors = [floor("a"), floor("b"), floor("c")];
    let first = [(); 3].map(|()| {
        // Without another one, whose hashes would do.
        if store.snapshots().dir_of("first").exists() {
            store.drop_snapshot("first", false).expect("dropped");
        }
        milliseconds(|| make(&store, "first"))
    });
    row("the first: every byte is hashed", least(&first), least(&floors), "1 s for 1 GB");
    write(&store, generation, values, values / 100, 7);
    let later = milliseconds(|| make(&store, "later"));
    write(&store, generation, values, values / 100, 8);
    let floor_later = milliseconds(|| store.checkpoint(&dir.join("d")).expect("a checkpoint"));
    row("one after a hundredth is new", later, floor_later, "");
    for name in ["a", "b", "c", "d"] {
        fs::remove_dir_all(dir.join(name)).expect("removed");
    }

    heading("opening it", "ms");
    let path = kept.join("snapshots/first");
    let options = StoreOptions::new("bench");
    let open_whole = milliseconds(|| drop(Snapshot::open(&path, &options).expect("whole")));
    let files = Snapshot::open_trusting(&path, &options).expect("there").manifest().files.clone();
    row("checking every byte", open_whole, milliseconds(|| read_all(&path, &files)), "");
    let open_trusting = milliseconds(|| drop(Snapshot::open_trusting(&path, &options).expect("there")));
    row("checking sizes", open_trusting, milliseconds(|| open_bare(&path.join("db"))), "");
}

/// Prints what a store costs that keeps a snapshot while as much new data comes.
fn keep(dir: &Path) {
    heading("keeping one of 1 GB while as much new data comes", "s");
    let values = GIGABYTE;
    let spent = |store: &Store, generation| {
        let (start, before) = (process_seconds(), written_bytes());
        write(store, generation, values, values, 9);
        store.compact().expect("compacted");
        (process_seconds() - start, written_bytes() - before)
    };
    let (store, generation) = fill(&dir.join("kept"), values);
    let size = store.figures().expect("figures").file_bytes as f64;
    make(&store, "first");
    let with_snapshot = spent(&store, generation);
    let held = store.snapshots().held_bytes().expect("listed");
    drop(store);
    let (other, generation) = fill(&dir.join("without"), values);
    let without = spent(&other, generation);
    row("processor time of writing it, and of compacting all", with_snapshot.0, without.0, "1");
    heading("what it takes of the disk", "MB");
    row("written for it", with_snapshot.1 / 1e6, without.1 / 1e6, "1");
    row("files that only the snapshot has, beside the store", held as f64 / 1e6, size / 1e6, "1");
}

/// Prints what it costs that the generation which a release has replaced is fed on, so that going back to it is fresh: a follower of its own reads the log a second time, into state of its own.
fn feed_on(dir: &Path) {
    const COUNT: usize = 400_000;
    let (nothing, log) = (dir.join("nothing.parquet"), dir.join("log.ndjson"));
    Payments { count: 1, accounts: 1, hot: false, span: SPAN }.write_parquet(&nothing);
    Payments { count: COUNT, accounts: 100_000, hot: false, span: SPAN }.write_ndjson(&log);
    let text = source(&nothing) + &view("v", 12, &["1 hour", "1 day", "30 days"]);
    let [new, old] = [compile(text.replace("avg(amount)", "avg(amount + 1)")), compile(text)];
    let fed = |name: &str, catalogs: &[&Catalog]| {
        let store = open(&dir.join(name));
        let (start, before) = (process_seconds(), written_bytes());
        for (version, catalog) in (1..).zip(catalogs) {
            let targets = targets_of(&store, catalog, version);
            backfill(&store, catalog, &targets, 1);
            ingest(&store, catalog, &targets, &SourceFile::local(&log), &stream_options(&Default::default()), &mut |_| {}).expect("applied");
        }
        store.compact().expect("compacted");
        let size = store.figures().expect("figures").file_bytes as f64;
        [process_seconds() - start, written_bytes() - before, size].map(|total| total / COUNT as f64)
    };
    let alone = fed("alone", &[&new]);
    let both = fed("both", &[&new, &old]);
    heading("feeding the generation that a release has replaced, 12 features over three windows, beside that which serves alone", "an event");
    row("processor time of all threads, µs", both[0] * 1e6, alone[0] * 1e6, "2");
    row("written to the disk, bytes", both[1], alone[1], "2");
    row("kept on the disk, bytes", both[2], alone[2], "2");
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = wall_seconds();
    work();
    (wall_seconds() - start) * 1e3
}

/// A store with so many values, as a backfill loads them.
fn fill(dir: &Path, values: usize) -> (Store, Generation) {
    let store = open(dir);
    let new = NewGeneration { view: "v".to_owned(), version: 1, meaning: Fingerprint([1; 32]), state: Fingerprint([2; 32]) };
    let generation = store.create_generation(new).expect("a generation").generation;
    let job = BulkJob { generation, epoch: store.epoch(), fingerprint: Fingerprint([3; 32]), parts: PARTS };
    let loader = store.bulk_load(job).expect("a bulk load");
    let mut keys = keys(values);
    keys.sort_unstable();
    for (part, keys) in keys.chunks(values.div_ceil(PARTS as usize)).enumerate() {
        let mut loading = loader.part(part as u32).expect("a part");
        (0..).zip(keys).for_each(|(number, key)| loading.put_state(key, &value(number, part as u64)).expect("loaded"));
        loading.finish().expect("loaded");
    }
    store.publish(vec![Commit::new(generation, store.epoch())]).expect("published");
    (store, generation)
}

fn keys(values: usize) -> Vec<StateKey> {
    (0..values as u64).map(|number| StateKey::head(&number.to_be_bytes())).collect()
}

fn value(number: u64, seed: u64) -> Vec<u8> {
    let mut value = vec![0; VALUE];
    fastrand::Rng::with_seed((number << 8) | seed).fill(&mut value);
    value
}

/// Writes new values over some of the entities, spread over all.
fn write(store: &Store, generation: Generation, values: usize, count: usize, seed: u64) {
    let numbers: Vec<u64> = (0..values as u64).step_by(values / count.max(1)).collect();
    for some in numbers.chunks(2048) {
        let mut commit = Commit::new(generation, store.epoch());
        commit.state =
            some.iter().map(|number| StateWrite { key: StateKey::head(&number.to_be_bytes()), value: Some(value(*number, seed)) }).collect();
        store.commit(commit).expect("committed");
    }
}

fn make(store: &Store, name: &str) {
    let describe = |cut: &dyn CutRead| {
        let generations = cut.generations()?.into_iter().map(|info| (info.generation, None)).collect();
        Ok::<_, Error>(Described { moment: EventTime(0), definitions: 0, generations })
    };
    store.snapshot(NewSnapshot { name: Some(name.to_owned()), ..NewSnapshot::default() }, describe).expect("a snapshot");
}

/// Reads every byte, and does nothing with it.
fn read_all(dir: &Path, files: &[SnapshotFile]) {
    let mut chunk = vec![0; 1 << 20];
    for file in files {
        let mut file = File::open(dir.join(&file.path)).expect("there");
        while file.read(&mut chunk).expect("read") > 0 {}
    }
}

/// Opens the database of a snapshot, and does nothing with it.
fn open_bare(dir: &Path) {
    let options = rocksdb::Options::default();
    let families = rocksdb::DB::list_cf(&options, dir).expect("families");
    drop(rocksdb::DB::open_cf_for_read_only(&options, dir, families, false).expect("open"));
}
