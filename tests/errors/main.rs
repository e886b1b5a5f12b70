//! Every text a user can see about a definition that is wrong: `NAME.sql` beside what is said of it, `NAME.txt`.
//!
//! A case is read together with `prelude.sql`, which defines an entity, sources and views to refer to. `BLESS=1` writes what is
//! said; read it in the diff.

use std::fs;
use std::path::{Path, PathBuf};

use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, Diagnostic, SourceFile, Style};

const PRELUDE: &str = "prelude";

#[test]
fn what_is_said_of_wrong_definitions() {
    let bless = std::env::var_os("BLESS").is_some();
    let prelude = fs::read_to_string(directory().join("prelude.sql")).expect("the prelude is there");
    let cases = files("sql");
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| *case != PRELUDE) {
        let diagnostics = diagnostics_of(case, &prelude);
        wrong.extend(diagnostics.iter().flat_map(badly_written).map(|text| format!("{case}.sql is answered in a wrong style: {text}")));
        let said = rendered(&diagnostics);
        let path = directory().join(case).with_extension("txt");
        if bless {
            fs::write(&path, &said).expect("the directory can be written");
        } else if fs::read_to_string(&path).unwrap_or_default() != said {
            wrong.push(format!("{case}.sql is now answered by\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 writes what is said; read it in the diff", wrong.join("\n"));
    assert!(cases.len() > 60, "only {} cases were found", cases.len());
}

#[test]
fn every_text_has_its_case() {
    let cases = files("sql");
    let orphans: Vec<_> = files("txt").into_iter().filter(|text| !cases.contains(text)).collect();
    assert!(orphans.is_empty(), "texts without a case: {orphans:?}");
}

#[test]
fn the_prelude_is_right() {
    let prelude = fs::read_to_string(directory().join("prelude.sql")).expect("the prelude is there");
    let definitions = Definitions::parse(&[SourceFile::new("prelude.sql", prelude)]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!((definitions.entities.len(), definitions.sources.len(), definitions.views.len()), (4, 3, 4));
}

fn diagnostics_of(case: &str, prelude: &str) -> Vec<Diagnostic> {
    let text = fs::read_to_string(directory().join(case).with_extension("sql")).expect("the case is there");
    let files = [SourceFile::new("prelude.sql", prelude), SourceFile::new(format!("{case}.sql"), text)];
    // Types are found wrong where all else is right.
    Definitions::parse(&files).and_then(|definitions| Catalog::compile(definitions).map(drop)).err().unwrap_or_default()
}

/// Diagnostics as people read them, an empty line between two.
fn rendered(diagnostics: &[Diagnostic]) -> String {
    if diagnostics.is_empty() {
        return "nothing is wrong\n".to_owned();
    }
    diagnostics.iter().map(|diagnostic| diagnostic.render(Style::Plain) + "\n").collect::<Vec<_>>().join("\n")
}

/// Texts that do not begin in lower case, but for SQL and names, or that end with a full stop.
fn badly_written(diagnostic: &Diagnostic) -> Vec<&str> {
    let texts = [&diagnostic.title].into_iter().chain(&diagnostic.notes).chain(&diagnostic.help);
    texts.map(String::as_str).filter(|text| !well_written(text)).collect()
}

fn well_written(text: &str) -> bool {
    let first_word = text.split_whitespace().next().unwrap_or_default();
    let is_sql = first_word.starts_with(['`', '\'']) || first_word.chars().all(|c| !c.is_lowercase());
    (is_sql || text.starts_with(char::is_lowercase)) && !text.ends_with('.') && !text.is_empty()
}

/// The names of the files here that end so, without their ending, in order.
fn files(ending: &str) -> Vec<String> {
    let entries = fs::read_dir(directory()).expect("the directory is there");
    let paths = entries.map(|entry| entry.expect("the directory can be read").path()).filter(|path| path.extension().is_some_and(|e| e == ending));
    let mut names: Vec<_> = paths.filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/errors")
}
