//! What admission gives.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use lockstep_model::Error;
use lockstep_model::row::RowCodec;
use lockstep_store::{Counters, DeadLetter, KeyWrite, Refusal};
use lockstep_transform::changes::SourceChanges;

/// What a batch of rows comes to: changes of what the source's events are, and everything that has to be remembered with them.
#[derive(Debug)]
pub struct Admitted {
    /// Declared columns of the rows that come and of the contents that go.
    pub rows: RecordBatch,
    /// Per row: whether it comes (true) or goes.
    pub sign: Vec<bool>,
    /// Per row: from when it was known, µs; `i64::MIN` where the source declares no availability.
    pub known_from: Vec<i64>,
    /// Per row: until when, µs; `i64::MAX` for a winner.
    pub known_until: Vec<i64>,
    pub(super) suffixes: Suffixes,
    /// The rows that were taken, in their order.
    pub taken: Vec<Taken>,
    /// What the index has to remember: one write a key, its last state.
    pub keys: Vec<KeyWrite>,
    /// Rows that came too late, by position.
    pub refusals: Vec<Refusal>,
    /// Rows put aside, by position.
    pub dead_letters: Vec<DeadLetter>,
    /// What became of the rows.
    pub counters: Counters,
    /// The largest event time of the partition so far, µs; goes into its position.
    pub event_time_max: Option<i64>,
}

/// A row that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its place among the arrivals.
    pub row: u32,
    /// What it came to.
    pub fate: Fate,
}

/// What a row that counts came to when it came. What comes later may supersede it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// It is the first of its key.
    New,
    /// It took the place of an earlier version, or came after the key was deleted.
    Replaces,
    /// A greater version was there already.
    Superseded,
    /// It deleted its key.
    Deletes,
}

impl Fate {
    /// All of them, in the order of their numbers.
    pub const ALL: [Fate; 4] = [Fate::New, Fate::Replaces, Fate::Superseded, Fate::Deletes];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Fate::New => "new",
            Fate::Replaces => "replaces",
            Fate::Superseded => "superseded",
            Fate::Deletes => "deletes",
        }
    }
}

impl Admitted {
    /// The primary key and the version of a row, as its order key ends. The version is empty where the source has none.
    pub fn suffix(&self, row: usize) -> (&[u8], &[u8]) {
        self.suffixes.get(row)
    }

    /// Passes the changes on as the row stage takes them.
    pub fn with_changes<R>(&self, run: impl FnOnce(SourceChanges<'_>) -> R) -> R {
        let suffix = |row: usize| self.suffix(row);
        run(SourceChanges { rows: &self.rows, sign: &self.sign, known_from: &self.known_from, known_until: &self.known_until, suffix: &suffix })
    }
}

/// Primary keys and versions, in one buffer.
#[derive(Debug, Default)]
pub(super) struct Suffixes {
    bytes: Vec<u8>,
    /// Where the key and the version of each row end.
    ends: Vec<(usize, usize)>,
}

impl Suffixes {
    fn push(&mut self, key: &[u8], version: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(version);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn get(&self, row: usize) -> (&[u8], &[u8]) {
        let start = if row == 0 { 0 } else { self.ends[row - 1].1 };
        let (key_end, end) = self.ends[row];
        (&self.bytes[start..key_end], &self.bytes[key_end..end])
    }
}

/// Where the content of a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A row of the batch.
    Row(u32),
    /// Bytes by the row codec, from the index.
    Stored(&'a [u8]),
}

/// From when to when a row was known.
pub(super) type Known = (i64, i64);

/// Changes being gathered.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    /// Which of (the batch, the stored contents), and the row there.
    picks: Vec<(usize, usize)>,
    stored: Vec<&'a [u8]>,
    pub(super) sign: Vec<bool>,
    pub(super) known_from: Vec<i64>,
    pub(super) known_until: Vec<i64>,
    pub(super) suffixes: Suffixes,
}

impl<'a> Changes<'a> {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Changes {
            picks: Vec::with_capacity(rows),
            sign: Vec::with_capacity(rows),
            known_from: Vec::with_capacity(rows),
            known_until: Vec::with_capacity(rows),
            suffixes: Suffixes { bytes: Vec::with_capacity(16 * rows), ends: Vec::with_capacity(rows) },
            stored: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.picks.len()
    }

    /// A content comes, or goes.
    pub(super) fn push(&mut self, comes: bool, place: Place<'a>, known: Known, key: &[u8], version: &[u8]) {
        self.picks.push(match place {
            Place::Row(row) => (0, row as usize),
            Place::Stored(content) => {
                self.stored.push(content);
                (1, self.stored.len() - 1)
            }
        });
        self.sign.push(comes);
        self.known_from.push(known.0);
        self.known_until.push(known.1);
        self.suffixes.push(key, version);
    }

    /// The columns of all changes, in their order.
    pub(super) fn gather(&self, batch: &RecordBatch, codec: &RowCodec) -> Result<RecordBatch, Error> {
        let is_whole = self.picks.len() == batch.num_rows() && self.picks.iter().enumerate().all(|(i, &pick)| pick == (0, i));
        if is_whole {
            return Ok(batch.clone());
        }
        let refused = |error| Error::internal("a kernel refused rows of a source").caused_by(error);
        if self.stored.is_empty() {
            let rows: UInt32Array = self.picks.iter().map(|&(_, row)| row as u32).collect();
            return take_record_batch(batch, &rows).map_err(refused);
        }
        let stored = codec.decode(self.stored.iter().copied())?;
        let stored = RecordBatch::try_new(batch.schema(), stored).map_err(refused)?;
        interleave_record_batch(&[batch, &stored], &self.picks).map_err(refused)
    }
}
