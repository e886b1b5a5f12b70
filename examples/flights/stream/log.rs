//! The log of July: what each row says, when it was appended, and what should become of it.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use lockstep_model::EventTime;
use serde::Serialize;
use serde_json::Value;

use crate::CUT;
use crate::tables::{self, HOUR, MINUTE, SECOND, Source};

/// 2099-01-01, which the impostor claims to be.
const FAR_AHEAD: i64 = 4_070_908_800_000_000;
/// How far past its append time an event may claim to be, by default.
const MAX_AHEAD: i64 = HOUR;
/// The delay from which on a row counts as late rather than as shuffled.
const LATE: i64 = 2 * MINUTE;

/// Rows of all sources, each with when it was appended. A row that is repeated is in it twice.
#[derive(Default)]
pub struct Log {
    partitions: Vec<Partition>,
    entries: Vec<Entry>,
}

/// The rows of one source, each once.
struct Partition {
    source: &'static Source,
    lines: Vec<String>,
    event_times: Vec<i64>,
    known_at: Vec<i64>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    append_time: i64,
    /// Decides the order of what was appended in one second.
    shuffle: u64,
    partition: usize,
    row: usize,
}

/// How many rows a log has, and what should become of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub rows: usize,
    /// Appended more than two minutes after they could have been, repetitions apart.
    pub late: usize,
    /// Admitted before with the same content: change nothing.
    pub duplicates: usize,
    /// Further behind their source's newest event than it allows.
    pub refused: usize,
    /// Too far ahead to be believed.
    pub dead_letters: usize,
}

impl Tally {
    pub fn plus(&self, other: &Tally) -> Tally {
        Tally {
            rows: self.rows + other.rows,
            late: self.late + other.late,
            duplicates: self.duplicates + other.duplicates,
            refused: self.refused + other.refused,
            dead_letters: self.dead_letters + other.dead_letters,
        }
    }
}

impl Log {
    /// Appends the rows of a source, each some time after it could first be known, and some of them twice.
    pub fn append_source(&mut self, source: &'static Source, rows: &RecordBatch, rng: &mut fastrand::Rng) -> Result<()> {
        let partition = Partition {
            source,
            lines: tables::json_lines(rows)?,
            event_times: tables::micros(rows, source.event_time)?.values().to_vec(),
            known_at: source.known_at(rows)?.values().to_vec(),
        };
        for (row, known_at) in partition.known_at.iter().enumerate() {
            let append_time = known_at + delay(source, rng);
            self.append(append_time, self.partitions.len(), row, rng);
            if rng.u32(..100) < 5 {
                self.append(append_time + rng.i64(1..=3600) * SECOND, self.partitions.len(), row, rng);
            }
        }
        self.partitions.push(partition);
        Ok(())
    }

    /// Appends, in the middle of the month, a departure of 2099.
    pub fn append_impostor(&mut self, rng: &mut fastrand::Rng) -> Result<()> {
        let index = self.partitions.iter().position(|partition| partition.source.name == "departures").context("there are no departures")?;
        let partition = &mut self.partitions[index];
        let mut flight: Value = serde_json::from_str(partition.lines.last().context("july has no departures")?)?;
        flight["flight_id"] = Value::from(2_099_000_001_i64);
        flight[partition.source.event_time] = Value::from("2099-01-01T00:00:00");
        let append_time = CUT + 15 * 24 * HOUR;
        let row = partition.lines.len();
        partition.lines.push(flight.to_string());
        partition.event_times.push(FAR_AHEAD);
        partition.known_at.push(append_time);
        self.append(append_time, index, row, rng);
        Ok(())
    }

    fn append(&mut self, append_time: i64, partition: usize, row: usize, rng: &mut fastrand::Rng) {
        self.entries.push(Entry { append_time, shuffle: rng.u64(..), partition, row });
    }

    /// Writes the log in append order, and tells per source what should become of it.
    pub fn write(mut self, path: &Path) -> Result<BTreeMap<&'static str, Tally>> {
        self.entries.sort_unstable();
        let mut out = BufWriter::new(File::create(path).with_context(|| format!("writing {}", path.display()))?);
        for entry in &self.entries {
            let Partition { source, lines, .. } = &self.partitions[entry.partition];
            // The row is an object: its own members follow the reserved ones.
            let members = lines[entry.row].trim_start_matches('{');
            writeln!(out, r#"{{"_source":"{}","_append_time":"{}",{members}"#, source.name, EventTime(entry.append_time))?;
        }
        out.flush()?;
        Ok(self.tallies())
    }

    /// Admission, told apart from the engine's own, so that one can check the other.
    fn tallies(&self) -> BTreeMap<&'static str, Tally> {
        let mut tallies = vec![Tally::default(); self.partitions.len()];
        let mut newest = vec![i64::MIN; self.partitions.len()];
        let mut seen = HashSet::new();
        let mut admitted = HashSet::new();
        for Entry { append_time, partition, row, .. } in &self.entries {
            let Partition { source, event_times, known_at, .. } = &self.partitions[*partition];
            let (tally, newest, event_time) = (&mut tallies[*partition], &mut newest[*partition], event_times[*row]);
            tally.rows += 1;
            if seen.insert((*partition, *row)) && append_time - known_at[*row] > LATE {
                tally.late += 1;
            }
            if event_time > append_time + MAX_AHEAD {
                tally.dead_letters += 1;
            } else if event_time < newest.saturating_sub(source.allowed_lateness) {
                tally.refused += 1;
            } else {
                *newest = event_time.max(*newest);
                if !admitted.insert((*partition, *row)) {
                    tally.duplicates += 1;
                }
            }
        }
        self.partitions.iter().map(|partition| partition.source.name).zip(tallies).collect()
    }
}

/// How long after it could be known a row is appended: nine in ten within two minutes, which shuffles neighbours; one in ten
/// up to four hours later, which is allowed; one in a thousand too late.
fn delay(source: &Source, rng: &mut fastrand::Rng) -> i64 {
    match rng.u32(..1000) {
        0 => source.allowed_lateness + rng.i64(2 * 3600..4 * 3600) * SECOND,
        1..100 => rng.i64(121..4 * 3600) * SECOND,
        _ => rng.i64(0..=120) * SECOND,
    }
}
