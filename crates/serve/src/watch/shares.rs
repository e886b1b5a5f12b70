//! Shares of a window, from counts that only go up.

use std::collections::{BTreeMap, VecDeque};

use super::limits::Limits;
use super::reading::{Reading, RowShares, SourceRows, Statuses};

/// How many points of a window are held: its start is known to a tenth.
const POINTS: i64 = 10;
/// How many looks at the lag of a source are held: ten minutes of one a second.
const LAGS_MAX: usize = 600;

/// Counts at some moments of the last window, and lags.
#[derive(Debug, Default)]
pub struct Shares {
    points: VecDeque<Point>,
    lags: BTreeMap<String, VecDeque<f64>>,
}

#[derive(Debug)]
struct Point {
    at: i64,
    sources: BTreeMap<String, SourceRows>,
    targets: BTreeMap<String, Statuses>,
    /// All rows of a deployment, and those that did not go the way of the model.
    deployments: BTreeMap<String, [u64; 2]>,
}

impl Shares {
    /// Fills in what of a reading is of a window.
    pub fn fill(&mut self, reading: &mut Reading, limits: &Limits) {
        self.fill_lags(reading);
        let now = Point::of(reading);
        while self.points.get(1).is_some_and(|next| next.at <= now.at - limits.window) {
            self.points.pop_front();
        }
        self.fill_rows(&now, reading, limits.rows_min);
        if let Some(then) = self.points.front() {
            then.fill(&now, reading, limits.rows_min);
        }
        if self.points.back().is_none_or(|last| now.at - last.at >= limits.window / POINTS) {
            self.points.push_back(now);
        }
    }

    /// Shares of rows, since the first moment of the window at which the generation counted that counts now.
    fn fill_rows(&self, now: &Point, reading: &mut Reading, rows_min: u64) {
        for (name, source) in &mut reading.sources {
            let rows = &now.sources[name];
            let then = self.points.iter().filter_map(|point| point.sources.get(name)).find(|then| then.generation == rows.generation);
            source.shares = then.filter(|_| rows.generation != 0).and_then(|then| row_shares(then, rows, rows_min));
        }
    }

    fn fill_lags(&mut self, reading: &mut Reading) {
        for (name, source) in &mut reading.sources {
            let Some(lag) = source.lag_seconds else { continue };
            let lags = self.lags.entry(name.clone()).or_default();
            lags.truncate(LAGS_MAX - 1);
            lags.push_front(lag);
            let mut sorted: Vec<f64> = lags.iter().copied().collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let at = |part: usize| sorted.get((sorted.len() - 1) * part / 100).copied();
            (source.lag_p50_seconds, source.lag_p99_seconds) = (at(50), at(99));
        }
    }
}

impl Point {
    fn of(reading: &Reading) -> Point {
        let scored = |deployment: &super::reading::DeploymentReading| {
            let by_model = deployment.ways.get("model").copied().unwrap_or_default();
            let all = deployment.ways.values().sum::<u64>() + deployment.failed;
            [all, all - by_model]
        };
        Point {
            at: reading.at_micros,
            sources: reading.sources.iter().map(|(name, source)| (name.clone(), source.rows)).collect(),
            targets: reading.targets.iter().map(|(name, target)| (name.clone(), target.values)).collect(),
            deployments: reading.deployments.iter().map(|(name, deployment)| (name.clone(), scored(deployment))).collect(),
        }
    }

    /// Fills in what happened from here to `now`.
    fn fill(&self, now: &Point, reading: &mut Reading, rows_min: u64) {
        for (name, target) in &mut reading.targets {
            let then = self.targets.get(name).copied().unwrap_or_default();
            let (all, now) = (now.targets[name].all().saturating_sub(then.all()), now.targets[name]);
            if all >= rows_min.max(1) {
                target.coverage = Some(share(now.present.saturating_sub(then.present), all));
                target.errors = Some(share(now.error.saturating_sub(then.error), all));
            }
        }
        for (name, deployment) in &mut reading.deployments {
            let [all, fallen] = now.deployments[name];
            let then = self.deployments.get(name).copied().unwrap_or_default();
            let rows = all.saturating_sub(then[0]);
            deployment.fallen = (rows >= rows_min.max(1)).then(|| share(fallen.saturating_sub(then[1]), rows));
        }
    }
}

