//! What was pushed is applied, shown and verified like any log.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use lockstep_ingest::push::{PushLog, PushOptions};
use lockstep_model::EventTime;
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::{Definitions, SourceFile};

use crate::support::Place;

const PUSHED: &str = r#"{"payment_id":70,"card":"c1","amount":5,"paid_at":"2024-03-08T12:00:00"}
{"payment_id":71,"card":"c1","amount":7.25,"paid_at":"2024-03-08T12:01:00"}
{"payment_id":null,"card":"c1","amount":5,"paid_at":"2024-03-08T12:00:00"}
{"payment_id":70,"card":"c1","amount":6,"paid_at":"2024-03-08T12:00:00"}
{"payment_id":72,"card":"c2","amount":1,"paid_at":"2024-03-08T12:02:00"}
"#;
const LATE: &str = r#"{"payment_id":73,"card":"c1","amount":1,"paid_at":"2024-03-08T13:00:00"}
{"payment_id":74,"card":"c1","amount":1,"paid_at":"2024-03-08T14:30:00"}
"#;

fn source(definitions: &Path) -> Arc<SourcePlan> {
    let files: Vec<SourceFile> = std::fs::read_dir(definitions)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "sql"))
        .map(|path| SourceFile::new(path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    let catalog = Catalog::compile(Definitions::parse(&files).unwrap()).unwrap();
    Arc::clone(&catalog.sources["payments"])
}

fn rows(source: &SourcePlan, text: &str) -> RecordBatch {
    let reader = arrow::json::ReaderBuilder::new(Arc::clone(&source.schema)).build(text.as_bytes()).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&source.schema, &batches).unwrap()
}

#[test]
fn what_was_pushed_is_applied_shown_and_verified() {
    let mut place = Place::serving();
    let source = source(&place.path("feature_defs"));
    let dir = place.path(".lockstep/store/push");
    let open = || PushLog::open(&dir, PushOptions::default()).unwrap();
    {
        let log = open();
        log.append(&source, rows(&source, PUSHED)).unwrap();
        log.heartbeat(&source, EventTime::parse("2024-03-08T15:00:00Z").unwrap()).unwrap();
        log.append(&source, rows(&source, LATE)).unwrap();
    }
    place.say("ingest --until-end");
    place.say("dead-letters list");
    place.say("refusals list");
    place.say("get card_activity card=c1 --as-of 2024-03-08T15:00:00Z");
    place.say("ingest --until-end");
    place.check("pushes");
    let fine = |args: &[&str]| {
        let said = place.run(args);
        assert_eq!(said.status, 0, "{args:?}: {}{}", said.stdout, said.stderr);
        said.stdout
    };
    let status = fine(&["status"]);
    assert!(status.contains("log push") && status.contains("8  rows so far, newest 2024-03-08T15:00:00Z"), "{status}");
    let verified: serde_json::Value = serde_json::from_str(&fine(&["verify", "--values", "2000", "--json"])).unwrap();
    assert_eq!((verified["differ"].as_u64(), verified["faults"].as_u64()), (Some(0), Some(0)), "{verified:#}");
    let tested: serde_json::Value = serde_json::from_str(&fine(&["verify", "--self-test", "--json"])).unwrap();
    assert!(tested["damages"].as_array().unwrap().iter().all(|damage| damage["noticed"] != false), "{tested:#}");
    // Another log in its place.
    std::fs::remove_dir_all(place.path(".lockstep/store/push/payments")).unwrap();
    open().append(&source, rows(&source, LATE)).unwrap();
    let said = place.run(&["ingest", "--until-end"]);
    assert_eq!(said.status, 2, "{}", said.stdout);
    assert!(
        said.stderr.contains("the push log of source `payments` was read to row 8 and ends at 2: it has lost rows · restore it, or go on with"),
        "{}",
        said.stderr
    );
    fine(&["ingest", "--until-end", "--source", "payments", "--accept-gap"]);
    let said = place.run(&["verify"]);
    assert!(said.stderr.contains("was gone on with at row 0"), "{}", said.stderr);
}
