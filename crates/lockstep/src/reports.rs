//! What callers report of what was served: what they did with a row, and what came of it.
//!
//! Reports are rows of a log of the kind that pushes go to: checksummed, forced to the disk before they are acknowledged, many at once in one go. It lies beside the files of the feature log, in
//! `DIR/reported`, and is kept as long. A report that is repeated says the same twice: which ones count is decided where they are read ([`Reported`]), so that taking one needs no look at those
//! before. What is reported of requests that are not in the log is kept too, since a share of them is all that is logged, and is counted where rows are looked for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use lockstep_ingest::push::{self, PushLog, PushOptions};
use lockstep_model::{Clock, Error};
use lockstep_serve::report::{Report, Reports, Said};
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::definition::SourceFile;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::project::compile;

/// The log as a source: its columns, and what makes two reports one.
const DEFINITION: &str = "CREATE SOURCE reports (request_id VARCHAR, request_row BIGINT, kind VARCHAR, action VARCHAR, propensity DOUBLE,
  outcome_time TIMESTAMP, outcome VARCHAR, reported_at TIMESTAMP, PRIMARY KEY (request_id, request_row, kind, outcome_time)) WITH (event_time = 'reported_at');";
const NAME: &str = "reports";
const DECISION: &str = "decision";
const OUTCOME: &str = "outcome";

/// Size at which a segment is full. What is past its time goes segment by segment.
const SEGMENT_BYTES: u64 = 8 << 20;

/// The log of reports of a server.
pub struct ReportLog {
    dir: PathBuf,
    keep: i64,
    clock: Arc<dyn Clock>,
    /// What it writes to, once it could be opened: a disk that does not let it holds up nobody but who reports.
    open: Mutex<Option<Arc<Open>>>,
}

/// A log that can be written.
struct Open {
    log: PushLog,
    source: Arc<SourcePlan>,
}

impl fmt::Debug for ReportLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportLog").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Where the reports lie of what is logged in a directory.
pub fn dir_of(log_dir: &Path) -> PathBuf {
    log_dir.join("reported")
}

fn source() -> Result<Arc<SourcePlan>, Error> {
    let wrong = || Error::internal("the log of reports has a definition");
    let catalog = compile(&[SourceFile::new("reports.sql", DEFINITION)]).map_err(|_| wrong())?;
    catalog.sources.get(NAME).cloned().ok_or_else(wrong)
}

impl ReportLog {
    /// The reports beside a feature log, which are kept for so long, µs. Nothing is read or written before the first one comes. Whoever has it owns the store.
    pub fn new(log_dir: &Path, keep: i64, clock: Arc<dyn Clock>) -> ReportLog {
        ReportLog { dir: dir_of(log_dir), keep, clock, open: Mutex::default() }
    }

    fn open(&self) -> Result<Arc<Open>, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open {
            return Ok(Arc::clone(open));
        }
        let clock = Arc::clone(&self.clock);
        let options = PushOptions { segment_bytes: SEGMENT_BYTES, retention: Some(self.keep), clock, ..PushOptions::default() };
        let opened = Arc::new(Open { log: PushLog::open(&self.dir, options)?, source: source()? });
        *open = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

impl Reports for ReportLog {
    fn append(&self, reports: &[Report]) -> Result<(), Error> {
        let Open { log, source } = &*self.open()?;
        log.append(source, rows(source, reports, self.clock.now().0)?)?;
        // What is past its time goes when more comes.
        if let Err(error) = log.expire(NAME) {
            tracing::warn!(%error, "remove reports that are past their time");
        }
        Ok(())
    }
}

/// Reports as rows of the log.
fn rows(source: &SourcePlan, reports: &[Report], now: i64) -> Result<RecordBatch, Error> {
    let said = || reports.iter().map(|report| &report.said);
    let of_decision = |said: &Said| match said {
        Said::Decision { action, propensity } => (Some(action.clone()), *propensity),
        Said::Outcome { .. } => (None, None),
    };
    let of_outcome = |said: &Said| match said {
        Said::Decision { .. } => (None, None),
        Said::Outcome { time, values } => (Some(*time), Some(Value::Object(values.clone()).to_string())),
    };
    let kind = |said: &Said| if matches!(said, Said::Decision { .. }) { DECISION } else { OUTCOME };
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(reports.iter().map(|report| Some(report.request_id.as_str())).collect::<StringArray>()),
        Arc::new(reports.iter().map(|report| Some(i64::from(report.row))).collect::<Int64Array>()),
        Arc::new(said().map(|said| Some(kind(said))).collect::<StringArray>()),
        Arc::new(said().map(|said| of_decision(said).0).collect::<StringArray>()),
        Arc::new(said().map(|said| of_decision(said).1).collect::<Float64Array>()),
        Arc::new(said().map(|said| of_outcome(said).0).collect::<TimestampMicrosecondArray>()),
        Arc::new(said().map(|said| of_outcome(said).1).collect::<StringArray>()),
        Arc::new(TimestampMicrosecondArray::from(vec![now; reports.len()])),
    ];
    RecordBatch::try_new(Arc::clone(&source.schema), columns)
        .map_err(|error| Error::internal("reports have the columns of their log").caused_by(error))
}

