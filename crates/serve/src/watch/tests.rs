//! The failures that this product is there to stop, each with the signal that is to tell of it, and a day on which all is well.
//!
//! Time is simulated, a look every ten seconds; what is judged, and the comparison of served values with training, are the code that runs. Each test prints what was raised first, and how long after
//! the failure began.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array};
use lockstep_model::{EventTime, Status};
use lockstep_transform::distribution::Reference;

use super::reading::{
    Against, DecidedLabels, DeploymentReading, HotKey, Reading, SourceReading, SourceRows, TargetReading, VersionReading, ViewReading,
};
use super::signal::{Kind, Severity, Signal};
use super::skew::{Compared, Gathered, SLOTS, Tracked};
use super::{Limits, Watch};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// How far looks are apart.
const LOOK: i64 = 10 * SECOND;
/// When it begins: midnight.
const START: i64 = 1_800_000_000 * SECOND / (24 * HOUR) * (24 * HOUR);

/// What is wrong with a system.
#[derive(Debug, Default, Clone)]
struct Faults {
    /// No event is applied any more, though they come.
    lags_since: Option<i64>,
    /// No event comes.
    silent_since: Option<i64>,
    /// The topic cannot be read.
    stopped_since: Option<i64>,
    /// Every row is put aside.
    rows_die: bool,
    /// Values are so many times as large.
    factor: f64,
    /// The share of values that are absent.
    absent: f64,
    /// By how much scores have moved.
    score_by: f64,
    /// Rows of one entity.
    hot: f64,
    /// Who decided about rows of which it is known what came of them.
    decided: Option<DecidedLabels>,
    versions: Vec<VersionReading>,
}

/// A shop with one source, one view, one service and one deployment, by the hour of the day: busy at noon, and hardly anybody at night.
struct Shop {
    now: i64,
    watch: Watch,
    reading: Reading,
    feature: Tracked,
    score: Tracked,
    slot: i64,
    newest: i64,
    random: u64,
    faults: Faults,
}

impl Shop {
    fn new() -> Shop {
        let limits = Limits::default();
        let slot = limits.drift_window / SLOTS;
        let mut shop = Shop {
            now: START,
            watch: Watch::new(limits),
            reading: Reading { since_micros: START, ..Reading::default() },
            feature: Tracked::new(vec!["cards".to_owned()], Compared::Nothing),
            score: Tracked::new(Vec::new(), Compared::Gathering(Gathered::since(START))),
            slot,
            newest: START,
            random: 7,
            faults: Faults { factor: 1.0, ..Faults::default() },
        };
        let trained: ArrayRef = Arc::new((0..20_000).map(|_| shop.spent(12.0)).collect::<Float64Array>());
        let reference = Reference::of_values(&trained).unwrap().unwrap();
        shop.feature = Tracked::new(vec!["cards".to_owned()], Compared::With(Against::Training, Arc::new(reference)));
        let view = ViewReading {
            sources: vec!["payments".to_owned()],
            max_staleness_seconds: Some(120.0),
            min_coverage: Some(0.8),
            ..ViewReading::default()
        };
        let rows = SourceRows { generation: 1, ..SourceRows::default() };
        let source = SourceReading { expect_events_every_seconds: Some(600.0), followed: true, rows, ..SourceReading::default() };
        let service = TargetReading { is_service: true, views: vec!["cards".to_owned()], ..TargetReading::default() };
        let deployment = DeploymentReading { services: vec!["fraud".to_owned()], ..DeploymentReading::default() };
        shop.reading.sources = [("payments".to_owned(), source)].into();
        shop.reading.views = [("cards".to_owned(), view)].into();
        shop.reading.targets = [("fraud".to_owned(), service)].into();
        shop.reading.deployments = [("block".to_owned(), deployment)].into();
        shop
    }

    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// What a card has spent: a little more in the evening, and NULL for some.
    fn spent(&mut self, hour: f64) -> Option<f64> {
        let rhythm = 0.1 * (std::f64::consts::TAU * (hour - 19.0) / 24.0).cos();
        let value = (self.normal() * 0.5 + rhythm).exp() * 40.0;
        (self.uniform() > 0.05).then_some(value)
    }

    fn hour(&self) -> f64 {
        (self.now - START) as f64 / HOUR as f64 % 24.0
    }

