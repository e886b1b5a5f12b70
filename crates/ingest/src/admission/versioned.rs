//! Sources with versions: the greatest under a key stands, whatever the order of arrival.

use lockstep_model::Error;
use lockstep_store::KeyWrite;

use super::admitted::{Changes, Place};
use super::batch::{Batch, Fault, Reason};
use super::screen::{Ledger, Passed};
use super::slots::Slots;
use super::versions::{Arrival, Version, Versions};
use super::{Admission, Fate, KeyIndex};

/// Byte strings in one buffer.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Arena {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// The bytes that what is decided borrows from.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The entry of each distinct key; empty where it is not known.
    entries: Arena,
    /// The content of each row that passed; empty of a tombstone.
    contents: Arena,
}

impl Buffers {
    fn fill(&mut self, admission: &Admission, batch: &Batch<'_>, passed: &[u32], keys: &[&[u8]], index: &dyn KeyIndex) -> Result<(), Error> {
        let encoder = batch.contents(admission)?;
        for &row in passed {
            let is_tombstone = batch.is_tombstone(row as usize);
            self.contents.push(|bytes| {
                if !is_tombstone {
                    encoder.write(row as usize, bytes)
                }
            });
        }
        index.get_many(admission.ordinal, keys, &mut |_, entry| self.entries.push(|bytes| bytes.extend_from_slice(entry.unwrap_or_default())))
    }
}

/// Decides what the rows that passed the screen come to.
pub(super) fn admit<'a>(
    admission: &Admission,
    batch: &'a Batch<'_>,
    passed: &Passed,
    index: &dyn KeyIndex,
    ledger: &mut Ledger,
    buffers: &'a mut Buffers,
) -> Result<(Changes<'a>, Vec<KeyWrite>), Error> {
    let timed = admission.plan.has_availability();
    let slots = Slots::of(passed.rows.iter().map(|&row| batch.key(row as usize)));
    buffers.fill(admission, batch, &passed.rows, &slots.keys, index)?;
    let buffers = &*buffers;
    let before = buffers.entries.iter().map(|entry| if entry.is_empty() { Ok(Versions::default()) } else { Versions::decode(entry, timed) });
    let before = before.collect::<Result<Vec<_>, _>>().map_err(|error| admission.undecodable(error))?;
    let mut after = before.clone();
    for (((&row, &newest), &slot), content) in passed.rows.iter().zip(&passed.newest).zip(&slots.of_rows).zip(buffers.contents.iter()) {
        arrive(batch, row as usize, newest, content, &mut after[slot as usize], ledger);
    }
    let mut changes = Changes::with_capacity(passed.rows.len());
    let mut writes = Vec::with_capacity(slots.keys.len());
    for ((&key, before), after) in slots.keys.iter().zip(&before).zip(&after) {
        if before != after {
            before.changes_to(after, |comes, version, known| changes.push(comes, version.place, known, key, version.version));
            writes.push(KeyWrite { source: admission.ordinal, key: key.into(), value: Some(after.encode(timed).into()) });
        }
    }
    Ok((changes, writes))
}

fn arrive<'a>(batch: &'a Batch<'_>, row: usize, newest: i64, content: &'a [u8], versions: &mut Versions<'a>, ledger: &mut Ledger) {
    let is_tombstone = batch.is_tombstone(row);
    let known_from = batch.known_from(row, newest);
    let arrived = Version { version: batch.version(row), is_tombstone, known_from, content, place: Place::Row(row as u32) };
    // A tombstone has no event time; it is remembered as an event of its append time would be, or of the newest before it.
    let event_time = if is_tombstone { batch.append_time(row).unwrap_or(newest) } else { batch.event_time(row) };
    match versions.arrive(arrived, event_time) {
        Arrival::Taken { superseded, is_greatest } => {
            ledger.take(row as u32, fate(superseded, is_greatest, is_tombstone));
            ledger.counters.superseded += u64::from(superseded);
        }
        Arrival::Duplicate => ledger.counters.duplicates += 1,
        Arrival::Conflict => {
            ledger.counters.conflicts += 1;
            ledger.put_aside(batch, row, conflict(batch, row));
        }
    }
}

fn fate(superseded: bool, is_greatest: bool, is_tombstone: bool) -> Fate {
    match (is_greatest, is_tombstone, superseded) {
        (false, ..) => Fate::Superseded,
        (true, true, _) => Fate::Deletes,
        (true, false, true) => Fate::Replaces,
        (true, false, false) => Fate::New,
    }
}

fn conflict(batch: &Batch<'_>, row: usize) -> Fault {
    let (key, version) = (batch.key_text(row), batch.version_text(row));
    let detail =
        format!("other content under the known key {key} and version {version} · the first content stands · corrections need a greater version");
    Fault { reason: Reason::Conflict, detail }
}