/// A row of a request.
pub type OfRow = (String, i64);

/// What was reported beside a feature log: of reports of the same, the last.
#[derive(Debug, Default)]
pub struct Reported {
    /// Where it lies.
    pub dir: PathBuf,
    /// Actions and, where they were said, their propensities.
    pub decisions: BTreeMap<OfRow, (String, Option<f64>)>,
    /// Decisions in whose place a later one of the same row says something else.
    pub changed: u64,
    /// What came of rows, each as of when it was known, µs; and of a candidate of the row, where reports are told apart by that: its name as text.
    pub outcomes: BTreeMap<(OfRow, i64, String), Map<String, Value>>,
    /// Of all of that.
    pub digest: String,
}

impl Reported {
    /// Reads what was reported beside a feature log; nothing where nothing was. Where a value `item` names a candidate of a row, outcomes of several of them at one moment are several.
    ///
    /// # Errors
    /// Data where it is damaged; where it cannot be read.
    pub fn read(log_dir: &Path, item: Option<&str>) -> Result<Reported, Error> {
        let dir = dir_of(log_dir);
        let mut reported = Reported::default();
        push::read(&dir, &*source()?, &mut |batch| reported.add(batch, item))?;
        let said = format!("{:?}{:?}", reported.decisions, reported.outcomes);
        let digest = Sha256::digest(said.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Reported { dir, digest, ..reported })
    }

