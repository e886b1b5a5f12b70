//! Logs as they are written, cut short, damaged and gone on with.

mod crash;
#[cfg(target_os = "linux")]
mod disk;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use lockstep_model::{Clock, ErrorKind, EventTime, Position};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::{Definitions, SourceFile};

use super::log::Again;
use super::read::Reader;
use super::source::{dir_of, source_of};
use super::*;
use crate::source::SourceBatch;

const NOW: i64 = 1_704_067_200_000_000;
const SQL: &str = "CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE) WITH (event_time = 'at', allowed_lateness = '1 hour');";

/// The source `sales`, with these columns more.
fn source(columns: &str) -> Arc<SourcePlan> {
    named("sales", columns)
}

fn named(name: &str, columns: &str) -> Arc<SourcePlan> {
    let sql = SQL.replace("sales", name).replace("amount DOUBLE", &format!("amount DOUBLE, at TIMESTAMP{columns}"));
    let definitions = Definitions::parse(&[SourceFile::new("s.sql", &sql)]).unwrap_or_else(|errors| panic!("{}", errors[0]));
    Arc::clone(&Catalog::compile(definitions).unwrap().sources[name])
}

/// Rows of these ids.
fn rows(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let shops = StringArray::from_iter(ids.iter().map(|id| (id % 5 > 0).then(|| format!("shop {}", id % 7))));
    let amounts =
        Float64Array::from_iter(ids.iter().map(|&id| [Some(-0.0), Some(f64::from_bits(0x7ff8_0000_0000_0005)), None, Some(1e-300)][id as usize % 4]));
    let times = TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| NOW + id * 1000));
    let columns: [(&str, ArrayRef); 4] =
        [("id", Arc::new(Int64Array::from(ids))), ("shop", Arc::new(shops)), ("amount", Arc::new(amounts)), ("at", Arc::new(times))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

fn options() -> (PushOptions, Arc<SetClock>) {
    let clock = Arc::new(SetClock(AtomicI64::new(NOW)));
    (PushOptions { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..PushOptions::default() }, clock)
}

fn open(dir: &Path) -> PushLog {
    PushLog::open(dir, options().0).unwrap()
}

/// Everything in the log of a source that is on the disk.
fn read(log: &PushLog, source: &SourcePlan) -> Result<Vec<SourceBatch>, Error> {
    let extent = log.of(&source.name).extent()?;
    let first_row = extent.first_row();
    let mut reader = Reader::open(&source.name, &source.schema, extent, first_row)?;
    let mut batches = Vec::new();
    while let Some(chunk) = reader.chunk(u64::MAX, 7)? {
        batches.extend(chunk.batches);
    }
    Ok(batches)
}

/// The ids of rows, with their numbers.
fn ids(batches: &[SourceBatch]) -> Vec<(u64, i64)> {
    let of =
        |batch: &SourceBatch| batch.rows.iter().copied().zip(batch.batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect::<Vec<_>>();
    batches.iter().flat_map(of).collect()
}

fn read_ids(log: &PushLog, source: &SourcePlan) -> Vec<i64> {
    let found = ids(&read(log, source).unwrap());
    found.iter().enumerate().for_each(|(at, (row, _))| assert_eq!(*row, found[0].0 + at as u64));
    found.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn rows_come_back_as_they_were_in_every_bit() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = open(dir.path());
    assert_eq!(log.append(&source, rows([])).unwrap(), Appended { first_row: 0, next_row: 0 });
    let pushed = rows(0..20_000);
    assert_eq!(log.append(&source, pushed.clone()).unwrap(), Appended { first_row: 0, next_row: 20_000 });
    let batches = read(&log, &source).unwrap();
    let back = arrow::compute::concat_batches(&source.schema, batches.iter().map(|batch| &batch.batch)).unwrap();
    for (column, given) in back.columns().iter().zip(pushed.columns()) {
        assert_eq!(column.to_data(), given.to_data());
    }
    let (amounts, given) =
        (back.column(2).as_primitive::<arrow::datatypes::Float64Type>(), pushed.column(2).as_primitive::<arrow::datatypes::Float64Type>());
    let bits = |column: &Float64Array| column.iter().map(|value| value.map(f64::to_bits)).collect::<Vec<_>>();
    assert_eq!(bits(amounts), bits(given));
    assert!(
        batches
            .iter()
            .all(|batch| batch.tombstone.is_none() && batch.append_time.as_ref().is_some_and(|times| times.values().iter().all(|time| *time == NOW)))
    );
}

#[test]
fn rows_may_say_that_they_delete_their_key() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = open(dir.path());
    let plain = rows(0..3);
    let deletes: ArrayRef = Arc::new(BooleanArray::from(vec![None, Some(true), Some(false)]));
    let mut columns: Vec<(String, ArrayRef)> = vec![("_tombstone".to_owned(), deletes)];
    columns.extend(plain.schema().fields().iter().map(|field| field.name().clone()).zip(plain.columns().to_vec()));
    log.append(&source, RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    log.append(&source, rows(3..5)).unwrap();
    let batches = read(&log, &source).unwrap();
    let deletes: Vec<Option<bool>> = batches[0].tombstone.as_ref().unwrap().iter().collect();
    assert_eq!(deletes, [None, Some(true), Some(false), None, None]);
}

#[test]
fn many_threads_append_at_once_and_each_row_is_there_once() {
    const THREADS: i64 = 16;
    const PUSHES: i64 = 40;
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = open(dir.path());
    let push = |thread: i64| {
        let mut at = Vec::new();
        for push in 0..PUSHES {
            let first = (thread * PUSHES + push) * 3;
            let placed = log.append(&source, rows(first..first + 1 + push % 3)).unwrap();
            assert_eq!(placed.next_row - placed.first_row, 1 + push as u64 % 3);
            at.push((placed.first_row, first));
        }
        assert!(at.is_sorted(), "a thread's pushes keep their order");
        at
    };
    let push = &push;
    let placed: Vec<(u64, i64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || push(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let found = read_ids(&log, &source);
    assert_eq!(found.len() as i64, THREADS * (PUSHES / 3 * 6 + 1));
    placed.iter().for_each(|(row, id)| assert_eq!(found[*row as usize], *id));
    assert_eq!(read_ids(&open(dir.path()), &source), found);
}

/// A log of three pushes, and where in its only segment each ends.
fn three_pushes(dir: &Path, source: &SourcePlan) -> (std::path::PathBuf, [u64; 3]) {
    let log = open(dir);
    let segment = dir_of(dir, "sales").join(format!("{:020}.log", 0));
    let ends = [0, 2, 3].map(|first| {
        log.append(source, rows(first..if first == 0 { 2 } else { first + 1 })).unwrap();
        fs::metadata(&segment).unwrap().len()
    });
    (segment, ends)
}

#[test]
fn a_tail_that_is_torn_at_any_byte_is_cut_off_and_gone_on_with() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let (segment, ends) = three_pushes(dir.path(), &source);
    let whole = fs::read(&segment).unwrap();
    // The last push was not acknowledged; any of its bytes, zeros, or something else may be there.
    for cut in ends[1]..=ends[2] {
        for tail in [Vec::new(), vec![0; (ends[2] - cut) as usize], vec![0xa5; 3], whole[..20].to_vec()] {
            if cut == ends[2] && tail.is_empty() {
                continue;
            }
            fs::remove_dir_all(dir.path()).unwrap();
            fs::create_dir_all(segment.parent().unwrap()).unwrap();
            fs::write(&segment, [&whole[..cut as usize], tail.as_slice()].concat()).unwrap();
            // Zeros may be what was there.
            let is_whole = fs::read(&segment).unwrap().starts_with(&whole);
            let log = open(dir.path());
            let kept = if is_whole { 4 } else { 3 };
            assert_eq!(read_ids(&log, &source), [0, 1, 2, 3][..kept]);
            assert_eq!(log.append(&source, rows([9])).unwrap().first_row, kept as u64);
            assert_eq!(read_ids(&log, &source).last(), Some(&9));
            assert_eq!(read_ids(&open(dir.path()), &source).len(), kept + 1);
        }
    }
    // Nothing of the first push is there.
    for cut in 0..ends[0] {
        fs::remove_dir_all(dir.path()).unwrap();
        fs::create_dir_all(segment.parent().unwrap()).unwrap();
        fs::write(&segment, &whole[..cut as usize]).unwrap();
        let log = open(dir.path());
        assert_eq!(log.append(&source, rows([9])).unwrap().first_row, 0);
        assert_eq!(read_ids(&log, &source), [9]);
    }
}

#[test]
fn damage_within_a_log_is_told_and_stops_its_source_only() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let (segment, ends) = three_pushes(dir.path(), &source);
    let whole = fs::read(&segment).unwrap();
    for at in 0..ends[1] as usize {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&segment, bytes).unwrap();
        let log = open(dir.path());
        for error in [log.append(&source, rows([9])).unwrap_err(), read(&log, &source).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Data, "byte {at}: {error}");
            assert!(
                error.to_string().contains("the push log is damaged · ") && error.to_string().contains(&segment.display().to_string()),
                "{error}"
            );
        }
    }
    let log = open(dir.path());
    assert!(log.append(&source, rows([9])).is_err());
    let other = named("refunds", "");
    log.append(&other, rows([1])).unwrap();
    assert_eq!(read_ids(&log, &other), [1]);
    fs::write(&segment, &whole).unwrap();
    assert_eq!(read_ids(&open(dir.path()), &source), [0, 1, 2, 3]);
}

