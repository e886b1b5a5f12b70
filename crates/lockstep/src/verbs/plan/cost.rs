//! What filling a view would cost: rows, time and room on the disk.
//!
//! By what earlier backfills of this store took, which are of this machine and this data: of the same view where there was one, else of the newest other. Where nothing was filled yet,
//! by rates that are assumed and said to be.

use lockstep_model::Error;
use lockstep_store::{CutRead, Filled, GenerationInfo, Store};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PlannedFile;
use crate::text::{age, bytes, counted};

/// Rows a second for one view, where nothing is known: a backfill of a machine with two cores.
const ROWS_A_SECOND: u64 = 200_000;
/// Bytes of a row of text, where nothing is known.
const TEXT_BYTES: u64 = 80;
/// Bytes that a row takes in the store, with its key, where nothing is known.
const STORED_BYTES: u64 = 60;

/// What is known of a generation that was filled.
#[derive(Debug, Clone)]
pub struct Known {
    view: String,
    version: u32,
    filled: Option<Filled>,
    /// Events that count in it, and the bytes that it takes on the disk.
    applied: u64,
    disk_bytes: u64,
}

/// What filling a view would cost, about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Rows that would be read.
    pub rows: u64,
    /// Whether the files say so; else it is told by their size.
    pub rows_are_known: bool,
    /// How long it would take, in seconds, rounded up.
    pub seconds: u64,
    /// What it would take on the disk, in bytes.
    pub disk_bytes: u64,
    /// The version of a view whose filling the time is told by, as `view@version`; absent where it is assumed.
    pub as_filled: Option<String>,
}

/// What is known of the published generations of a store, oldest first.
///
/// # Errors
/// Where the store cannot be read.
pub fn known(store: &Store, cut: &dyn CutRead) -> Result<Vec<Known>, Error> {
    let published = cut.generations()?.into_iter().filter(GenerationInfo::published);
    let known = published.map(|GenerationInfo { generation, view, version, filled, .. }| -> Result<Known, Error> {
        let applied = cut.counters(generation)?.values().map(|counters| counters.applied).sum();
        Ok(Known { view, version, filled, applied, disk_bytes: store.approximate_bytes(generation) })
    });
    known.collect()
}

impl Cost {
    /// The cost of filling a view from those of the files that it reads; `None` where one of them cannot be looked at.
    pub fn new(view: &Transformation, files: &[PlannedFile], known: &[Known]) -> Option<Cost> {
        let reads = |file: &&PlannedFile| view.branches.iter().any(|branch| branch.source == file.source);
        let files: Vec<&PlannedFile> = files.iter().filter(reads).collect();
        if files.iter().any(|file| file.problem.is_some()) {
            return None;
        }
        let timed = best(known, &view.view, |known| known.filled.is_some_and(|filled| filled.rows > 0));
        let filled = timed.and_then(|known| known.filled);
        let row_bytes = filled.filter(|filled| filled.bytes > 0).map_or(TEXT_BYTES as f64, |filled| filled.bytes as f64 / filled.rows as f64);
        let rows_of = |file: &&PlannedFile| file.rows.unwrap_or_else(|| (file.bytes.unwrap_or_default() as f64 / row_bytes) as u64);
        let rows: u64 = files.iter().map(rows_of).sum();
        let kept = best(known, &view.view, |known| known.applied > 0 && known.disk_bytes > 0);
        let stored = kept.map_or(STORED_BYTES as f64, |known| known.disk_bytes as f64 / known.applied as f64);
        Some(Cost {
            rows,
            rows_are_known: files.iter().all(|file| file.rows.is_some()),
            seconds: (rows as f64 / rate(filled)).ceil() as u64,
            disk_bytes: (rows as f64 * stored) as u64,
            as_filled: timed.map(|known| format!("{}@{}", known.view, known.version)),
        })
    }

