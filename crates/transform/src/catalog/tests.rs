use std::path::Path;

use super::*;
use crate::definition::SourceFile;

fn flights() -> Vec<SourceFile> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../feature_defs");
    let mut files: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "sql")).collect();
    files.sort();
    files.iter().map(|path| SourceFile::new(path.file_name().unwrap().to_string_lossy(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_flights_compile() {
    let definitions = Definitions::parse(&flights()).unwrap();
    let catalog = Catalog::compile(definitions).unwrap();
    assert!(!catalog.views.is_empty() && !catalog.services.is_empty());
    let features: usize = catalog.views.values().map(|view| view.features.fields().len()).sum();
    assert!(features >= 30, "{features} features");
}
