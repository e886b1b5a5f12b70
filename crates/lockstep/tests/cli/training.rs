//! `train`: what a training set holds, what is said of it, and what spines are refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::{Place, Said};

/// All rows of a training set, in order.
pub fn rows(dir: &Path) -> RecordBatch {
    let mut files: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "parquet")).collect();
    files.sort();
    let batches: Vec<RecordBatch> = files
        .iter()
        .flat_map(|file| ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap().map(Result::unwrap))
        .collect();
    match batches.first() {
        Some(first) => concat_batches(&first.schema(), &batches).unwrap(),
        None => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&files[0]).unwrap()).unwrap();
            RecordBatch::new_empty(builder.schema().clone())
        }
    }
}

pub fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap();
    column.is_valid(row).then(|| formatter.value(row).to_string())
}

/// Requests at all times and of all cards, known and unknown, some of them twice.
fn spine(moment: &str) -> String {
    let mut lines = String::new();
    for row in 0..240 {
        let (day, hour, minute) = (2 + row * 7 % 11, row * 5 % 24, row * 13 % 60);
        let card = ["c1", "c2", "c3", "c4", "nobody"][row % 5];
        let amount = if row % 9 == 0 { "null".to_owned() } else { format!("{}.5", row % 70) };
        lines += &format!(
            "{{\"label\":{},\"{moment}\":\"2024-03-{day:02}T{hour:02}:{minute:02}:00Z\",\"card\":\"{card}\",\"amount\":{amount},\"country\":\"DE\",\"note\":\"row {row}\"}}\n",
            row % 2
        );
        if row % 50 == 0 {
            let last = lines.lines().last().unwrap().to_owned() + "\n";
            lines += &last;
        }
    }
    lines
}

pub fn fine(said: Said) -> Said {
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);
    said
}

#[test]
fn a_training_set_has_what_get_answers() {
    let place = Place::serving();
    place.write("spine.ndjson", spine("request_time"));
    place.write("requests.ndjson", spine("request_time").replace(",\"note\"", ",\"_note\"").replace("\"label\"", "\"_label\""));
    for name in ["fraud_v1", "card_activity"] {
        for time in ["known", "event"] {
            let out = format!("{name}_{time}");
            let said = fine(place.run(&["train", name, "--spine", "spine.ndjson", "--out", &out, "--time", time, "--statuses", "--json"]));
            let trained: Value = serde_json::from_str(&said.stdout).unwrap();
            let got = fine(place.run(&["get", name, "--from", "requests.ndjson", "--json"]));
            let got: Vec<Value> = serde_json::from_str(&got.stdout).unwrap();
            let set = rows(&place.path(&out));
            assert_eq!((set.num_rows(), got.len()), (245, 245));
            assert_eq!(trained["report"]["rows"], 245);
            let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
            for (row, answer) in got.iter().enumerate() {
                for feature in answer["features"].as_array().unwrap() {
                    let column = feature["name"].as_str().unwrap();
                    assert_eq!(text(&set, column, row).as_deref(), feature["value"].as_str(), "{column} of row {row}");
                    let status = text(&set, &format!("{column}_status"), row).unwrap();
                    assert_eq!(status, feature["status"].as_str().unwrap(), "{column} of row {row}");
                    *statuses.entry(status).or_default() += 1;
                }
            }
            assert!(statuses["PRESENT"] > 500 && statuses["NOT_FOUND"] > 50, "{statuses:?}");
            // What is carried along is there in the order of the spine.
            let notes: Vec<String> = (0..set.num_rows()).map(|row| text(&set, "note", row).unwrap()).collect();
            assert_eq!((notes[0].as_str(), notes[1].as_str(), notes[244].as_str()), ("row 0", "row 0", "row 239"));
            let manifest: Value = serde_json::from_str(&place.read(&format!("{out}/manifest.json"))).unwrap();
            assert_eq!(manifest["digest"], trained["digest"]);
            assert_eq!((&manifest["job"]["time"], &manifest["job"]["name"]), (&Value::from(time), &Value::from(name)));
            assert_eq!(manifest["report"]["features"].as_array().unwrap().len(), trained["report"]["features"].as_array().unwrap().len());
        }
    }
}

