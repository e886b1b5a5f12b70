//! What of a reading is beyond a limit.

use std::collections::BTreeMap;

use super::limits::Limits;
use super::reading::{Against, DecidedLabels, DeploymentReading, FeatureReading, Reading, SourceReading, TargetReading, VersionReading, ViewReading};
use super::signal::{Kind, Of, Subject, Unit};

/// Rows of a sample of which it can be said that one entity is in too many.
const HOT_ROWS_MIN: u64 = 1000;

/// What to do where too few values are real ones.
const UNCOVERED: &str =
    "look which status the others have: NOT_FOUND asks for other entities, EXPIRED for newer events, NULL and ERROR for other inputs";

/// Something that is beyond a limit at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Of what.
    pub subject: Subject,
    /// When it began, as far as a reading tells, µs; else the moment of the reading.
    pub began: i64,
    /// What was measured.
    pub value: Option<f64>,
    /// The limit.
    pub limit: Option<f64>,
    /// What is wrong, in words.
    pub what: String,
    /// What to do.
    pub todo: String,
}

/// Everything that is beyond a limit.
pub fn judge(reading: &Reading, limits: &Limits) -> Vec<Finding> {
    let mut judge = Judge { reading, limits, found: Vec::new() };
    judge.server();
    reading.sources.iter().for_each(|(name, source)| judge.source(name, source));
    reading.versions.iter().for_each(|version| judge.version(version));
    reading.views.iter().for_each(|(name, view)| judge.view(name, view));
    reading.targets.iter().for_each(|(name, target)| judge.target(name, target));
    reading.deployments.iter().for_each(|(name, deployment)| judge.deployment(name, deployment));
    judge.found
}

struct Judge<'a> {
    reading: &'a Reading,
    limits: &'a Limits,
    found: Vec<Finding>,
}