#[test]
fn a_segment_that_is_gone_from_the_middle_is_told() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = PushLog::open(dir.path(), PushOptions { segment_bytes: 1, ..options().0 }).unwrap();
    for id in 0..4 {
        log.append(&source, rows([id])).unwrap();
    }
    fs::remove_file(dir_of(dir.path(), "sales").join(format!("{:020}.log", 1))).unwrap();
    assert_eq!(read(&open(dir.path()), &source).unwrap_err().kind(), ErrorKind::Data);
}

#[test]
fn columns_that_are_declared_later_are_null_before_and_other_types_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (source(""), source(", note VARCHAR"));
    let log = open(dir.path());
    log.append(&before, rows([1])).unwrap();
    let missing = log.append(&after, rows([2])).unwrap_err();
    assert_eq!(missing.to_string(), "push to `sales`: column `note` is missing · declared: Utf8 · push every declared column");
    let noted = |id: i64| {
        let columns = rows([id]).columns().to_vec().into_iter().chain([Arc::new(StringArray::from(vec!["new"])) as ArrayRef]).collect();
        RecordBatch::try_new(Arc::clone(&after.schema), columns).unwrap()
    };
    assert_eq!(log.append(&after, noted(2)).unwrap().first_row, 1);
    let unknown = log.append(&before, noted(3)).unwrap_err();
    assert_eq!(unknown.to_string(), "push to `sales`: unknown column `note` · columns: id, shop, amount, at");
    let batches = read(&log, &after).unwrap();
    let notes: Vec<Option<&str>> = batches.iter().flat_map(|batch| batch.batch.column(4).as_string::<i32>().iter()).collect();
    assert_eq!(notes, [None, Some("new")]);
    assert_eq!(read_ids(&log, &before), [1, 2]);
    let other = source(", note BIGINT");
    let error = read(&log, &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().starts_with("column `note` of source `sales` was pushed as Utf8 and is declared as Int64 · "), "{error}");
}

