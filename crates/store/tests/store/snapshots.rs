//! Snapshots: whole or absent, the same for ever, and in nobody's way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_model::{Error, ErrorKind, EventTime, Generation, StateKey};
use lockstep_store::{
    CutRead, Described, Manifest, NewRelease, NewSnapshot, OnlineStore, SharedCut, SharedRead, Snapshot, Store, StoreOptions, SwitchKind,
};

use crate::releases::{self, by_hand, of};
use crate::support::{self, TestClock, assert_says, new_generation, numbered, numbered_up_to};

pub fn named(name: &str) -> NewSnapshot {
    NewSnapshot { name: Some(name.to_owned()), ..NewSnapshot::default() }
}

/// Describes all generations, at the moment 7.
pub fn all(cut: &dyn CutRead) -> Result<Described, Error> {
    let generations = cut.generations()?.into_iter().map(|info| (info.generation, Some(EventTime(8)))).collect();
    Ok(Described { moment: EventTime(7), definitions: cut.definitions()?.map_or(0, |applied| applied.version), generations })
}

pub fn open(store: &Path, name: &str) -> Result<Snapshot, Error> {
    Snapshot::open(store.join("snapshots").join(name), &support::options())
}

/// What lies where snapshots do.
pub fn shelf(store: &Path) -> Vec<String> {
    let entries = fs::read_dir(store.join("snapshots")).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A store with some numbered commits, some of them in files.
fn filled(dir: &Path, commits: u64) -> (Store, Generation) {
    let store = support::open(dir);
    let generation = new_generation(&store);
    (1..=commits).for_each(|n| store.commit(numbered(generation, store.epoch(), n)).unwrap());
    (store, generation)
}

/// Bytes on the disk below a directory: files with several names once.
pub fn room(dir: &Path, seen: &mut BTreeMap<u64, u64>) -> u64 {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            room(&entry.path(), seen);
        } else {
            seen.insert(metadata.ino(), metadata.len());
        }
    }
    seen.values().sum()
}

#[test]
fn a_snapshot_is_what_was_committed_before_it_and_stays_that() {
    let dir = tempfile::tempdir().unwrap();
    let (store, generation) = filled(dir.path(), 5);
    let definitions = releases::apply(&store);
    let new = NewSnapshot { by: Some("ada".to_owned()), reason: Some("an audit".to_owned()), keep: true, ..named("march") };
    let made = store.snapshot(new, all).unwrap();
    assert_eq!((made.name.as_str(), made.moment, made.definitions.as_ref().map(|mark| mark.version)), ("march", EventTime(7), Some(definitions)));
    assert_eq!((made.by.as_deref(), made.reason.as_deref(), made.keep, made.release), (Some("ada"), Some("an audit"), true, None));
    let [of_view] = made.generations.as_slice() else { panic!("one generation: {made:?}") };
    assert_eq!((of_view.generation, of_view.view.as_str(), of_view.watermark), (generation, "airport_load", Some(EventTime(8))));
    assert_eq!(of_view.positions.iter().map(|at| at.position.rows()).collect::<Vec<_>>(), [5]);

    (6..=9).for_each(|n| store.commit(numbered(generation, store.epoch(), n)).unwrap());
    let snapshots = [open(dir.path(), "march").unwrap(), open(dir.path(), "march").unwrap()];
    store.drop_generation(generation).unwrap();
    store.compact().unwrap();
    drop(store);
    for snapshot in &snapshots {
        assert_eq!(snapshot.manifest(), &made);
        assert_eq!(numbered_up_to(&snapshot.cut(), generation), 5);
        assert_eq!(snapshot.cut().definitions().unwrap().map(|applied| applied.version), Some(definitions));
        snapshot.verify().unwrap();
    }
    let [snapshot, _] = snapshots.map(Arc::new);
    let shared = SharedCut::of_snapshot(&snapshot);
    drop(snapshot);
    assert_eq!(numbered_up_to(shared.whole(), generation), 5);
    let head = support::get(shared.in_memory(), generation, &[StateKey::head(b"EWR")]);
    assert_eq!(head, [Some(5u64.to_be_bytes().to_vec())], "what was read is in memory");
}

/// Families are flushed one after the other, while commits go on: what is read of the log makes them agree.
#[test]
fn state_and_positions_agree_while_commits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let stop = AtomicBool::new(false);
    let mut last = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                store.commit(numbered(generation, store.epoch(), n)).unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for round in 0..12 {
            let before = store.cut().positions(generation).unwrap().first().map_or(0, |(_, position)| position.rows());
            let made = store.snapshot(named(&format!("r{round}")), all).unwrap();
            let snapshot = open(dir.path(), &made.name).unwrap();
            let rows = numbered_up_to(&snapshot.cut(), generation);
            assert_eq!(made.generations[0].positions.first().map_or(0, |at| at.position.rows()), rows, "round {round}");
            assert!(rows >= before.max(last), "round {round}: {rows} rows, of {before} that were committed before");
            last = rows;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(last > 0, "commits went on");
}

