use ::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;

use super::*;

/// A Parquet file of these columns, `group` rows a row group.
pub(super) fn written(columns: Vec<(&str, ArrayRef)>, group: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// `rows` departures in groups of `group`, and a column nobody wants.
pub(super) fn departures_file(rows: i64, group: usize) -> Vec<u8> {
    let ids = Int64Array::from_iter_values(0..rows);
    let carriers: StringArray = (0..rows).map(|id| (id % 3 > 0).then(|| format!("C{id}"))).collect();
    let delays = Float64Array::from_iter_values((0..rows).map(|id| id as f64 / 2.0));
    let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|id| id * 1_000_000));
    written(
        vec![
            ("at", Arc::new(times)),
            ("unread", Arc::new(ids.clone())),
            ("id", Arc::new(ids)),
            ("carrier", Arc::new(carriers)),
            ("delay", Arc::new(delays)),
        ],
        group,
    )
}

fn request() -> ReadRequest {
    ReadRequest::new(departures(), Format::Parquet)
}

#[test]
fn columns_are_found_by_name_and_chunks_have_a_bound() {
    let file = TestFile::new("x.parquet", departures_file(25, 10));
    let chunks = all(&file.source(), ReadRequest { batch_rows: 8, ..request() }).unwrap();
    let rows = rows_of(&chunks, 0);
    assert_eq!(rows.len(), 25);
    assert_eq!((rows[0].as_str(), rows[24].as_str()), ("0 0 | NULL | 0.0 | 1970-01-01T00:00:00", "24 24 | NULL | 12.0 | 1970-01-01T00:00:24"));
    assert!(chunks.iter().all(|chunk| chunk.rows_read <= 8));
    let size = std::fs::metadata(&file.path).unwrap().len();
    assert_eq!(chunks.iter().map(|chunk| chunk.bytes_read).sum::<u64>(), size);
    let position = end(&chunks);
    assert_eq!((position.rows, position.bytes, position.size, position.complete), (25, 0, Some(size), true));
    let original = &chunks[0].batches[0].original;
    let shown = String::from_utf8(original.bytes(&chunks[0].batches[0].batch, 1)).unwrap();
    assert_eq!(shown, r#"{"id":1,"carrier":"C1","delay":0.5,"at":"1970-01-01T00:00:01Z"}"#);
}

#[test]
fn a_file_without_rows_is_one_empty_chunk() {
    let file = TestFile::new("x.parquet", departures_file(0, 10));
    let chunks = all(&file.source(), request()).unwrap();
    assert_eq!((chunks.len(), chunks[0].rows_read, end(&chunks).complete), (1, 0, true));
    let known = ReadRequest { sources: vec![WantedSource { schema: departures(), resume: Some(end(&chunks)) }], ..request() };
    assert!(all(&file.source(), known).unwrap().is_empty());
}

#[test]
fn drift_is_an_error_that_names_file_column_and_types() {
    let with = |delay: ArrayRef| {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let id: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        TestFile::new("x.parquet", written(vec![("id", id), ("carrier", text), ("delay", delay), ("at", times)], 10))
    };
    let refused = error(SourceReader::open(&with(Arc::new(StringArray::from(vec!["1.5"]))).source(), request()));
    let message = "`x.parquet`: column `delay` is VARCHAR, but source `departures` declares DOUBLE · values might be lost; declare a type that holds VARCHAR, or write the file with the declared one";
    assert_eq!(refused, (ErrorKind::Data, message.to_owned()));
    // An INT key in the file is widened to the declared BIGINT.
    let rows = rows_of(&all(&with(Arc::new(Float64Array::from(vec![f64::NAN]))).source(), request()).unwrap(), 0);
    assert_eq!(rows, ["0 7 | x | NaN | 1970-01-01T00:00:00"]);

    let file =
        TestFile::new("x.parquet", written(vec![("id", Arc::new(Int32Array::from(vec![7]))), ("carrier", Arc::new(Int32Array::from(vec![7])))], 10));
    let (kind, message) =
        error(SourceReader::open(&file.source(), ReadRequest::new(source("s", &[("id", DataType::Int64), ("at", MOMENT)]), Format::Parquet)));
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Data, "`x.parquet`: column `at` is missing, but source `s` declares TIMESTAMP · columns: id, carrier")
    );
}