impl Judge<'_> {
    fn fact(&mut self, kind: Kind, subject: Subject, what: String, todo: &str) {
        self.found.push(Finding { kind, subject, began: self.reading.at_micros, value: None, limit: None, what, todo: todo.to_owned() });
    }

    /// Tells of a value that is beyond its limit, and since when it has been, where the value says so.
    fn beyond(&mut self, kind: Kind, subject: Subject, [value, limit]: [f64; 2], what: String, todo: String) {
        let ago = if kind.unit() == Unit::Seconds { micros(value) } else { 0 };
        let began = self.reading.at_micros.saturating_sub(ago);
        self.found.push(Finding { kind, subject, began, value: Some(value), limit: Some(limit), what, todo });
    }

    fn server(&mut self) {
        let server = || Subject::new(Of::Server, "store");
        for of in &self.reading.breakers_open {
            let what = format!("the store does not answer {of}, and is asked no more for a while");
            self.fact(Kind::StoreSilent, server(), what, "look at its disk; `lockstep doctor` looks at the rest");
        }
        if let Some(why) = &self.reading.log_failing {
            let what = format!("what is served cannot be logged: {why}");
            self.fact(Kind::LogFailing, server(), what, "make room, or give the log another directory in [serve.feature_log]");
        }
        let Some(replay) = self.reading.replay.as_ref().filter(|replay| replay.differ > 0) else { return };
        for name in &replay.differing {
            let of = if self.reading.targets.get(name).is_some_and(|target| target.is_service) { Of::Service } else { Of::View };
            let first = replay.first.first().map_or_else(String::new, |first| format!(", the first: {first}"));
            let what = format!("{} of {} values that were served differ from what their inputs come to{first}", replay.differ, replay.values);
            let todo = "run `lockstep audit`, keep the store (`lockstep snapshot create`), and report it: training and serving have come apart";
            self.beyond(Kind::ReplayDiffers, Subject::new(of, name), [count(replay.differ), 0.0], what, todo.to_owned());
        }
    }

    fn source(&mut self, name: &str, source: &SourceReading) {
        let subject = || Subject::new(Of::Source, name);
        if let Some(why) = &source.stopped {
            let what = format!("`{name}` cannot be read on: {why}");
            self.fact(Kind::SourceStopped, subject(), what, "do what the reason says; nothing of it is applied until then");
        }
        let readers = || self.reading.views.values().filter(|view| view.sources.iter().any(|source| source == name));
        let least = readers().filter_map(|view| view.max_staleness_seconds).reduce(f64::min);
        if let (Some(lag), Some(least)) = (source.lag_seconds, least)
            && lag > least
        {
            let behind = source.behind_rows.map_or_else(String::new, |rows| format!(", {rows} rows behind"));
            let what = format!("`{name}` was not seen applied to its end for {}{behind}", span(lag));
            let todo = format!("look at the brokers, and at the server's load and disk: a view that reads it allows {}", span(least));
            self.beyond(Kind::SourceLagging, subject(), [lag, least], what, todo);
        }
        if let (Some(silence), Some(every)) = (source.silence_seconds, source.expect_events_every_seconds)
            && silence > every
        {
            let what = format!("`{name}` has had no event for {}, and declares one every {}", span(silence), span(every));
            self.beyond(Kind::SourceSilent, subject(), [silence, every], what, "look at its producer: what is there is applied".to_owned());
        }
        self.rows(name, source);
    }

    fn rows(&mut self, name: &str, source: &SourceReading) {
        let Some(shares) = source.shares else { return };
        let limits = self.limits;
        let letters =
            format!("`lockstep dead-letters list --source {name}` has them with their reasons; `replay-dlq` takes them once they are mended");
        let all = [
            (Kind::DeadLetters, shares.dead_letters, limits.dead_letters_max, "cannot be taken", letters.clone()),
            (
                Kind::WithoutEntity,
                shares.without_entity,
                limits.without_entity_max,
                "belong to no entity",
                "look whether the producer still fills the key's columns".to_owned(),
            ),
            (Kind::Conflicts, shares.conflicts, limits.conflicts_max, "have other content under a known key", letters),
            (
                Kind::LateRows,
                shares.late,
                limits.late_max,
                "come too late",
                format!("`lockstep refusals list --source {name}` has them; allowed_lateness says how late a row may be"),
            ),
        ];
        for (kind, share, limit, are, todo) in all.into_iter().filter(|(_, share, limit, ..)| share > limit) {
            let what = format!("{} of {} rows of `{name}` {are}, and at most {} may", percent(share), shares.rows, percent(limit));
            self.beyond(kind, Subject::new(Of::Source, name), [share, limit], what, todo);
        }
    }

    fn version(&mut self, version: &VersionReading) {
        let VersionReading { view, version: number, definitions, created_micros, published_micros, caught_up, behind_rows } = version;
        let (now, subject) = (self.reading.at_micros, Subject::new(Of::View, view));
        match published_micros {
            None if now.saturating_sub(*created_micros) > self.limits.backfill_max => {
                let times = [now.saturating_sub(*created_micros), self.limits.backfill_max].map(seconds);
                let what = format!("version {number} of `{view}` has waited for its backfill for {}; the version before answers", span(times[0]));
                let todo = format!("run `lockstep backfill {view}`, which goes on where it was cut short");
                self.beyond(Kind::BackfillUnfinished, subject, times, what, todo);
            }
            Some(published) if !caught_up && now.saturating_sub(*published) > self.limits.catch_up_max => {
                let times = [now.saturating_sub(*published), self.limits.catch_up_max].map(seconds);
                let behind = behind_rows.map_or_else(String::new, |rows| format!(", {rows} rows behind"));
                let what = format!(
                    "an old version of `{view}` answers: version {number}, of definitions {definitions}, has not caught up for {}{behind}",
                    span(times[0])
                );
                let todo = "`lockstep status` says what it lacks: files to ingest again, or a follower that is stopped".to_owned();
                self.beyond(Kind::OldVersion, subject, times, what, todo);
            }
            _ => {}
        }
    }

    fn view(&mut self, name: &str, view: &ViewReading) {
        let subject = || Subject::new(Of::View, name);
        if let (Some(lag), Some(most)) = (view.lag_seconds, view.max_staleness_seconds)
            && lag > most
        {
            let what = format!("`{name}` lags by {}, and its values are stale beyond {}", span(lag), span(most));
            self.beyond(Kind::ViewStale, subject(), [lag, most], what, "see what its sources do".to_owned());
        }
        if let Some(hot) = view.hottest.as_ref().filter(|hot| hot.rows >= HOT_ROWS_MIN && hot.share > self.limits.hot_events_max) {
            let what = format!("{} of {} events of `{name}` came to one entity: {}", percent(hot.share), hot.rows, hot.key);
            let todo = "see what sends them: a key that stands for none, a robot, a test; what is right is declared by [watch] hot_events_max";
            self.beyond(Kind::HotKey, subject(), [hot.share, self.limits.hot_events_max], what, todo.to_owned());
        }
        let Some(least) = view.min_coverage else { return };
        if let Some((feature, coverage)) = self.least_covered(name)
            && coverage < least
        {
            let what = format!("{} of the values of {feature} are real ones, and `{name}` declares {} at least", percent(coverage), percent(least));
            self.beyond(Kind::LowCoverage, subject(), [coverage, least], what, UNCOVERED.to_owned());
        }
    }

    /// The feature of a view that has fewest real values, wherever it is asked for by itself.
    fn least_covered(&self, view: &str) -> Option<(String, f64)> {
        let sampled = self.reading.targets.iter().flat_map(|(target, of)| of.features.iter().map(move |feature| (target, feature)));
        let own = sampled.filter(|(_, feature)| feature.views.len() == 1 && feature.views[0] == view && feature.sampled >= self.limits.rows_min);
        let least = own.map(|(target, feature)| (format!("`{}` of `{target}`", feature.feature), feature.coverage));
        let asked = self.reading.targets.get(view).filter(|target| !target.is_service);
        let whole = asked.and_then(|target| Some((format!("`{view}`"), target.coverage?)));
        least.chain(whole).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn target(&mut self, name: &str, target: &TargetReading) {
        let of = if target.is_service { Of::Service } else { Of::View };
        if let Some(errors) = target.errors.filter(|errors| *errors > self.limits.errors_max) {
            let limit = self.limits.errors_max;
            let what = format!("{} of the values of `{name}` cannot be computed, and at most {} may", percent(errors), percent(limit));
            let todo = "status ERROR: a division by zero, a cast that fails, a limit of a list; look at what inputs have become".to_owned();
            self.beyond(Kind::Errors, Subject::new(of, name), [errors, limit], what, todo);
        }
        if let (Some(coverage), Some(least)) = (target.coverage, target.min_coverage)
            && coverage < least
        {
            let what = format!("{} of the values of `{name}` are real ones, and it declares {} at least", percent(coverage), percent(least));
            self.beyond(Kind::LowCoverage, Subject::new(of, name), [coverage, least], what, UNCOVERED.to_owned());
        }
        if let Some(hot) = target.hottest.as_ref().filter(|hot| hot.rows >= HOT_ROWS_MIN && hot.share > self.limits.hot_key_max) {
            let what = format!("{} of {} sampled rows of `{name}` ask for one entity of `{}`: {}", percent(hot.share), hot.rows, hot.view, hot.key);
            let todo = "see who asks: a default key, a robot, a batch; `ROWS n` bounds what a lookup of a hot entity costs".to_owned();
            self.beyond(Kind::HotKey, Subject::new(of, name), [hot.share, self.limits.hot_key_max], what, todo);
        }
        for feature in &target.features {
            let todo = "compare its source with what it was: a unit, a default, a filter upstream; if the world has changed, train again";
            self.drift(Kind::FeatureDrift, Subject::new(of, name).feature(&feature.feature), feature, todo);
        }
    }

    fn drift(&mut self, kind: Kind, subject: Subject, feature: &FeatureReading, todo: &str) -> bool {
        let Some(drift) = feature.drift.as_ref().filter(|_| feature.sampled >= self.limits.values_min) else { return false };
        // Whether it is more than a limit, and more than two samples of one distribution come to.
        let passes = |value: f64, limit: f64, by_chance: f64| value > limit && value > by_chance;
        let by_index = passes(drift.psi, self.limits.psi_max, drift.psi_by_chance);
        let by_distance = passes(drift.ks, self.limits.ks_max, drift.ks_by_chance);
        let (measure, value, limit) = match (by_index, by_distance) {
            (true, _) => ("a population stability index", drift.psi, self.limits.psi_max),
            (false, true) => ("a Kolmogorov–Smirnov distance", drift.ks, self.limits.ks_max),
            (false, false) => return false,
        };
        let against = match drift.against {
            Against::Training => format!("{} in training", drift.reference_values),
            Against::Published => format!("{} of the run that is published", drift.reference_values),
            Against::First => format!("{} that were served first", drift.reference_values),
        };
        let nulls = if (drift.nulls - drift.reference_nulls).abs() > 0.05 {
            format!(", with {} NULL instead of {}", percent(drift.nulls), percent(drift.reference_nulls))
        } else {
            String::new()
        };
        let what =
            format!("{} values of {subject} are not like the {against}: {measure} of {value:.2}, and at most {limit} may be{nulls}", feature.sampled);
        self.beyond(kind, subject, [value, limit], what, todo.to_owned());
        true
    }

    fn deployment(&mut self, name: &str, deployment: &DeploymentReading) {
        let subject = || Subject::new(Of::Deployment, name);
        if let Some(fallen) = deployment.fallen.filter(|fallen| *fallen > self.limits.fallen_max) {
            let limit = self.limits.fallen_max;
            let what = format!("{} of the rows of `{name}` do not go the way of its model, and at most {} may", percent(fallen), percent(limit));
            let todo = "`lockstep_score_rows_fallen` says why: missing or stale features, a model that fails or is too slow".to_owned();
            self.beyond(Kind::Fallen, subject(), [fallen, limit], what, todo);
        }
        let decided = deployment.decided.filter(|decided| decided.known() >= self.limits.rows_min);
        let by_itself = decided.and_then(|decided| Some((decided, decided.model_share().filter(|share| *share > self.limits.model_decides_max)?)));
        for score in &deployment.scores {
            self.score((name, subject().feature(&score.feature)), score, by_itself);
        }
    }

    /// A prediction that is not like it was; and where it has crept away, and labels are of what the model decided by itself, the loop that this is.
    fn score(&mut self, (name, subject): (&str, Subject), score: &FeatureReading, by_itself: Option<(DecidedLabels, f64)>) {
        let Some(creeping) = score.creeping_seconds else {
            self.drift(Kind::ScoreDrift, subject, score, "see which of its features have moved");
            return;
        };
        let todo = "it has crept there: see which of its features have moved, and whether what is decided by it becomes what they count; decisions and outcomes that are reported say so";
        let (Some(drift), true, Some((decided, share))) = (&score.drift, self.drift(Kind::ScoreDrift, subject, score, todo), by_itself) else {
            return;
        };
        let what = format!(
            "`{}` of `{name}` has moved in one direction for {}, by an index of {:.2}, and the model itself decided {} of {} rows of which it is known what came of them",
            score.feature,
            span(creeping),
            drift.psi,
            percent(share),
            decided.known()
        );
        let todo = "see whether what is decided by it becomes what its features count; explore a share of decisions (explore = 0.05 in CREATE DEPLOYMENT), and train on that";
        let began = self.reading.at_micros.saturating_sub(micros(creeping));
        let (value, limit) = (Some(share), Some(self.limits.model_decides_max));
        self.found.push(Finding {
            kind: Kind::FeedbackLoop,
            subject: Subject::new(Of::Deployment, name),
            began,
            value,
            limit,
            what,
            todo: todo.to_owned(),
        });
    }
}