    /// Ten seconds, and a look.
    fn step(&mut self) -> Vec<Signal> {
        self.now += LOOK;
        let hour = self.hour();
        // From one event in some minutes at four in the morning to thirty a second.
        let busy = (0.5 - 0.5 * (std::f64::consts::TAU * (hour - 4.0) / 24.0).cos()).powi(3);
        let events = (busy * 300.0) as u64 + u64::from((self.now / LOOK) % 25 == 0);
        self.source(events);
        self.answers(hour, busy);
        self.reading.at_micros = self.now;
        let now = self.now;
        self.reading.versions.clone_from(&self.faults.versions);
        self.feature.forget(now, self.slot);
        self.score.forget(now, self.slot);
        let (feature, score) = (self.feature.reading("spent", now, self.slot), self.score.reading("risk", now, self.slot));
        self.reading.targets.get_mut("fraud").unwrap().features = vec![feature];
        let deployment = self.reading.deployments.get_mut("block").unwrap();
        // It is looked for where scores creep.
        deployment.decided = self.faults.decided.filter(|_| score.creeping_seconds.is_some());
        deployment.scores = vec![score];
        self.watch.look(&mut self.reading)
    }

    fn source(&mut self, events: u64) {
        let Faults { lags_since, silent_since, stopped_since, rows_die, .. } = self.faults.clone();
        let jitter = self.uniform();
        let late = u64::from(self.uniform() < 0.2) * (events / 50);
        let source = self.reading.sources.get_mut("payments").unwrap();
        let held_since = lags_since.or(stopped_since);
        match (held_since, silent_since, rows_die) {
            (None, None, false) if events > 0 => {
                self.newest = self.now;
                source.rows.applied += events;
                (source.rows.duplicates, source.rows.late) = (source.rows.duplicates + events / 40, source.rows.late + late);
            }
            (None, None, true) => source.rows.dead_letters += events,
            _ => {}
        }
        let lag = held_since.map_or(jitter * 2.0, |since| (self.now - since) as f64 / 1e6);
        source.lag_seconds = Some(lag);
        source.stopped = stopped_since.map(|_| "the topic was made anew".to_owned());
        source.silence_seconds = Some((self.now - self.newest) as f64 / 1e6);
        self.reading.views.get_mut("cards").unwrap().lag_seconds = Some(lag);
    }

    fn answers(&mut self, hour: f64, busy: f64) {
        let rows = (busy * 40.0) as u64 + u64::from(self.uniform() < 0.3);
        let Faults { factor, absent, score_by, hot, .. } = self.faults;
        let mut values: Vec<Option<f64>> = Vec::new();
        let mut scores: Vec<Option<f64>> = Vec::new();
        for _ in 0..rows {
            let spent = if self.uniform() < hot { Some(400.0) } else { self.spent(hour).map(|spent| spent * factor) };
            values.push(spent.filter(|_| self.uniform() >= absent));
            let signal = values.last().copied().flatten().map_or(0.0, |spent| (spent / 40.0).ln());
            scores.push(Some(signal + 0.3 * self.normal() + score_by));
        }
        let target = self.reading.targets.get_mut("fraud").unwrap();
        target.rows += rows;
        let null = values.iter().filter(|value| value.is_none()).count() as u64;
        target.values.null += null;
        target.values.present += rows - null;
        target.hottest = (hot > 0.0).then(|| HotKey { view: "cards".to_owned(), key: "0000".to_owned(), share: hot, rows: 5000 });
        *self.reading.deployments.get_mut("block").unwrap().ways.entry("model".to_owned()).or_default() += rows;
        add(&mut self.feature, values, self.now, self.slot);
        add(&mut self.score, scores, self.now, self.slot);
    }

    /// Goes on for so long, and holds that nothing is raised.
    #[track_caller]
    fn is_well_for(&mut self, time: i64) {
        let until = self.now + time;
        while self.now < until {
            let signals = self.step();
            assert!(signals.is_empty(), "{} at {}: {}", signals[0].id, EventTime(self.now), signals[0].what);
        }
    }

    /// Goes on until a signal is raised, which must be of this kind and a cause; then for so long, while all that is raised besides must follow from it. Gives the kinds that did.
    #[track_caller]
    fn is_told_of(&mut self, kind: Kind, [within, on]: [i64; 2], mut change: impl FnMut(&mut Faults, i64)) -> Vec<Kind> {
        let began = self.now;
        let mut first = None;
        let mut followed = Vec::new();
        while self.now < first.unwrap_or(began + within) + if first.is_some() { on } else { 0 } {
            change(&mut self.faults, self.now - began);
            let signals = self.step();
            let Some(raised) = signals.first() else { continue };
            if first.is_none() {
                first = Some(self.now);
                println!("{kind}: {} after {} s: {}", raised.subject, (self.now - began) / SECOND, raised.what);
            }
            assert!(raised.kind == kind && raised.cause.is_none(), "{} is told first: {}", raised.id, raised.what);
            for signal in &signals[1..] {
                let followed_from = signal.cause.as_ref().and_then(|cause| signals.iter().find(|known| known.id == *cause));
                assert!(followed_from.is_some() || signal.cause.is_some(), "{} is told of as a cause beside {kind}: {}", signal.id, signal.what);
                if !followed.contains(&signal.kind) {
                    followed.push(signal.kind);
                }
            }
        }
        assert!(first.is_some(), "{kind} is not told within {} s", within / SECOND);
        followed
    }
}

