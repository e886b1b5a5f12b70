//! Measures over time, in a ring of bounded length.

use std::collections::{BTreeMap, VecDeque};

use lockstep_model::EventTime;

use super::page::History;
use super::reading::{Reading, SourceReading, TargetReading};

/// How far points are apart, µs, and how many are held: six hours of one a minute.
const EVERY: i64 = 60_000_000;
const POINTS_MAX: usize = 360;
/// Most series of each measure: those of names that come first.
const SERIES_MAX: usize = 200;

/// What was measured before.
#[derive(Debug)]
pub struct Past {
    every: i64,
    points: VecDeque<Point>,
}

#[derive(Debug)]
struct Point {
    at: i64,
    sources: BTreeMap<String, SourceReading>,
    targets: BTreeMap<String, TargetReading>,
    signals: usize,
}

impl Default for Past {
    fn default() -> Self {
        Past::new(EVERY)
    }
}

impl Past {
    /// A past whose points are so far apart, µs.
    pub fn new(every: i64) -> Past {
        Past { every, points: VecDeque::new() }
    }

    /// Takes in a reading, where the last one is old enough.
    pub fn look(&mut self, reading: &Reading, signals: usize) {
        if self.points.back().is_some_and(|last| reading.at_micros - last.at < self.every) {
            return;
        }
        if self.points.len() >= POINTS_MAX {
            self.points.pop_front();
        }
        let sources = reading.sources.iter().take(SERIES_MAX).map(|(name, source)| (name.clone(), source.clone())).collect();
        // Without its features, which are many.
        let bare = |target: &TargetReading| TargetReading { features: Vec::new(), hottest: None, ..target.clone() };
        let targets = reading.targets.iter().take(SERIES_MAX).map(|(name, target)| (name.clone(), bare(target))).collect();
        self.points.push_back(Point { at: reading.at_micros, sources, targets, signals });
    }

    /// The same, series by series.
    #[allow(clippy::cast_precision_loss, reason = "for people and graphs")]
    pub fn series(&self) -> History {
        History {
            every_seconds: self.every as f64 / 1e6,
            at: self.points.iter().map(|point| EventTime(point.at).to_string()).collect(),
            coverage: self.of_each(|point| &point.targets, |_, now| now.coverage),
            rows_per_second: self.of_each(|point| &point.targets, |then, now| then.map(|(seconds, then)| rate(then.rows, now.rows, seconds))),
            lag_seconds: self.of_each(|point| &point.sources, |_, now| now.lag_seconds),
            silence_seconds: self.of_each(|point| &point.sources, |_, now| now.silence_seconds),
            applied_per_second: self
                .of_each(|point| &point.sources, |then, now| then.map(|(seconds, then)| rate(then.rows.applied, now.rows.applied, seconds))),
            signals: self.points.iter().map(|point| Some(point.signals as f64)).collect(),
        }
    }

    /// A measure of each of what points have by name; it is given the seconds since the point before, and what that has.
    #[allow(clippy::cast_precision_loss, reason = "for people and graphs")]
    fn of_each<T>(
        &self,
        of: impl Fn(&Point) -> &BTreeMap<String, T>,
        measure: impl Fn(Option<(f64, &T)>, &T) -> Option<f64>,
    ) -> BTreeMap<String, Vec<Option<f64>>> {
        let names = self.points.iter().flat_map(|point| of(point).keys());
        let mut series: BTreeMap<String, Vec<Option<f64>>> = names.map(|name| (name.clone(), Vec::with_capacity(self.points.len()))).collect();
        for (at, point) in self.points.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| &self.points[before]);
            for (name, values) in &mut series {
                let then = before.and_then(|before| Some(((point.at - before.at) as f64 / 1e6, of(before).get(name)?)));
                values.push(of(point).get(name).and_then(|now| measure(then, now)));
            }
        }
        series
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people and graphs")]
fn rate(then: u64, now: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_a_minute_is_held_and_no_more_than_fit() {
        let mut past = Past::default();
        for second in 0..(POINTS_MAX as i64 + 10) * 60 {
            let target = TargetReading { rows: second as u64 * 3, coverage: Some(0.5), ..TargetReading::default() };
            let targets = if second < 120 { [].into() } else { [("fraud".to_owned(), target)].into() };
            past.look(&Reading { at_micros: second * 1_000_000, targets, ..Reading::default() }, 1);
        }
        let history = past.series();
        assert_eq!((history.at.len(), history.signals.len(), history.coverage["fraud"].len()), (POINTS_MAX, POINTS_MAX, POINTS_MAX));
        assert_eq!((history.rows_per_second["fraud"][5], history.coverage["fraud"][5]), (Some(3.0), Some(0.5)));
        assert_eq!(history.at[0], "1970-01-01T00:10:00Z");
    }

    #[test]
    fn what_came_later_has_no_value_before() {
        let mut past = Past::new(1);
        past.look(&Reading { at_micros: 0, ..Reading::default() }, 0);
        let source = SourceReading { lag_seconds: Some(2.0), ..SourceReading::default() };
        past.look(&Reading { at_micros: 1, sources: [("payments".to_owned(), source)].into(), ..Reading::default() }, 0);
        let history = past.series();
        assert_eq!(history.lag_seconds["payments"], [None, Some(2.0)]);
        assert_eq!(history.applied_per_second["payments"], [None, None]);
    }
}