#[test]
fn heartbeats_are_records_and_not_far_ahead() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = open(dir.path());
    log.append(&source, rows([1])).unwrap();
    assert_eq!(log.heartbeat(&source, EventTime(NOW + 5)).unwrap(), Appended { first_row: 1, next_row: 2 });
    log.append(&source, rows([2])).unwrap();
    log.heartbeat(&source, EventTime(NOW + source.max_ahead)).unwrap();
    let error = log.heartbeat(&source, EventTime(NOW + source.max_ahead + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("heartbeat of `sales`: 2024-01-01T01:00:00.000001Z is further ahead than max_ahead allows"), "{error}");
    let batches = read(&log, &source).unwrap();
    assert_eq!(ids(&batches), [(0, 1), (2, 2)]);
    let beats: Vec<(u64, i64)> = batches.iter().filter_map(|batch| batch.heartbeat).map(|beat| (beat.row, beat.event_time.0 - NOW)).collect();
    assert_eq!(beats, [(1, 5), (3, source.max_ahead)]);
}

#[test]
fn what_waits_is_bounded() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = PushLog::open(dir.path(), PushOptions { waiting_max: 0, ..options().0 }).unwrap();
    let error = log.append(&source, rows([1])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), "0 pushes to `sales`, 0 bytes, wait for the disk already · push again in a moment, and more rows at once");
    let log = PushLog::open(dir.path(), PushOptions { push_bytes_max: 1000, ..options().0 }).unwrap();
    let error = log.append(&source, rows(0..1000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("and 1000 are the most · push the rows in several parts"), "{error}");
}