fn add(tracked: &mut Tracked, values: Vec<Option<f64>>, at: i64, slot: i64) {
    if values.is_empty() {
        return;
    }
    let values: ArrayRef = Arc::new(Float64Array::from(values));
    let statuses: Vec<Status> = (0..values.len()).map(|row| if values.is_null(row) { Status::Null } else { Status::Present }).collect();
    tracked.add(&values, &statuses, at, slot).unwrap();
}

/// A shop that has been well from midnight to noon.
fn at_noon() -> Shop {
    let mut shop = Shop::new();
    shop.is_well_for(12 * HOUR);
    shop
}

#[test]
fn a_day_on_which_all_is_well_raises_nothing() {
    let mut shop = Shop::new();
    // Two nights, and one set of definitions that takes twenty minutes to fill and catch up.
    shop.is_well_for(10 * HOUR);
    let created = shop.now;
    let version = |published, caught_up| VersionReading {
        view: "cards".to_owned(),
        version: 2,
        definitions: 2,
        created_micros: created,
        published_micros: published,
        caught_up,
        behind_rows: None,
    };
    shop.faults.versions = vec![version(None, false)];
    shop.is_well_for(10 * MINUTE);
    shop.faults.versions = vec![version(Some(shop.now), false)];
    shop.is_well_for(10 * MINUTE);
    shop.faults.versions.clear();
    shop.is_well_for(22 * HOUR);
}

#[test]
fn a_feature_that_lags_five_minutes() {
    let mut shop = at_noon();
    let since = shop.now;
    let followed = shop.is_told_of(Kind::SourceLagging, [150 * SECOND, 3 * MINUTE], |faults, _| faults.lags_since = Some(since));
    assert_eq!(followed, [Kind::ViewStale]);
    // It catches up, and all is well once it has been for a while.
    shop.faults.lags_since = None;
    (0..12).for_each(|_| drop(shop.step()));
    shop.is_well_for(HOUR);
}

#[test]
fn a_source_that_stopped() {
    let mut shop = at_noon();
    // What was there is forgotten by and by, as windows empty.
    let followed = shop.is_told_of(Kind::SourceSilent, [11 * MINUTE, 3 * HOUR], |faults, since| {
        faults.silent_since = Some(0);
        faults.absent = (since as f64 / (3 * HOUR) as f64).min(0.9);
    });
    assert!(followed.contains(&Kind::LowCoverage) && followed.contains(&Kind::FeatureDrift), "{followed:?}");
}

#[test]
fn a_topic_that_cannot_be_read() {
    let mut shop = at_noon();
    let since = shop.now;
    let followed = shop.is_told_of(Kind::SourceStopped, [LOOK, HOUR], |faults, _| faults.stopped_since = Some(since));
    assert_eq!(followed, [Kind::SourceLagging, Kind::ViewStale, Kind::SourceSilent]);
}

#[test]
fn a_stream_job_on_an_old_version() {
    let mut shop = at_noon();
    let at = shop.now;
    let version = VersionReading {
        view: "cards".to_owned(),
        version: 2,
        definitions: 2,
        created_micros: at,
        published_micros: Some(at),
        caught_up: false,
        behind_rows: Some(5000),
    };
    let followed = shop.is_told_of(Kind::OldVersion, [HOUR + LOOK, HOUR], |faults, _| faults.versions = vec![version.clone()]);
    assert!(followed.is_empty(), "{followed:?}");
}

#[test]
fn a_backfill_that_is_half_done() {
    let mut shop = at_noon();
    let at = shop.now;
    let version = VersionReading {
        view: "cards".to_owned(),
        version: 2,
        definitions: 2,
        created_micros: at,
        published_micros: None,
        caught_up: false,
        behind_rows: None,
    };
    let followed = shop.is_told_of(Kind::BackfillUnfinished, [HOUR + LOOK, HOUR], |faults, _| faults.versions = vec![version.clone()]);
    assert!(followed.is_empty(), "{followed:?}");
}

