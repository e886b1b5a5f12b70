//! Which outcome a row has, and what it weighs.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use lockstep_ingest::source::zone::Zone;
use lockstep_model::key::Keys;
use lockstep_model::{EventTime, Fingerprint, TimeMode};
use xxhash_rust::xxh3::xxh3_128;

use super::log::Row;
use super::*;
use crate::train::columns_in;

fn key(columns: &[ArrayRef]) -> u128 {
    xxh3_128(Keys::encode(columns).unwrap().get(0))
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

/// A row of a request, at a second of 1970.
fn row(request_id: &str, number: u64, card: &str, second: i64) -> Row {
    let draw = xxh3_128(format!("{request_id} {number}").as_bytes()) as u64;
    let (decision, entity) = (Some(xxh3_128(request_id.as_bytes())), Some(xxh3_128(card.as_bytes())));
    let moment = second * 1_000_000;
    Row {
        group: 0,
        number,
        moment,
        served_at: moment,
        key: Some(key(&[text(request_id)])),
        decision,
        entity,
        draw,
        propensity: None,
        report: None,
        served: None,
        share: None,
    }
}

/// The same, found by its card.
fn by_card(request_id: &str, card: &str, second: i64) -> Row {
    Row { key: Some(key(&[text(card)])), ..row(request_id, 0, card, second) }
}

fn group() -> Group {
    let request = Arc::new(Schema::new(vec![Field::new("card", DataType::Utf8, true)]));
    let (meaning, definitions) = (Some(Fingerprint([1; 32])), BTreeSet::from([1]));
    Group { meaning, time: TimeMode::Known, definitions, rows: 0, views: Vec::new(), request, outputs: Fields::empty(), ranked: false }
}

/// Outcomes in a file, read as `train` reads them.
fn outcomes(csv: &str, on: &[&str], within: i64) -> (Outcomes, By) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outcomes.csv");
    fs::write(&path, csv).unwrap();
    let from = path.display().to_string();
    let on: Vec<String> = on.iter().map(|name| (*name).to_owned()).collect();
    let by = By::of(&on, Some(within * 1_000_000), None, &columns_in(&from, OUTCOMES).unwrap()).unwrap();
    (Outcomes::read(&[from], None, Zone::Utc, &by, &group()).unwrap(), by)
}

fn found(joined: &Joined, outcomes: &Outcomes) -> Vec<Option<String>> {
    let labels = outcomes.carried.column_by_name("label").unwrap();
    let labels = arrow::compute::cast(labels, &DataType::Utf8).unwrap();
    let labels = labels.as_any().downcast_ref::<StringArray>().unwrap().clone();
    joined.outcomes.iter().map(|outcome| outcome.map(|outcome| labels.value(outcome as usize).to_owned())).collect()
}

fn some(labels: &[Option<&str>]) -> Vec<Option<String>> {
    labels.iter().map(|label| label.map(str::to_owned)).collect()
}

const BY_REQUEST: &str = "request_id,label,outcome_time
a,early,1970-01-01T00:00:01Z
a,first,1970-01-01T00:01:00Z
a,corrected,1970-01-01T00:02:00Z
again,both,1970-01-01T00:01:00Z
b,late,1970-01-01T01:00:00Z
nobody,lost,1970-01-01T00:01:00Z
";

#[test]
fn an_outcome_is_found_by_its_request() {
    let rows = [row("a", 0, "c1", 10), row("b", 0, "c1", 10), row("again", 0, "c2", 10), row("again", 0, "c2", 11), row("c", 0, "c3", 10)];
    let (outcomes, by) = outcomes(BY_REQUEST, &[], 0);
    assert_eq!(by, By::Request);
    let all = join(&rows, &outcomes, &by, None).unwrap();
    assert_eq!(found(&all, &outcomes), some(&[Some("corrected"), Some("late"), Some("both"), Some("both"), None]));
    assert_eq!(all.several, [true, false, false, false, false]);
    let report = all.report(&[true; 5]);
    assert_eq!(report, OutcomesReport { read: 6, used: 3, superseded: 1, before_request: 1, no_row: 1, ..OutcomesReport::default() });
    // As it was known after a minute, and of rows of which some are left out.
    let then = join(&rows, &outcomes, &by, Some(EventTime(60_000_000))).unwrap();
    assert_eq!(found(&then, &outcomes), some(&[Some("first"), None, Some("both"), Some("both"), None]));
    let report = then.report(&[false, true, true, false, true]);
    assert_eq!(report, OutcomesReport { read: 6, used: 1, left_out: 1, before_request: 1, later: 2, no_row: 1, ..OutcomesReport::default() });
}

