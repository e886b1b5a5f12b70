use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::parquet::departures_file;
use super::*;

fn names(location: &str, base: &std::path::Path) -> Vec<String> {
    locate(location, base, &Stores::local()).unwrap().iter().map(|file| file.name().to_owned()).collect()
}

#[test]
fn paths_patterns_and_urls() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    std::fs::create_dir_all(base.join("data/deep")).unwrap();
    for name in ["b.csv", "a.csv", ".hidden.csv", "deep/c.csv", "d [1].csv", "x.json"] {
        std::fs::write(base.join("data").join(name), "").unwrap();
    }
    assert_eq!(names("data/a.csv", base), ["data/a.csv"]);
    assert_eq!(names("data/*.csv", base), ["data/a.csv", "data/b.csv", "data/d [1].csv"]);
    assert_eq!(names("data/**/*.csv", base), ["data/a.csv", "data/b.csv", "data/d [1].csv", "data/deep/c.csv"]);
    assert_eq!(names("data/[ab].csv", base), ["data/a.csv", "data/b.csv"]);
    assert_eq!(names("data/d [1].csv", base), ["data/d [1].csv"]);
    let absolute = base.join("data/?.csv");
    let found = [base.join("data/a.csv"), base.join("data/b.csv")].map(|path| path.display().to_string());
    assert_eq!(names(absolute.to_str().unwrap(), std::path::Path::new("")), found);
    let url = format!("file://{}/data/d%20%5B1%5D.csv", base.display());
    assert_eq!(names(&url, base), [url.as_str()]);
    assert_eq!(names("-", base), ["-"]);
}

#[test]
fn a_base_may_look_like_a_pattern() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("a[b]*");
    std::fs::create_dir(&base).unwrap();
    std::fs::write(base.join("x.csv"), "").unwrap();
    assert_eq!(names("*.csv", &base), ["x.csv"]);
}

#[test]
fn what_is_not_there_or_cannot_be_read_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    let refused = |location: &str| error(locate(location, base, &Stores::local()));
    let here = base.display();
    assert_eq!(refused("x.csv"), (ErrorKind::NotFound, format!("there is no file `x.csv` in `{here}`")));
    assert_eq!(refused("no/x.csv"), (ErrorKind::NotFound, format!("there is no file `no/x.csv`: there is no directory `{here}/no` either")));
    assert_eq!(refused("*.csv"), (ErrorKind::NotFound, "there is no file `*.csv`: nothing matches the pattern".to_owned()));
    assert_eq!(refused("file:///x?.csv").0, ErrorKind::Invalid);
    let scheme = "cannot read `ftp://h/x.csv`: unknown scheme `ftp` · write a path, or a URL with file, s3, gs, az, http or https";
    assert_eq!(refused("ftp://h/x.csv"), (ErrorKind::Invalid, scheme.to_owned()));
    let opened = error(SourceReader::open(&SourceFile::local(base), ReadRequest::new(departures(), Format::Csv)));
    assert_eq!(opened, (ErrorKind::Invalid, format!("cannot read `{here}`: it is a directory · name its files, as in `dir/*.parquet`")));
    let gone = error(SourceReader::open(&SourceFile::local(base.join("x.csv")), ReadRequest::new(departures(), Format::Csv)));
    assert_eq!(gone, (ErrorKind::NotFound, format!("there is no file `{here}/x.csv`")));
}

#[cfg(not(feature = "cloud"))]
#[test]
fn object_stores_need_a_feature_that_the_error_names() {
    for location in ["s3://bucket/x.parquet", "gs://bucket/*.csv", "https://host/x.csv", "az://container/x.csv"] {
        let (kind, message) = error(locate(location, std::path::Path::new(""), &Stores::local()));
        let reason = "this build reads local files only · build it with the cargo feature `cloud`, or copy the file here";
        assert_eq!((kind, message), (ErrorKind::Invalid, format!("cannot read `{location}`: {reason}")));
    }
}