#[test]
fn a_schema_that_drifts() {
    let mut shop = at_noon();
    let followed = shop.is_told_of(Kind::DeadLetters, [MINUTE, 4 * HOUR], |faults, since| {
        faults.rows_die = true;
        faults.absent = (since as f64 / HOUR as f64).min(0.9);
    });
    assert!(followed.contains(&Kind::SourceSilent) && followed.contains(&Kind::LowCoverage), "{followed:?}");
    // A warning by itself, and as bad as the silence that follows from it.
    assert_eq!((Kind::DeadLetters.severity(), shop.step()[0].severity), (Severity::Warning, Severity::Critical));
}

#[test]
fn a_hot_key() {
    let mut shop = at_noon();
    let followed = shop.is_told_of(Kind::HotKey, [MINUTE, 2 * HOUR], |faults, _| faults.hot = 0.5);
    assert!(followed.contains(&Kind::FeatureDrift), "{followed:?}");
}

#[test]
fn a_key_that_most_events_come_to() {
    let mut shop = at_noon();
    let hottest = HotKey { view: "cards".to_owned(), key: "unknown".to_owned(), share: 0.7, rows: 5000 };
    shop.reading.views.get_mut("cards").unwrap().hottest = Some(HotKey { share: 0.4, ..hottest.clone() });
    shop.is_well_for(HOUR);
    shop.reading.views.get_mut("cards").unwrap().hottest = Some(hottest);
    let followed = shop.is_told_of(Kind::HotKey, [MINUTE, 2 * HOUR], |_, _| {});
    assert!(followed.is_empty(), "{followed:?}");
    assert!(shop.step()[0].what.ends_with("events of `cards` came to one entity: unknown"), "{}", shop.step()[0].what);
}

#[test]
fn a_shift_in_what_is_served() {
    let mut shop = at_noon();
    // A unit was changed upstream: cents, where there were euros.
    let followed = shop.is_told_of(Kind::FeatureDrift, [HOUR, 3 * HOUR], |faults, _| faults.factor = 100.0);
    assert!(followed.contains(&Kind::ScoreDrift), "{followed:?}");
}

#[test]
fn a_loop_of_decisions_into_features() {
    let mut shop = at_noon();
    // What the score decides comes back to it: scores creep, and what cards have spent follows at a distance.
    let followed = shop.is_told_of(Kind::FeedbackLoop, [8 * HOUR, 2 * HOUR], |faults, since| {
        let hours = since as f64 / HOUR as f64;
        faults.decided = Some(DecidedLabels { model: 3000, explored: 20, ..DecidedLabels::default() });
        faults.score_by = -0.15 * hours;
        faults.factor = (-0.05 * (hours - 2.0).max(0.0)).exp();
    });
    assert!(followed.contains(&Kind::ScoreDrift), "{followed:?}");
}

#[test]
fn scores_that_creep_are_no_loop_where_others_decide_or_nobody_says_who() {
    let chance = DecidedLabels { model: 2000, explored: 900, caller: 100, unknown: 0 };
    // Too few to say anything.
    let few = DecidedLabels { model: 50, unknown: 5000, ..DecidedLabels::default() };
    for decided in [None, Some(chance), Some(few)] {
        let mut shop = at_noon();
        let followed = shop.is_told_of(Kind::ScoreDrift, [8 * HOUR, HOUR], |faults, since| {
            faults.decided = decided;
            faults.score_by = -0.15 * since as f64 / HOUR as f64;
        });
        assert!(followed.is_empty(), "{followed:?}");
        assert!(shop.step()[0].todo.starts_with("it has crept there"), "{}", shop.step()[0].todo);
    }
}

#[test]
fn what_explains_nothing_is_told_beside() {
    let mut shop = at_noon();
    let since = shop.now;
    shop.is_told_of(Kind::SourceLagging, [150 * SECOND, LOOK], |faults, _| faults.lags_since = Some(since));
    // Another source's silence has nothing to do with it.
    let other = SourceReading { expect_events_every_seconds: Some(60.0), silence_seconds: Some(90.0), ..SourceReading::default() };
    shop.reading.sources.insert("merchants".to_owned(), other);
    let signals = shop.step();
    let causes: Vec<Kind> = signals.iter().filter(|signal| signal.cause.is_none()).map(|signal| signal.kind).collect();
    assert_eq!(causes, [Kind::SourceLagging, Kind::SourceSilent]);
}
