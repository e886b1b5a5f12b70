use super::*;

fn json(lines: &str) -> Vec<String> {
    read(departures(), Format::Ndjson, lines)
}

#[test]
fn rows_members_and_nulls() {
    let rows = json(concat!(
        r#"{"id":1,"carrier":"UA","delay":2.5,"at":"2013-01-01T05:00:00Z"}"#,
        "\n",
        r#" { "at" : "2013-01-01 06:00" , "extra" : {"id":[1,{}]} , "id" : 2 } "#,
        "\r\n",
        "\n",
        r#"{"id":3,"carrier":null,"delay":-0.0,"\u0061t":"2013-01-01"}"#,
    ));
    assert_eq!(rows, ["0 1 | UA | 2.5 | 2013-01-01T05:00:00", "1 2 | NULL | NULL | 2013-01-01T06:00:00", "3 3 | NULL | -0.0 | 2013-01-01T00:00:00"]);
}

#[test]
fn whole_numbers_beyond_what_floats_hold_are_kept() {
    let rows = json("{\"id\":9007199254740993}\n{\"id\":-9223372036854775808}\n{\"id\":\"9223372036854775807\"}\n{\"id\":7.0}\n{\"id\":7e0}\n");
    let ids: Vec<_> = rows.iter().map(|row| row.split(' ').nth(1).unwrap()).collect();
    assert_eq!(ids, ["9007199254740993", "-9223372036854775808", "9223372036854775807", "7", "7"]);
}

#[test]
fn a_bad_row_costs_no_other_and_is_kept_with_its_bytes() {
    let text = b"{\"id\":1.5}\n{\"id\":2}\n[3]\n{\"id\":4,\"id\":4}\n{\"id\":5,\"carrier\":\"\xff\"}\n{\"id\":6,\"delay\":NaN}\n{\"id\":7,\"delay\":\"NaN\"}\n{\"id\":8,\"delay\":\"-Infinity\"}\n{\"id\":9,\"at\":1357016400}\n{\"id\":10";
    assert_eq!(
        read(departures(), Format::Ndjson, text),
        [
            "0! column `id`: 1.5 is not a whole number: it has too many decimal places: {\"id\":1.5}",
            "1 2 | NULL | NULL | NULL",
            "2! not a JSON object: not an object at byte 1 of the line: [3]",
            "3! member `id` occurs twice: {\"id\":4,\"id\":4}",
            "4! its bytes are not UTF-8: {\"id\":5,\"carrier\":\"\u{fffd}\"}",
            "5! not a JSON object: expected a value at byte 17 of the line: {\"id\":6,\"delay\":NaN}",
            "6 7 | NULL | NaN | NULL",
            "7 8 | NULL | -inf | NULL",
            "8! column `at`: 1357016400 is not a moment: nothing says the unit of a number · write 2013-03-01T12:00:00Z: {\"id\":9,\"at\":1357016400}",
            "9! not a JSON object: expected `,` or `}` at byte 9 of the line: {\"id\":10",
        ]
    );
}

#[test]
fn bytes_of_bad_rows_are_those_of_the_file() {
    let chunks = all(&stream(b"\xef\xbb\xbf{\"id\":\xc3}\r\n{\"id\":1}\r\n"), ReadRequest::new(departures(), Format::Ndjson)).unwrap();
    let batch = &chunks[0].batches[0];
    assert_eq!(batch.bad, [BadRow { row: 0, reason: "its bytes are not UTF-8".to_owned(), bytes: b"{\"id\":\xc3}".to_vec() }]);
    assert_eq!(batch.original.bytes(&batch.batch, 0), b"{\"id\":1}");
    assert_eq!(batch.original.bytes(&batch.batch, 1), b"");
    assert_eq!(file_position(batch).bytes, 23);
}

#[test]
fn naive_times_are_in_the_zone_of_the_source_wherever_this_runs() {
    let zone = |name: &str| SourceSchema { time_zone: name.parse().unwrap(), ..source("s", &[("at", MOMENT)]) };
    let text = "{\"at\":\"2013-03-10 02:30:00\"}\n{\"at\":\"2013-11-03 01:30:00\"}\n{\"at\":\"2013-11-03T01:30:00-05:00\"}\n";
    let new_york = ["0 2013-03-10T07:30:00", "1 2013-11-03T05:30:00", "2 2013-11-03T06:30:00"];
    assert_eq!(read(zone("America/New_York"), Format::Ndjson, text), new_york);
    assert_eq!(read(zone("UTC"), Format::Ndjson, text), ["0 2013-03-10T02:30:00", "1 2013-11-03T01:30:00", "2 2013-11-03T06:30:00"]);
}

