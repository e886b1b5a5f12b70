//! Kills at any time: what was acknowledged is there, in order, once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use lockstep_testkit::effort;

use super::*;

/// Makes a command push to a log in a process of its own: threads, each `pushes` times, ids from `first` on.
pub(super) fn in_a_child(mut command: Command, dir: &Path, first: i64, pushes: i64) -> Command {
    command.args(["--exact", "push::tests::crash::child", "--ignored", "--nocapture"]);
    command.env("PUSH_DIR", dir).env("PUSH_FIRST", first.to_string()).env("PUSH_COUNT", pushes.to_string());
    command
}

const THREADS: i64 = 4;

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(dir), Some(first), Some(count)) = (variable("PUSH_DIR"), variable("PUSH_FIRST"), variable("PUSH_COUNT")) else { return };
    let (first, count): (i64, i64) = (first.parse().unwrap(), count.parse().unwrap());
    let source = source("");
    let log = PushLog::open(dir.as_ref(), PushOptions { segment_bytes: 20_000, ..options().0 }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, source) = (&log, &source);
            scope.spawn(move || (0..count).for_each(|push| pushes(log, source, first + (push * THREADS + thread) * 3)));
        }
    });
}

/// Pushes three rows and says where they are, or why not.
fn pushes(log: &PushLog, source: &SourcePlan, id: i64) {
    let said = match log.append(source, rows(id..id + 3)) {
        Ok(placed) => format!("{id} {}", placed.first_row),
        Err(error) => format!("{:?}: {error}", error.kind()),
    };
    lockstep_testkit::syncfs::mark(&said).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "said {said}").and_then(|()| out.flush()).unwrap();
}

/// Fails unless the log has all that was acknowledged, where it was said to be, and nothing twice; how many rows it has.
pub(super) fn assert_there<'a>(dir: &Path, said: impl Iterator<Item = &'a str>, place: &str) -> usize {
    let found = read_ids(&open(dir), &source(""));
    for (id, row) in said.filter_map(|said| said.split_once(' ')) {
        let (Ok(id), Ok(row)) = (id.parse::<i64>(), row.parse::<usize>()) else { continue };
        assert_eq!(found.get(row..row + 3), Some([id, id + 1, id + 2].as_slice()), "{place}: {id} at row {row}");
    }
    let mut times = BTreeMap::new();
    found.iter().for_each(|id| *times.entry(id).or_insert(0) += 1);
    assert!(times.values().all(|count| *count == 1), "{place}");
    found.len()
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut said = String::new();
    let mut acknowledged = 0;
    for round in 0..12 * effort() as i64 {
        let command = in_a_child(Command::new(std::env::current_exe().unwrap()), dir.path(), round * 1_000_000, 100_000);
        let mut child = { command }.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(5..250)));
        child.kill().unwrap();
        let mut output = String::new();
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        child.wait().unwrap();
        // What a kill has cut short was not said.
        let whole = output.rfind('\n').map_or("", |end| &output[..=end]);
        let lines = whole.lines().filter_map(|line| line.split_once("said ").map(|(_, said)| said));
        lines.for_each(|line| said = std::mem::take(&mut said) + line + "\n");
        assert!(!said.contains(':'), "{said}");
        assert_there(dir.path(), said.lines(), &format!("seed {seed}, round {round}"));
        acknowledged = said.lines().count();
    }
    assert!(acknowledged > 20, "{acknowledged} pushes were acknowledged");
}
