//! The distinct keys of a batch.

use rustc_hash::FxHashMap;

/// The distinct keys of some rows, in the order in which they first occur: each has a slot.
#[derive(Debug)]
pub(super) struct Slots<'k> {
    /// The key of each slot.
    pub(super) keys: Vec<&'k [u8]>,
    /// The slot of each row.
    pub(super) of_rows: Vec<u32>,
}

impl<'k> Slots<'k> {
    /// Gives each distinct key a slot.
    pub(super) fn of(rows: impl ExactSizeIterator<Item = &'k [u8]>) -> Self {
        let mut slots = Slots { keys: Vec::with_capacity(rows.len()), of_rows: Vec::with_capacity(rows.len()) };
        let mut known: FxHashMap<&[u8], u32> = FxHashMap::with_capacity_and_hasher(rows.len(), Default::default());
        for key in rows {
            let slot = *known.entry(key).or_insert_with(|| {
                slots.keys.push(key);
                slots.keys.len() as u32 - 1
            });
            slots.of_rows.push(slot);
        }
        slots
    }
}
