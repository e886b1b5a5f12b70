//! Power cuts and full disks: of what was never forced to the disk anything may be missing, and the work goes on to the same end.

use std::path::Path;
use std::process::Output;

use fastrand::Rng;
use lockstep_testkit::effort;
use lockstep_testkit::syncfs::{Fault, Journal, Layer, Watch};

use crate::crash::{FAILED, Undisturbed, in_a_child};
use crate::work::Load;

/// Power cuts and full disks tried of each kind of load.
const CUTS: usize = 24;
const FULL: usize = 16;

/// Does the work in `dir/root`, watched.
fn watched(undisturbed: &Undisturbed, dir: &Path, fault: Fault) -> (Output, Journal) {
    let root = dir.join("root");
    std::fs::create_dir_all(&root).unwrap();
    let watch = Watch::start(&Layer::build(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap(), &root, &dir.join("shadow")).unwrap();
    let command = watch.command(&std::env::current_exe().unwrap(), fault);
    let output = in_a_child(command, undisturbed.inputs(), &root, undisturbed.load, "").output().unwrap();
    (output, watch.journal().unwrap())
}

/// Up to `most` numbers of `1..=all`, the first and the last of them, and others at random.
fn sample(random: &mut Rng, all: usize, most: usize) -> Vec<usize> {
    let mut picked: Vec<usize> = (1..=all).collect();
    if all > most {
        random.shuffle(&mut picked);
        picked.truncate(most);
        picked.extend([1, all]);
        picked.sort_unstable();
        picked.dedup();
    }
    picked
}

#[test]
fn the_work_goes_on_after_a_power_cut_at_any_moment() {
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    for load in Load::ALL {
        let undisturbed = Undisturbed::new(load);
        let dir = tempfile::tempdir().unwrap();
        let (output, journal) = watched(&undisturbed, dir.path(), Fault::None);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for at in sample(&mut random, journal.lines(), CUTS * effort()) {
            let chance = random.bool().then(|| random.u64(..));
            let place = format!("seed {seed}, {load:?}, power cut after {at} of {} lines, {chance:?}", journal.lines());
            let left = dir.path().join(format!("cut-{at}"));
            journal.power_cut(at, chance, &left).unwrap();
            assert_kept(&journal, at, &left, &place);
            undisturbed.assert_goes_on(&left, &place);
            std::fs::remove_dir_all(&left).unwrap();
        }
    }
}

/// What was said to be done is still done.
fn assert_kept(journal: &Journal, at: usize, left: &Path, place: &str) {
    if journal.marks(at).any(|step| step == "copied") {
        assert!(left.join("copy").exists(), "{place}: the copy is gone");
    }
    if journal.marks(at).any(|step| step == "snapshotted") {
        assert!(left.join("store/snapshots/kept/SNAPSHOT.json").exists(), "{place}: the snapshot is gone");
    }
}

#[test]
fn the_work_goes_on_once_a_full_disk_has_space_again() {
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    for load in Load::ALL {
        let undisturbed = Undisturbed::new(load);
        let dir = tempfile::tempdir().unwrap();
        let (_, journal) = watched(&undisturbed, dir.path(), Fault::None);
        for nth in sample(&mut random, journal.writes(), FULL * effort()) {
            let dir = tempfile::tempdir().unwrap();
            let place = format!("seed {seed}, {load:?}, full at write {nth} of {}", journal.writes());
            let (output, _) = watched(&undisturbed, dir.path(), Fault::NoSpaceAt(nth));
            assert_clear(&output, &place);
            undisturbed.assert_goes_on(&dir.path().join("root"), &place);
        }
    }
}

/// A run on a full disk says so, and where; it may also end well, where only its last writes were lost.
fn assert_clear(output: &Output, place: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{place}: {said}");
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(FAILED), "{place}: {said}");
        assert!(said.contains("Unavailable: ") && said.contains("no space is left on the disk of /"), "{place}: {said}");
    }
}
