//! The same rows as a spine: what `train` makes of them must be what the server answers, bit by bit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::engine::{Asking, micros, moment};
use crate::project::Project;

/// The column of the moments.
const MOMENT: &str = "request_time";

/// What was compared, and what was left out and why.
#[derive(Debug, Default)]
pub struct Trained {
    compared: RefCell<[usize; 3]>,
    left_out: RefCell<BTreeMap<&'static str, usize>>,
}

impl Trained {
    /// Makes a training set of what was asked, and holds it to the answers, unless it cannot be a spine.
    pub fn compare(&self, project: &Project, asking: &Asking, answers: &[(String, Vec<Value>)], is_logged: bool) {
        match why_not(project, asking, is_logged) {
            Some(why) => *self.left_out.borrow_mut().entry(why).or_default() += 1,
            None => {
                let set = train(project, asking);
                let values = hold(&set, asking, answers);
                let mut compared = self.compared.borrow_mut();
                *compared = [compared[0] + 1, compared[1] + asking.rows.len(), compared[2] + values];
            }
        }
    }

    /// How many sets, rows and values were compared.
    pub fn compared(&self) -> [usize; 3] {
        *self.compared.borrow()
    }

    /// Takes in what another one has compared.
    pub fn add(&self, other: &Trained) {
        let [sets, rows, values] = other.compared();
        let mut compared = self.compared.borrow_mut();
        *compared = [compared[0] + sets, compared[1] + rows, compared[2] + values];
        other.left_out.borrow().iter().for_each(|(why, count)| *self.left_out.borrow_mut().entry(why).or_default() += count);
    }

    /// The counts for people.
    pub fn text(&self) -> String {
        let [sets, rows, values] = self.compared();
        let mut text = format!("{sets} training sets of {rows} rows have the same {values} values");
        for (why, count) in &*self.left_out.borrow() {
            let _ = write!(text, ", {count} left out: {why}");
        }
        text
    }
}

/// Why rows are no spine, where they are none.
fn why_not(project: &Project, asking: &Asking, is_logged: bool) -> Option<&'static str> {
    if is_logged {
        return Some("events come from a log, and history is what `train` reads");
    }
    if asking.rows.is_empty() {
        return Some("nothing is asked");
    }
    if asking.rows.iter().any(|row| row.contains_key(MOMENT)) {
        return Some("a column is called as the moment is");
    }
    let service = format!("CREATE FEATURE SERVICE {} ", asking.service);
    let mut definitions = fs::read_dir(project.dir.join("feature_defs")).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    // `FROM REQUEST (…) AS source r`.
    let is_event = |text: String| {
        let service = text.split(&service).nth(1).unwrap_or_default().split(';').next().unwrap_or_default();
        service.split("FROM REQUEST (").nth(1).and_then(|request| request.split(" r\n").next()).is_some_and(|request| request.contains(") AS "))
    };
    definitions.any(is_event).then_some("a request is an event that is in no history")
}

fn train(project: &Project, asking: &Asking) -> RecordBatch {
    let mut columns: Vec<&String> = asking.rows.iter().flat_map(|row| row.keys()).collect();
    columns.sort();
    columns.dedup();
    let mut lines = String::new();
    for (row, at) in asking.rows.iter().zip(&asking.moments) {
        let mut line = serde_json::Map::from_iter([(MOMENT.to_owned(), json!(moment(*at)))]);
        // A column that no row has is to be there all the same.
        columns.iter().for_each(|column| drop(line.insert((*column).clone(), row.get(*column).cloned().unwrap_or(Value::Null))));
        let _ = writeln!(lines, "{}", Value::Object(line));
    }
    fs::write(project.dir.join("spine.ndjson"), lines).unwrap();
    project.run(&["train", &asking.service, "--spine", "spine.ndjson", "--out", "trained", "--replace", "--allow-own-events"]).fine();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(project.dir.join("trained/part-00000.parquet")).unwrap()).unwrap();
    let schema = reader.schema().clone();
    concat_batches(&schema, &reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

/// How many values are the same: all of them.
fn hold(set: &RecordBatch, asking: &Asking, answers: &[(String, Vec<Value>)]) -> usize {
    assert_eq!(set.num_rows(), asking.rows.len(), "{}", asking.service);
    for (name, values) in answers {
        let column = set.column_by_name(name).unwrap_or_else(|| panic!("no {name} of {}", asking.service));
        for (row, value) in values.iter().enumerate() {
            let asked = (&asking.rows[row], moment(asking.moments[row]));
            assert!(same(column, row, value), "{}.{name} of {asked:?}: served {value}, trained {}", asking.service, shown(column, row));
        }
    }
    answers.iter().map(|(_, values)| values.len()).sum()
}

/// Whether a value is the one of an answer, as bits.
fn same(column: &dyn Array, row: usize, value: &Value) -> bool {
    if column.is_null(row) || value.is_null() {
        return column.is_null(row) && value.is_null();
    }
    let number = || value.as_f64().or_else(|| value.as_str()?.parse().ok());
    match column.data_type() {
        DataType::Float64 => number().map(f64::to_bits) == Some(column.as_primitive::<Float64Type>().value(row).to_bits()),
        // JSON has the shortest text of 32 bits.
        DataType::Float32 => {
            value.to_string().trim_matches('"').parse().map(f32::to_bits) == Ok(column.as_primitive::<Float32Type>().value(row).to_bits())
        }
        DataType::Timestamp(..) => value.as_str().and_then(micros) == Some(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::List(_) => {
            let (items, values) = (column.as_list::<i32>().value(row), value.as_array().unwrap());
            items.len() == values.len() && values.iter().enumerate().all(|(at, value)| same(&items, at, value))
        }
        _ => shown(column, row) == value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}

fn shown(column: &dyn Array, row: usize) -> String {
    ArrayFormatter::try_new(column, &FormatOptions::default().with_null("NULL")).unwrap().value(row).to_string()
}
