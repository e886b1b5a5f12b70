//! Cases are text: rows go in, and what stands in the end comes out. Every case runs whole and row by row, and must come to the same.

mod cases;
mod edges;
mod laws;
mod log;

use log::Log;

/// Runs `rows` through a source with `options` as its log, and compares with what is expected to stand in the end.
fn check(options: &str, rows: &str, expected: &str) {
    check_kind(options, super::Kind::Stream, rows, expected);
}

fn check_kind(options: &str, kind: super::Kind, rows: &str, expected: &str) {
    let rows = log::parse(rows);
    let whole = Log::new(options, kind).admit(&rows).report();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(whole.lines().collect::<Vec<_>>(), expected, "\n{whole}");
    let mut one_by_one = Log::new(options, kind);
    for row in &rows {
        one_by_one.admit(std::slice::from_ref(row));
    }
    assert_eq!(one_by_one.report(), whole, "row by row");
}
