//! The header of a CSV file: which field is which column.

use std::collections::BTreeSet;

use lockstep_transform::definition::sql_name;

use super::super::block::Blocks;
use super::super::column::Value;
use super::super::csv::{Dialect, Record, record};
use super::super::error::SourceError;
use super::super::{RECORD_BYTES_MAX, SOURCE_MEMBER};
use super::gather::Gather;

/// Where the fields of each record belong.
#[derive(Debug)]
pub(super) struct Header {
    width: usize,
    source_field: Option<usize>,
    /// Per wanted source and field: the column's slot, where the source has that column.
    slots: Vec<Vec<Option<usize>>>,
}

impl Header {
    /// Reads the header that stands at the start of `blocks`; with it, how many bytes it takes.
    pub(super) fn read(file: &str, blocks: &mut Blocks, sources: &[Gather], dialect: &Dialect) -> Result<(Header, usize), SourceError> {
        let (names, len) = names(file, blocks, dialect)?;
        let mut seen = BTreeSet::new();
        let is_read = |name: &str| name == SOURCE_MEMBER || sources.iter().any(|source| source.slots().find(name).is_some());
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str()) && is_read(name)) {
            return Err(damaged(file, format!("has two columns called `{twice}` · rename one of them")));
        }
        for source in sources {
            check(file, &names, source)?;
        }
        let slots = sources.iter().map(|source| names.iter().map(|name| source.slots().find(name)).collect()).collect();
        let source_field = names.iter().position(|name| name == SOURCE_MEMBER);
        Ok((Header { width: names.len(), source_field, slots }, len))
    }

    /// Fields of a record.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The field that names the source.
    pub(super) fn source_field(&self) -> Option<usize> {
        self.source_field
    }

    /// Where the fields belong among the columns of a wanted source.
    pub(super) fn slots(&self, source: usize) -> &[Option<usize>] {
        self.slots.get(source).map_or(&[], Vec::as_slice)
    }
}

fn names(file: &str, blocks: &mut Blocks, dialect: &Dialect) -> Result<(Vec<String>, usize), SourceError> {
    let mut fields = Vec::new();
    let mut skipped = 0;
    loop {
        let from = blocks.at() + skipped;
        let bytes = blocks.text().as_bytes();
        match record(bytes, from, blocks.eof(), dialect, &mut fields) {
            _ if from == bytes.len() && blocks.eof() => {
                return Err(damaged(file, "is empty · a CSV file starts with the names of its columns".to_owned()));
            }
            Record::Fields { next } if blocks.is_utf8(from..next) => {
                let (text, mut scratch) = (blocks.text(), String::new());
                // An empty field is a column without a name.
                let name = |cell| Value::of(cell, text).unescaped(&mut scratch).map_or_else(|_| String::new(), str::to_owned);
                return Ok((fields.iter().copied().map(name).collect(), next - blocks.at()));
            }
            Record::Fields { .. } => return Err(damaged(file, "has a header that is not UTF-8 · write it in UTF-8".to_owned())),
            Record::Empty { next } => skipped = next - blocks.at(),
            Record::Bad { reason, .. } => return Err(damaged(file, format!("has a header with {reason} · quote names as CSV does"))),
            Record::Incomplete if blocks.left() > RECORD_BYTES_MAX => {
                return Err(damaged(file, format!("has no end of its header within {} MiB · is it CSV?", RECORD_BYTES_MAX >> 20)));
            }
            Record::Incomplete => blocks.more()?,
        }
    }
}

fn check(file: &str, names: &[String], source: &Gather) -> Result<(), SourceError> {
    let schema = source.source();
    match schema.columns.fields().iter().find(|field| !names.contains(field.name())) {
        None => Ok(()),
        Some(missing) => Err(SourceError::Drift {
            file: file.to_owned(),
            column: missing.name().clone(),
            found: "is missing".to_owned(),
            source_name: schema.name.clone(),
            declared: sql_name(missing.data_type()),
            remedy: format!("columns: {}", names.join(", ")),
        }),
    }
}

fn damaged(file: &str, what: String) -> SourceError {
    SourceError::Damaged { file: file.to_owned(), what }
}