#[test]
fn an_outcome_of_a_request_of_several_rows_says_of_which_it_is() {
    let rows = [row("a", 0, "c1", 10), row("a", 1, "c2", 10)];
    let (without, by) = outcomes("request_id,label,outcome_time\na,x,1970-01-01T00:01:00Z\n", &[], 0);
    let said = join(&rows, &without, &by, None).unwrap_err().to_string();
    assert!(said.contains("request_id=a has 2 rows in the log") && said.contains("request_row"), "{said}");
    let numbered = rows.map(|row| {
        let number: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![row.number as i64]));
        Row { key: Some(key(&[text("a"), number])), ..row }
    });
    let csv = "request_id,request_row,label,outcome_time\na,1,one,1970-01-01T00:01:00Z\na,2,none,1970-01-01T00:01:00Z\n";
    let (with, by) = outcomes(csv, &[], 0);
    assert_eq!(by, By::RequestRow);
    let joined = join(&numbered, &with, &by, None).unwrap();
    assert_eq!(found(&joined, &with), some(&[None, Some("one")]));
    assert_eq!(joined.report(&[true; 2]).no_row, 1);
}

#[test]
fn by_columns_an_outcome_is_of_the_newest_row_before_it() {
    let rows =
        [by_card("b", "c1", 20), by_card("a", "c1", 10), by_card("c", "c1", 20), by_card("d", "c2", 50), Row { key: None, ..by_card("e", "c1", 20) }];
    let csv = "card,label,outcome_time
c1,of a,1970-01-01T00:00:19Z
c1,of the last at its moment,1970-01-01T00:00:20Z
c1,too long after,1970-01-01T00:01:21Z
c2,before,1970-01-01T00:00:49Z
c9,of nobody,1970-01-01T00:00:49Z
";
    let (outcomes, by) = outcomes(csv, &["card"], 60);
    let joined = join(&rows, &outcomes, &by, None).unwrap();
    assert_eq!(found(&joined, &outcomes), some(&[None, Some("of a"), Some("of the last at its moment"), None, None]));
    let report = joined.report(&[true; 5]);
    assert_eq!(report, OutcomesReport { read: 5, used: 2, beyond: 1, before_request: 1, no_row: 1, ..OutcomesReport::default() });
}

#[test]
fn what_outcomes_lack_is_said() {
    let schema = Schema::new(vec![Field::new("requestid", DataType::Utf8, true), Field::new("card", DataType::Utf8, true)]);
    let said = By::of(&[], None, None, &schema).unwrap_err().to_string();
    assert!(said.contains("no column `request_id` · did you mean `requestid`") && said.contains("--on"), "{said}");
    let said = By::of(&["crad".to_owned()], Some(1), None, &schema).unwrap_err().to_string();
    assert!(said.contains("no column `crad` · did you mean `card`"), "{said}");
}

fn scan(rows: Vec<Row>) -> Scan {
    Scan { rows, groups: vec![group()], ..Scan::default() }
}

#[test]
fn caps_take_the_same_rows_in_every_run_and_weights_undo_them() {
    let of_request = |request: usize| (0..10).map(move |number| row(&format!("r{request}"), number, &format!("c{}", request % 3), 10));
    let rows: Vec<Row> = (0..30).flat_map(of_request).collect();
    let caps = Caps { per_decision: Some(4), per_entity: Some(15) };
    let none = vec![None; rows.len()];
    let weighed = weigh(&scan(rows.clone()), 0, caps, &none, None).unwrap();
    assert_eq!((weighed.capped_per_decision, weighed.capped_per_entity), (30 * 6, 3 * 25));
    assert_eq!(weighed.stays.iter().filter(|stays| **stays).count(), 45);
    let weights: Vec<f64> = (0..rows.len()).filter(|&row| weighed.stays[row]).map(|row| weighed.weights[row].unwrap()).collect();
    // Four of ten, and then fifteen of forty.
    assert!(weights.iter().all(|weight| (weight - 2.5 * 40.0 / 15.0).abs() < 1e-12), "{weights:?}");
    assert!((weights.iter().sum::<f64>() - 300.0).abs() < 1e-9);
    // Which stay does not depend on what else is there, nor on the order.
    let mut turned = rows.clone();
    turned.reverse();
    let mut again = weigh(&scan(turned), 0, caps, &none, None).unwrap();
    again.stays.reverse();
    assert_eq!(again.stays, weighed.stays);
    // Rows whose request has no id are requests of their own.
    let nameless: Vec<Row> = rows.iter().map(|row| Row { decision: None, ..*row }).collect();
    let weighed = weigh(&scan(nameless), 0, Caps { per_decision: Some(1), per_entity: None }, &none, None).unwrap();
    assert_eq!((weighed.capped_per_decision, weighed.weights[7]), (0, Some(1.0)));
}

