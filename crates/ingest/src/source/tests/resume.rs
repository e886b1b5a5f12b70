use super::parquet::departures_file;
use super::*;

/// A file with rows of two sources, good and bad ones, blank lines and an open end.
fn log() -> String {
    let mut text = "\u{feff}".to_owned();
    for id in 0..40 {
        text += &match id % 7 {
            0 => format!("{{\"_source\":\"departures\",\"id\":{id},\"carrier\":\"\u{e9}\"}}\r\n"),
            1 => format!("{{\"_source\":\"planes\",\"tail\":\"N{id}\"}}\n"),
            2 => "\n".to_owned(),
            3 => format!("{{\"_source\":\"departures\",\"id\":{id}.5}}\n"),
            4 => format!("{{\"_source\":\"weather\",\"id\":{id}}}\n"),
            _ => format!("{{\"_source\":\"departures\",\"id\":{id},\"_append_time\":\"2013-01-01T00:00:{id}Z\"}}\n"),
        };
    }
    text.trim_end().to_owned()
}

fn both(resume: [Option<FilePosition>; 2], batch_rows: usize) -> ReadRequest {
    let [first, second] = resume;
    let planes = source("planes", &[("tail", DataType::Utf8), ("at", MOMENT)]);
    ReadRequest {
        sources: vec![WantedSource { schema: departures(), resume: first }, WantedSource { schema: planes, resume: second }],
        declared: ["departures", "planes", "weather"].map(str::to_owned).to_vec(),
        batch_rows,
        ..ReadRequest::new(departures(), Format::Ndjson)
    }
}

fn one(format: Format, resume: Option<FilePosition>, batch_rows: usize) -> ReadRequest {
    ReadRequest { sources: vec![WantedSource { schema: departures(), resume }], batch_rows, ..ReadRequest::new(departures(), format) }
}

/// What is read up to `chunks` chunks, and the positions then.
fn part(file: &SourceFile, request: ReadRequest, chunks: usize) -> Vec<Chunk> {
    let mut reader = SourceReader::open(file, request).unwrap();
    reader.by_ref().take(chunks).collect::<Result<_, _>>().unwrap()
}

#[test]
fn resuming_at_every_row_gives_the_same_rows() {
    let csv = "id,carrier,delay,at\n".to_owned()
        + &(0..30).map(|id| format!("{id},\"a\nb\",,\n{}", if id % 4 == 0 { "\n" } else { "" })).collect::<String>();
    let files = [
        (Format::Ndjson, TestFile::new("x.ndjson", log())),
        (Format::Csv, TestFile::new("x.csv", csv)),
        (Format::Parquet, TestFile::new("x.parquet", departures_file(33, 10))),
    ];
    for (format, file) in &files {
        let mut request = one(*format, None, 1000);
        request.declared = both([None, None], 1).declared;
        let whole = all(&file.source(), request.clone()).unwrap();
        let rows = rows_of(&whole, 0);
        let total = end(&whole).rows;
        assert!(total >= 30);
        for done in 0..=total {
            for batch_rows in [1, 3, 1000] {
                let mut first = part(&file.source(), ReadRequest { batch_rows: (done as usize).max(1), ..request.clone() }, usize::from(done > 0));
                let resume = first.last().map(|chunk| file_position(&chunk.batches[0]));
                let resumed = ReadRequest { batch_rows, sources: vec![WantedSource { schema: departures(), resume }], ..request.clone() };
                first.extend(all(&file.source(), resumed).unwrap());
                assert_eq!(rows_of(&first, 0), rows, "{format:?} after {done} rows");
                assert_eq!(end(&first), end(&whole));
            }
        }
    }
}

#[test]
fn sources_of_one_log_may_stand_at_different_rows() {
    let file = TestFile::new("x.ndjson", log());
    let whole = all(&file.source(), both([None, None], 1000)).unwrap();
    let at = |rows: usize, source: usize| {
        let chunks = part(&file.source(), both([None, None], rows.max(1)), usize::from(rows > 0));
        (chunks.last().map(|chunk| file_position(&chunk.batches[source])), rows_of(&chunks, source))
    };
    for done in [[0, 9], [9, 0], [3, 17], [40, 5], [40, 40], [1, 40]] {
        let [(first, mut departures), (second, mut planes)] = [at(done[0], 0), at(done[1], 1)];
        let starts = [first.clone(), second.clone()];
        let rest = all(&file.source(), both([first, second], 4)).unwrap();
        departures.extend(rows_of(&rest, 0));
        planes.extend(rows_of(&rest, 1));
        assert_eq!((departures, planes), (rows_of(&whole, 0), rows_of(&whole, 1)), "{done:?}");
        // A source that is ahead stays where it is until the others have come there.
        for (source, start) in starts.iter().enumerate().filter_map(|(source, start)| start.as_ref().map(|start| (source, start))) {
            assert!(rest.iter().all(|chunk| chunk.batches[source].position.rows() >= start.rows), "{done:?}");
        }
    }
}

