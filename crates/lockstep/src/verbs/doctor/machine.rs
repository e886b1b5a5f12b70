//! The machine: its clock, memory, and how many files may be open.

use std::fs;

use lockstep_model::{Clock, EventTime, SystemClock};
use lockstep_transform::calendar::tzdb_release;

use super::Check;
use crate::project::Project;
use crate::text::{bytes, grouped};

/// Open files beneath which RocksDB and connections may come to have too few.
const FILES_MIN: u64 = 4096;
/// A clock before this moment was never set, µs: the year 2025.
const CLOCK_MIN: i64 = 1_735_689_600_000_000;

/// Looks at it.
pub fn look(project: &Project, checks: &mut Vec<Check>) {
    checks.push(clock(SystemClock.now()));
    checks.extend(memory(project, &fs::read_to_string("/proc/meminfo").unwrap_or_default()));
    checks.extend(open_files(&fs::read_to_string("/proc/self/limits").unwrap_or_default()));
}

fn clock(now: EventTime) -> Check {
    if now.0 < CLOCK_MIN {
        return Check::fail(
            "clock",
            format!("it is {now} here · set the clock, and keep it by NTP: lag and what is too far ahead are measured by it"),
        );
    }
    Check::ok("clock", format!("{now}, time zones of {}", tzdb_release()))
}

fn memory(project: &Project, meminfo: &str) -> Option<Check> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let all = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let cache = project.config.memory.cache.0 as u64;
    let found = format!("memory.cache is {} of {}", bytes(cache), bytes(all));
    Some(if cache > all / 10 * 8 {
        Check::warn("memory", format!("{found} · leave a fifth to requests and the system"))
    } else {
        Check::ok("memory", found)
    })
}

fn open_files(limits: &str) -> Option<Check> {
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    let most = line.split_whitespace().nth(3)?;
    let Ok(most) = most.parse::<u64>() else { return Some(Check::ok("open files", "any number")) };
    let found = format!("{} at most", grouped(most));
    Some(if most < FILES_MIN {
        Check::warn(
            "open files",
            format!("{found} · raise it to {} (`ulimit -n`, LimitNOFILE): the store and each connection need some", grouped(FILES_MIN)),
        )
    } else {
        Check::ok("open files", found)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn few_open_files_are_a_warning() {
        let limits =
            |most: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax open files            {most}               1048576              files\n");
        assert_eq!(open_files(&limits("1024")).unwrap().health, Health::Warn);
        assert_eq!(open_files(&limits("65536")).unwrap().found, "65,536 at most");
        assert_eq!(open_files(&limits("unlimited")).unwrap().health, Health::Ok);
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn a_clock_that_was_never_set_is_a_failure() {
        assert_eq!(clock(EventTime(0)).health, Health::Fail);
        assert_eq!(clock(EventTime(CLOCK_MIN)).health, Health::Ok);
    }
}
