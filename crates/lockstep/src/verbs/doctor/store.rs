//! The store, by whoever owns it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use lockstep_ingest::kafka::probe_positions;
use lockstep_model::{Clock, Position, SystemClock};
use lockstep_serve::admin::Progress;
use lockstep_store::{CutRead, FORMAT_VERSION, OnlineStore, Snapshot, format_of, read_owner};

use super::Check;
use crate::feed::wanted::{self, Why};
use crate::owned::Owned;
use crate::text::{age, bytes, counted};
use crate::watching;

/// A disk with less room than this, or than a tenth of its size, is nearly full.
const ROOM_MIN: u64 = 2 << 30;
/// How far a record may have been appended ahead of the local clock, µs, before one of the two clocks is wrong.
const AHEAD_MAX: i64 = 5_000_000;

/// Looks at it.
///
/// # Errors
/// As `progress` has: it is wanted no more.
pub fn look(owned: &Owned, deep: bool, checks: &mut Vec<Check>, progress: &Progress<'_>) -> Result<()> {
    let dir = owned.store.dir();
    checks.push(store(dir));
    checks.push(room(dir));
    let cut = OnlineStore::cut(&*owned.store);
    checks.extend(versions(owned, &*cut).unwrap_or_else(|error| vec![Check::fail("views", format!("{error:#}"))]));
    progress("asking the brokers for what was read")?;
    checks.extend(logs(owned, &*cut).unwrap_or_else(|error| vec![Check::fail("logs", format!("{error:#}"))]));
    checks.extend(brokers_clock(&*cut).unwrap_or_else(|error| Some(Check::fail("positions", error))));
    let snapshots = owned.store.snapshots().list();
    for listed in snapshots.into_iter().flatten() {
        progress(&format!("looking at snapshot {}", listed.name))?;
        checks.push(snapshot(owned, &listed.name, deep));
    }
    checks.extend(log_dir(owned));
    checks.push(signals(owned));
    Ok(())
}

fn store(dir: &Path) -> Check {
    let owner = read_owner(dir).map_or_else(|| "nobody".to_owned(), |owner| format!("`lockstep {}`, process {}", owner.verb, owner.pid));
    match format_of(dir) {
        Ok(Some(format)) => {
            let newest = if format < FORMAT_VERSION {
                format!(" of {FORMAT_VERSION}, which `lockstep migrate` raises when it suits you")
            } else {
                String::new()
            };
            Check::ok("store", format!("{}, format {format}{newest}, owned by {owner}", dir.display()))
        }
        Ok(None) => Check::fail("store", format!("{} says no format · restore a snapshot", dir.display())),
        Err(error) => Check::fail("store", error),
    }
}

/// How much room its disk has, as `df` tells: the system's call for it is none of the standard library's.
fn room(dir: &Path) -> Check {
    let told = Command::new("df").args(["-Pk", "--"]).arg(dir).output();
    let said = told.as_ref().map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
    match parse_df(&said) {
        None => Check::warn("disk", "`df` does not say how much room there is · look yourself"),
        Some((all, free)) if free < ROOM_MIN.max(all / 10) => {
            let advice = "make room, or drop snapshots: compaction needs as much again as it rewrites";
            Check::warn("disk", format!("{} of {} free · {advice}", bytes(free), bytes(all)))
        }
        Some((all, free)) => Check::ok("disk", format!("{} of {} free", bytes(free), bytes(all))),
    }
}

/// All bytes and the free ones, from what `df -Pk` prints.
fn parse_df(said: &str) -> Option<(u64, u64)> {
    let words: Vec<&str> = said.lines().nth(1)?.split_whitespace().rev().collect();
    // From the end, since a device's name may have blanks: mount, share, free, used, all.
    let (free, all) = (words.get(2)?, words.get(4)?);
    Some((all.parse::<u64>().ok()? * 1024, free.parse::<u64>().ok()? * 1024))
}

