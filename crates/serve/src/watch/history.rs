//! Measures over time, in rings of bounded length: as many points of each series as there are moments.

use std::collections::{BTreeMap, VecDeque};

use lockstep_model::EventTime;
use lockstep_model::codec::{CodecError, Reader, put_bytes, put_signed, put_varint};

use super::page::{ByStatus, FeatureHistory, History};
use super::reading::{FeatureReading, Reading};

/// How far points are apart, µs, and how many are held: six hours of one a minute.
const EVERY: i64 = 60_000_000;
const POINTS_MAX: usize = 360;
/// How often what comes until the next is added to the last one.
const ADDED_A_POINT: i64 = 6;
/// Most series of each measure: those of names that come first.
const SERIES_MAX: usize = 200;
/// Most features whose statuses are held over time: those that came first. A thousand take seven megabytes.
const FEATURES_MAX: usize = 1000;

/// What was measured before.
#[derive(Debug)]
pub struct Past {
    every: i64,
    at: VecDeque<i64>,
    series: BTreeMap<(Measure, String), VecDeque<f64>>,
    /// What had been counted at the last point, of measures that are rates.
    counted: BTreeMap<(Measure, String), u64>,
    features: BTreeMap<(String, String), Feature>,
    /// When statuses were added last.
    added_at: i64,
}

/// What there is a series of. The numbers are those of what is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Measure {
    Coverage = 0,
    RowsPerSecond = 1,
    Lag = 2,
    Silence = 3,
    AppliedPerSecond = 4,
    Signals = 5,
}

const MEASURES: [Measure; 6] =
    [Measure::Coverage, Measure::RowsPerSecond, Measure::Lag, Measure::Silence, Measure::AppliedPerSecond, Measure::Signals];

/// A feature's sampled values by status, in the order of [`lockstep_model::Status`].
#[derive(Debug, Default)]
struct Feature {
    /// All there were when it was looked last.
    counted: [u64; 5],
    points: VecDeque<[u32; 5]>,
}

impl Default for Past {
    fn default() -> Self {
        Past::new(EVERY)
    }
}

impl Past {
    /// A past whose points are so far apart, µs.
    pub fn new(every: i64) -> Past {
        Past { every, at: VecDeque::new(), series: BTreeMap::new(), counted: BTreeMap::new(), features: BTreeMap::new(), added_at: i64::MIN }
    }

    /// Takes in a reading, where the last one is old enough.
    pub fn look(&mut self, reading: &Reading, signals: usize) {
        let since = self.at.back().map(|last| reading.at_micros - last);
        if since.is_some_and(|since| since < self.every) {
            if reading.at_micros.saturating_sub(self.added_at) >= self.every / ADDED_A_POINT {
                self.add(reading);
            }
            return;
        }
        // Where nobody looked for a while there is a gap, and no line across it.
        if since.is_some_and(|since| since >= 3 * self.every) {
            self.point(reading.at_micros - self.every);
        }
        self.point(reading.at_micros);
        let seconds = since.map(seconds);
        for (name, source) in reading.sources.iter().take(SERIES_MAX) {
            self.set(Measure::Lag, name, source.lag_seconds);
            self.set(Measure::Silence, name, source.silence_seconds);
            self.rate(Measure::AppliedPerSecond, name, source.rows.applied, seconds);
        }
        for (name, target) in reading.targets.iter().take(SERIES_MAX) {
            self.set(Measure::Coverage, name, target.coverage);
            self.rate(Measure::RowsPerSecond, name, target.rows, seconds);
        }
        #[allow(clippy::cast_precision_loss, reason = "for people and graphs")]
        self.set(Measure::Signals, "", Some(signals as f64));
        self.add(reading);
        self.let_go(reading);
    }

    /// Adds the statuses that came since to the last point.
    fn add(&mut self, reading: &Reading) {
        self.added_at = reading.at_micros;
        for (target, of) in &reading.targets {
            of.features.iter().for_each(|feature| self.feature(target, feature));
        }
    }

    /// One moment more, at which nothing is known yet.
    fn point(&mut self, at: i64) {
        let is_full = self.at.len() >= POINTS_MAX;
        push(&mut self.at, at, is_full);
        self.series.values_mut().for_each(|series| push(series, f64::NAN, is_full));
        self.features.values_mut().for_each(|feature| push(&mut feature.points, [0; 5], is_full));
    }

    fn set(&mut self, measure: Measure, name: &str, value: Option<f64>) {
        let points = self.at.len();
        let series = self.series.entry((measure, name.to_owned())).or_insert_with(|| VecDeque::from(vec![f64::NAN; points]));
        if let (Some(last), Some(value)) = (series.back_mut(), value) {
            *last = value;
        }
    }

