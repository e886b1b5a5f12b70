//! One partition, read again from its start or from a position on, up to one place after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use lockstep_model::position::history_path;
use lockstep_model::{Error, FilePosition, KafkaPosition, PartitionId, Position, PushPosition};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::KafkaTopic;

use super::applied::Together;
use super::{Files, kind_of};
use crate::admission::Kind;
use crate::kafka::{End, Request, TopicLog, partition_of};
use crate::pipeline::{self, dialect_of, file_format, schema_of};
use crate::push::Again;
use crate::source::{Chunk, Format, ReadRequest, SourceBatch, SourceFile, SourceReader, WantedSource};

/// Most records of a topic, or pushed rows, that are read at once.
const BATCH_ROWS: usize = 8192;

/// Reads a partition and remembers how far it was asked for.
pub(super) struct Log {
    name: String,
    reader: Reader,
    /// Which of the batches of a chunk is that of the source.
    at: usize,
    /// What was read last, and the row after it.
    chunk: Option<Chunk>,
    read: u64,
    /// Rows that were asked for so far.
    done: u64,
    /// The largest event time so far.
    pub(super) event_time_max: Option<i64>,
}

enum Reader {
    File(SourceReader),
    /// A topic, of which one partition is read.
    Topic(Box<TopicLog>),
    Push(Box<Again>),
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("name", &self.name).field("read", &self.read).field("done", &self.done).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens a partition that was read up to a position, to be read from its start.
    ///
    /// # Errors
    /// Unavailable where it cannot be read again; Data where it is no longer what was applied.
    pub(super) fn open(catalog: &Catalog, together: &Together, files: &Files, of: (&PartitionId, &Position)) -> Result<Log, Error> {
        Log::open_at(catalog, together, files, of, None)
    }