/// Whether what is wrong with `a` may be why something is wrong with `b`: whether one reads the other, directly or not.
pub fn reaches(reading: &Reading, (kind, a): (Kind, &Subject), b: &Subject) -> bool {
    match (a.of, b.of) {
        (Of::Server, _) => true,
        (Of::Source, Of::Source) => a.name == b.name,
        (Of::Source, _) => views_behind(reading, b).iter().any(|view| reading.views.get(*view).is_some_and(|view| view.sources.contains(&a.name))),
        // An entity that most events come to changes nothing about the others.
        (Of::View, _) if kind == Kind::HotKey => false,
        (Of::View, Of::View) => a.name == b.name && (a.feature.is_none() || a.feature == b.feature),
        (Of::View, Of::Service | Of::Deployment) => views_behind(reading, b).contains(&a.name.as_str()),
        (Of::Service, Of::Service) => a.name == b.name && (a.feature.is_none() || a.feature == b.feature),
        (Of::Service, Of::Deployment) => services_of(&reading.deployments, &b.name).contains(&a.name),
        (Of::Deployment, Of::Deployment) => a.name == b.name,
        // What is asked for may be why a view has few values, or errors.
        (Of::Service, Of::View) => matches!(kind, Kind::HotKey | Kind::Errors) && views_of(reading, &a.name).contains(&b.name),
        // A loop goes the other way round: from scores to features.
        (Of::Deployment, Of::Service) => kind == Kind::FeedbackLoop && services_of(&reading.deployments, &a.name).contains(&b.name),
        _ => false,
    }
}

