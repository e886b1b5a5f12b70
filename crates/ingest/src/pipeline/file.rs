//! A file, or standard input, as a log of one partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_model::{Error, FilePosition, PartitionId, Position};
use lockstep_transform::catalog::{Catalog, SourcePlan};

use super::history_partition;
use super::log::{Input, Log, Read, Standing};
use super::options::StreamOptions;
use super::schema::{dialect_of, schema_of};
use super::step::Target;
use crate::admission::Kind;
use crate::source::{Dialect, Format, ReadRequest, SourceFile, SourceReader, WantedSource};

struct FileLog(SourceReader);

impl Log for FileLog {
    fn next(&mut self) -> Result<Option<Read>, Error> {
        let Some(chunk) = self.0.next_chunk()? else { return Ok(None) };
        let standing = Standing { bytes_total: self.0.progress().bytes_total, ..Standing::default() };
        Ok(Some(Read { chunk, standing, ends: Vec::new() }))
    }
}

/// A file to be read from where the targets stand in it.
pub(super) fn input(
    file: &SourceFile,
    sources: &[Arc<SourcePlan>],
    catalog: &Catalog,
    targets: &[Target],
    positions: &[BTreeMap<PartitionId, Position>],
    options: &StreamOptions,
) -> Result<Input, Error> {
    let request = ReadRequest {
        csv: dialect(file, sources, options.format)?,
        sources: wanted(file, sources, targets, positions, options.kind),
        declared: catalog.sources.keys().cloned().collect(),
        format: options.format,
        batch_rows: options.batch_rows,
    };
    let (name, file) = (file.name().to_owned(), file.clone());
    let open = move || -> Result<Box<dyn Log>, Error> { Ok(Box::new(FileLog(SourceReader::open(&file, request)?))) };
    Ok(Input { name, open: Box::new(open), applied: None })
}

/// The name under which a file's position is kept.
pub(super) fn partition_name(file: &str, kind: Kind) -> String {
    match kind {
        Kind::Stream => file.to_owned(),
        Kind::History => history_partition(file),
    }
}

/// Each source from where the target that is furthest behind stands.
fn wanted(
    file: &SourceFile,
    sources: &[Arc<SourcePlan>],
    targets: &[Target],
    positions: &[BTreeMap<PartitionId, Position>],
    kind: Kind,
) -> Vec<WantedSource> {
    let one = |source: &Arc<SourcePlan>| {
        let id = PartitionId { source: source.name.clone(), partition: partition_name(file.name(), kind) };
        let readers = targets.iter().zip(positions).filter(|(target, _)| target.branches_of(&source.name).next().is_some());
        let positions: Vec<Option<&FilePosition>> = readers.map(|(_, positions)| file_position(positions.get(&id)?)).collect();
        let least = positions.into_iter().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min_by_key(|position| position.rows));
        WantedSource { schema: schema_of(source), resume: least.cloned() }
    };
    sources.iter().map(one).collect()
}

fn file_position(position: &Position) -> Option<&FilePosition> {
    match position {
        Position::File(position) => Some(position),
        Position::Kafka(_) | Position::Push(_) => None,
    }
}

/// How CSV is written in the log: as its sources declare.
fn dialect(file: &SourceFile, sources: &[Arc<SourcePlan>], format: Format) -> Result<Dialect, Error> {
    let dialects: Vec<Dialect> = sources.iter().map(|source| dialect_of(source)).collect();
    match dialects.iter().position(|dialect| *dialect != dialects[0]) {
        Some(at) if format == Format::Csv => Err(Error::invalid(format!(
            "{} is one file, and its sources `{}` and `{}` declare CSV of different kinds · give them the same csv_delimiter and csv_null, or name one by --source",
            file.name(),
            sources[0].name,
            sources[at].name
        ))),
        _ => Ok(dialects.into_iter().next().unwrap_or_default()),
    }
}
