use super::*;

fn csv(text: impl AsRef<[u8]>) -> Vec<String> {
    read(departures(), Format::Csv, text)
}

#[test]
fn columns_are_found_by_name() {
    let text =
        "\u{feff}at,\"delay\",unread,carrier,id\r\n2013-01-01T05:00:00Z,2.5,x,UA,1\r\n\r\n2013-01-01 06:00,,y,\"\",2\r\n,NaN,,\"a \"\"b\"\"\r\nc\",3";
    assert_eq!(csv(text), ["0 1 | UA | 2.5 | 2013-01-01T05:00:00", "1 2 |  | NULL | 2013-01-01T06:00:00", "2 3 | a \"b\"\r\nc | NaN | NULL"]);
}

#[test]
fn bad_records_cost_no_other() {
    let text = b"id,carrier,delay,at\n1,UA,,\n2,UA\n3,5\" pipe,,\nx,\xff,,\n5,UA,NA,\n6,\"open,,\n7,UA,,\n";
    assert_eq!(
        csv(text),
        [
            "0 1 | UA | NULL | NULL",
            "1! it has 2 fields and the header has 4: 2,UA",
            "2! a quote within a field that is not quoted: 3,5\" pipe,,",
            "3! its bytes are not UTF-8: x,\u{fffd},,",
            "4! column `delay`: \"NA\" is not a number: 5,UA,NA,",
            "5! a quote that is never closed: 6,\"open,,",
            "6 7 | UA | NULL | NULL",
        ]
    );
}

#[test]
fn a_header_without_a_declared_column_is_drift() {
    let (kind, message) = error(SourceReader::open(&stream("id,carrier,at\n"), ReadRequest::new(departures(), Format::Csv)));
    assert_eq!(kind, ErrorKind::Data);
    assert_eq!(message, "`-`: column `delay` is missing, but source `departures` declares DOUBLE · columns: id, carrier, at");
    for (text, message) in [
        ("", "`-` is empty · a CSV file starts with the names of its columns"),
        ("\r\n\n", "`-` is empty · a CSV file starts with the names of its columns"),
        ("id,carrier,delay,at,id\n", "`-` has two columns called `id` · rename one of them"),
        ("id,\"carrier\n", "`-` has a header with a quote that is never closed · quote names as CSV does"),
    ] {
        assert_eq!(error(SourceReader::open(&stream(text), ReadRequest::new(departures(), Format::Csv))), (ErrorKind::Data, message.to_owned()));
    }
}

#[test]
fn reserved_columns_and_several_sources() {
    let mut request = ReadRequest::new(departures(), Format::Csv);
    request.sources.push(WantedSource { schema: source("planes", &[("id", DataType::Utf8), ("at", MOMENT)]), resume: None });
    request.declared.push("planes".to_owned());
    let text = "_source,id,carrier,delay,at,_tombstone,_append_time\nplanes,N1,,,2013-01-01,,2013-01-01T00:00:01Z\ndepartures,1,UA,,2013-01-01,true,\n,2,,,,,\n";
    let chunks = all(&stream(text), request).unwrap();
    let lost = "2! its source is not named, and departures, planes are read · give each row a `_source`: ,2,,,,,";
    assert_eq!(rows_of(&chunks, 0), ["1 1 | UA | NULL | 2013-01-01T00:00:00 deleted", lost]);
    assert_eq!(rows_of(&chunks, 1), ["0 N1 | 2013-01-01T00:00:00 appended 2013-01-01T00:00:01Z"]);
}

#[test]
fn a_record_that_is_too_long_ends_with_its_first_line() {
    let text = format!("id,carrier,delay,at\n1,UA,,\n2,\"x\n{}\n3,UA,,\n", "y".repeat(RECORD_BYTES_MAX));
    let chunks = all(&stream(&text), ReadRequest::new(departures(), Format::Csv)).unwrap();
    let bad: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.batches[0].bad).map(|bad| (bad.row, bad.reason.as_str())).collect();
    let long = "longer than 16 MiB, the longest a row may be";
    assert_eq!(bad, [(1, long), (2, long)]);
    assert_eq!(chunks.iter().flat_map(|chunk| chunk.batches[0].rows.clone()).collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn a_header_alone_has_no_rows() {
    let chunks = all(&stream("id,carrier,delay,at"), ReadRequest::new(departures(), Format::Csv)).unwrap();
    assert_eq!((chunks.len(), chunks[0].rows_read, end(&chunks).complete, end(&chunks).bytes), (1, 0, true, 19));
}
