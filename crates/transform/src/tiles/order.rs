//! Order keys: the total order of an entity's events, as bytes.
//!
//! `event time (8 bytes, sign bit flipped, big-endian) ‖ branch (1 byte) ‖ primary key ‖ version`. Comparing bytes compares
//! (event time, branch, primary key), which is the order of `ROWS` frames, `first_value`, `last_value` and lists. The branch
//! says which of the view's `UNION ALL` inputs the event came from; the version tells apart superseded contents of one event.

/// Bytes of the event time at the start of an order key.
pub const TIME_LEN: usize = 8;

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
    usize::from(if index % 2 == 0 { byte >> 4 } else { byte & 0x0f })
}

/// How many leading half-bytes two keys share.
pub fn common_nibbles(a: &[u8], b: &[u8]) -> usize {
    let bytes = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let half = match (a.get(bytes), b.get(bytes)) {
        (Some(x), Some(y)) if x >> 4 == y >> 4 => 1,
        _ => 0,
    };
    2 * bytes + half
}

/// A half-open range of event time, as the bytes its keys lie between: from the first event at `first` to the last at `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First moment inside.
    pub first: i64,
    /// Last moment inside; the range is empty where it is before `first`.
    pub last: i64,
}

impl TimeRange {
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
    let mut low = [0u8; TIME_LEN];
    let mut high = [0xffu8; TIME_LEN];
    for index in 0..nibbles.min(2 * TIME_LEN) {
        let value = nibble(prefix, index) as u8;
        let (shift, mask) = if index % 2 == 0 { (4, 0x0f) } else { (0, 0xf0) };
        low[index / 2] = (low[index / 2] & mask) | (value << shift);
        high[index / 2] = (high[index / 2] & mask) | (value << shift);
    }
    (time_of(&low), time_of(&high))
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
        assert_eq!(common_nibbles(&[0x12, 0x34], &[0x12, 0x35]), 3);
        assert_eq!(common_nibbles(&[0x12], &[0x12, 0x35]), 2);
    }

    #[test]
    fn closed_edges_count() {
        let hour = TimeRange { first: 10, last: 20 };
        assert!(hour.contains(10) && hour.contains(20) && !hour.contains(9) && !hour.contains(21));
        assert_eq!([hour.cover(10, 20), hour.cover(0, 9), hour.cover(20, 30)], [Cover::Inside, Cover::Outside, Cover::Partial]);
        assert_eq!(TimeRange { first: 5, last: 4 }.cover(0, 9), Cover::Outside);
    }
}
