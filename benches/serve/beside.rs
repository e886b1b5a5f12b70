//! What it costs to answer some requests a second time by the release before, as is done soon after a promotion where `drift_max` is set: beside the same server without that limit.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::load::Load;
use crate::support::{heading, long, row};
use crate::{HISTORY, Project, SETTINGS};

const ACCOUNTS: u64 = 10_000;
const PAYMENTS: usize = 100_000;
/// How many rows a second are answered again.
const COMPARED: u32 = 500;
/// Seconds within which a release that answers otherwise is to be taken back: it is looked at every second.
const TAKEN_BACK_WITHIN: u64 = 30;

/// Prints it, and makes sure that requests were answered again.
pub fn compare() {
    let dir = tempfile::tempdir().expect("a directory");
    let project = Project::with(dir.path(), (PAYMENTS, ACCOUNTS), &[("v20".to_owned(), 20)], SETTINGS, HISTORY);
    promote_another(&project);
    let load = Load { name: "v20", rows: 1, metadata: "full", seconds: if long() { 30 } else { 8 }, per_second: 0, accounts: ACCOUNTS };
    let [without, with] = ["", "drift_max = 1e9\n"].map(|limit| {
        set(&project, limit);
        load.on(&project.serve(), None, 0.0)
    });
    heading(
        &format!("a request for 20 features, {COMPARED} rows a second of which are answered by the release before too, beside none"),
        "µs/request",
    );
    row("processor time of the server", with.server_micros, without.server_micros, "");
    let of_a_row = (with.server_micros - without.server_micros) * with.per_second / f64::from(COMPARED);
    row("what a row takes that is answered again, beside a request", of_a_row, without.server_micros, "");
    assert_is_compared(&project, load);
}

/// Promotes a release, and then another that has one feature otherwise.
pub fn promote_another(project: &Project) {
    project.run(&["release", "promote", "--json"]);
    let definitions = project.0.join("feature_defs/all.sql");
    let text = fs::read_to_string(&definitions).expect("definitions");
    let other = text.replacen("count(*) OVER w0 AS f0", "count(*) OVER w0 + 1 AS f0", 1);
    assert_ne!(text, other, "another view");
    fs::write(&definitions, other).expect("definitions");
    for verb in [&["apply"][..], &["backfill"], &["release", "promote", "--force", "--json"]] {
        project.run(verb);
    }
}

fn set(project: &Project, limit: &str) {
    let settings = format!("{SETTINGS}[releases.watch]\nfor = '1 hour'\ncompared_per_second = {COMPARED}\n{limit}");
    fs::write(project.0.join("lockstep.toml"), settings).expect("settings");
}

/// With a limit that the other release passes, it is taken back: so requests are answered again.
fn assert_is_compared(project: &Project, load: Load<'_>) {
    set(project, "drift_max = 0.1\n");
    let server = project.serve();
    for _ in 0..TAKEN_BACK_WITHIN {
        Load { seconds: 1, per_second: COMPARED, ..load }.on(&server, None, 0.0);
        let shown: Value = project.run(&["release", "show", "--json"]);
        if shown["release"] == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("a release that answers otherwise was not taken back");
}