/// Shares of the rows between two moments; `None` where they are too few.
fn row_shares(then: &SourceRows, now: &SourceRows, rows_min: u64) -> Option<RowShares> {
    let since = |count: fn(&SourceRows) -> u64| count(now).saturating_sub(count(then));
    let (dead_letters, late, conflicts) = (since(|rows| rows.dead_letters), since(|rows| rows.late), since(|rows| rows.conflicts));
    let applied = since(|rows| rows.applied);
    let rows = applied + dead_letters + late + conflicts + since(|rows| rows.duplicates) + since(|rows| rows.superseded);
    (rows >= rows_min.max(1)).then(|| RowShares {
        rows,
        dead_letters: share(dead_letters, rows),
        late: share(late, rows),
        conflicts: share(conflicts, rows),
        without_entity: share(since(|rows| rows.without_entity), rows),
    })
}

#[allow(clippy::cast_precision_loss, reason = "a share for limits and people")]
fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::reading::{SourceReading, TargetReading};
    use super::*;

    fn reading(at: i64, applied: u64, dead_letters: u64, present: u64, null: u64) -> Reading {
        let rows = SourceRows { generation: 1, applied, dead_letters, ..SourceRows::default() };
        let source = SourceReading { rows, lag_seconds: Some(at as f64), ..SourceReading::default() };
        let target = TargetReading { values: Statuses { present, null, ..Statuses::default() }, ..TargetReading::default() };
        Reading {
            at_micros: at * 1_000_000,
            sources: [("payments".to_owned(), source)].into(),
            targets: [("fraud".to_owned(), target)].into(),
            ..Reading::default()
        }
    }

    #[test]
    fn shares_are_of_a_window_and_of_enough_rows() {
        let limits = Limits { window: 100_000_000, rows_min: 50, ..Limits::default() };
        let mut shares = Shares::default();
        let mut look = |mut reading: Reading| {
            shares.fill(&mut reading, &limits);
            (reading.sources["payments"].shares, reading.targets["fraud"].coverage)
        };
        assert_eq!(look(reading(0, 1000, 500, 1000, 1000)), (None, None), "what was before is nobody's");
        assert_eq!(look(reading(10, 1030, 510, 1049, 1000)), (None, None), "too few");
        let (rows, coverage) = look(reading(20, 1090, 510, 1075, 1025));
        assert_eq!((rows.unwrap().rows, rows.unwrap().dead_letters, coverage), (100, 0.1, Some(0.75)));
        // Past the window, what happened at its beginning counts no more.
        for at in 3..=12 {
            look(reading(at * 10, 1090, 510, 1075, 1025));
        }
        assert_eq!(look(reading(131, 1190, 510, 1175, 1025)).0.unwrap().dead_letters, 0.0);
    }

    #[test]
    fn counts_of_another_generation_are_not_compared() {
        let mut shares = Shares::default();
        let limits = Limits::default();
        shares.fill(&mut reading(0, 0, 0, 0, 0), &limits);
        let mut next = reading(10, 5000, 4000, 0, 0);
        next.sources.get_mut("payments").unwrap().rows.generation = 2;
        shares.fill(&mut next, &limits);
        assert_eq!(next.sources["payments"].shares, None);
    }

    #[test]
    fn lags_have_a_median_and_a_tail() {
        let mut shares = Shares::default();
        let mut last = Reading::default();
        for at in 1..=101 {
            last = reading(at, 0, 0, 0, 0);
            shares.fill(&mut last, &Limits::default());
        }
        let source = &last.sources["payments"];
        assert_eq!((source.lag_p50_seconds, source.lag_p99_seconds), (Some(51.0), Some(100.0)));
    }
}