#[test]
fn a_training_set_is_the_same_from_any_format_and_any_number_of_threads() {
    let place = Place::project();
    place.write("spine.ndjson", spine("asked_at"));
    let csv: String = std::iter::once("label,asked_at,card,amount,country,note\n".to_owned())
        .chain(spine("asked_at").lines().map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let cell = |name: &str| match &row[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            ["label", "asked_at", "card", "amount", "country", "note"].map(cell).join(",") + "\n"
        }))
        .collect();
    place.write("spine.csv", csv);
    fine(place.run(&["train", "fraud_v1", "--spine", "spine.ndjson", "--out", "one", "--timestamp", "asked_at"]));
    place.write("lockstep.toml", format!("threads = 1\n{}", place.read("lockstep.toml")));
    fine(place.run(&["train", "fraud_v1", "--spine", "spine.csv", "--out", "two"]));
    let refused = place.run(&["train", "fraud_v1", "--spine", "one/part-00000.parquet", "--out", "three", "--timestamp", "asked_at"]);
    assert!(refused.status == 2 && refused.stderr.contains("a feature of that name"), "{}", refused.stderr);
    let (one, two) = (rows(&place.path("one")), rows(&place.path("two")));
    assert_eq!(one.num_rows(), two.num_rows());
    for column in ["payments_1h", "spent_1h", "avg_amount_7d", "amount_against_usual", "merchants_7d", "other_country", "amount", "card"] {
        assert_eq!(one.column_by_name(column).unwrap(), two.column_by_name(column).unwrap(), "{column}");
    }
    // As a stream, the same rows.
    let said = place.run_bytes(&["train", "fraud_v1", "--spine", "spine.csv", "--out", "-"]);
    let reader = StreamReader::try_new(said.as_slice(), None).unwrap();
    let schema = reader.schema();
    let streamed = concat_batches(&schema, &reader.map(Result::unwrap).collect::<Vec<_>>()).unwrap();
    assert_eq!(streamed.columns(), two.columns());
}

#[test]
fn rows_that_learn_from_their_own_event_are_refused() {
    let mut place = Place::project();
    let history = place.read("data/payments.csv");
    let lines: Vec<&str> = history.lines().collect();
    let spine: String = std::iter::once("payment_id,card,country,amount,request_time\n".to_owned())
        .chain(lines[1..].iter().map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            format!("{},{},{},{},{}\n", cells[0], cells[1], cells[3], cells[4], cells[5])
        }))
        .collect();
    place.write("spine.csv", &spine);
    place.write("no_key.csv", spine.replacen("payment_id", "number", 1));
    place.note("each row is a payment, asked at the moment of the payment");
    place.say("train fraud_v1 --spine spine.csv --out set");
    place.note("told by the moment where the spine has no primary key");
    place.say("train fraud_v1 --spine no_key.csv --out set");
    place.note("a minute before, none of them counts");
    let said = fine(place.run(&["train", "fraud_v1", "--spine", "spine.csv", "--before", "1 minute", "--out", "before", "--json"]));
    assert!(said.stdout.contains("\"own_events\": 0"), "{}", said.stdout);
    let said = fine(place.run(&["train", "fraud_v1", "--spine", "spine.csv", "--allow-own-events", "--out", "allowed", "--json"]));
    let allowed: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(allowed["report"]["own_events"].as_u64().unwrap() > 40, "{}", said.stdout);
    assert_eq!(allowed["report"]["own_event_key"], serde_json::json!(["payment_id"]));
    place.check("training_own_events");
}

#[test]
fn what_is_wrong_with_a_spine_is_said() {
    let mut place = Place::project();
    let row = "card,country,amount,request_time\nc1,DE,5,2024-03-08T12:00:00Z\n";
    let cases: &[(&str, &str)] = &[
        ("missing.csv", "country,amount,request_time\nDE,5,2024-03-08T12:00:00Z\n"),
        ("typo.csv", "crad,country,amount,request_time\nc1,DE,5,2024-03-08T12:00:00Z\n"),
        ("twice.csv", "card,card,country,amount,request_time\nc1,c1,DE,5,2024-03-08T12:00:00Z\n"),
        ("wrong_type.csv", "card,country,amount,request_time\nc1,DE,5,2024-03-08T12:00:00Z\nc1,DE,much,2024-03-08T12:00:00Z\n"),
        ("no_moment.csv", "card,country,amount,request_time\nc1,DE,5,2024-03-08T12:00:00Z\nc1,DE,5,\n"),
        ("no_timestamp.csv", "card,country,amount,day\nc1,DE,5,8\n"),
        ("two_timestamps.csv", "card,country,amount,seen,done\nc1,DE,5,2024-03-08T12:00:00Z,2024-03-08T13:00:00Z\n"),
        ("feature.csv", "card,country,amount,payments_1h,request_time\nc1,DE,5,1,2024-03-08T12:00:00Z\n"),
        ("unknown.txt", row),
    ];
    for (name, text) in cases {
        place.write(name, text);
        place.say(&format!("train fraud_v1 --spine {name} --out set"));
    }
    place.write("spine.csv", row);
    place.say("train fraud_v1 --spine nowhere.parquet --out set");
    place.say("train fraud_v9 --spine spine.csv --out set");
    place.say("train fraud_v1 --spine spine.csv --timestamp asked --out set");
    place.write("occupied/file", "mine");
    place.say("train fraud_v1 --spine spine.csv --out occupied");
    place.say("train fraud_v1 --spine spine.csv --out occupied --replace");
    assert_eq!(place.read("occupied/file"), "mine");
    place.note("odd, and told before the history is read");
    place.write(
        "odd.csv",
        "card,country,amount,request_time\nc1,DE,5,2099-03-08T12:00:00Z\n,DE,5,1970-01-20T17:00:00Z\nc1,DE,5,2024-03-08 12:00:00\n",
    );
    let said = fine(place.run(&["train", "fraud_v1", "--spine", "odd.csv", "--out", "odd"]));
    for warning in ["more than a day ahead", "within a year of 1970", "a NULL in what"] {
        assert!(said.stderr.contains(warning) && said.stdout.contains(warning), "{warning}: {}{}", said.stdout, said.stderr);
    }
    place.note("no row at all");
    place.write("empty.csv", "card,country,amount,request_time\n");
    let said = place.run(&["train", "fraud_v1", "--spine", "empty.csv", "--timestamp", "request_time", "--out", "empty"]);
    assert_eq!(fine(said).stderr, "");
    let empty = rows(&place.path("empty"));
    assert_eq!((empty.num_rows(), empty.num_columns()), (0, 10));
    place.check("training_bad_spines");
}

