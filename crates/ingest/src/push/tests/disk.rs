//! Power cuts and full disks: what was acknowledged is there, and the log is gone on with.

use std::process::Output;

use lockstep_testkit::effort;
use lockstep_testkit::syncfs::{Fault, Journal, Layer, Watch};

use super::crash::{assert_there, in_a_child};
use super::*;

const PUSHES: i64 = 40;

/// Pushes to `dir/root/push`, watched.
fn watched(dir: &Path, fault: Fault) -> (Output, Journal) {
    let root = dir.join("root");
    fs::create_dir_all(&root).unwrap();
    let watch = Watch::start(&Layer::build(&std::env::temp_dir().join("lockstep-push-tests")).unwrap(), &root, &dir.join("shadow")).unwrap();
    let command = watch.command(&std::env::current_exe().unwrap(), fault);
    let output = in_a_child(command, &root.join("push"), 0, PUSHES).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (output, watch.journal().unwrap())
}

/// Up to `most` numbers of `0..=all`.
fn sample(random: &mut fastrand::Rng, all: usize, most: usize) -> Vec<usize> {
    if all <= most { (0..=all).collect() } else { (0..most).map(|_| random.usize(..=all)).chain([all]).collect() }
}

fn assert_goes_on(dir: &Path, place: &str) {
    let (log, source) = (open(dir), source(""));
    let before = read_ids(&log, &source).len() as u64;
    assert_eq!(log.append(&source, rows([-7])).unwrap_or_else(|error| panic!("{place}: {error}")).first_row, before, "{place}");
    assert_eq!(read_ids(&open(dir), &source).last(), Some(&-7), "{place}");
}

#[test]
fn what_was_acknowledged_before_a_power_cut_is_there() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let (_, journal) = watched(dir.path(), Fault::None);
    let mut lost = 0;
    for at in sample(&mut random, journal.lines(), 120 * effort()) {
        let chance = random.bool().then(|| random.u64(..));
        let place = format!("seed {seed}, power cut after {at} of {} lines, {chance:?}", journal.lines());
        let left = dir.path().join("left");
        journal.power_cut(at, chance, &left).unwrap();
        let rows = assert_there(&left.join("push"), journal.marks(at), &place);
        lost += usize::from(rows < PUSHES as usize * 4 * 3);
        assert_goes_on(&left.join("push"), &place);
        fs::remove_dir_all(&left).unwrap();
    }
    assert!(lost > 5, "most cuts come before the end");
}

#[test]
fn what_was_acknowledged_before_the_disk_was_full_is_there() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (_, journal) = watched(tempfile::tempdir().unwrap().path(), Fault::None);
    for nth in sample(&mut random, journal.writes() / 2, 12 * effort()) {
        let dir = tempfile::tempdir().unwrap();
        let place = format!("seed {seed}, full at write {nth}");
        let (_, journal) = watched(dir.path(), Fault::NoSpaceAt(nth.max(1)));
        let said: Vec<&str> = journal.marks(journal.lines()).collect();
        let refused = said.iter().filter(|said| said.contains("Unavailable: cannot write the push log · no space is left on the disk of ")).count();
        let acknowledged = said.iter().filter(|said| !said.contains(':')).count();
        assert_eq!((refused + acknowledged) as i64, PUSHES * 4, "{place}: {said:?}");
        assert!(refused > 0, "{place}");
        assert_there(&dir.path().join("root/push"), said.into_iter(), &place);
        assert_goes_on(&dir.path().join("root/push"), &place);
    }
}
