//! Other systems' own inputs with their expected outputs, through the binary itself. What differs is listed in a table beside this, with its reason; no expected
//! value is ours.
//!
//! They lie beside a checkout, in `../shared/data/peers`, and are not part of it. Where they are absent the tests say so and pass, unless
//! `LOCKSTEP_REQUIRE_PEERS` is set. `LOCKSTEP_PEERS_EXPLAIN` shows of what does not agree what was made of it.

#[path = "../owner/support.rs"]
#[allow(dead_code, reason = "shared with the tests of owners")]
mod project;
#[path = "../serve/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the server")]
mod support;

mod arroyo;
mod chronon;
mod engine;
mod feast;
mod openmldb;
mod tally;

use std::path::{Path, PathBuf};

use tally::Tally;

/// A folder of cases, if it is there.
fn peer(name: &str) -> Option<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/peers");
    let folder = all.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("LOCKSTEP_REQUIRE_PEERS").is_none(), "no {}", folder.display());
    println!("{name}: left out, since there is no ../shared/data/peers beside this checkout");
    None
}

/// Says what came of a system's cases, and holds it to the table and to the counts.
fn conclude(system: &str, tally: &Tally, table: &str, counts: [usize; 3]) {
    let [agree, differ, inexpressible] = tally.counts();
    println!("{system}: {agree} cases agree, {differ} differ, {inexpressible} are inexpressible");
    tally.hold_to(table);
    assert_eq!(tally.counts(), counts, "of {system}");
}

#[test]
fn openmldb_cases() {
    let Some(folder) = peer("openmldb_cases") else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut tally = Tally::default();
    for file in &files {
        openmldb::run(file, &mut tally);
    }
    conclude("OpenMLDB", &tally, include_str!("openmldb.toml"), [365, 38, 85]);
}

#[test]
fn arroyo_goldens() {
    let Some(folder) = peer("arroyo") else { return };
    let mut tally = Tally::default();
    arroyo::run(&folder, &mut tally);
    conclude("Arroyo", &tally, include_str!("arroyo.toml"), [178, 2, 41]);
}

#[test]
fn chronon_published_row() {
    let Some(folder) = peer("chronon") else { return };
    let mut tally = Tally::default();
    chronon::run(&folder, &mut tally);
    conclude("Chronon", &tally, "", [9, 0, 0]);
}

#[test]
fn feast_point_in_time_joins() {
    let Some(folder) = peer("feast") else { return };
    let mut tally = Tally::default();
    feast::run(&folder, &mut tally);
    conclude("Feast", &tally, "", [174, 0, 0]);
}