/// The views that something is made of.
fn views_behind<'r>(reading: &'r Reading, subject: &'r Subject) -> Vec<&'r str> {
    match subject.of {
        Of::View => vec![subject.name.as_str()],
        Of::Service => match &subject.feature {
            Some(feature) => feature_views(&reading.targets, &subject.name, feature),
            None => views_of(reading, &subject.name).iter().map(String::as_str).collect(),
        },
        Of::Deployment => {
            let services = services_of(&reading.deployments, &subject.name);
            services.iter().flat_map(|service| views_of(reading, service)).map(String::as_str).collect()
        }
        Of::Server | Of::Source => Vec::new(),
    }
}

fn views_of<'r>(reading: &'r Reading, service: &str) -> &'r [String] {
    reading.targets.get(service).map_or(&[], |target| target.views.as_slice())
}

fn services_of<'r>(deployments: &'r BTreeMap<String, DeploymentReading>, name: &str) -> &'r [String] {
    deployments.get(name).map_or(&[], |deployment| deployment.services.as_slice())
}

fn feature_views<'r>(targets: &'r BTreeMap<String, TargetReading>, service: &str, feature: &str) -> Vec<&'r str> {
    let found = targets.get(service).and_then(|target| target.features.iter().find(|known| known.feature == feature));
    found.map_or_else(Vec::new, |feature| feature.views.iter().map(String::as_str).collect())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn count(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss, reason = "seconds, to the microsecond, for a few hundred years")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[allow(clippy::cast_possible_truncation, reason = "a time that has passed")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

/// Seconds as people read them, in at most two units.
fn span(seconds: f64) -> String {
    const UNITS: [(&str, f64); 3] = [("d", 86_400.0), ("h", 3600.0), ("m", 60.0)];
    let Some(at) = UNITS.iter().position(|(_, size)| seconds >= *size) else {
        return if seconds < 10.0 { format!("{seconds:.1}s") } else { format!("{seconds:.0}s") };
    };
    let (unit, size) = UNITS[at];
    let (whole, rest) = ((seconds / size).floor(), seconds % size);
    let (below, below_size) = UNITS.get(at + 1).copied().unwrap_or(("s", 1.0));
    match (rest / below_size).floor() {
        0.0 => format!("{whole:.0}{unit}"),
        rest => format!("{whole:.0}{unit} {rest:.0}{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        assert_eq!([0.25, 59.0, 60.0, 300.0, 5400.0, 90_000.0].map(span), ["0.2s", "59s", "1m", "5m", "1h 30m", "1d 1h"]);
    }

    #[test]
    fn what_is_declared_is_the_limit_and_what_is_not_is_none() {
        let source =
            |silence, every| SourceReading { silence_seconds: Some(silence), expect_events_every_seconds: every, ..SourceReading::default() };
        let sources = [("a".to_owned(), source(1e6, None)), ("b".to_owned(), source(60.0, Some(60.0))), ("c".to_owned(), source(61.0, Some(60.0)))];
        let found = judge(&Reading { at_micros: 100_000_000, sources: sources.into(), ..Reading::default() }, &Limits::default());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind, found[0].subject.name.as_str(), found[0].began), (Kind::SourceSilent, "c", 39_000_000));
        assert_eq!(found[0].what, "`c` has had no event for 1m 1s, and declares one every 1m");
    }

    #[test]
    fn a_service_may_declare_its_coverage() {
        let found = |coverage, min_coverage| {
            let target = TargetReading { is_service: true, coverage: Some(coverage), min_coverage, ..TargetReading::default() };
            judge(&Reading { targets: [("s".to_owned(), target)].into(), ..Reading::default() }, &Limits::default())
        };
        assert!(found(0.1, None).is_empty() && found(0.9, Some(0.9)).is_empty());
        assert_eq!(found(0.89, Some(0.9))[0].what, "89.0 % of the values of `s` are real ones, and it declares 90.0 % at least");
    }

    #[test]
    fn a_sample_that_is_small_says_nothing() {
        let feature = |sampled, psi, by_chance| FeatureReading {
            feature: "f".to_owned(),
            sampled,
            drift: Some(Drift { psi, psi_by_chance: by_chance, ..Drift::default() }),
            ..FeatureReading::default()
        };
        use super::super::reading::Drift;
        let found = |feature: FeatureReading| {
            let target = TargetReading { is_service: true, features: vec![feature], ..TargetReading::default() };
            judge(&Reading { targets: [("s".to_owned(), target)].into(), ..Reading::default() }, &Limits::default()).len()
        };
        assert_eq!(
            [found(feature(999, 2.0, 0.1)), found(feature(1000, 0.3, 0.4)), found(feature(1000, 0.2, 0.1)), found(feature(1000, 0.3, 0.1))],
            [0, 0, 0, 1]
        );
    }
}