    /// As [`Self::open`], to be read from where `from` stands, an earlier position in it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn open_from(
        catalog: &Catalog,
        together: &Together,
        files: &Files,
        of: (&PartitionId, &Position),
        from: &Position,
    ) -> Result<Log, Error> {
        let mut log = Log::open_at(catalog, together, files, of, Some(from.rows()))?;
        // Of a file, whose rows have no offsets, those before are read and passed over.
        (log.done, log.event_time_max) = (from.rows(), from.event_time_max());
        Ok(log)
    }

    fn open_at(
        catalog: &Catalog,
        together: &Together,
        files: &Files,
        (id, position): (&PartitionId, &Position),
        from: Option<u64>,
    ) -> Result<Log, Error> {
        let source = catalog.sources.get(&id.source).ok_or_else(|| Error::internal(format!("no source named `{}`", id.source)))?;
        match position {
            Position::File(position) => {
                let path = history_path(&id.partition).unwrap_or(&id.partition);
                Log::of_file(catalog, source, &together.sources(catalog, id), (path, kind_of(id)), position, files)
            }
            Position::Kafka(position) => Log::of_topic(catalog, source, (&id.partition, from), position, files),
            Position::Push(position) => Log::of_push(source, position, from, files),
        }
    }

    /// Opens the file that `path` names, of which `source` was read up to `position`, as one of the sources that it was read for.
    fn of_file(
        catalog: &Catalog,
        source: &SourcePlan,
        read_for: &[&SourcePlan],
        (path, kind): (&str, Kind),
        position: &FilePosition,
        files: &Files,
    ) -> Result<Log, Error> {
        let file = files.find(path)?;
        let request = || -> Result<ReadRequest, Error> {
            // A declared format is that of the batch files; a log's name says its own.
            let format = Format::of(file.name()).filter(|_| kind == Kind::Stream).map_or_else(|| file_format(source, &file), Ok)?;
            let mut request = ReadRequest::new(schema_of(source), format);
            request.csv = dialect_of(source);
            request.declared = catalog.sources.keys().cloned().collect();
            Ok(request)
        };
        check_position(&file, request()?, position)?;
        let mut request = request()?;
        request.sources = read_for.iter().map(|source| WantedSource { schema: schema_of(source), resume: None }).collect();
        let at = read_for.iter().position(|read| read.name == source.name).unwrap_or(0);
        let reader = SourceReader::open(&file, request)?;
        if let (true, Some(total)) = (position.complete, reader.progress().rows_total.filter(|total| *total != position.rows)) {
            return Err(Error::data(format!("{} was applied to its end, {} rows, and has {total} · restore it", file.name(), position.rows)));
        }
        let (name, event_time_max) = (file.name().to_owned(), position.begun_at);
        Ok(Log { name, reader: Reader::File(reader), at, chunk: None, read: 0, done: 0, event_time_max })
    }

    /// Opens a partition of a topic, of which `source` was read up to `position`, to be read from an offset on where one is given.
    fn of_topic(
        catalog: &Catalog,
        source: &SourcePlan,
        (name, from): (&str, Option<u64>),
        position: &KafkaPosition,
        files: &Files,
    ) -> Result<Log, Error> {
        let unknown = || Error::invalid(format!("{name} was applied, and [kafka] does not say where its brokers are · write it there"));
        let settings = Arc::clone(files.kafka.as_ref().ok_or_else(unknown)?);
        let no_name = || Error::internal(format!("`{name}` names no partition of a topic"));
        let (topic, partition) = partition_of(name).map(|(topic, partition)| (topic.to_owned(), partition)).ok_or_else(no_name)?;
        let log = TopicLog::open(Request {
            settings,
            source: schema_of(source),
            declared: catalog.sources.keys().cloned().collect(),
            // A stream that was declared otherwise since is read as it was named then.
            topic: KafkaTopic { name: topic, partitions: None, ..source.options.topic.clone().unwrap_or_else(|| KafkaTopic::json("")) },
            stands: vec![BTreeMap::from([(partition, position.clone())])],
            end: End::Again(partition, from),
            batch_rows: BATCH_ROWS,
            stop: Arc::default(),
            applied: Arc::default(),
        })?;
        let (done, event_time_max) = (from.unwrap_or(position.first), position.begun_at);
        Ok(Log { name: name.to_owned(), reader: Reader::Topic(Box::new(log)), at: 0, chunk: None, read: done, done, event_time_max })
    }

    /// Opens a push log, of which `source` was read up to `position`.
    fn of_push(source: &SourcePlan, position: &PushPosition, from: Option<u64>, files: &Files) -> Result<Log, Error> {
        let unknown = || Error::internal(format!("what was pushed to `{}` was applied, and nobody says where it is", source.name));
        let log = Again::open(files.push.as_ref().ok_or_else(unknown)?, source, position, from)?;
        let name = format!("the push log of source `{}`", source.name);
        let (done, event_time_max) = (from.unwrap_or(position.first), position.begun_at);
        Ok(Log { name, reader: Reader::Push(Box::new(log)), at: 0, chunk: None, read: done, done, event_time_max })
    }

    /// Whether what was read so far is what was read up to a position, where that can be told.
    ///
    /// # Errors
    /// Data where it is not.
    pub(super) fn compare(&self, position: &Position) -> Result<(), Error> {
        match (&self.reader, position) {
            (Reader::Push(log), Position::Push(position)) => log.compare(position),
            _ => Ok(()),
        }
    }

    /// Reads the next rows, of which those before `end` are wanted; whether there are any.
    fn next(&mut self, end: u64) -> Result<bool, Error> {
        match &mut self.reader {
            Reader::File(reader) => {
                self.chunk = reader.next_chunk()?;
                self.read += self.chunk.as_ref().map_or(0, |chunk| chunk.rows_read);
                Ok(self.chunk.is_some())
            }
            Reader::Topic(log) => {
                self.chunk = pipeline::Log::next(&mut **log)?.map(|read| read.chunk);
                self.read = match &self.chunk {
                    Some(chunk) => chunk.batches.first().map_or(self.read, |batch| batch.position.rows()),
                    // The last records before the end may be gone, by compaction.
                    None => end,
                };
                Ok(true)
            }
            Reader::Push(log) => {
                self.chunk = log.chunk(end, BATCH_ROWS)?;
                self.read = self.chunk.as_ref().and_then(|chunk| chunk.batches.get(self.at)).map_or(self.read, |batch| batch.position.rows());
                Ok(self.chunk.is_some())
            }
        }
    }

    /// Passes on the batches that hold rows from where it stands up to row `end`, with the range of rows meant.
    ///
    /// # Errors
    /// Data where the file has fewer rows; as reading does.
    pub(super) fn read_to(
        &mut self,
        end: u64,
        mut take: impl FnMut(&SourceBatch, Range<u64>, Option<i64>) -> Result<Option<i64>, Error>,
    ) -> Result<u64, Error> {
        let (from, mut event_time_max) = (self.done, self.event_time_max);
        while let Some((rows, batch)) = self.rows_to(end)? {
            if let Some(batch) = batch {
                event_time_max = take(batch, rows, event_time_max)?;
            }
        }
        self.event_time_max = event_time_max;
        Ok(self.done - from)
    }

    /// The next rows up to row `end`: their numbers, and the batch with those of them that are there; `None` once it stands at `end`.
    ///
    /// # Errors
    /// As [`Self::read_to`].
    pub(super) fn rows_to(&mut self, end: u64) -> Result<Option<(Range<u64>, Option<&SourceBatch>)>, Error> {
        if self.done >= end {
            return Ok(None);
        }
        while self.read <= self.done {
            if !self.next(end)? {
                return Err(self.too_short(end));
            }
        }
        let rows = self.done..end.min(self.read);
        self.done = rows.end;
        Ok(Some((rows, self.chunk.as_ref().and_then(|chunk| chunk.batches.get(self.at)))))
    }

    /// Rows that were asked for so far.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    fn too_short(&self, end: u64) -> Error {
        let name = &self.name;
        Error::data(format!("{name} is not what was applied · it has {} rows, and {end} of it were · restore it", self.read))
    }
}

/// Whether the file is still the one in which the position was taken: the readers' own check on resuming.
fn check_position(file: &SourceFile, mut request: ReadRequest, position: &FilePosition) -> Result<(), Error> {
    request.batch_rows = 1;
    request.sources.iter_mut().for_each(|wanted| wanted.resume = Some(position.clone()));
    SourceReader::open(file, request)?.next_chunk().map(drop)
}
