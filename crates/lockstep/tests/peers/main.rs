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
mod trained;

use std::path::{Path, PathBuf};

use tally::Tally;
use trained::Trained;

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

/// Says what came of a system's cases, and holds it to the table and to the counts: of cases, and of training sets, their rows and values.
fn conclude(system: &str, tally: &Tally, trained: &Trained, table: &str, counts: ([usize; 3], [usize; 3])) {
    let [agree, differ, inexpressible] = tally.counts();
    println!("{system}: {agree} cases agree, {differ} differ, {inexpressible} are inexpressible");
    println!("{system}: {}", trained.text());
    tally.hold_to(table);
    assert_eq!((tally.counts(), trained.compared()), counts, "of {system}");
}

#[test]
fn openmldb_cases() {
    let Some(folder) = peer("openmldb_cases") else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut tally, trained) = (Tally::default(), Trained::default());
    for file in &files {
        trained.add(&openmldb::run(file, &mut tally));
    }
    conclude("OpenMLDB", &tally, &trained, include_str!("openmldb.toml"), ([365, 38, 85], [354, 1644, 6279]));
}

#[test]
fn arroyo_goldens() {
    let Some(folder) = peer("arroyo") else { return };
    let mut tally = Tally::default();
    let trained = arroyo::run(&folder, &mut tally);
    conclude("Arroyo", &tally, &trained, include_str!("arroyo.toml"), ([178, 2, 41], [8, 150, 1121]));
}

#[test]
fn chronon_published_row() {
    let Some(folder) = peer("chronon") else { return };
    let mut tally = Tally::default();
    let trained = chronon::run(&folder, &mut tally);
    conclude("Chronon", &tally, &trained, "", ([9, 0, 0], [1, 1, 9]));
}

#[test]
fn feast_point_in_time_joins() {
    let Some(folder) = peer("feast") else { return };
    let mut tally = Tally::default();
    let trained = feast::run(&folder, &mut tally);
    conclude("Feast", &tally, &trained, "", ([174, 0, 0], [1, 174, 522]));
}
