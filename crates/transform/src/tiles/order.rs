//! Order keys: the total order of an entity's events, as bytes.
//!
//! `event time (8 bytes, sign bit flipped, big-endian) ‖ branch (1 byte) ‖ primary key ‖ version`. Comparing bytes compares
//! (event time, branch, primary key), which is the order of `ROWS` frames, `first_value`, `last_value` and lists. The branch
//! says which of the view's `UNION ALL` inputs the event came from; the version tells apart superseded contents of one event.
//!
//! Where half-bytes are compared, a key goes on with zeros past its end.

use smallvec::SmallVec;

/// Bytes of the event time at the start of an order key.
pub const TIME_LEN: usize = 8;

/// Half-bytes of an order key that the tree may branch at: the event time, the branch and 64 bytes of the primary key. Events of one moment
/// whose keys differ only later share a leaf, however many they are, so that no choice of primary keys makes a tree deep.
pub const BRANCHING_NIBBLES: usize = 2 * (TIME_LEN + 1 + 64);

/// Appends the order key of an event.
pub fn write(out: &mut Vec<u8>, event_time: i64, branch: u8, primary_key: &[u8], version: &[u8]) {
    out.extend_from_slice(&time_bytes(event_time));
    out.push(branch);
    out.extend_from_slice(primary_key);
    out.extend_from_slice(version);
}

/// The bytes every order key at `event_time` starts with; below all of them, above all earlier ones.
pub fn time_bytes(event_time: i64) -> [u8; TIME_LEN] {
    (event_time as u64 ^ (1 << 63)).to_be_bytes()
}

/// The event time of an order key. A key shorter than a time is read as if followed by zeros.
pub fn time_of(key: &[u8]) -> i64 {
    let mut time = [0; TIME_LEN];
    let n = key.len().min(TIME_LEN);
    time[..n].copy_from_slice(&key[..n]);
    (u64::from_be_bytes(time) ^ (1 << 63)) as i64
}

/// The half-byte of `key` at `index`; zero past its end.
pub fn nibble(key: &[u8], index: usize) -> usize {
    let byte = key.get(index / 2).copied().unwrap_or(0);
    usize::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
}

/// How many leading half-bytes two keys share, at most [`BRANCHING_NIBBLES`].
pub fn common_nibbles(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let nibbles = (2 * same..BRANCHING_NIBBLES).find(|&at| nibble(a, at) != nibble(b, at));
    nibbles.unwrap_or(BRANCHING_NIBBLES)
}

/// Where a node lies: below the first `nibbles` half-bytes of its order keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    prefix: SmallVec<[u8; 16]>,
    nibbles: usize,
}

impl Path {
    /// Of everything.
    pub fn root() -> Path {
        Path { prefix: SmallVec::new(), nibbles: 0 }
    }

    /// The first `nibbles` half-bytes of a key.
    pub fn of(key: &[u8], nibbles: usize) -> Path {
        let mut prefix: SmallVec<[u8; 16]> = SmallVec::from_slice(&key[..key.len().min(nibbles.div_ceil(2))]);
        prefix.resize(nibbles.div_ceil(2), 0);
        if nibbles % 2 == 1
            && let Some(last) = prefix.last_mut()
        {
            *last &= 0xf0;
        }
        Path { prefix, nibbles }
    }

    /// One half-byte further.
    pub fn child(mut self, slot: usize) -> Path {
        match self.prefix.last_mut() {
            Some(last) if self.nibbles % 2 == 1 => *last |= slot as u8,
            _ => self.prefix.push((slot as u8) << 4),
        }
        self.nibbles += 1;
        self
    }

    /// The half-bytes, two to a byte; of an odd number, the last is zero.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// How many half-bytes there are.
    pub fn nibbles(&self) -> usize {
        self.nibbles
    }

    /// Whether a key lies below.
    pub fn holds(&self, key: &[u8]) -> bool {
        let whole = self.nibbles / 2;
        match key.get(..whole) {
            Some(start) => start == &self.prefix[..whole] && (self.nibbles == 2 * whole || nibble(key, 2 * whole) == nibble(&self.prefix, 2 * whole)),
            None => common_nibbles(key, &self.prefix) >= self.nibbles,
        }
    }

    /// First and last event time that can lie below.
    pub fn time_bounds(&self) -> (i64, i64) {
        time_bounds(&self.prefix, self.nibbles)
    }
}

/// A range of event time, closed at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First moment inside.
    pub first: i64,
    /// Last moment inside; the range is empty where it is before `first`.
    pub last: i64,
}