/// A copy of a snapshot whose files are its own, so that damage is the snapshot's alone.
fn copy(from: &Path, to: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            files.extend(copy(&entry.path(), &to));
        } else {
            fs::write(&to, fs::read(entry.path()).unwrap()).unwrap();
            files.push(to);
        }
    }
    files.sort();
    files
}

#[test]
fn damage_to_any_file_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copied) = (dir.path().join("live"), dir.path().join("copied"));
    let (store, generation) = filled(&live, 50);
    store.compact().unwrap();
    (51..=60).for_each(|n| store.commit(numbered(generation, store.epoch(), n)).unwrap());
    store.snapshot(named("s"), all).unwrap();
    let whole = live.join("snapshots/s");
    let files = copy(&whole, &copied);
    Snapshot::open(&copied, &support::options()).unwrap();
    assert!(files.len() > 5 && files.iter().any(|file| file.extension().is_some_and(|extension| extension == "sst")), "{files:?}");
    for file in &files {
        let name = file.strip_prefix(&copied).unwrap().to_str().unwrap();
        let bytes = fs::read(file).unwrap();
        for at in [0, bytes.len() / 2, bytes.len().saturating_sub(1)].into_iter().filter(|&at| at < bytes.len()) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            fs::write(file, flipped).unwrap();
            assert_says(Snapshot::open(&copied, &support::options()), ErrorKind::Data, &["is damaged", name, "drop this one"]);
        }
        fs::write(file, [bytes.as_slice(), b"more"].concat()).unwrap();
        assert_says(Snapshot::open_trusting(&copied, &support::options()), ErrorKind::Data, &["is damaged", name]);
        fs::remove_file(file).unwrap();
        assert_says(Snapshot::open_trusting(&copied, &support::options()), ErrorKind::Data, &["is damaged", name, "is missing"]);
        fs::write(file, bytes).unwrap();
    }
    fs::write(copied.join("db/999999.log"), "a log that nobody wrote").unwrap();
    assert_says(Snapshot::open_trusting(&copied, &support::options()), ErrorKind::Data, &["db/999999.log", "does not belong"]);
    fs::remove_file(copied.join("db/999999.log")).unwrap();
    assert_eq!(numbered_up_to(&Snapshot::open(&copied, &support::options()).unwrap().cut(), generation), 60, "as it was before");
}

#[test]
fn what_was_opened_in_trust_can_be_checked_later() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copied) = (dir.path().join("live"), dir.path().join("copied"));
    let (store, _) = filled(&live, 50);
    store.snapshot(named("s"), all).unwrap();
    let files = copy(&live.join("snapshots/s"), &copied);
    let table = files.iter().rfind(|file| file.extension().is_some_and(|extension| extension == "sst")).unwrap();
    let snapshot = Snapshot::open_trusting(&copied, &support::options()).unwrap();
    snapshot.verify().unwrap();
    let mut bytes = fs::read(table).unwrap();
    bytes[10] ^= 1;
    fs::write(table, bytes).unwrap();
    assert_says(snapshot.verify(), ErrorKind::Data, &[table.file_name().unwrap().to_str().unwrap(), "its hash is"]);
}

/// Whether a file is a table of state: one that names the entities, and not the source as the records of `meta` do.
fn is_of_state(path: &Path) -> bool {
    let names = |name: &[u8]| fs::read(path).unwrap().windows(name.len()).any(|bytes| bytes == name);
    path.extension().is_some_and(|extension| extension == "sst") && names(b"EWR") && !names(b"departures")
}

/// The hash that an earlier snapshot found is what a table that both have is held to: it is not hashed again, rotten as it may be by then.
#[test]
fn a_table_is_hashed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path(), 50);
    let first = store.snapshot(named("first"), all).unwrap();
    let table = first.files.iter().find(|file| is_of_state(&dir.path().join("snapshots/first").join(&file.path))).unwrap();
    let path = dir.path().join("snapshots/first").join(&table.path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    // In place: the file of the store and of both snapshots is one.
    std::io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(&path).unwrap(), &bytes).unwrap();
    let second = store.snapshot(named("second"), all).unwrap();
    assert!(second.files.contains(table));
    assert_says(open(dir.path(), "second"), ErrorKind::Data, &[&table.path]);
}

