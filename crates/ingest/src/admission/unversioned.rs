//! Sources without versions: the first content under a key stands.
//!
//! A key's entry is `event time (8 bytes) ‖ layout version ‖ XXH3-128 of the content [‖ known from]`. When a row was known is kept only where it is not a
//! function of the content, so that a repeat of the row that the log took earlier can put it right: the earliest stands, whichever came first.

use lockstep_model::codec::{CodecError, Reader};
use lockstep_model::{Error, EventTime};
use lockstep_store::{KeyBytes, KeyEntryHeader, KeyWrite};
use lockstep_transform::catalog::Availability;
use xxhash_rust::xxh3::xxh3_128;

use super::admitted::{Changes, Place};
use super::batch::{Batch, Fault, Reason};
use super::screen::{Ledger, Passed};
use super::slots::Slots;
use super::{Admission, Fate, KeyIndex, LAYOUT};

/// What is remembered of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    event_time: i64,
    content: u128,
    known_from: i64,
}

impl Entry {
    fn encode(self, timed: bool) -> KeyBytes {
        let mut bytes = KeyBytes::new();
        bytes.extend_from_slice(&KeyEntryHeader { event_time: EventTime(self.event_time) }.bytes());
        bytes.push(LAYOUT);
        bytes.extend_from_slice(&self.content.to_be_bytes());
        if timed {
            bytes.extend_from_slice(&self.known_from.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8], timed: bool) -> Result<Entry, CodecError> {
        let (header, rest) = KeyEntryHeader::split(bytes).ok_or(CodecError::new("truncated"))?;
        let mut rest = Reader::new(rest);
        if rest.byte()? != LAYOUT {
            return Err(CodecError::new("a layout of another release"));
        }
        let content = u128::from_be_bytes(rest.array()?);
        let known_from = if timed { i64::from_be_bytes(rest.array()?) } else { i64::MIN };
        if !rest.is_empty() {
            return Err(CodecError::new("too long"));
        }
        Ok(Entry { event_time: header.event_time.0, content, known_from })
    }
}

/// What is known of a key while a batch is gone through.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    entry: Option<Entry>,
    is_changed: bool,
    /// Which change brings the content, where this batch does.
    change: Option<u32>,
}

/// Decides what the rows that passed the screen come to.
pub(super) fn admit<'a>(
    admission: &Admission,
    batch: &Batch<'_>,
    passed: &Passed,
    index: &dyn KeyIndex,
    ledger: &mut Ledger,
) -> Result<(Changes<'a>, Vec<KeyWrite>), Error> {
    let timed = matches!(admission.plan.availability, Availability::AppendTime | Availability::Noted);
    let slots = Slots::of(passed.rows.iter().map(|&row| batch.key(row as usize)));
    let mut known = look_up(admission, index, &slots.keys, timed)?;
    let encoder = batch.contents(admission)?;
    let mut changes = Changes::with_capacity(passed.rows.len());
    let mut content = Vec::new();
    for ((&row, &slot), &forgotten_before) in passed.rows.iter().zip(&slots.of_rows).zip(&passed.forgotten_before) {
        content.clear();
        encoder.write(row as usize, &mut content);
        let event_time = batch.event_time(row as usize);
        let entry = Entry { event_time, content: xxh3_128(&content), known_from: batch.known_from(row as usize, event_time) };
        let slot = &mut known[slot as usize];
        // Expiry takes such an entry at some time or other; what a row comes to may not depend on when.
        if slot.entry.is_some_and(|known| known.event_time < forgotten_before) {
            *slot = Slot::default();
        }
        arrive(batch, row, entry, slot, &mut changes, ledger);
    }
    let changed = slots.keys.iter().zip(&known).filter(|(_, slot)| slot.is_changed);
    let write =
        |(&key, slot): (&&[u8], &Slot)| KeyWrite { source: admission.ordinal, key: key.into(), value: slot.entry.map(|entry| entry.encode(timed)) };
    Ok((changes, changed.map(write).collect()))
}

fn look_up(admission: &Admission, index: &dyn KeyIndex, keys: &[&[u8]], timed: bool) -> Result<Vec<Slot>, Error> {
    let mut known = vec![Slot::default(); keys.len()];
    let mut failed = None;
    index.get_many(admission.ordinal, keys, &mut |i, bytes| {
        let (Some(bytes), Some(slot)) = (bytes, known.get_mut(i)) else { return };
        match Entry::decode(bytes, timed) {
            Ok(entry) => slot.entry = Some(entry),
            Err(error) => failed = Some(error),
        }
    })?;
    failed.map_or(Ok(known), |error| Err(admission.undecodable(error)))
}

fn arrive(batch: &Batch<'_>, row: u32, arrived: Entry, slot: &mut Slot, changes: &mut Changes<'_>, ledger: &mut Ledger) {
    match slot.entry {
        None => {
            *slot = Slot { entry: Some(arrived), is_changed: true, change: Some(changes.len() as u32) };
            push(batch, row, true, arrived, changes);
            ledger.take(row, Fate::New);
        }
        Some(known) if known.content != arrived.content => {
            ledger.counters.conflicts += 1;
            ledger.put_aside(batch, row as usize, conflict(batch, row as usize));
        }
        Some(known) => {
            ledger.counters.duplicates += 1;
            if arrived.known_from < known.known_from {
                known_earlier(batch, row, known, arrived, slot, changes);
            }
        }
    }
}

/// The content was known earlier than was thought.
fn known_earlier(batch: &Batch<'_>, row: u32, known: Entry, arrived: Entry, slot: &mut Slot, changes: &mut Changes<'_>) {
    *slot = Slot { entry: Some(arrived), is_changed: true, ..*slot };
    match slot.change.and_then(|change| changes.known_from.get_mut(change as usize)) {
        Some(known_from) => *known_from = arrived.known_from,
        None => {
            push(batch, row, false, known, changes);
            slot.change = Some(changes.len() as u32);
            push(batch, row, true, arrived, changes);
        }
    }
}

fn push(batch: &Batch<'_>, row: u32, comes: bool, entry: Entry, changes: &mut Changes<'_>) {
    changes.push(comes, Place::Row(row), (entry.known_from, i64::MAX), batch.key(row as usize), &[]);
}

fn conflict(batch: &Batch<'_>, row: usize) -> Fault {
    let detail = format!(
        "other content under the known key {} · the first content stands · declare version = '<column>' where rows are corrected",
        batch.key_text(row)
    );
    Fault { reason: Reason::Conflict, detail }
}
