//! The fixed start of every dedup entry.

use lockstep_model::EventTime;

/// The first eight bytes of a dedup entry: its event time, big-endian with the sign bit flipped, so that expiry need not know
/// the rest. What follows belongs to admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntryHeader {
    /// The entry expires once the source's `keys_before` has passed this moment.
    pub event_time: EventTime,
}

impl KeyEntryHeader {
    /// Its size, in bytes.
    pub const LEN: usize = 8;

    /// Starts a dedup entry.
    pub fn put(self, entry: &mut Vec<u8>) {
        entry.extend_from_slice(&self.bytes());
    }

    /// What a dedup entry starts with.
    pub fn bytes(self) -> [u8; Self::LEN] {
        (self.event_time.0 as u64 ^ SIGN).to_be_bytes()
    }

    /// The header of a dedup entry and what follows it; `None` where the entry is too short to have one.
    pub fn split(entry: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = entry.split_first_chunk::<{ Self::LEN }>()?;
        let event_time = EventTime((u64::from_be_bytes(*header) ^ SIGN) as i64);
        Some((KeyEntryHeader { event_time }, rest))
    }
}

const SIGN: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_order_as_times_do() {
        let mut headers = Vec::new();
        for micros in [i64::MIN, -1, 0, 1, 1_362_139_200_000_000, i64::MAX] {
            let mut entry = Vec::new();
            KeyEntryHeader { event_time: EventTime(micros) }.put(&mut entry);
            headers.push(entry.clone());
            entry.extend_from_slice(b"rest");
            assert_eq!(KeyEntryHeader::split(&entry), Some((KeyEntryHeader { event_time: EventTime(micros) }, b"rest".as_slice())));
        }
        assert!(headers.is_sorted());
        assert_eq!(KeyEntryHeader::split(b"short"), None);
    }
}