#[test]
fn chunk_cuts_and_slow_pipes_do_not_change_rows() {
    let text = log();
    let whole = all(&stream(&text), both([None, None], 1000)).unwrap();
    for (step, batch_rows) in [(1, 1000), (7, 3), (100, 1), (10_000, 17)] {
        let file = SourceFile::stream("-", Trickle { bytes: text.clone().into_bytes(), at: 0, step });
        let chunks = all(&file, both([None, None], batch_rows)).unwrap();
        assert_eq!((rows_of(&chunks, 0), rows_of(&chunks, 1)), (rows_of(&whole, 0), rows_of(&whole, 1)));
        assert_eq!(end(&chunks), end(&whole));
    }
}

#[test]
fn standard_input_goes_on_behind_the_same_text_only() {
    let lines = |from: u64, to: u64| (from..to).map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>();
    let position = end(&all(&stream(lines(0, 10)), one(Format::Ndjson, None, 4)).unwrap());
    assert_eq!((position.rows, position.size, position.complete), (10, None, true));
    let position = FilePosition { event_time_max: Some(5), ..position };
    let resume = |text: String| all(&stream(text), one(Format::Ndjson, Some(position.clone()), 4));
    let chunks = resume(lines(0, 12)).unwrap();
    assert_eq!(rows_of(&chunks, 0), ["10 10 | NULL | NULL | NULL", "11 11 | NULL | NULL | NULL"]);
    assert_eq!((end(&chunks).rows, end(&chunks).event_time_max), (12, Some(5)));
    assert!(resume(lines(0, 10)).unwrap().is_empty());

    let other = lines(0, 12).replace('3', "4");
    let advice = "put the file back, or read what it is now under another name";
    let changed = |what: &str| format!("`-` has changed since source `departures` was read to row 10: {what} · {advice}");
    assert_eq!(error(resume(other)), (ErrorKind::Data, changed("its first 90 bytes are others now")));
    assert_eq!(error(resume(lines(0, 9))), (ErrorKind::Data, changed("it had been read to byte 90 and ends after 81")));
}

#[test]
fn a_log_may_grow_but_not_change() {
    let file = TestFile::new("x.ndjson", "{\"id\":1}\n{\"id\":2}");
    let position = end(&all(&file.source(), one(Format::Ndjson, None, 10)).unwrap());
    assert_eq!((position.rows, position.bytes, position.complete), (2, 17, true));
    let resume = |text: &str| {
        file.write(text);
        all(&file.source(), one(Format::Ndjson, Some(position.clone()), 10)).map(|chunks| rows_of(&chunks, 0))
    };
    assert_eq!(resume("{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n").unwrap(), ["2 3 | NULL | NULL | NULL"]);
    assert_eq!(resume("{\"id\":1}\n{\"id\":2}\r\n{\"id\":3}\n").unwrap(), ["2 3 | NULL | NULL | NULL"]);
    assert_eq!(resume("{\"id\":1}\n{\"id\":2}\n").unwrap(), [""; 0]);
    let reason = |text: &str| {
        let (kind, message) = error(resume(text));
        assert_eq!(kind, ErrorKind::Data);
        message.split(": ").nth(1).unwrap().split(" · ").next().unwrap().to_owned()
    };
    assert_eq!(reason("{\"id\":1}\n{\"id\":2} \n"), "its last line had no end and has been continued");
    assert_eq!(reason("{\"id\":1}\n{\"id\":2}\r{\"id\":3}\n"), "its last line had no end and has been continued");
    assert_eq!(reason("{\"id\":3}\n{\"id\":2}\n"), "its first 17 bytes are others now");
    assert_eq!(reason("{\"id\":1}\n"), "it had 17 bytes and has 9");
}

#[test]
fn another_parquet_file_in_its_place_is_seen() {
    let file = TestFile::new("x.parquet", departures_file(20, 10));
    let position = file_position(&part(&file.source(), one(Format::Parquet, None, 5), 1)[0].batches[0]);
    assert_eq!((position.rows, position.complete), (5, false));
    let reason = |bytes: Vec<u8>| {
        file.write(bytes);
        let (kind, message) = error(all(&file.source(), one(Format::Parquet, Some(position.clone()), 5)));
        assert_eq!(kind, ErrorKind::Data);
        message
    };
    assert!(reason(departures_file(21, 10)).contains("read to row 5: it had "));
    let mut same_size = departures_file(20, 10);
    let created_by = same_size.windows(10).rposition(|window| window == b"parquet-rs").unwrap();
    same_size[created_by] = b'P';
    assert!(reason(same_size).contains("its footer is another now · put the file back"));
}