/// A store in memory with these objects, under `s3://bucket`, and the runtime it runs on.
fn in_memory(objects: &[(&str, Vec<u8>)]) -> (tokio::runtime::Runtime, Arc<InMemory>, Stores) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let store = Arc::new(InMemory::new());
    for (path, bytes) in objects {
        runtime.block_on(store.put(&(*path).into(), PutPayload::from(bytes.clone()))).unwrap();
    }
    let mut stores = Stores::new(runtime.handle().clone());
    stores.register("s3://bucket/", Arc::clone(&store) as Arc<dyn ObjectStore>);
    (runtime, store, stores)
}

#[test]
fn objects_are_read_like_files() {
    let csv = "id,carrier,delay,at\n1,UA,,\n".to_owned() + &"2,x,,\n".repeat(10);
    let objects = [("d/a.parquet", departures_file(25, 10)), ("d/b.csv", csv.clone().into_bytes()), ("d/e/c.csv", b"id,carrier,delay,at\n".to_vec())];
    let (_runtime, _, stores) = in_memory(&objects);
    let found = |location: &str| locate(location, std::path::Path::new("unused"), &stores);
    let names = |location: &str| found(location).unwrap().iter().map(|file| file.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names("s3://bucket/d/*"), ["s3://bucket/d/a.parquet", "s3://bucket/d/b.csv"]);
    assert_eq!(names("s3://bucket/**/*.csv"), ["s3://bucket/d/b.csv", "s3://bucket/d/e/c.csv"]);
    assert_eq!(error(found("s3://bucket/d/*.json")).0, ErrorKind::NotFound);

    for (location, format, bytes) in
        [("s3://bucket/d/a.parquet", Format::Parquet, &objects[0].1), ("s3://bucket/d/b.csv", Format::Csv, &objects[1].1)]
    {
        let object = found(location).unwrap().remove(0);
        let request = ReadRequest { batch_rows: 4, ..ReadRequest::new(departures(), format) };
        let chunks = all(&object, request.clone()).unwrap();
        let file = TestFile::new("x", bytes);
        let local = all(&file.source(), request.clone()).unwrap();
        assert_eq!(rows_of(&chunks, 0), rows_of(&local, 0));
        let position = end(&chunks);
        assert!(position.etag.is_some());
        assert_eq!(FilePosition { etag: None, ..position.clone() }, end(&local));
        let middle = file_position(&chunks[1].batches[0]);
        let rest =
            all(&object, ReadRequest { sources: vec![WantedSource { schema: departures(), resume: Some(middle.clone()) }], ..request }).unwrap();
        assert_eq!(rows_of(&rest, 0), rows_of(&local, 0)[middle.rows as usize..]);
    }
    let missing = found("s3://bucket/d/none.parquet").unwrap().remove(0);
    let gone = error(SourceReader::open(&missing, ReadRequest::new(departures(), Format::Parquet)));
    assert_eq!(gone, (ErrorKind::NotFound, "there is no file `s3://bucket/d/none.parquet`".to_owned()));
}

#[test]
fn an_object_replaced_while_it_is_read_is_an_error() {
    let (runtime, store, stores) = in_memory(&[("a.parquet", departures_file(40, 10))]);
    let file = locate("s3://bucket/a.parquet", std::path::Path::new(""), &stores).unwrap().remove(0);
    let request = ReadRequest { batch_rows: 10, ..ReadRequest::new(departures(), Format::Parquet) };
    let mut reader = SourceReader::open(&file, request.clone()).unwrap();
    let position = file_position(&reader.next_chunk().unwrap().unwrap().batches[0]);
    runtime.block_on(store.put(&"a.parquet".into(), PutPayload::from(departures_file(40, 10)))).unwrap();
    let error_of = |result: Result<_, _>| error(result);
    let (kind, message) = loop {
        match reader.next_chunk() {
            Ok(Some(_)) => {}
            other => break error_of(other),
        }
    };
    assert_eq!((kind, message.as_str()), (ErrorKind::Data, "`s3://bucket/a.parquet` was replaced while it was being read · read it again"));
    assert!(reader.next_chunk().unwrap().is_none());
    let resume = ReadRequest { sources: vec![WantedSource { schema: departures(), resume: Some(position) }], ..request };
    let (kind, message) = error(SourceReader::open(&file, resume));
    assert_eq!(kind, ErrorKind::Data);
    assert!(message.contains("has changed since source `departures` was read to row 10: its entity tag was "), "{message}");
}