    /// As people read it.
    pub fn text(&self) -> String {
        let Cost { rows, rows_are_known, seconds, disk_bytes, as_filled } = self;
        let about = if *rows_are_known { "" } else { "about " };
        let time = if *seconds < 2 { "a second or less".to_owned() } else { format!("about {}", age(*seconds as i64 * 1_000_000)) };
        let room = if *disk_bytes < 1 << 20 { "less than 1 MiB".to_owned() } else { format!("about {}", bytes(*disk_bytes)) };
        let by = as_filled.as_ref().map_or_else(|| "by rates that are assumed".to_owned(), |version| format!("by what `{version}` took"));
        format!("{about}{}, {time} and {room} on the disk, {by}", counted(*rows, "row", "rows"))
    }
}

/// The newest generation of a view that says something; else that of another.
fn best<'a>(known: &'a [Known], view: &str, says: impl Fn(&Known) -> bool) -> Option<&'a Known> {
    let saying = || known.iter().filter(|known| says(known));
    saying().rfind(|known| known.view == view).or_else(|| saying().next_back())
}

/// Rows a second for one view. Views that are filled together share the reading, and little else.
fn rate(filled: Option<Filled>) -> f64 {
    filled.map_or(ROWS_A_SECOND as f64, |filled| filled.rows as f64 * f64::from(filled.generations) / (filled.micros as f64 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::compile;
    use lockstep_transform::definition::SourceFile;

    const DEFINITIONS: &str = "CREATE ENTITY card (card VARCHAR);
        CREATE SOURCE payments (id BIGINT, card VARCHAR, amount DOUBLE, at TIMESTAMP, PRIMARY KEY (id)) WITH (event_time = 'at', batch = 'payments.parquet');
        CREATE FEATURE VIEW spent ENTITY card AS SELECT card, sum(amount) OVER w AS spent FROM payments
        WINDOW w AS (PARTITION BY card ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);";

    fn cost(files: &[PlannedFile], known: &[Known]) -> Option<Cost> {
        let catalog = compile(&[SourceFile::new("spent.sql".to_owned(), DEFINITIONS.to_owned())]).unwrap();
        Cost::new(&catalog.views["spent"], files, known)
    }

    fn file(source: &str, rows: Option<u64>, bytes: u64) -> PlannedFile {
        PlannedFile { source: source.to_owned(), file: "a file".to_owned(), rows, bytes: Some(bytes), problem: None }
    }

    fn filled(view: &str, version: u32, rows: u64, seconds: u64) -> Known {
        let filled = Filled { rows, bytes: rows * 100, micros: seconds * 1_000_000, generations: 2 };
        Known { view: view.to_owned(), version, filled: Some(filled), applied: rows, disk_bytes: rows * 50 }
    }

    #[test]
    fn what_took_so_long_before_takes_as_long_again() {
        let files = [file("payments", Some(3_000_000), 1), file("orders", Some(7), 1)];
        let known = [filled("spent", 1, 1_000_000, 20), filled("spent", 2, 1_000_000, 10), filled("earned", 1, 1_000_000, 1)];
        let cost = cost(&files, &known).unwrap();
        assert_eq!((cost.rows, cost.seconds, cost.disk_bytes, cost.as_filled.as_deref()), (3_000_000, 15, 150_000_000, Some("spent@2")));
        assert_eq!(cost.text(), "3,000,000 rows, about 15s and about 143 MiB on the disk, by what `spent@2` took");
    }

    #[test]
    fn without_a_version_before_another_view_says_how_long_it_takes() {
        let cost = cost(&[file("payments", None, 5_000)], &[filled("earned", 1, 1_000_000, 1)]).unwrap();
        assert_eq!((cost.rows, cost.rows_are_known, cost.as_filled.as_deref()), (50, false, Some("earned@1")));
        assert_eq!(cost.text(), "about 50 rows, a second or less and less than 1 MiB on the disk, by what `earned@1` took");
    }

    #[test]
    fn where_nothing_was_filled_rates_are_assumed_and_said_to_be() {
        let found = cost(&[file("payments", Some(1_000_000), 1)], &[]).unwrap();
        assert_eq!(found.text(), "1,000,000 rows, about 5s and about 57.2 MiB on the disk, by rates that are assumed");
        let problem = PlannedFile { problem: Some("it is gone".to_owned()), ..file("payments", None, 0) };
        assert_eq!(cost(&[problem], &[]), None);
    }
}