    fn add(&mut self, batch: &RecordBatch, item: Option<&str>) -> Result<(), Error> {
        let wrong = || Error::data("the log of reports has other columns than this release writes · open it with the release that wrote it");
        let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(wrong);
        let (ids, kinds, actions, outcomes) = (text("request_id")?, text("kind")?, text("action")?, text("outcome")?);
        let numbers = batch.column_by_name("request_row").and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or_else(wrong)?;
        let chances = batch.column_by_name("propensity").and_then(|column| column.as_primitive_opt::<Float64Type>()).ok_or_else(wrong)?;
        let times = batch
            .column_by_name("outcome_time")
            .filter(|column| *column.data_type() == DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None));
        let times = times.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()).ok_or_else(wrong)?;
        for row in 0..batch.num_rows() {
            let of = (ids.value(row).to_owned(), numbers.value(row));
            if kinds.value(row) == DECISION {
                let said = (actions.value(row).to_owned(), chances.is_valid(row).then(|| chances.value(row)));
                let before = self.decisions.insert(of, said.clone());
                self.changed += u64::from(before.is_some_and(|before| before != said));
            } else {
                let values: Map<String, Value> = serde_json::from_str(outcomes.value(row)).map_err(|error| wrong().caused_by(error))?;
                let candidate = item.and_then(|item| values.get(item)).map(Value::to_string).unwrap_or_default();
                self.outcomes.insert((of, times.value(row), candidate), values);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lockstep_model::EventTime;
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct At(i64);

    impl Clock for At {
        fn now(&self) -> EventTime {
            EventTime(self.0)
        }
    }

    fn decided(request_id: &str, action: &str, propensity: Option<f64>) -> Report {
        Report { request_id: request_id.to_owned(), row: 1, said: Said::Decision { action: action.to_owned(), propensity } }
    }

    fn came(request_id: &str, time: i64, late: Value) -> Report {
        let values = Map::from_iter([("late".to_owned(), late)]);
        Report { request_id: request_id.to_owned(), row: 0, said: Said::Outcome { time, values } }
    }

    #[test]
    fn what_was_taken_is_there_and_repeating_it_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Reported::read(dir.path(), None).unwrap().decisions.is_empty());
        let all = [decided("a", "approve", Some(0.25)), came("a", 5, json!(true)), decided("b", "decline", None), came("b", 6, json!(null))];
        let log = ReportLog::new(dir.path(), i64::MAX, Arc::new(At(7)));
        log.append(&all[..3]).unwrap();
        // While its writer has it open, and after it is gone.
        let once = Reported::read(dir.path(), None).unwrap();
        assert_eq!(once.decisions[&("a".to_owned(), 1)], ("approve".to_owned(), Some(0.25)));
        assert_eq!((once.decisions.len(), once.outcomes.len(), once.changed), (2, 1, 0));
        drop(log);
        let log = ReportLog::new(dir.path(), i64::MAX, Arc::new(At(8)));
        log.append(&all[..3]).unwrap();
        let again = Reported::read(dir.path(), None).unwrap();
        assert_eq!((again.digest, &again.outcomes), (once.digest.clone(), &once.outcomes));
        // Of decisions the last one counts, of outcomes each moment has its own.
        log.append(&[decided("a", "decline", None), came("a", 9, json!(1.5)), all[3].clone()]).unwrap();
        let later = Reported::read(dir.path(), None).unwrap();
        assert_eq!((later.decisions[&("a".to_owned(), 1)].clone(), later.changed), (("decline".to_owned(), None), 1));
        let late: Vec<&Value> = later.outcomes.values().map(|values| &values["late"]).collect();
        assert_eq!(late, [&json!(true), &json!(1.5), &json!(null)]);
        assert_ne!(later.digest, once.digest);
    }

    #[test]
    fn outcomes_of_several_candidates_at_one_moment_are_told_apart_by_what_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let came = |item: &str, clicked: bool| {
            let values = Map::from_iter([("item".to_owned(), json!(item)), ("clicked".to_owned(), json!(clicked))]);
            Report::outcome(("a", 0), 5, values)
        };
        let log = ReportLog::new(dir.path(), i64::MAX, Arc::new(At(7)));
        log.append(&[came("tea", false), came("cup", true), came("tea", true), came("cup", true)]).unwrap();
        let of = |item: Option<&str>| {
            Reported::read(dir.path(), item).unwrap().outcomes.into_values().map(|values| (values["item"].clone(), values["clicked"].clone()))
        };
        // The last of each; without a name the last of all.
        assert_eq!(of(Some("item")).collect::<Vec<_>>(), [(json!("cup"), json!(true)), (json!("tea"), json!(true))]);
        assert_eq!(of(None).collect::<Vec<_>>(), [(json!("cup"), json!(true))]);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let refused = |report: Report, text: &str| {
            let said = report.check(3).unwrap_err().to_string();
            assert!(said.starts_with("report 3: ") && said.contains(text), "{said}");
        };
        assert!(decided("a", "approve", Some(1.0)).check(0).is_ok() && came("a", 0, json!("x")).check(0).is_ok());
        refused(decided("", "approve", None), "its request_id is missing");
        refused(decided(&"x".repeat(257), "approve", None), "has 257 bytes");
        refused(decided("a", "", None), "its action is missing");
        for wrong in [0.0, -0.5, 1.5, f64::NAN] {
            refused(decided("a", "approve", Some(wrong)), "is no propensity");
        }
        refused(came("a", 0, json!([1])), "`late` is neither");
        refused(came("a", 0, json!("x".repeat(4097))), "4097 bytes");
        let empty = Said::Outcome { time: 0, values: Map::new() };
        refused(Report { request_id: "a".to_owned(), row: 0, said: empty }, "from 1 to 64 values");
        let taken = Said::Outcome { time: 0, values: Map::from_iter([("sample_weight".to_owned(), json!(1))]) };
        refused(Report { request_id: "a".to_owned(), row: 0, said: taken }, "`sample_weight` says something else");
    }
}
