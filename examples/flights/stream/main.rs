//! Makes of the flights of 2013 what a running system would have met: a history until the end of June, the log of July
//! as a broker would have kept it, and the lookups a delay model would have asked for in July.
//!
//! The log is a bad one on purpose: rows come late, come twice, come too late to count, and one claims to be from 2099.
//! The same seed makes the same files.

mod log;
mod tables;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use arrow::array::{Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, kernels::cmp, take_record_batch};
use clap::Parser;
use lockstep_model::EventTime;
use serde::Serialize;

use log::{Log, Tally};
use tables::{HOUR, SOURCES, Source};

/// Midnight UTC at which the history ends and the log begins: 2013-07-01.
const CUT: i64 = 1_372_636_800_000_000;
/// Midnight UTC at which the log and the lookups end: 2013-08-01.
const END: i64 = 1_375_315_200_000_000;
/// How long before its scheduled departure a flight is predicted.
const PREDICTED_BEFORE: i64 = 2 * HOUR;

/// Makes a history, a log and lookups from the flights of 2013.
#[derive(Parser)]
struct Arguments {
    /// Where the flights are.
    #[arg(long, default_value = "examples/flights/data")]
    data: PathBuf,
    /// Where to write.
    #[arg(long, default_value = "target/flights")]
    out: PathBuf,
    /// What decides which rows come late or twice, and which flights are asked for.
    #[arg(long, default_value_t = 2013)]
    seed: u64,
    /// How many lookups.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
}

/// What was made; `made.json` keeps it for whoever checks that all of it was noticed.
#[derive(Debug, PartialEq, Serialize)]
struct Made {
    seed: u64,
    /// Rows of history of each source.
    history: BTreeMap<&'static str, usize>,
    /// The log's rows of each source.
    log: BTreeMap<&'static str, Tally>,
    spine_rows: usize,
    requests: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let made = make(&arguments)?;
    print(&made, &arguments.out, &mut std::io::stdout().lock())?;
    Ok(())
}

fn make(arguments: &Arguments) -> Result<Made> {
    let out = &arguments.out;
    fs::create_dir_all(out.join("history")).with_context(|| format!("making {}", out.display()))?;
    let mut rng = fastrand::Rng::with_seed(arguments.seed);
    let mut log = Log::default();
    let mut history = BTreeMap::new();
    for source in &SOURCES {
        let rows = tables::read(&arguments.data, source.name)?;
        history.insert(source.name, write_history(source, &rows, out)?);
        log.append_source(source, &july(source, &rows)?, &mut rng)?;
    }
    log.append_impostor(&mut rng)?;
    let log_tally = log.write(&out.join("july.ndjson"))?;

    let labels = tables::read(&arguments.data, "labels")?;
    let spine_rows = write_spine(&labels, &out.join("spine.parquet"))?;
    let requests = write_requests(&labels, arguments.requests, &mut rng, &out.join("requests.ndjson"))?;
    let made = Made { seed: arguments.seed, history, log: log_tally, spine_rows, requests };
    fs::write(out.join("made.json"), serde_json::to_vec_pretty(&made)?).context("writing made.json")?;
    Ok(made)
}

/// Writes the rows that the log had delivered before the cut; returns how many.
fn write_history(source: &Source, rows: &RecordBatch, out: &Path) -> Result<usize> {
    let before = cmp::lt(&source.known_at(rows)?, &Int64Array::new_scalar(CUT))?;
    let rows = filter_record_batch(rows, &before)?;
    tables::write(&rows, &out.join("history").join(format!("{}.parquet", source.name)))?;
    Ok(rows.num_rows())
}

/// The rows that become known in July.
fn july(source: &Source, rows: &RecordBatch) -> Result<RecordBatch> {
    tables::between(rows, &source.known_at(rows)?, CUT, END)
}

/// Writes the flights of the first half of the year whose outcome was known by its end; returns how many.
fn write_spine(labels: &RecordBatch, path: &Path) -> Result<usize> {
    let known = cmp::lt(&tables::micros(labels, "label_known_at")?, &Int64Array::new_scalar(CUT))?;
    let rows = filter_record_batch(labels, &known)?;
    let columns = ["flight_id", "request_time", "origin", "dest", "carrier", "tailnum", "distance", "scheduled_at", "late"];
    let spine = tables::project(&with_request_time(&rows)?, &columns)?;
    tables::write(&spine, path)?;
    Ok(spine.num_rows())
}

