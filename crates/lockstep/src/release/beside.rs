//! What a release answers, beside what the one before answers to the same requests.
//!
//! Some of the requests are answered a second time, by the release that served before, which is fed on; whoever asked has their answer by then. So who asks and what happens
//! meanwhile is the same on both sides, and what differs is what the release has changed. Comparing with what was answered before the promotion was rejected: in the
//! evening others ask than at noon, and no release is to be taken back for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use lockstep_model::Error;
use lockstep_serve::beside::{Both, beside};
use lockstep_serve::feature_log::{Asked, Pick, Taker, Vectors};
use lockstep_serve::live::Live;
use lockstep_store::Release;
use lockstep_transform::drift::{VALUES_MIN, stability_index};

/// Most rows of one request that are answered again.
const ROWS_MAX: usize = 32;
/// Requests that wait to be answered again.
const WAITING_MAX: usize = 256;
/// Values of a feature that are held: the newest ones.
const HELD_MAX: usize = 8192;
/// Pieces that values are held in before they become one.
const PIECES_MAX: usize = 128;

/// Takes some of the answers that are given: so many rows until it is told to take more, so that what it costs does not grow with the load.
#[derive(Debug)]
pub struct Sample {
    left: AtomicU32,
    sender: SyncSender<Vectors>,
}

impl Sample {
    /// One that takes nothing yet, and where what it takes comes out.
    pub fn new() -> (Arc<Sample>, Receiver<Vectors>) {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        (Arc::new(Sample { left: AtomicU32::new(0), sender }), receiver)
    }

    /// Has it take so many rows from here on.
    pub fn take_more(&self, rows: u32) {
        self.left.store(rows, Ordering::Relaxed);
    }
}

impl Taker for Sample {
    fn pick(&self, asked: &Asked<'_>) -> Pick {
        // Most of the time nothing is wanted, and a load is all that it costs.
        if self.left.load(Ordering::Relaxed) == 0 {
            return Pick::None;
        }
        let wanted = asked.moments.len().min(ROWS_MAX) as u32;
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(wanted)));
        match wanted.min(left.unwrap_or_default()) {
            0 => Pick::None,
            rows if rows as usize == asked.moments.len() => Pick::All,
            rows => Pick::Some((0..rows).collect()),
        }
    }

    fn take(&self, vectors: Vectors) {
        // What there is no room for is not compared.
        let _ = self.sender.try_send(vectors);
    }
}

/// What two releases answer to the same requests, by service or view, and feature.
#[derive(Debug, Default)]
pub struct Compared {
    features: BTreeMap<(String, String), Values>,
}

/// The values of a feature on both sides, row by row.
#[derive(Debug, Default)]
struct Values {
    pieces: Vec<[ArrayRef; 2]>,
    /// How many values there were, held or not.
    seen: usize,
    /// How many there must be before they are looked at again.
    due: usize,
}

/// A feature whose values were compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The service or view.
    pub name: String,
    /// The feature.
    pub feature: String,
    /// Values of either side.
    pub values: usize,
    /// How far they have moved: the population stability index.
    pub index: f64,
}