    /// How much a count has grown a second. One that has become less began anew.
    #[allow(clippy::cast_precision_loss, reason = "for people and graphs")]
    fn rate(&mut self, measure: Measure, name: &str, count: u64, seconds: Option<f64>) {
        let before = self.counted.insert((measure, name.to_owned()), count);
        let grown = before.and_then(|before| count.checked_sub(before)).zip(seconds);
        self.set(measure, name, grown.filter(|(_, seconds)| *seconds > 0.0).map(|(grown, seconds)| grown as f64 / seconds));
    }

    fn feature(&mut self, target: &str, reading: &FeatureReading) {
        let key = (target.to_owned(), reading.feature.clone());
        if !self.features.contains_key(&key) && self.features.len() >= FEATURES_MAX {
            return;
        }
        let points = self.at.len();
        let new = || Feature { counted: [0; 5], points: VecDeque::from(vec![[0; 5]; points]) };
        let feature = self.features.entry(key).or_insert_with(new);
        let now = reading.values.counts();
        // Where other definitions serve, or another process, it is counted from the beginning.
        let before = if now.iter().zip(feature.counted).any(|(now, before)| *now < before) { [0; 5] } else { feature.counted };
        if let Some(last) = feature.points.back_mut() {
            for ((count, now), before) in last.iter_mut().zip(now).zip(before) {
                *count = count.saturating_add(u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX));
            }
        }
        feature.counted = now;
    }

    /// Lets go of what is there no more, and has no point left.
    fn let_go(&mut self, reading: &Reading) {
        let Past { series, counted, features, .. } = self;
        let is_there = |name: &str| name.is_empty() || reading.sources.contains_key(name) || reading.targets.contains_key(name);
        series.retain(|(_, name), points| is_there(name) || points.iter().any(|point| !point.is_nan()));
        counted.retain(|(_, name), _| is_there(name));
        features.retain(|_, feature| feature.points.iter().any(|point| *point != [0; 5]));
    }

    /// The same, series by series.
    pub fn series(&self) -> History {
        let of = |measure: Measure| {
            let own = self.series.iter().filter(move |((of, _), _)| *of == measure);
            own.map(|((_, name), points)| (name.clone(), values(points))).collect::<BTreeMap<_, _>>()
        };
        History {
            every_seconds: seconds(self.every),
            at: self.moments(),
            coverage: of(Measure::Coverage),
            rows_per_second: of(Measure::RowsPerSecond),
            lag_seconds: of(Measure::Lag),
            silence_seconds: of(Measure::Silence),
            applied_per_second: of(Measure::AppliedPerSecond),
            signals: of(Measure::Signals).remove("").unwrap_or_default(),
        }
    }

    /// The features of a service or view, by status.
    pub fn features_of(&self, target: &str) -> FeatureHistory {
        let own = self.features.iter().filter(|((of, _), _)| of == target);
        let by_status = |points: &VecDeque<[u32; 5]>| {
            let of = |status: usize| points.iter().map(|point| point[status]).collect();
            ByStatus { not_found: of(0), expired: of(1), error: of(2), null: of(3), present: of(4) }
        };
        let features = own.map(|((_, name), feature)| (name.clone(), by_status(&feature.points))).collect();
        FeatureHistory { every_seconds: seconds(self.every), at: self.moments(), features }
    }

    fn moments(&self) -> Vec<String> {
        self.at.iter().map(|at| EventTime(*at).to_string()).collect()
    }

    /// Writes it down.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_signed(out, self.every);
        put_varint(out, self.at.len() as u64);
        self.at.iter().for_each(|at| put_signed(out, *at));
        put_varint(out, self.series.len() as u64);
        for ((measure, name), points) in &self.series {
            out.push(*measure as u8);
            put_bytes(out, name.as_bytes());
            points.iter().for_each(|point| out.extend_from_slice(&point.to_le_bytes()));
        }
        put_varint(out, self.features.len() as u64);
        for ((target, name), Feature { counted, points }) in &self.features {
            [target, name].into_iter().for_each(|text| put_bytes(out, text.as_bytes()));
            counted.iter().for_each(|count| put_varint(out, *count));
            points.iter().flatten().for_each(|count| put_varint(out, u64::from(*count)));
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where it wrote something else.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Past, CodecError> {
        let mut past = Past::new(reader.signed()?);
        let points = reader.varint()?;
        if points > POINTS_MAX as u64 {
            return Err(CodecError::new("more points than are held"));
        }
        past.at = (0..points).map(|_| reader.signed()).collect::<Result<_, _>>()?;
        for _ in 0..reader.varint()? {
            let measure = reader.byte()?;
            let measure = MEASURES.into_iter().find(|known| *known as u8 == measure).ok_or(CodecError::new("a series of what there is not"))?;
            let name = text(reader)?;
            past.series.insert((measure, name), (0..points).map(|_| reader.array().map(f64::from_le_bytes)).collect::<Result<_, _>>()?);
        }
        for _ in 0..reader.varint()? {
            let key = (text(reader)?, text(reader)?);
            let mut feature = Feature::default();
            for count in &mut feature.counted {
                *count = reader.varint()?;
            }
            for _ in 0..points {
                let mut point = [0; 5];
                for count in &mut point {
                    *count = u32::try_from(reader.varint()?).map_err(|_| CodecError::new("a count that is too large"))?;
                }
                feature.points.push_back(point);
            }
            past.features.insert(key, feature);
        }
        Ok(past)
    }
}