/// Writes `count` lookups of July in order of their moment, each a different flight; returns how many.
fn write_requests(labels: &RecordBatch, count: usize, rng: &mut fastrand::Rng, path: &Path) -> Result<usize> {
    let labels = with_request_time(labels)?;
    let candidates = tables::between(&labels, &tables::micros(&labels, "request_time")?, CUT, END)?;
    ensure!(candidates.num_rows() >= count, "{count} lookups are more than July's {} flights: ask for fewer", candidates.num_rows());
    // The flights are in order of their scheduled time, and so of the moment of their prediction.
    let mut sample = rng.choose_multiple(0..candidates.num_rows() as u64, count);
    sample.sort_unstable();
    let sampled = take_record_batch(&candidates, &UInt64Array::from(sample))?;
    let columns = ["request_time", "origin", "dest", "carrier", "tailnum", "distance", "scheduled_at"];
    let mut out = BufWriter::new(File::create(path).with_context(|| format!("writing {}", path.display()))?);
    for line in tables::json_lines(&tables::project(&sampled, &columns)?)? {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(count)
}

/// Adds the moment at which each flight is predicted.
fn with_request_time(labels: &RecordBatch) -> Result<RecordBatch> {
    let scheduled = tables::micros(labels, "scheduled_at")?;
    tables::with_time(labels, "request_time", scheduled.unary(|at| at - PREDICTED_BEFORE))
}

fn print(made: &Made, out: &Path, to: &mut impl Write) -> std::io::Result<()> {
    let history: Vec<String> = made.history.iter().map(|(name, rows)| format!("{rows} {name}")).collect();
    writeln!(to, "history until {}: {}", EventTime(CUT), history.join(", "))?;
    let rows: Vec<String> = made.log.iter().map(|(name, tally)| format!("{} {name}", tally.rows)).collect();
    writeln!(to, "log of july: {}", rows.join(", "))?;
    let total = made.log.values().fold(Tally::default(), |sum, tally| sum.plus(tally));
    let Tally { late, duplicates, refused, dead_letters, .. } = total;
    writeln!(to, "  of these {late} late, {duplicates} repeated, {refused} too late to count, {dead_letters} from the future")?;
    writeln!(to, "spine: {} flights; lookups: {}", made.spine_rows, made.requests)?;
    writeln!(to, "written to {} with seed {}", out.display(), made.seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: u64) -> (Made, Vec<u8>, Vec<u8>) {
        let out = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights/data");
        let arguments = Arguments { data, out: out.path().to_owned(), seed, requests: 500 };
        let made = make(&arguments).unwrap();
        (made, fs::read(out.path().join("july.ndjson")).unwrap(), fs::read(out.path().join("requests.ndjson")).unwrap())
    }

    #[test]
    fn the_seed_decides_every_byte() {
        let first = made(1);
        assert_eq!(first, made(1));
        let other = made(2);
        assert_ne!(first.1, other.1);
        assert_ne!(first.2, other.2);
        assert_eq!(first.0.history, other.0.history);
    }

    #[test]
    fn the_log_is_in_append_order_and_as_bad_as_it_says() {
        let (made, log, requests) = made(7);
        let rows: Vec<serde_json::Value> = log.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
        let total = made.log.values().fold(Tally::default(), |sum, tally| sum.plus(tally));
        assert_eq!(rows.len(), total.rows);
        let appended: Vec<&str> = rows.iter().map(|row| row["_append_time"].as_str().unwrap()).collect();
        assert!(appended.is_sorted());
        assert!(appended[0] >= "2013-07-01");
        assert_eq!(total.dead_letters, 1);
        assert_eq!(rows.iter().filter(|row| row["departed_at"].as_str().is_some_and(|at| at.starts_with("2099"))).count(), 1);
        let share = |n: usize| n as f64 / total.rows as f64;
        assert!((0.08..0.12).contains(&share(total.late)), "{total:?}");
        assert!((0.04..0.06).contains(&share(total.duplicates)), "{total:?}");
        assert!((10..200).contains(&total.refused), "{total:?}");

        let moments: Vec<String> = requests
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|line| {
                let request: serde_json::Value = serde_json::from_slice(line).unwrap();
                request["request_time"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(moments.len(), 500);
        assert!(moments.is_sorted());
        assert!(moments.iter().all(|moment| moment.starts_with("2013-07")));
    }
}