#[test]
fn names_are_checked_and_numbers_are_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path(), 1);
    for name in ["", ".hidden", "a/b", "..", "a b", "é", "x.partial", "x.dropped", &"n".repeat(65)] {
        assert_says(store.snapshot(named(name), all), ErrorKind::Invalid, &["is no name for a snapshot"]);
    }
    store.snapshot(named("s0002"), all).unwrap();
    assert_says(store.snapshot(named("s0002"), all), ErrorKind::Invalid, &["there is a snapshot `s0002` already"]);
    let next = |store: &Store| store.snapshot(NewSnapshot::default(), all).unwrap().name;
    assert_eq!((next(&store), next(&store)), ("s0001".to_owned(), "s0003".to_owned()));
    store.drop_snapshot("s0003", false).unwrap();
    drop(store);
    let store = support::open(dir.path());
    assert_eq!(next(&store), "s0004");
    assert_says(store.drop_snapshot("s0003", false), ErrorKind::NotFound, &["no snapshot `s0003`", "known: s0001, s0002, s0004"]);
    let listed: Vec<String> = store.snapshots().list().unwrap().into_iter().map(|listed| listed.name).collect();
    assert_eq!(listed, ["s0001", "s0002", "s0004"]);
}

#[test]
fn what_cannot_be_described_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path(), 1);
    let refuse = |_: &dyn CutRead| Err::<Described, _>(Error::invalid("not this one"));
    assert_says(store.snapshot(named("s"), refuse), ErrorKind::Invalid, &["not this one"]);
    assert_eq!(shelf(dir.path()), [""; 0]);
    store.snapshot(named("s"), all).unwrap();
}

/// A store whose clock goes on a second with each snapshot, and where the first two of four were validated for releases.
fn served(dir: &Path) -> Store {
    let clock = Arc::new(TestClock::default());
    let store = Store::open(dir, StoreOptions { clock: clock.clone(), ..support::options() }).unwrap();
    let definitions = releases::apply(&store);
    for n in 1..=4u32 {
        clock.advance(1_000_000);
        let generation = releases::published(&store, "airport_load", n);
        let made = store.snapshot(NewSnapshot { keep: n == 3, ..NewSnapshot::default() }, all).unwrap();
        if n <= 3 {
            let release = NewRelease { snapshot: (n < 3).then_some(made.name), ..of(definitions, &[generation]) };
            store.promote(store.serving_epoch(), release, by_hand(SwitchKind::Promote)).unwrap();
        }
    }
    store
}

#[test]
fn what_releases_were_validated_on_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = served(dir.path());
    assert_says(store.drop_snapshot("s0002", false), ErrorKind::Invalid, &["`s0002` is what release 2 was validated on", "force it"]);
    assert_eq!(store.collect_snapshots(4).unwrap(), [""; 0]);
    assert_eq!(store.collect_snapshots(0).unwrap(), ["s0001", "s0004"], "s0002 is of the release before, s0003 is to be kept");
    assert_eq!(store.collect_snapshots(0).unwrap(), [""; 0]);
    store.drop_snapshot("s0003", false).unwrap();
    store.drop_snapshot("s0002", true).unwrap();
    assert_eq!(shelf(dir.path()), [""; 0]);
}

#[test]
fn the_last_ones_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = served(dir.path());
    assert_eq!(store.collect_snapshots(2).unwrap(), ["s0001"]);
    fs::write(dir.path().join("snapshots/s0002/SNAPSHOT.json"), "{}").unwrap();
    assert_eq!(store.collect_snapshots(0).unwrap(), ["s0004"], "what cannot be read is for people to look at");
    let listed = store.snapshots().list().unwrap();
    let shown: Vec<_> = listed.iter().map(|listed| (listed.name.as_str(), listed.manifest.is_ok())).collect();
    assert_eq!(shown, [("s0002", false), ("s0003", true)]);
    store.drop_snapshot("s0002", true).unwrap();
}

#[test]
fn the_room_of_a_snapshot_is_what_the_store_has_no_more_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, generation) = filled(dir.path(), 2000);
    store.compact().unwrap();
    store.snapshot(named("s"), all).unwrap();
    let own = || store.snapshots().list().unwrap()[0].own_bytes;
    let shared = own();
    store.drop_generation(generation).unwrap();
    store.compact().unwrap();
    assert!(own() > shared + 10_000, "{} after {shared}", own());
    let held = || store.snapshots().held_bytes().unwrap();
    assert_eq!(held(), own());
    store.snapshot(named("t"), all).unwrap();
    assert!(held() >= own() && held() < own() + 100_000, "what one has is held, and the records of the other: {} of {}", own(), held());
    store.drop_snapshot("t", false).unwrap();
    let (before, own) = (room(dir.path(), &mut BTreeMap::new()), own());
    store.drop_snapshot("s", false).unwrap();
    let after = room(dir.path(), &mut BTreeMap::new());
    assert!(before - after >= own - shared, "{before} before, {after} after, {own} of it the snapshot's alone");
}

#[test]
fn a_manifest_of_a_later_release_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path(), 1);
    let made = store.snapshot(named("s"), all).unwrap();
    assert_eq!(Manifest::read(&dir.path().join("snapshots/s")).unwrap(), made);
    let path = dir.path().join("snapshots/s/FORMAT");
    fs::write(&path, "lockstep-store 99\n").unwrap();
    assert_says(open(dir.path(), "s"), ErrorKind::Data, &["FORMAT"]);
}