impl TimeRange {
    /// No moment at all.
    pub const EMPTY: TimeRange = TimeRange { first: i64::MAX, last: i64::MIN };

    /// Whether an event at `time` lies inside.
    pub fn contains(self, time: i64) -> bool {
        self.first <= time && time <= self.last
    }

    /// How a node whose events lie in `[low, high]` relates to the range.
    pub fn cover(self, low: i64, high: i64) -> Cover {
        if self.first > self.last || high < self.first || self.last < low {
            Cover::Outside
        } else if self.first <= low && high <= self.last {
            Cover::Inside
        } else {
            Cover::Partial
        }
    }
}

/// The relation of a tile to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Nothing of it counts.
    Outside,
    /// All of it counts.
    Inside,
    /// An edge cuts it.
    Partial,
}

/// First and last event time that can lie under the first `nibbles` half-bytes of `prefix`.
pub fn time_bounds(prefix: &[u8], nibbles: usize) -> (i64, i64) {
    let below = below(nibbles);
    let first = time_of(prefix) as u64 ^ SIGN;
    (((first & !below) ^ SIGN) as i64, ((first | below) ^ SIGN) as i64)
}

/// First and last event time that can lie in a slot of the page whose keys share the first `nibbles` half-bytes of `prefix`.
pub fn slot_bounds(prefix: &[u8], nibbles: usize, slot: usize) -> (i64, i64) {
    let Some(shift) = 60u32.checked_sub(4 * nibbles as u32) else { return time_bounds(prefix, nibbles) };
    let first = (time_of(prefix) as u64 ^ SIGN) & !below(nibbles) | (slot as u64) << shift;
    ((first ^ SIGN) as i64, ((first | below(nibbles + 1)) ^ SIGN) as i64)
}

const SIGN: u64 = 1 << 63;

/// The bits of a time that lie below its first `nibbles` half-bytes.
fn below(nibbles: usize) -> u64 {
    u64::MAX.checked_shr(4 * nibbles as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_order_as_time_does() {
        let times = [i64::MIN, -1, 0, 1, 1_362_139_200_000_000, i64::MAX];
        assert!(times.map(time_bytes).is_sorted());
        assert_eq!(times.map(|t| time_of(&time_bytes(t))), times);
    }

    #[test]
    fn bounds_span_the_prefix() {
        let key = time_bytes(0x1234);
        assert_eq!(time_bounds(&key, 0), (i64::MIN, i64::MAX));
        assert_eq!(time_bounds(&key, 16), (0x1234, 0x1234));
        assert_eq!(time_bounds(&key, 15), (0x1230, 0x123f));
        assert_eq!(time_bounds(&key, 40), (0x1234, 0x1234));
        for nibbles in [0, 1, 7, 8, 14, 15, 16, 17] {
            for slot in [0, 7, 8, 15] {
                let path = Path::of(&key, nibbles);
                assert_eq!(slot_bounds(path.prefix(), nibbles, slot), path.clone().child(slot).time_bounds(), "{nibbles} {slot}");
            }
        }
        assert_eq!(common_nibbles(&[0x12, 0x34], &[0x12, 0x35]), 3);
        assert_eq!(common_nibbles(&[0x12], &[0x12, 0x35]), 2);
    }

    #[test]
    fn a_key_goes_on_with_zeros() {
        assert_eq!(common_nibbles(&[0x12], &[0x12, 0x00, 0x01]), 5);
        assert_eq!(common_nibbles(&[0x12], &[0x12, 0x00]), BRANCHING_NIBBLES);
        assert_eq!(common_nibbles(&[7; 100], &[7; 200]), BRANCHING_NIBBLES);
        assert_eq!(Path::of(&[0x12, 0x34], 3).child(0xf), Path::of(&[0x12, 0x3f], 4));
        assert_eq!(Path::of(&[0x12], 5), Path::of(&[0x12, 0, 0x0f], 5));
        assert_eq!(Path::root().child(1).child(2).prefix(), [0x12]);
        assert!(Path::of(&[0x12], 4).holds(&[0x12]) && !Path::of(&[0x12], 2).holds(&[0x22]));
    }

    #[test]
    fn closed_edges_count() {
        let hour = TimeRange { first: 10, last: 20 };
        assert!(hour.contains(10) && hour.contains(20) && !hour.contains(9) && !hour.contains(21));
        assert_eq!([hour.cover(10, 20), hour.cover(0, 9), hour.cover(20, 30)], [Cover::Inside, Cover::Outside, Cover::Partial]);
        assert_eq!(TimeRange { first: 5, last: 4 }.cover(0, 9), Cover::Outside);
    }
}