#[test]
fn values_that_do_not_fit_make_their_rows_bad() {
    let file = TestFile::new(
        "x.parquet",
        written(
            vec![
                ("id", Arc::new(Int32Array::from(vec![0, 1, 2]))),
                ("delay", Arc::new(Int64Array::from(vec![Some(1 << 53), Some((1 << 53) + 1), None]))),
                ("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 0, 0]))),
            ],
            10,
        ),
    );
    let schema = source("s", &[("id", DataType::Int64), ("delay", DataType::Float64), ("at", MOMENT)]);
    let rows = rows_of(&all(&file.source(), ReadRequest::new(schema, Format::Parquet)).unwrap(), 0);
    let bad = "1! column `delay`: 9007199254740993 is not exactly a DOUBLE: {\"id\":1,\"delay\":9007199254740993,\"at\":\"1970-01-01T00:00:00\"}";
    assert_eq!(rows, ["0 0 | 9007199254740992.0 | 1970-01-01T00:00:00", bad, "2 2 | NULL | 1970-01-01T00:00:00"]);
}

#[test]
fn reserved_columns_and_several_sources() {
    let columns = |append_time: ArrayRef| -> Vec<(&str, ArrayRef)> {
        vec![
            ("_source", Arc::new(StringArray::from(vec![Some("planes"), Some("s"), Some("weather"), None, Some("nosuch")]))),
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![0; 5]))),
            ("_append_time", append_time),
            ("_tombstone", Arc::new(BooleanArray::from(vec![None, Some(true), None, Some(false), None]))),
        ]
    };
    let columns_of = [("id", DataType::Int64), ("at", MOMENT)];
    let mut request = ReadRequest::new(source("s", &columns_of), Format::Parquet);
    request.sources.push(WantedSource { schema: source("planes", &columns_of), resume: None });
    request.declared = ["s", "planes", "weather"].map(str::to_owned).to_vec();
    let texts = StringArray::from(vec![Some("2013-01-01T00:00:01Z"), None, None, None, None]);
    let moments = TimestampMicrosecondArray::from(vec![Some(1_356_998_401_000_000), None, None, None, None]);
    for append_time in [Arc::new(texts) as ArrayRef, Arc::new(moments)] {
        let file = TestFile::new("x.parquet", written(columns(append_time), 10));
        let chunks = all(&file.source(), request.clone()).unwrap();
        let rows: Vec<String> = rows_of(&chunks, 0).into_iter().map(|row| row.split(": {").next().unwrap().to_owned()).collect();
        assert_eq!(
            rows,
            [
                "1 2 | 1970-01-01T00:00:00 deleted",
                "3! its source is not named, and s, planes are read · give each row a `_source`",
                "4! `_source` names `nosuch`, which is not declared · declared: s, planes, weather",
            ]
        );
        assert_eq!(rows_of(&chunks, 1), ["0 1 | 1970-01-01T00:00:00 appended 2013-01-01T00:00:01Z"]);
    }
    let file = TestFile::new("x.parquet", written(columns(Arc::new(Int64Array::from(vec![1; 5]))), 10));
    let message = "`x.parquet` has a column `_append_time` that is BIGINT; the name is reserved for TIMESTAMP · call the column otherwise";
    assert_eq!(error(SourceReader::open(&file.source(), request)), (ErrorKind::Data, message.to_owned()));
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    let whole = departures_file(30, 10);
    let file = TestFile::new("x.parquet", &whole);
    for len in 0..whole.len() {
        file.write(&whole[..len]);
        let (kind, message) = error(all(&file.source(), request()));
        assert_eq!(kind, ErrorKind::Data, "{len}: {message}");
        assert!(message.starts_with("`x.parquet` ") && message.contains(" · write it again"), "{len}: {message}");
    }
    file.write(&whole);
    assert_eq!(rows_of(&all(&file.source(), request()).unwrap(), 0).len(), 30);
}

#[test]
fn damage_anywhere_is_an_error_or_unseen_but_never_a_panic() {
    let whole = departures_file(50, 20);
    let file = TestFile::new("x.parquet", &whole);
    let mut random = fastrand::Rng::with_seed(1);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << random.u8(..8);
        file.write(&bytes);
        if let Err(error) = all(&file.source(), request()) {
            assert_eq!(error.kind(), ErrorKind::Data, "byte {at}: {error}");
        }
    }
}

#[test]
fn a_stream_is_no_parquet_file() {
    let refused = error(SourceReader::open(&stream(departures_file(1, 1)), request()));
    let message = "cannot read `-`: Parquet is read from its end, which a stream does not have yet · write it to a file";
    assert_eq!(refused, (ErrorKind::Invalid, message.to_owned()));
}