#[test]
fn an_unfinished_training_set_is_gone_on_with_and_a_finished_one_is_replaced_whole() {
    let place = Place::project();
    place.write("spine.ndjson", spine("request_time"));
    let args = ["train", "fraud_v1", "--spine", "spine.ndjson", "--out", "set"];
    fine(place.run(&args));
    let whole: Value = serde_json::from_str(&place.read("set/manifest.json")).unwrap();
    let refused = place.run(&args);
    assert!(refused.status == 2 && refused.stderr.contains("--replace"), "{}", refused.stderr);
    // A part that is whole is taken for what it is by the same job only.
    fine(place.run(&[&args[..], &["--replace"]].concat()));
    let again: Value = serde_json::from_str(&place.read("set/manifest.json")).unwrap();
    assert_eq!(whole["digest"], again["digest"]);
    assert!(!place.path("set.partial").exists() && !place.path("set.replaced").exists());
    // What another job left is not: only its own parts count.
    fs::create_dir_all(place.path("set.partial")).unwrap();
    place.write("set.partial/job.json", "{}");
    place.write("set.partial/part-00000.parquet", "torn");
    place.write("set.partial/part-00000.json", "{}");
    fine(place.run(&[&args[..], &["--replace"]].concat()));
    let third: Value = serde_json::from_str(&place.read("set/manifest.json")).unwrap();
    assert_eq!(whole["digest"], third["digest"]);
    let names: Vec<String> = rows(&place.path("set")).schema().fields().iter().map(|field| field.name().clone()).collect();
    assert!(names.contains(&"label".to_owned()) && names.contains(&"payments_1h".to_owned()), "{names:?}");
    assert_eq!(rows(&place.path("set")).column_by_name("label").unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(2), 1);
}

/// The delay of flights from an airport in the six hours before, as it happened and as it was known.
const FLIGHTS: &str = "
CREATE ENTITY airport (airport VARCHAR);
CREATE SOURCE arrivals (flight_id BIGINT, origin VARCHAR, arr_delay DOUBLE, departed_at TIMESTAMP, arrived_at TIMESTAMP, PRIMARY KEY (flight_id))
WITH (event_time = 'departed_at', available_at = 'arrived_at', allowed_lateness = '24 hours', batch = 'ARRIVALS');
CREATE FEATURE VIEW arrivals_6h ENTITY airport AS
SELECT origin AS airport, avg(arr_delay) OVER h6 AS avg_delay_6h
FROM arrivals
WINDOW h6 AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '6 hours' PRECEDING AND INTERVAL '1 microsecond' PRECEDING);
CREATE FEATURE SERVICE late_v1 AS
SELECT a.avg_delay_6h AS avg_delay_6h FROM REQUEST (origin VARCHAR) r LEFT JOIN arrivals_6h a ON a.airport = r.origin;
";