/// A text of what was written down.
pub(super) fn text(reader: &mut Reader<'_>) -> Result<String, CodecError> {
    String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| CodecError::new("a name that is no text"))
}

fn push<T>(ring: &mut VecDeque<T>, value: T, is_full: bool) {
    if is_full {
        ring.pop_front();
    }
    ring.push_back(value);
}

fn values(points: &VecDeque<f64>) -> Vec<Option<f64>> {
    points.iter().map(|point| (!point.is_nan()).then_some(*point)).collect()
}

#[allow(clippy::cast_precision_loss, reason = "for people and graphs")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::reading::{SourceReading, Statuses, TargetReading};
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_point_a_minute_is_held_and_no_more_than_fit() {
        let mut past = Past::default();
        for second in 0..(POINTS_MAX as i64 + 10) * 60 {
            let target = TargetReading { rows: second as u64 * 3, coverage: Some(0.5), ..TargetReading::default() };
            let targets = if second < 120 { [].into() } else { [("fraud".to_owned(), target)].into() };
            past.look(&Reading { at_micros: second * SECOND, targets, ..Reading::default() }, 1);
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

    fn answered(at: i64, present: u64, null: u64) -> Reading {
        let feature = |name: &str, present: u64| FeatureReading {
            feature: name.to_owned(),
            values: Statuses { present, null, ..Statuses::default() },
            ..FeatureReading::default()
        };
        let target = TargetReading { features: vec![feature("a", present), feature("b", 2 * present)], ..TargetReading::default() };
        Reading { at_micros: at * SECOND, targets: [("fraud".to_owned(), target)].into(), ..Reading::default() }
    }

    #[test]
    fn statuses_of_features_are_of_the_time_from_one_point_to_the_next() {
        let mut past = Past::default();
        [answered(0, 10, 0), answered(30, 50, 0), answered(60, 100, 7), answered(120, 100, 7)].iter().for_each(|reading| past.look(reading, 0));
        let fraud = past.features_of("fraud");
        assert_eq!((&fraud.features["a"].present, &fraud.features["a"].null), (&vec![50, 50, 0], &vec![0, 7, 0]));
        assert_eq!(fraud.features["b"].present, [100, 100, 0]);
        assert!(past.features_of("other").features.is_empty());
        // Other definitions count from the beginning.
        past.look(&answered(180, 3, 0), 0);
        assert_eq!(past.features_of("fraud").features["a"].present, [50, 50, 0, 3]);
    }

    #[test]
    fn features_are_held_up_to_a_bound_and_give_way_once_nothing_is_left_of_them() {
        let mut past = Past::default();
        let many = |at: i64, named: &str| {
            let feature = |number: usize| FeatureReading {
                feature: format!("{named}{number}"),
                values: Statuses { present: 5, ..Statuses::default() },
                ..FeatureReading::default()
            };
            let target = TargetReading { features: (0..FEATURES_MAX + 100).map(feature).collect(), ..TargetReading::default() };
            Reading { at_micros: at * SECOND, targets: [("fraud".to_owned(), target)].into(), ..Reading::default() }
        };
        past.look(&many(0, "a"), 0);
        assert_eq!(past.features.len(), FEATURES_MAX);
        (1..=POINTS_MAX as i64).for_each(|minute| past.look(&many(minute * 60, "b"), 0));
        past.look(&many((POINTS_MAX as i64 + 1) * 60, "b"), 0);
        assert!(past.features.keys().all(|(_, name)| name.starts_with('b')) && past.features.len() == FEATURES_MAX);
    }

    #[test]
    fn what_is_written_down_is_read_again_with_a_gap_behind_it_and_what_is_torn_is_not() {
        let mut past = Past::default();
        [answered(0, 10, 0), answered(60, 100, 7)].iter().for_each(|reading| past.look(reading, 2));
        let mut bytes = Vec::new();
        past.encode(&mut bytes);
        let mut again = Past::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!((again.series(), again.features_of("fraud")), (past.series(), past.features_of("fraud")));
        assert!((0..bytes.len()).all(|torn| Past::decode(&mut Reader::new(&bytes[..torn])).is_err()));
        // An hour later, by another process.
        again.look(&answered(3660, 4, 0), 0);
        assert_eq!(again.series().signals, [Some(2.0), Some(2.0), None, Some(0.0)]);
        assert_eq!(again.features_of("fraud").features["a"].present, [10, 90, 0, 4]);
    }
}