fn versions(owned: &Owned, cut: &dyn CutRead) -> Result<Vec<Check>> {
    let (sets, lacking) = (wanted::wanted(owned)?, wanted::files_lacking(owned)?);
    let mut checks = Vec::new();
    for info in cut.generations()? {
        let Some((set, why)) = wanted::why(&sets, &info) else { continue };
        let what = format!("view {} version {}", info.view, info.version);
        let lacks = lacking.get(&info.generation).filter(|files| !files.is_empty());
        checks.push(match why {
            _ if !info.published() => Check::warn(what, format!("waits for its backfill · run `lockstep backfill {}`", info.view)),
            Why::Serves => Check::ok(what, "serves"),
            Why::Next if lacks.is_some() => {
                let files = lacks.map(|files| files.join(", ")).unwrap_or_default();
                Check::warn(what, format!("is to serve with definitions {set}, and lacks files · ingest them again: {files}"))
            }
            Why::Next if info.caught_up_at.is_none() => Check::warn(what, format!("is to serve with definitions {set}, and catches up")),
            Why::Next => Check::ok(what, format!("has caught up, to serve with definitions {set}")),
            Why::Until(until) => Check::ok(what, format!("served until lately, and is fed until {until}")),
        });
    }
    if checks.is_empty() {
        checks.push(Check::warn("views", "none was applied yet · run `lockstep apply`"));
    }
    Ok(checks)
}

/// Whether topics are still the logs that the versions that are fed were read from.
fn logs(owned: &Owned, cut: &dyn CutRead) -> Result<Vec<Check>> {
    let sets = wanted::wanted(owned)?;
    let mut positions = Vec::new();
    for info in cut.generations()?.into_iter().filter(|info| wanted::why(&sets, info).is_some()) {
        positions.extend(cut.positions(info.generation)?.into_iter().filter_map(|(id, position)| match position {
            Position::Kafka(position) => Some((id, position)),
            Position::File(_) | Position::Push(_) => None,
        }));
    }
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    let settings = owned.project.kafka()?;
    let check = |(topic, found)| match found {
        Ok(_) => Check::ok(format!("log {topic}"), "is what was read, and goes on where it was left"),
        Err(error) => Check::fail(format!("log {topic}"), error),
    };
    Ok(probe_positions(&settings, &positions).into_iter().map(check).collect())
}

/// Whether records of topics were appended in what is the future here.
fn brokers_clock(cut: &dyn CutRead) -> Result<Option<Check>, lockstep_model::Error> {
    let mut newest: Option<i64> = None;
    for info in cut.generations()? {
        for (_, position) in cut.positions(info.generation)? {
            if let Position::Kafka(position) = position {
                newest = newest.max(position.last.and_then(|last| last.time_ms).map(|ms| ms.saturating_mul(1000)));
            }
        }
    }
    let ahead = newest.map(|newest| newest.saturating_sub(SystemClock.now().0));
    Ok(ahead.map(|ahead| match ahead > AHEAD_MAX {
        true => Check::fail("brokers' clock", format!("a record was appended {} from now · set this clock, or the brokers', by NTP", age(ahead))),
        false => Check::ok("brokers' clock", "not ahead of this one"),
    }))
}

fn snapshot(owned: &Owned, name: &str, deep: bool) -> Check {
    let dir = owned.store.snapshots().dir_of(name);
    let options = owned.project.config.store_options("doctor");
    let opened = if deep { Snapshot::open(dir, &options) } else { Snapshot::open_trusting(dir, &options) };
    match opened {
        Ok(snapshot) => {
            let looked = if deep { "every byte of it is as it was" } else { "its files have their sizes; --deep reads them" };
            Check::ok(format!("snapshot {name}"), format!("{}, {looked}", bytes(snapshot.manifest().bytes())))
        }
        Err(error) => Check::fail(format!("snapshot {name}"), error),
    }
}

fn log_dir(owned: &Owned) -> Option<Check> {
    owned.project.config.serve.feature_log.as_ref()?;
    let log = crate::feature_log::LogDir::new(owned.project.feature_log_dir());
    Some(match log.files() {
        Ok(files) => Check::ok("feature log", format!("{} in {}", counted(files.len(), "file", "files"), log.path().display())),
        Err(error) => Check::fail("feature log", format!("{error:#}")),
    })
}

fn signals(owned: &Owned) -> Check {
    let found = match owned.watching() {
        Some(watching) => Ok(watching.watcher().latest().signals.clone()),
        None if owned.store.definitions_version() == 0 => Ok(Vec::new()),
        None => watching::of_store(owned).map(|(_, signals)| signals),
    };
    match found {
        Ok(signals) => match signals.first() {
            None => Check::ok("signals", "none is raised"),
            Some(first) => Check::warn(
                "signals",
                format!("{}, the first: {} · `lockstep status` has them", counted(signals.len(), "signal", "signals"), first.what),
            ),
        },
        Err(error) => Check::fail("signals", format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_read_off_whatever_the_device_is_called() {
        let said = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a disk 1000 400 600 40% /\n";
        assert_eq!(parse_df(said), Some((1_024_000, 614_400)));
        assert_eq!(parse_df("df: no such thing\n"), None);
    }
}