#[test]
fn several_sources_share_a_log() {
    let mut request = ReadRequest::new(departures(), Format::Ndjson);
    request.sources.push(WantedSource { schema: source("planes", &[("tail", DataType::Utf8), ("at", MOMENT)]), resume: None });
    request.declared = ["departures", "planes", "weather"].map(str::to_owned).to_vec();
    let text = concat!(
        r#"{"_source":"planes","tail":"N1","at":"2013-01-01","_append_time":"2013-01-02T00:00:01Z"}"#,
        "\n",
        r#"{"_source":"departures","id":1,"_append_time":"2013-01-02 00:00:02"}"#,
        "\n",
        r#"{"_source":"weather","id":"not a number"}"#,
        "\n",
        r#"{"id":2}"#,
        "\n",
        r#"{"_source":"nosuch","id":3}"#,
        "\n",
        r#"{"_source":7,"id":4}"#,
        "\n",
        r#"{"_source":"planes","tail":"N2","_tombstone":true}"#,
        "\n",
        r#"{"_source":"departures","_source":"planes"}"#,
        "\n",
        r#"{"_source":"departures","id":5,"_tombstone":false,"_append_time":5}"#,
        "\n",
    );
    let chunks = all(&stream(text), request).unwrap();
    assert_eq!(
        rows_of(&chunks, 0),
        [
            "1 1 | NULL | NULL | NULL appended 2013-01-02T00:00:02Z",
            "3! its source is not named, and departures, planes are read · give each row a `_source`: {\"id\":2}",
            "4! `_source` names `nosuch`, which is not declared · declared: departures, planes, weather: {\"_source\":\"nosuch\",\"id\":3}",
            "5! member `_source`: 7 is not a string: {\"_source\":7,\"id\":4}",
            "7! member `_source` occurs twice: {\"_source\":\"departures\",\"_source\":\"planes\"}",
            "8! column `_append_time`: 5 is not a moment: nothing says the unit of a number · write 2013-03-01T12:00:00Z: {\"_source\":\"departures\",\"id\":5,\"_tombstone\":false,\"_append_time\":5}",
        ]
    );
    assert_eq!(rows_of(&chunks, 1), ["0 N1 | 2013-01-01T00:00:00 appended 2013-01-02T00:00:01Z", "6 N2 | NULL deleted"]);
    let batch = &chunks[0].batches[1];
    assert_eq!((batch.partition.source.as_str(), batch.partition.partition.as_str()), ("planes", "-"));
    assert_eq!((chunks[0].rows_read, chunks[0].bytes_read), (9, text.len() as u64));
}

#[test]
fn a_row_with_null_where_none_may_be_is_bad_unless_it_deletes() {
    let mut schema = departures();
    let mut fields: Vec<_> = schema.columns.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[1] = fields[1].clone().with_nullable(false);
    schema.columns = Arc::new(Schema::new(fields));
    let text = "{\"id\":1}\n{\"id\":2,\"_tombstone\":true}\n{\"id\":3,\"carrier\":\"UA\"}\n";
    let rows = read(schema, Format::Ndjson, text);
    let bad = "0! column `carrier` is NULL, which its declaration does not allow: {\"id\":1}";
    assert_eq!(rows, [bad, "1 2 | NULL | NULL | NULL deleted", "2 3 | UA | NULL | NULL"]);
}

#[test]
fn a_line_that_is_too_long_is_a_bad_row_and_no_other_is() {
    let long = |len: usize| format!("{{\"id\":2,\"carrier\":\"{}\"}}", "x".repeat(len - 21));
    for (line, fits) in [(long(RECORD_BYTES_MAX - 1), true), (long(RECORD_BYTES_MAX), false), (long(3 * RECORD_BYTES_MAX), false)] {
        let text = format!("{{\"id\":1}}\n{line}\n{{\"id\":3}}\n");
        let chunks = all(&stream(&text), ReadRequest::new(departures(), Format::Ndjson)).unwrap();
        let rows = chunks.iter().flat_map(|chunk| chunk.batches[0].rows.clone()).collect::<Vec<_>>();
        let bad: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.batches[0].bad).collect();
        if fits {
            assert_eq!((rows, bad.len()), (vec![0, 1, 2], 0));
        } else {
            assert_eq!((rows, bad.len()), (vec![0, 2], 1));
            assert_eq!((bad[0].row, bad[0].reason.as_str()), (1, "longer than 16 MiB, the longest a row may be"));
            assert!(line.as_bytes().starts_with(&bad[0].bytes) && !bad[0].bytes.is_empty());
        }
        assert_eq!(end(&chunks).bytes, text.len() as u64);
    }
}

#[test]
fn a_chunk_has_at_most_the_rows_asked_for() {
    let text: String = (0..25).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let chunks = all(&stream(&text), ReadRequest { batch_rows: 10, ..ReadRequest::new(departures(), Format::Ndjson) }).unwrap();
    let rows: Vec<_> = chunks.iter().map(|chunk| (chunk.rows_read, chunk.batches[0].position.complete())).collect();
    assert_eq!(rows, [(10, false), (10, false), (5, false), (0, true)]);
    let file = TestFile::new("x.ndjson", &text);
    let chunks = all(&file.source(), ReadRequest { batch_rows: 10, ..ReadRequest::new(departures(), Format::Ndjson) }).unwrap();
    let rows: Vec<_> = chunks.iter().map(|chunk| (chunk.rows_read, chunk.batches[0].position.complete())).collect();
    assert_eq!(rows, [(10, false), (10, false), (5, true)]);
}

#[test]
fn nothing_is_one_empty_chunk_that_says_so() {
    for text in ["", "\u{feff}"] {
        let chunks = all(&stream(text), ReadRequest::new(departures(), Format::Ndjson)).unwrap();
        assert_eq!((chunks.len(), chunks[0].rows_read, end(&chunks).complete), (1, 0, true), "{text:?}");
        assert_eq!(chunks[0].batches[0].batch.num_columns(), 4);
    }
}

#[test]
fn reserved_names_cannot_be_declared() {
    let schema = source("s", &[("_tombstone", DataType::Boolean), ("at", MOMENT)]);
    let refused = error(SourceReader::open(&stream(""), ReadRequest::new(schema, Format::Ndjson)));
    assert_eq!(refused, (ErrorKind::Invalid, "source `s` declares a column `_tombstone`, a name that is reserved · call it otherwise".to_owned()));
}