#[test]
fn segments_go_when_they_are_old_and_applied_and_the_last_never() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let (options, clock) = options();
    let log = PushLog::open(dir.path(), PushOptions { segment_bytes: 1, retention: Some(100), ..options }).unwrap();
    for id in 0..5 {
        clock.0.store(NOW + id * 100, Ordering::Relaxed);
        log.append(&source, rows([id])).unwrap();
    }
    let names = || {
        let mut names: Vec<String> =
            fs::read_dir(dir_of(dir.path(), "sales")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.into_iter().map(|name| name.trim_start_matches('0').trim_end_matches(".log").to_owned()).collect::<Vec<_>>()
    };
    assert!(!log.has_passed("sales", 0));
    log.remove("sales", 2).unwrap();
    assert_eq!(names(), ["2", "3", "4"], "applied up to row 2");
    log.remove("sales", 5).unwrap();
    assert_eq!(names(), ["2", "3", "4"], "segment 2 was the last until just now");
    clock.0.store(NOW + 10_000, Ordering::Relaxed);
    log.remove("sales", 5).unwrap();
    assert_eq!(names(), ["4"]);
    assert_eq!(read_ids(&log, &source), [4]);
    let log = PushLog::open(dir.path(), super::PushOptions { retention: None, ..self::options().0 }).unwrap();
    assert_eq!(log.append(&source, rows([5])).unwrap().first_row, 5);
    log.remove("sales", 6).unwrap();
    assert_eq!(read_ids(&log, &source), [4, 5]);
}

#[test]
fn after_a_failed_write_the_next_one_goes_on() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = PushLog::open(dir.path(), PushOptions { segment_bytes: 1, ..options().0 }).unwrap();
    log.append(&source, rows([0, 1])).unwrap();
    let (logs, away) = (dir_of(dir.path(), "sales"), dir.path().join("away"));
    fs::rename(&logs, &away).unwrap();
    fs::write(&logs, "in the way").unwrap();
    let error = log.append(&source, rows([7])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    fs::remove_file(&logs).unwrap();
    fs::rename(&away, &logs).unwrap();
    assert_eq!(log.append(&source, rows([2])).unwrap().first_row, 2);
    assert_eq!(read_ids(&log, &source), [0, 1, 2]);
    assert_eq!(read_ids(&open(dir.path()), &source), [0, 1, 2]);
}

