//! One partition, read again from its start, up to one place after the other.

use lockstep_model::{Error, FilePosition};
use lockstep_transform::catalog::{Catalog, SourcePlan};

use super::Files;
use crate::admission::Kind;
use crate::pipeline::{dialect_of, file_format, schema_of};
use crate::source::{Chunk, Format, ReadRequest, SourceBatch, SourceFile, SourceReader, WantedSource};

/// Reads a file and remembers how far it was asked for.
#[derive(Debug)]
pub(super) struct Log {
    file: SourceFile,
    reader: SourceReader,
    /// What was read last, and the row after it.
    chunk: Option<Chunk>,
    read: u64,
    /// Rows that were asked for so far.
    done: u64,
    /// The largest event time so far.
    pub(super) event_time_max: Option<i64>,
}

impl Log {
    /// Opens the file that `path` names, of which `source` was read up to `position`, together with other sources.
    pub(super) fn open(
        catalog: &Catalog,
        source: &SourcePlan,
        together: &[&SourcePlan],
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
        request.sources.extend(together.iter().map(|source| WantedSource { schema: schema_of(source), resume: None }));
        let reader = SourceReader::open(&file, request)?;
        if let (true, Some(total)) = (position.complete, reader.progress().rows_total.filter(|total| *total != position.rows)) {
            return Err(Error::data(format!("{} was applied to its end, {} rows, and has {total} · restore it", file.name(), position.rows)));
        }
        Ok(Log { file, reader, chunk: None, read: 0, done: 0, event_time_max: position.begun_at })
    }

    /// Passes on the batches that hold rows from where it stands up to row `end`, with the range of rows meant.
    ///
    /// # Errors
    /// Data where the file has fewer rows; as reading does.
    pub(super) fn read_to(
        &mut self,
        end: u64,
        mut take: impl FnMut(&SourceBatch, std::ops::Range<u64>, Option<i64>) -> Result<Option<i64>, Error>,
    ) -> Result<u64, Error> {
        let from = self.done;
        while self.done < end {
            if self.read <= self.done {
                self.chunk = self.reader.next_chunk()?;
                let Some(chunk) = &self.chunk else { return Err(self.too_short(end)) };
                self.read += chunk.rows_read;
            }
            let rows = self.done..end.min(self.read);
            for batch in self.chunk.iter().filter_map(|chunk| chunk.batches.first()) {
                self.event_time_max = take(batch, rows.clone(), self.event_time_max)?;
            }
            self.done = rows.end;
        }
        Ok(self.done - from)
    }

    /// Rows that were asked for so far.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    fn too_short(&self, end: u64) -> Error {
        let name = self.file.name();
        Error::data(format!("{name} is not the file that was applied · it has {} rows, and {end} of it were · restore it", self.read))
    }
}

/// Whether the file is still the one in which the position was taken: the readers' own check on resuming.
fn check_position(file: &SourceFile, mut request: ReadRequest, position: &FilePosition) -> Result<(), Error> {
    request.batch_rows = 1;
    request.sources.iter_mut().for_each(|wanted| wanted.resume = Some(position.clone()));
    SourceReader::open(file, request)?.next_chunk().map(drop)
}
