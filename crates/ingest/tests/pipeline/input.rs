//! Input that is damaged, drifts or changes: an error that says so or a counted dead letter, nothing visible of it, no row lost.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use fastrand::Rng;
use lockstep_ingest::pipeline::{Progress, Target};
use lockstep_model::{ErrorKind, Fingerprint};
use lockstep_store::{Counters, CutRead, NewGeneration, OnlineStore, Store};
use lockstep_testkit::effort;
use lockstep_transform::tiles::Shape;
use parquet::arrow::ArrowWriter;

use crate::support::{Project, Way};

const MEMORY: [usize; 2] = [usize::MAX, 0];

fn sql(batch: &str) -> String {
    format!(
        "CREATE ENTITY shop (shop VARCHAR);
         CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP)
           WITH (event_time = 'at', allowed_lateness = 'unbounded', history = 'all', batch = '{batch}');
         CREATE SOURCE returns (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP)
           WITH (event_time = 'at', allowed_lateness = 'unbounded', history = 'all', batch = '{batch}');
         CREATE FEATURE VIEW takings ENTITY shop AS
         SELECT shop, count(*) OVER w AS n, sum(amount) OVER w AS total FROM sales
         WINDOW w AS (PARTITION BY shop ORDER BY at RANGE UNBOUNDED PRECEDING);"
    )
}

