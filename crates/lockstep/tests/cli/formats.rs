//! Stores that were written by earlier formats open, and answer with the same bits.
//!
//! `formats/store-N.tar.gz` is a project with its store of format N, applied, backfilled and fed, and the answers that were given then. One is written when a format comes,
//! by the test that is left out otherwise, and never again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Place;

/// Requests of every card, at moments before, between and after its payments.
const REQUESTS: &[&str] = &["get", "fraud_v1", "--from", "requests.ndjson", "--json"];
const EXPECTED: &str = "expected.json";
const FORMAT: &str = ".lockstep/store/FORMAT";
const NEWEST: &str = "lockstep-store 3\n";

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/formats")
}

fn tar(args: &[&str], dir: &Path) {
    let output = Command::new("tar").args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn fine(place: &Place, args: &[&str]) -> String {
    let said = place.run(args);
    assert_eq!(said.status, 0, "{args:?}: {}{}", said.stdout, said.stderr);
    said.stdout
}

#[test]
fn a_store_is_migrated_and_says_so() {
    let mut place = Place::empty();
    place.say("migrate --check");
    tar(&["xzf", formats().join("store-1.tar.gz").to_str().unwrap()], &place.path(""));
    place.say("migrate --check");
    place.say("snapshot create --reason migrating");
    place.note("it was opened for that");
    place.say("migrate --dry-run");
    place.say("migrate");
    place.say("migrate --check");
    place.say("migrate");
    place.say("get card_activity card=c1 --as-of 2024-03-07T14:35:00Z --snapshot s0001");
    place.check("migrate");
}

/// Payments that the store of a fixture has not seen: a new one, and one that it knows.
const MORE: &str =
    "{\"payment_id\":900,\"card\":\"c1\",\"merchant\":\"books\",\"country\":\"FR\",\"amount\":0.1,\"paid_at\":\"2024-03-08T13:00:00Z\"}\n";

/// What the store answers, without what earlier releases did not tell.
fn answers(place: &Place) -> String {
    let said = fine(place, REQUESTS);
    said.lines().filter(|line| !line.contains("\"oldest_input_at\": ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn earlier_stores_open_with_the_same_bits() {
    let mut found = 0;
    for entry in fs::read_dir(formats()).unwrap() {
        let archive = entry.unwrap().path();
        let place = Place::empty();
        tar(&["xzf", archive.to_str().unwrap()], &place.path(""));
        let format = place.read(FORMAT);
        let checked = place.run(&["migrate", "--check"]);
        assert_eq!((checked.status, place.read(FORMAT)), (i32::from(format != NEWEST), format), "{}", archive.display());
        assert_eq!(answers(&place), place.read(EXPECTED), "{}", archive.display());
        fine(&place, &["migrate"]);
        assert_eq!((place.read(FORMAT), place.run(&["migrate", "--check"]).status), (NEWEST.to_owned(), 0), "{}", archive.display());
        assert_eq!(answers(&place), place.read(EXPECTED), "{}", archive.display());
        assert!(fine(&place, &["verify"]).contains("0 differ"), "{}", archive.display());
        let applied = fine(&place, &["apply"]);
        assert!(applied.contains("unchanged") && !applied.contains("new,"), "{applied}");

        // It goes on as a store would that was made now.
        let anew = Place::empty();
        tar(&["xzf", archive.to_str().unwrap()], &anew.path(""));
        fs::remove_dir_all(anew.path(".lockstep")).unwrap();
        for args in [&["apply"][..], &["backfill"], &["ingest", "--from", "data/new_payments.ndjson"]] {
            fine(&anew, args);
        }
        for place in [&place, &anew] {
            place.write("more.ndjson", MORE);
            fine(place, &["ingest", "--from", "more.ndjson"]);
        }
        assert_eq!(fine(&place, REQUESTS), fine(&anew, REQUESTS), "{}", archive.display());
        found += 1;
    }
    assert!(found >= 3, "{found} formats");
}

/// Writes the stores of formats that have none: `cargo test … formats::write -- --ignored`. That of format 1 is the one of format 2 without what that has more
/// (`make_a_store_of_format_1` among the store's tests).
#[test]
#[ignore = "writes the fixtures"]
fn write_a_store_of_each_format() {
    for (format, verbs) in [(2, &[][..]), (3, &[&["release", "promote", "--by", "a test"][..]])] {
        let place = Place::serving();
        fine(&place, &["ingest", "--from", "data/new_payments.ndjson"]);
        verbs.iter().for_each(|args| drop(fine(&place, args)));
        let cards = ["c1", "c2", "c3", "nobody"];
        let days = ["2024-03-01T00:00:00Z", "2024-03-05T12:30:00.000001Z", "2024-03-08T12:00:00Z", "2024-03-08T14:00:00Z", "2024-05-01T00:00:00Z"];
        let request = |card: &str, day: &str| format!("{{\"card\":\"{card}\",\"amount\":0.1,\"country\":\"DE\",\"request_time\":\"{day}\"}}\n");
        place.write("requests.ndjson", cards.iter().flat_map(|card| days.iter().map(|day| request(card, day))).collect::<String>());
        place.write(EXPECTED, fine(&place, REQUESTS));
        assert_eq!(place.read(".lockstep/store/FORMAT"), format!("lockstep-store {format}\n"));
        let archive = formats().join(format!("store-{format}.tar.gz"));
        if !archive.exists() {
            fs::create_dir_all(formats()).unwrap();
            tar(&["czf", archive.to_str().unwrap(), "--exclude=LOG*", "--exclude=admin", "."], &place.path(""));
        }
    }
}
