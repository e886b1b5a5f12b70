use arrow::array::Float64Array;
use lockstep_model::{FilePosition, FilledBy, Status};

use super::*;

fn from(name: &str, rows: u64) -> Arc<ReadFrom> {
    let partition = PartitionId { source: "payments".to_owned(), partition: "push".to_owned() };
    let position =
        FilePosition { rows, bytes: 0, size: None, etag: None, hash: 7, event_time_max: Some(3), begun_at: None, order: 0, complete: false };
    let view =
        ViewAt { view: "v".to_owned(), version: 2, meaning: None, generation: Generation(4), positions: vec![(partition, Position::File(position))] };
    Arc::new(ReadFrom {
        name: name.to_owned(),
        time: TimeMode::Known,
        views: vec![view],
        definitions: Some(3),
        meaning: Some(Fingerprint([1; 32])),
        served_by: Some(ServedBy { release: 2, epoch: 5 }),
        release: Some("0.1.0".to_owned()),
        share: Some(0.25),
        recalled: false,
    })
}

/// Answers of two outputs, the second of which was not asked for.
fn kept(from: &Arc<ReadFrom>, request_ids: &[Option<&str>], is_logged: bool) -> Kept {
    let rows = request_ids.len();
    let cards: ArrayRef = Arc::new(StringArray::from(vec!["c1"; rows]));
    let outputs: Fields = vec![Field::new("sum", DataType::Float64, true), Field::new("count", DataType::Int64, true)].into();
    let times = TimestampMicrosecondArray::from((0..rows).map(|row| (row != 1).then_some(5)).collect::<Vec<_>>());
    Kept {
        from: Arc::clone(from),
        numbers: (0..rows as u64).collect(),
        moments: (0..rows as i64).map(|row| 1_000_000 + row).collect(),
        requests: RecordBatch::try_from_iter([("card", cards)]).unwrap(),
        values: vec![Arc::new(Float64Array::from(vec![-0.0; rows])), new_null_array(&DataType::Int64, rows)],
        outputs,
        statuses: [texts(&[vec![Status::Present; rows]]), vec![StringArray::new_null(rows)]].concat(),
        filled_by: [texts(&[vec![FilledBy::LastKnownGood; rows]]), vec![StringArray::new_null(rows)]].concat(),
        logged: is_logged.then(|| Logged {
            request_ids: request_ids.iter().copied().collect(),
            served_at: vec![9; rows],
            event_times: vec![times, TimestampMicrosecondArray::new_null(rows)],
        }),
        predicted: None,
    }
}

fn file(all: &[&Kept]) -> KeptFile {
    KeptFile { name: "answers.parquet".to_owned(), bytes: Bytes(encode(&[batch(all).unwrap()]).unwrap()) }
}

#[test]
fn answers_come_back_with_what_they_were_read_from() {
    let (early, late) = (from("s", 7), from("s", 8));
    let (first, second, third) = (kept(&early, &[Some("a"), None], true), kept(&early, &[Some("b")], true), kept(&late, &[None], true));
    let file = file(&[&first, &second, &third]);
    let read = file.read().unwrap();
    // What was read from the same state is one.
    assert_eq!(read.iter().map(Kept::len).collect::<Vec<_>>(), [3, 1]);
    assert_eq!((&*read[0].from, &*read[1].from), (&*early, &*late));
    assert_eq!((0..3).map(|row| read[0].request_id(row)).collect::<Vec<_>>(), [Some("a"), None, Some("b")]);
    let one = read[0].row(1);
    assert_eq!((one.moments.as_slice(), one.called(0).as_str()), ([1_000_001].as_slice(), "row 1 of a request"));
    assert_eq!(one.values[0].to_data(), first.values[0].slice(1, 1).to_data());
    assert!(one.was_asked(0, 0) && !one.was_asked(1, 0));
    assert_eq!((one.statuses[0].value(0), one.filled_by[0].value(0)), ("PRESENT", "LAST_KNOWN_GOOD"));
    let logged = one.logged.unwrap();
    assert_eq!((logged.served_at.as_slice(), logged.event_times[0].is_null(0)), ([9].as_slice(), true));
    assert!(file.has_request("b").unwrap() && !file.has_request("c").unwrap());
}

#[test]
fn answers_to_requests_without_columns_are_kept_too() {
    let mut one = kept(&from("s", 7), &[None], false);
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
    one.requests = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).unwrap();
    let read = file(&[&one]).read().unwrap();
    assert_eq!((read[0].requests.num_rows(), read[0].requests.num_columns(), read[0].logged.is_none()), (1, 0, true));
}

#[test]
fn files_of_earlier_releases_are_read() {
    // They said in their metadata what all of their answers were read from, and nothing of definitions.
    let one = kept(&from("s", 7), &[None, None], false);
    let batch = batch(&[&one]).unwrap();
    let batch = batch.project(&(0..batch.num_columns() - 1).collect::<Vec<_>>()).unwrap();
    assert!(batch.column_by_name(READ_FROM_COLUMN).is_none());
    let said = r#"{"name":"s","time":"known","views":[{"view":"v","version":2,"generation":4,"positions":[]}]}"#;
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![KeyValue::new(READ_FROM.to_owned(), said.to_owned())])).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let file = KeptFile { name: "answers.parquet".to_owned(), bytes: Bytes(writer.into_inner().unwrap()) };
    let read = file.read().unwrap();
    assert_eq!((read.len(), read[0].len(), read[0].from.name.as_str(), read[0].from.definitions), (1, 2, "s", None));
    assert!(!file.has_request("a").unwrap());
}

#[test]
fn what_is_no_file_of_answers_says_so() {
    let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
    let bytes = encode(&[RecordBatch::try_from_iter([("number", numbers)]).unwrap()]).unwrap();
    let wrong = KeptFile { name: "x.parquet".to_owned(), bytes: Bytes(bytes) }.read().unwrap_err();
    assert!(wrong.to_string().contains("x.parquet is no file of kept answers"), "{wrong}");
    let torn = KeptFile { name: "y.parquet".to_owned(), bytes: Bytes(b"PAR1".to_vec()) };
    assert!(torn.read().unwrap_err().to_string().contains("read y.parquet"));
}