/// Sales of these ids as a Parquet file.
fn parquet(ids: std::ops::Range<i64>, amounts: ArrayRef) -> Vec<u8> {
    let shops = StringArray::from_iter_values(ids.clone().map(|id| ["a", "b"][id as usize % 2]));
    let times = TimestampMicrosecondArray::from_iter_values(ids.clone().map(|id| 1_704_067_200_000_000 + id * 60_000_000));
    let columns: [(&str, ArrayRef); 4] =
        [("id", Arc::new(Int64Array::from_iter_values(ids))), ("shop", Arc::new(shops)), ("amount", amounts), ("at", Arc::new(times))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn sales(ids: std::ops::Range<i64>) -> Vec<u8> {
    parquet(ids.clone(), Arc::new(Float64Array::from_iter_values(ids.map(|id| id as f64 / 4.0))))
}

fn of_sales(store: &Store, target: &Target) -> Counters {
    OnlineStore::cut(store).counters(target.generation.generation).unwrap().get("sales").copied().unwrap_or_default()
}

/// Backfills over a second file that is not right; it must be told, nothing be visible, and all be well once the file is.
fn assert_mended(second: &[u8], said: &[&str]) {
    let project = Project::of(&sql("sales/*.parquet"), &[("sales/1.parquet", &sales(0..20)), ("sales/2.parquet", second)]);
    let opened = MEMORY.map(|memory| (memory, project.unpublished()));
    for (memory, (store, target)) in &opened {
        for _ in 0..2 {
            let error = project.backfill(store, target, *memory, false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{error}");
            said.iter().for_each(|part| assert!(error.to_string().contains(part), "`{part}` is missing in: {error}"));
            assert!(!store.cut().generation(target.generation.generation).unwrap().published());
        }
    }
    project.write("sales/2.parquet", sales(20..45));
    let answers = opened.map(|(memory, (store, target))| {
        project.backfill(&store, &target, memory, false).unwrap();
        assert_eq!(of_sales(&store, &target), Counters { applied: 45, ..Counters::default() });
        project.answers(&store, &target)
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_truncated_file_of_a_pattern_is_told_and_can_be_mended() {
    let whole = sales(20..45);
    let mut random = Rng::with_seed(7);
    for _ in 0..6 * effort() {
        assert_mended(&whole[..random.usize(..whole.len())], &["`", "2.parquet`", "write it again"]);
    }
}

#[test]
fn a_file_of_a_pattern_whose_schema_drifts_is_told_and_can_be_mended() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((20..45).map(|id| id.to_string())));
    assert_mended(&parquet(20..45, texts), &["2.parquet`: column `amount` is VARCHAR", "declares DOUBLE"]);
}

#[test]
fn a_file_that_is_rewritten_while_its_backfill_is_stopped_is_told() {
    let line = |id: i64, amount: i64| format!("{{\"id\":{id},\"shop\":\"a\",\"amount\":{amount},\"at\":\"2024-01-01T00:00:00Z\"}}\n");
    let text = |amount: i64| (0..20).map(|id| line(id, amount)).collect::<String>();
    let project = Project::of(&sql("sales.ndjson"), &[("sales.ndjson", text(1).as_bytes())]);
    let (store, target) = project.unpublished();
    let mut chunks = 0;
    let second = |_: &Progress| {
        chunks += 1;
        chunks == 2
    };
    // The first chunk is beyond the memory, the second is the first again and committed.
    assert!(project.stop_at(&store, &target, 0, second).stopped);
    project.write("sales.ndjson", text(2));
    let error = project.backfill(&store, &target, 0, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    let said = error.to_string();
    assert!(said.contains("sales.ndjson` has changed since source `sales` was read to row 3"), "{said}");
    project.write("sales.ndjson", text(1));
    project.backfill(&store, &target, 0, false).unwrap();
    assert_eq!(of_sales(&store, &target).applied, 20);
}

#[test]
fn a_bulk_load_that_was_begun_is_gone_on_with_whatever_the_memory() {
    let project = Project::of(&sql("sales/*.parquet"), &[("sales/1.parquet", &sales(0..200))]);
    let expected = project.run(Way::Bulk, Shape::default());
    let (store, target) = project.unpublished();
    assert!(project.stop_at(&store, &target, usize::MAX, |progress| progress.stage.starts_with("loading")).stopped);
    project.backfill(&store, &target, 0, false).unwrap();
    assert_eq!(project.answers(&store, &target), expected.answers);
    assert_eq!(of_sales(&store, &target), expected.counters);
}

#[test]
fn a_generation_of_another_definition_is_refused() {
    let project = Project::of(&sql("none.csv"), &[]);
    let (store, target) = project.unpublished();
    let new = NewGeneration { view: "takings".to_owned(), version: 2, meaning: Fingerprint([7; 32]), state: target.view.state };
    let error = Target::new(project.catalog(), &target.view, store.create_generation(new).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("was made with another definition"), "{error}");
}

#[test]
fn a_file_may_hold_rows_of_several_sources() {
    let row =
        |source: &str, id: i64| format!("{{\"_source\":\"{source}\",\"id\":{id},\"shop\":\"a\",\"amount\":1,\"at\":\"2024-01-01T00:00:00Z\"}}\n");
    let text = row("sales", 1) + &row("returns", 1) + &row("nosuch", 1) + &row("sales", 2);
    let project = Project::of(&sql("log.ndjson"), &[("log.ndjson", text.as_bytes())]);
    for way in [Way::Bulk, Way::Incremental] {
        let outcome = project.run(way, Shape::default());
        assert_eq!(outcome.counters, Counters { applied: 2, dead_lettered: 1, ..Counters::default() }, "{way:?}: {:?}", outcome.dead_letters);
    }
}

/// Damages text in any way that leaves its lines as many.
fn damage(random: &mut Rng, line: &[u8]) -> Vec<u8> {
    let mut line = line.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..line.len());
        match random.usize(..5) {
            0 => line[at] = random.u8(..),
            1 => drop(line.remove(at)),
            2 => line.insert(at, random.u8(..)),
            3 => line.truncate(at + 1),
            _ => drop(line.splice(at..at, std::iter::repeat_n(*random.choice(b"[{\",").unwrap(), random.usize(..300)))),
        }
        if line.is_empty() {
            line.push(b'x');
        }
    }
    // Neither another line nor none.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b'?');
    if line.trim_ascii().is_empty() { vec![b'x'] } else { line }
}

#[test]
fn every_row_of_a_damaged_log_is_accounted_for() {
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    for round in 0..20 * effort() {
        let rows = random.usize(1..120);
        let mut text = Vec::new();
        for row in 0..rows {
            let line = format!("{{\"id\":{},\"shop\":\"a\",\"amount\":{}.5,\"at\":\"2024-01-01T00:{:02}:00Z\"}}", row % 70, row % 70, row % 60);
            text.extend(if random.bool() { damage(&mut random, line.as_bytes()) } else { line.into_bytes() });
            text.push(b'\n');
        }
        let project = Project::of(&sql("log.ndjson"), &[("log.ndjson", &text)]);
        let outcomes = [Way::Bulk, Way::Incremental, Way::Stream { batch_rows: 5 }].map(|way| project.run(way, Shape::default()));
        for outcome in &outcomes {
            let Counters { applied, duplicates, refused, dead_lettered, .. } = outcome.counters;
            assert_eq!(applied + duplicates + refused + dead_lettered, rows as u64, "seed {seed}, round {round}: {:?}", outcome.counters);
            assert_eq!(outcome.dead_letters.len() as u64, dead_lettered, "seed {seed}, round {round}");
            assert_eq!(outcome.answers, outcomes[0].answers, "seed {seed}, round {round}");
        }
    }
}

#[test]
fn every_record_of_a_damaged_table_is_accounted_for() {
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    for round in 0..20 * effort() {
        let rows = random.usize(1..60);
        let mut text = b"id,shop,amount,at\n".to_vec();
        for row in 0..rows {
            let line = match random.usize(..6) {
                0 => format!("{row}"),
                1 => format!("{row},a,1,2024-01-01,more,and,more"),
                2 => format!("{row},\"a\"b,1,2024-01-01"),
                3 => format!("{row},a,1e999,2024-01-01"),
                _ => format!("{row},a,{row}.25,2024-01-01 00:00:00"),
            };
            text.extend(line.into_bytes());
            text.push(b'\n');
        }
        let project = Project::of(&sql("t.csv"), &[("t.csv", &text)]);
        for way in [Way::Bulk, Way::Incremental] {
            let Counters { applied, duplicates, dead_lettered, .. } = project.run(way, Shape::default()).counters;
            assert_eq!(applied + duplicates + dead_lettered, rows as u64, "seed {seed}, round {round}, {way:?}: {}", String::from_utf8_lossy(&text));
        }
    }
}