#[test]
fn what_is_behind_the_next_segments_first_row_does_not_count() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let (segment, ends) = three_pushes(dir.path(), &source);
    let whole = fs::read(&segment).unwrap();
    // The third push failed: the disk has it all the same, and another took its number.
    fs::write(&segment, &whole[..ends[1] as usize]).unwrap();
    open(dir.path()).append(&source, rows([9])).unwrap();
    fs::write(&segment, &whole).unwrap();
    assert_eq!(read_ids(&open(dir.path()), &source), [0, 1, 2, 9]);
}

#[test]
fn a_reader_keeps_up_with_segments_that_come_and_go() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let (options, clock) = options();
    let log = PushLog::open(dir.path(), PushOptions { segment_bytes: 700, retention: Some(0), ..options }).unwrap();
    let of = log.of("sales");
    let mut reader = Reader::open("sales", &source.schema, of.extent().unwrap(), 0).unwrap();
    let mut seen = Vec::new();
    for id in 0..60 {
        clock.0.fetch_add(1, Ordering::Relaxed);
        log.append(&source, rows([2 * id, 2 * id + 1])).unwrap();
        if id % 3 != 1 {
            reader.reach(of.extent_beyond(reader.row(), std::time::Duration::ZERO).unwrap());
            while let Some(chunk) = reader.chunk(u64::MAX, 2).unwrap() {
                seen.extend(ids(&chunk.batches));
            }
            log.remove("sales", reader.row()).unwrap();
        }
    }
    assert_eq!(seen, (0..120).map(|id| (id as u64, id)).collect::<Vec<_>>());
    assert!(of.extent().unwrap().first_row() > 100, "segments went meanwhile");
}

#[test]
fn what_was_read_is_known_again_and_anything_else_is_told() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source(""));
    let log = open(dir.path());
    for id in 0..3 {
        log.append(&source, rows([id])).unwrap();
    }
    let batches = read(&log, &source).unwrap();
    let Position::Push(position) = batches[0].position.clone() else { panic!("{:?}", batches[0].position) };
    let mut again = Again::open(dir.path(), &source, &position, None).unwrap();
    assert_eq!(again.chunk(3, 100).unwrap().unwrap().rows_read, 3);
    again.compare(&position).unwrap();
    // From later on, where a push ends; what came before may be gone.
    let mut later = Again::open(dir.path(), &source, &position, Some(2)).unwrap();
    assert_eq!(later.chunk(3, 100).unwrap().unwrap().rows_read, 1);
    later.compare(&position).unwrap();
    let gone = lockstep_model::PushPosition { gap: Some(2), ..position.clone() };
    assert!(Again::open(dir.path(), &source, &gone, Some(2)).is_ok());
    assert!(Again::open(dir.path(), &source, &gone, Some(1)).unwrap_err().to_string().contains("was gone on with at row 2"));
    let other = tempfile::tempdir().unwrap();
    let log = open(other.path());
    for id in 5..8 {
        log.append(&source, rows([id])).unwrap();
    }
    let mut again = Again::open(other.path(), &source, &position, None).unwrap();
    again.chunk(3, 100).unwrap();
    let error = again.compare(&position).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    let said = "the push log of source `sales` has another push before row 3 than was read there · restore it, or go on with what there is: `lockstep ingest --source sales --accept-gap`";
    assert_eq!(error.to_string(), said);
    fs::remove_dir_all(other.path()).unwrap();
    let error = Again::open(other.path(), &source, &position, None).unwrap_err();
    assert!(error.to_string().starts_with("the push log of source `sales` is gone · "), "{error}");
}

#[test]
fn any_name_of_a_source_has_a_directory() {
    for name in ["sales", "Sales", "a/b", "..", "", "ä%2f", "x y"] {
        let dir = dir_of(Path::new("/logs"), &format!("s{name}"));
        assert_eq!(dir.parent(), Some(Path::new("/logs")), "{name}");
        assert_eq!(source_of(&dir).as_deref(), Some(format!("s{name}").as_str()));
    }
    assert_eq!(dir_of(Path::new("/"), "Ab/."), Path::new("/%41b%2f%2e"));
}