impl Compared {
    /// Answers again, by the release `before`, what was taken of the answers of an epoch, and takes both in.
    ///
    /// # Errors
    /// Where the release before cannot be read.
    pub fn take_in(&mut self, live: &Live, before: &Release, taken: impl Iterator<Item = Vectors>, epoch: u64) -> Result<(), Error> {
        let taken: Vec<Vectors> = taken.filter(|vectors| vectors.release.is_some_and(|at| at.epoch == epoch)).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let state = live.of_release(before)?;
        for vectors in &taken {
            for both in beside(&state, live.lags(), vectors)? {
                self.add(&vectors.name, both)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, both: Both) -> Result<(), Error> {
        let Both { feature, other, answered } = both;
        self.features.entry((name.to_owned(), feature.to_string())).or_default().add([other, answered])
    }

    /// The feature that has moved most, of those that have more values than when they were looked at last, and `values_min` at least.
    ///
    /// # Errors
    /// Where values cannot be compared.
    pub fn most_moved(&mut self, values_min: usize) -> Result<Option<Moved>, Error> {
        let mut most: Option<Moved> = None;
        for ((name, feature), values) in &mut self.features {
            let Some((index, count)) = values.moved(values_min)? else { continue };
            if most.as_ref().is_none_or(|most| index > most.index) {
                most = Some(Moved { name: name.clone(), feature: feature.clone(), values: count, index });
            }
        }
        Ok(most)
    }
}

impl Values {
    fn add(&mut self, pair: [ArrayRef; 2]) -> Result<(), Error> {
        self.seen += pair[0].len();
        self.pieces.push(pair);
        if self.pieces.len() >= PIECES_MAX {
            self.join()?;
        }
        Ok(())
    }

    /// Makes one of all pieces, of the newest values.
    fn join(&mut self) -> Result<(), Error> {
        let side = |side: usize| -> Result<ArrayRef, Error> {
            let pieces: Vec<&dyn Array> = self.pieces.iter().map(|pair| &*pair[side]).collect();
            let all = concat(&pieces).map_err(|error| Error::internal("values of one feature").caused_by(error))?;
            let from = all.len().saturating_sub(HELD_MAX);
            Ok(all.slice(from, all.len() - from))
        };
        self.pieces = vec![[side(0)?, side(1)?]];
        Ok(())
    }

    /// How far they have moved, and of how many that is known; `None` where it was looked at not long ago, and for types that say nothing.
    fn moved(&mut self, values_min: usize) -> Result<Option<(f64, usize)>, Error> {
        if self.seen < self.due.max(values_min).max(VALUES_MIN) {
            return Ok(None);
        }
        // Half as many again, so that a watch costs a few looks and not one a second.
        self.due = self.seen + (self.seen / 2).min(HELD_MAX);
        self.join()?;
        let Some([before, now]) = self.pieces.first() else { return Ok(None) };
        Ok(stability_index(before, now)?.map(|index| (index, now.len())))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    fn column(numbers: impl Iterator<Item = f64>) -> ArrayRef {
        Arc::new(numbers.map(Some).collect::<Float64Array>())
    }

    fn of(from: u32, count: u32, factor: f64) -> Both {
        let numbers = || (from..from + count).map(|n| f64::from(n * 7919 % 1009) + 1.0);
        Both { feature: "spent".into(), other: column(numbers()), answered: column(numbers().map(|n| n * factor)) }
    }

    fn compared(factor: f64, requests: u32) -> Compared {
        let mut compared = Compared::default();
        (0..requests).for_each(|request| compared.add("fraud", of(request * 4, 4, factor)).unwrap());
        compared
    }

    #[test]
    fn a_feature_that_doubles_has_moved_and_one_that_stays_has_not() {
        let moved = compared(2.0, 250).most_moved(1000).unwrap().unwrap();
        assert_eq!((moved.name.as_str(), moved.feature.as_str(), moved.values), ("fraud", "spent", 1000));
        assert!(moved.index > 0.25, "{}", moved.index);
        assert_eq!(compared(1.0, 250).most_moved(1000).unwrap().unwrap().index, 0.0);
    }

    #[test]
    fn few_values_say_nothing_and_many_are_looked_at_now_and_then() {
        assert_eq!(compared(2.0, 249).most_moved(1000).unwrap(), None);
        assert_eq!(compared(2.0, 100).most_moved(1).unwrap(), None, "below what an index says anything of");
        let mut all = compared(2.0, 250);
        assert!(all.most_moved(1000).unwrap().is_some());
        all.add("fraud", of(0, 499, 2.0)).unwrap();
        assert_eq!(all.most_moved(1000).unwrap(), None);
        all.add("fraud", of(0, 1, 2.0)).unwrap();
        assert!(all.most_moved(1000).unwrap().is_some());
    }

    #[test]
    fn the_newest_values_are_held() {
        let mut all = compared(2.0, 10_000);
        let moved = all.most_moved(1000).unwrap().unwrap();
        assert_eq!(moved.values, HELD_MAX);
        let held: usize = all.features.values().flat_map(|values| &values.pieces).map(|pair| pair[0].len()).sum();
        assert_eq!(held, HELD_MAX);
    }

    #[test]
    fn it_takes_what_it_was_told_to_and_no_more() {
        let (sample, _receiver) = Sample::new();
        let rows = arrow::array::RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        let pick = |count: usize| sample.pick(&Asked { request_id: "", name: "fraud", rows: &rows, moments: &vec![0; count] });
        assert_eq!(pick(1), Pick::None);
        sample.take_more(40);
        let some = |rows| Pick::Some((0..rows).collect());
        assert_eq!([pick(1), pick(100), pick(4), pick(4), pick(1)], [Pick::All, some(32), Pick::All, some(3), Pick::None]);
    }
}