#[test]
fn weights_are_one_over_propensities_that_are_probabilities() {
    let asked = |propensity| Row { propensity, ..row("a", 0, "c1", 10) };
    let of = |weight_max| Propensity { column: "chance", of_outcomes: None, of_decisions: None, weight_max };
    let weigh_one = |propensity, max| weigh(&scan(vec![asked(propensity)]), 0, Caps::default(), &[None], Some(&of(max)));
    assert_eq!(weigh_one(Some(0.25), 20.0).unwrap().weights, [Some(4.0)]);
    let bounded = weigh_one(Some(1e-9), 20.0).unwrap();
    assert_eq!((bounded.weights, bounded.bounded), (vec![Some(20.0)], 1));
    for wrong in [Some(0.0), Some(-0.5), Some(f64::NAN), Some(1.5), Some(f64::INFINITY), None] {
        let said = weigh_one(wrong, 20.0).unwrap_err().to_string();
        assert!(said.contains("row 1 of the log is no probability") && said.contains("`chance` is"), "{said}");
    }
    // Where an outcome says it, a row without one has no weight.
    let chances = arrow::array::Float64Array::from(vec![0.5]);
    let of_outcomes = Propensity { column: "chance", of_outcomes: Some(chances), of_decisions: None, weight_max: 20.0 };
    let weighed = weigh(&scan(vec![asked(None), asked(None)]), 0, Caps::default(), &[Some(0), None], Some(&of_outcomes)).unwrap();
    assert_eq!(weighed.weights, [Some(2.0), None]);
}

#[test]
fn rows_of_another_meaning_are_refused_unless_somebody_says_which_count() {
    let other = Group { meaning: Some(Fingerprint([2; 32])), definitions: BTreeSet::from([2, 3]), rows: 5, ..group() };
    let both = Scan { groups: vec![Group { rows: 7, ..group() }, other], ..Scan::default() };
    let said = both.choose("fraud_v1", None).unwrap_err().to_string();
    assert!(said.contains("definitions 1 (7 rows), 2 to 3 (5 rows)") && said.contains("--set 3"), "{said}");
    assert_eq!((both.choose("fraud_v1", Some(1)).unwrap(), both.choose("fraud_v1", Some(2)).unwrap()), (0, 1));
    assert!(both.choose("fraud_v1", Some(9)).unwrap_err().to_string().contains("by definitions 9"));
    assert_eq!(scan(Vec::new()).choose("fraud_v1", None).unwrap(), 0);
}

#[test]
fn columns_of_one_name_are_refused() {
    let (mine, _) = outcomes("request_id,label,sample_weight,outcome_time\na,x,1,1970-01-01T00:01:00Z\n", &[], 0);
    assert!(Rows::new(&group(), &mine, None, false).unwrap_err().to_string().contains("two columns `sample_weight`"));
    let (fine, _) = outcomes("request_id,label,outcome_time\na,x,1970-01-01T00:01:00Z\n", &[], 0);
    let names: Vec<String> = Rows::new(&group(), &fine, None, true).unwrap().schema.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names,
        ["request_id", "request_row", "request_time", "card", "label", "outcome_time", "outcome_status", "sample_weight", "last_known_good"]
    );
    let none = RecordBatch::new_empty(fine.carried.schema());
    assert_eq!(none.num_columns(), 2);
}

#[test]
fn rows_wait_until_they_are_a_part() {
    let (none, _) = outcomes("request_id,label,outcome_time\na,x,1970-01-01T00:01:00Z\n", &[], 0);
    let mut waiting = Rows::new(&group(), &none, None, true).unwrap().waiting();
    // No row at all is a part without rows, which still has its columns.
    let empty = waiting.rest().unwrap();
    assert_eq!((empty.num_rows(), empty.num_columns()), (0, 9));
    let schema = empty.schema();
    let columns = |rows: i64| {
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..rows));
        let column = |field: &Arc<Field>| match field.name().as_str() {
            REQUEST_ROW => Arc::clone(&numbers),
            _ => arrow::array::new_null_array(field.data_type(), rows as usize),
        };
        RecordBatch::try_new(Arc::clone(&schema), schema.fields().iter().map(column).collect()).unwrap()
    };
    let mut sizes = Vec::new();
    for rows in [3, 0, 9, 2] {
        waiting.push(columns(rows));
        while let Some(part) = waiting.take(4).unwrap() {
            sizes.push(part.num_rows());
        }
    }
    assert_eq!((sizes, waiting.rest().unwrap().num_rows()), (vec![4, 4, 4], 2));
}