/// The same SQL by the wrong clock has twice the apparent signal: flights that left within the six hours before, among them such as nobody knew to be late yet.
#[test]
fn the_report_shows_what_event_time_would_have_leaked() {
    let data = crate::support::repository().join("examples/flights/data");
    let data = data.canonicalize().unwrap();
    let place = Place::empty();
    place.write("feature_defs/late.sql", FLIGHTS.replace("ARRIVALS", &data.join("arrivals.parquet").display().to_string()));
    place.write("lockstep.toml", "");
    let labels = data.join("labels.parquet");
    let spine = format!(
        "SELECT l.flight_id, l.origin, l.scheduled_at AS request_time, a.arr_delay AS label FROM \"{}\" l JOIN arrivals a ON a.flight_id = l.flight_id \
         WHERE l.scheduled_at >= TIMESTAMP '2013-01-01 05:00:00' AND l.scheduled_at < TIMESTAMP '2013-02-01 05:00:00' ORDER BY l.flight_id",
        labels.display()
    );
    let mut correlations = Vec::new();
    for time in ["event", "known"] {
        let said = fine(place.run(&["train", "late_v1", "--spine-sql", &spine, "--out", time, "--time", time, "--allow-own-events", "--json"]));
        let trained: Value = serde_json::from_str(&said.stdout).unwrap();
        // Flights that left early are among those that left before their scheduled departure; none has arrived by then.
        assert_eq!(trained["report"]["own_events"].as_u64().unwrap() > 5000, time == "event", "{}", trained["report"]["own_events"]);
        let feature = &trained["report"]["features"][0];
        let (compared, differing) = (trained["report"]["compared"].as_u64().unwrap(), feature["differing"].as_u64().unwrap());
        // Nearly every value is another one.
        assert!(compared > 13_000 && differing * 100 > compared * 99, "{compared} {differing}");
        let said = fine(place.run(&[
            "sql",
            &format!("SELECT corr(avg_delay_6h, label) AS r, count(*) AS n FROM \"{time}/\" WHERE avg_delay_6h IS NOT NULL"),
            "--json",
        ]));
        let rows: Value = serde_json::from_str(&said.stdout).unwrap();
        correlations.push((rows[0]["r"].as_f64().unwrap(), rows[0]["n"].as_u64().unwrap()));
    }
    println!("{correlations:?}");
    let rounded = |(r, _): (f64, u64)| (r * 1000.0).round() / 1000.0;
    assert_eq!((rounded(correlations[0]), rounded(correlations[1])), (0.323, 0.148), "{correlations:?}");
    assert_eq!(correlations[0].1, 26_382, "{correlations:?}");
    // And a comparison says what it comes from.
    let said = place.run(&["diff", "event", "known"]);
    assert!(said.status == 1 && said.stdout.contains("events are counted in event time, and in known time"), "{}{}", said.stdout, said.stderr);
}

#[test]
fn every_entity_at_every_hour_is_what_get_answers_there() {
    let place = Place::serving();
    let range = ["--every", "5 hours", "--from", "2024-03-03T00:00:00Z", "--to", "2024-03-09"];
    fine(place.run(&[&["train", "card_activity", "--out", "set"][..], &range].concat()));
    let set = rows(&place.path("set"));
    let cards = (0..set.num_rows()).filter(|&row| text(&set, "request_time", row) == text(&set, "request_time", 0)).count();
    assert_eq!((set.num_rows(), cards > 3), (29 * cards, true));
    let mut requests = String::new();
    for row in 0..set.num_rows() {
        let (card, at) = (text(&set, "card", row).unwrap(), text(&set, "request_time", row).unwrap());
        requests += &format!("{{\"card\":\"{card}\",\"request_time\":\"{at}Z\"}}\n");
    }
    place.write("requests.ndjson", requests);
    let got = fine(place.run(&["get", "card_activity", "--from", "requests.ndjson", "--json"]));
    let got: Vec<Value> = serde_json::from_str(&got.stdout).unwrap();
    for (row, answer) in got.iter().enumerate() {
        for feature in answer["features"].as_array().unwrap() {
            let column = feature["name"].as_str().unwrap();
            assert_eq!(text(&set, column, row).as_deref(), feature["value"].as_str(), "{column} of row {row}");
        }
    }
    // A request of more than a key has no entities of its own.
    let refused = place.run(&[&["train", "fraud_v1", "--out", "other"][..], &range].concat());
    assert!(refused.status == 2 && refused.stderr.contains("the key of none of its views"), "{}", refused.stderr);
}

#[test]
fn histories_that_do_not_fit_into_memory_give_the_same_bytes() {
    let place = Place::project();
    place.write("spine.ndjson", spine("request_time"));
    let mut digests = Vec::new();
    for (name, memory) in [("large", "8GiB"), ("small", "4KiB")] {
        place.write("lockstep.toml", format!("[memory]\ntrain = \"{memory}\"\n"));
        let said = fine(place.run(&["train", "fraud_v1", "--spine", "spine.ndjson", "--out", name, "--json"]));
        digests.push(serde_json::from_str::<Value>(&said.stdout).unwrap()["digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
}
