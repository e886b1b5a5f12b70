//! What an audit found, for people and programs.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::Array;
use lockstep_model::{Error, EventTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cause, moment};
use crate::kept::Kept;
use crate::output::{Paint, Report};
use crate::recompute::Again;
use crate::table::{Align, Cell, Table};
use crate::text::{counted, grouped};
use crate::verify::shown;

/// Differences told of each kind.
const EXAMPLES_MAX: usize = 10;
/// Of one cause.
const EXAMPLES_OF_A_CAUSE_MAX: usize = 3;
/// Events told of one difference.
const EVENTS_MAX: usize = 5;

/// What became of logged vectors.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Audited {
    /// Vectors in the log.
    pub vectors: u64,
    /// The earliest moment.
    pub from: Option<String>,
    /// The latest.
    pub to: Option<String>,
    /// Computed again at the positions they were served from.
    pub replay: Replayed,
    /// Computed from all that is known by now.
    pub hindsight: Hindsight,
    /// Vectors that were served from the last known good: where that was read is not known, so that it is no replay.
    pub fallbacks: u64,
    /// Vectors that cannot be computed again, and why.
    pub not_auditable: Vec<NotAuditable>,
    /// What was predicted of them; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictions: Option<PredictionsReplayed>,
    /// The services and views of which something differs that was computed again.
    #[serde(skip)]
    pub differing: BTreeSet<String>,
    /// Whether all differences are told.
    #[serde(skip)]
    tell_all: bool,
}

/// What a replay found.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    /// Vectors computed again.
    pub vectors: u64,
    /// Their values.
    pub values: u64,
    /// Values, statuses or fills that differ.
    pub differ: u64,
    /// The first few that differ.
    pub first: Vec<String>,
}

/// What was predicted of vectors, computed again by the same models on replayed features.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct PredictionsReplayed {
    /// Rows whose predictions were computed again.
    pub rows: u64,
    /// Their predictions.
    pub values: u64,
    /// Rows of which it was computed again in which order their candidates were answered, and with which propensities.
    #[serde(default)]
    pub orders: u64,
    /// Predictions and orders that differ.
    pub differ: u64,
    /// The first few that differ.
    pub first: Vec<String>,
    /// Rows whose predictions cannot be computed again here, and why.
    pub not_computed: Vec<NotAuditable>,
}

/// What hindsight found.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Hindsight {
    /// Vectors computed with what is known by now.
    pub vectors: u64,
    /// Of these, those with a value that differs.
    pub vectors_differ: u64,
    /// Their values.
    pub values: u64,
    /// Of these, those that differ.
    pub differ: u64,
    /// How many differ by each cause; a value may have several.
    pub causes: BTreeMap<Cause, u64>,
    /// Feature by feature.
    pub features: Vec<FeatureAudit>,
    /// A few differences of each cause.
    pub examples: Vec<Difference>,
}

/// What hindsight found of one feature.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct FeatureAudit {
    /// The service or view.
    pub name: String,
    /// The feature.
    pub feature: String,
    /// Values compared.
    pub values: u64,
    /// Those that differ.
    pub differ: u64,
    /// Their share.
    pub share: f64,
    /// How many differ by each cause.
    pub causes: BTreeMap<Cause, u64>,
}

/// A value that is another one by now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The service or view.
    pub name: String,
    /// What its caller called the request, if anything.
    pub request_id: Option<String>,
    /// Its row in the request.
    pub row: u64,
    /// Its moment.
    pub at: String,
    /// The feature.
    pub feature: String,
    /// The value that was served; absent where it is NULL.
    pub served: Option<String>,
    /// Its status.
    pub served_status: String,
    /// What it is now.
    pub now: Option<String>,
    /// Its status.
    pub now_status: String,
    /// Why.
    pub causes: Vec<Cause>,
    /// When the events happened that made it another, as far as they are one of the causes.
    pub events: Vec<String>,
}

/// Vectors that cannot be computed again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NotAuditable {
    /// How many.
    pub vectors: u64,
    /// Why.
    pub why: String,
}

impl Audited {
    /// Of vectors of which nothing is known yet.
    pub fn of(kept: &[Kept], tell_all: bool) -> Audited {
        let moments = || kept.iter().flat_map(|kept| kept.moments.iter().copied());
        Audited {
            vectors: kept.iter().map(|kept| kept.len() as u64).sum(),
            from: moments().min().map(moment),
            to: moments().max().map(moment),
            tell_all,
            ..Audited::default()
        }
    }

    /// Whether every vector that was computed again is as it was served.
    pub fn holds(&self) -> bool {
        self.replay.differ == 0 && self.predictions.as_ref().is_none_or(|predictions| predictions.differ == 0)
    }

    /// What is wrong where nothing was computed again: a check that has looked at nothing must not say that all is well.
    pub fn nothing(&self) -> Option<Error> {
        if self.replay.vectors > 0 || self.hindsight.vectors > 0 {
            return None;
        }
        let why = if self.vectors == 0 && self.not_auditable.is_empty() {
            "the log holds no vector of what was asked for · ask for another service, or an earlier moment".to_owned()
        } else {
            let lost: u64 = self.not_auditable.iter().map(|lost| lost.vectors).sum();
            format!(
                "{} not auditable and {} from the last known good · keep what the log needs: its inputs, its versions, and a longer retention",
                counted(lost, "vector is", "vectors are"),
                grouped(self.fallbacks)
            )
        };
        Some(Error::not_found(format!("nothing was audited · {why}")))
    }

    /// Counts vectors that are not in the log any more.
    pub fn past_retention(&mut self, vectors: u64) {
        if vectors > 0 {
            self.lost(vectors, "past the log's retention");
        }
    }

    /// Counts vectors that nobody has tried to compute, with why.
    pub fn cannot(&mut self, kept: &Kept, why: &str) {
        self.vectors += kept.len() as u64;
        self.not_auditable(kept, why);
    }

    pub(super) fn not_auditable(&mut self, kept: &Kept, why: &str) {
        self.lost(kept.len() as u64, why);
    }

    fn lost(&mut self, vectors: u64, why: &str) {
        add(&mut self.not_auditable, vectors, why);
    }

    /// Those that were replayed, and cannot be compared with what is known by now.
    pub(super) fn no_hindsight(&mut self, kept: &Kept, why: &str) {
        self.lost(kept.len() as u64, &format!("without hindsight: {why}"));
    }

    pub(super) fn recalled(&mut self, kept: &Kept) {
        self.fallbacks += kept.len() as u64;
    }

    pub(super) fn replayed(&mut self, kept: &Kept, again: &Again) {
        self.replay.vectors += kept.len() as u64;
        for (output, field) in kept.outputs.iter().enumerate() {
            for row in (0..kept.len()).filter(|&row| kept.was_asked(output, row)) {
                self.replay.values += 1;
                if again.is_as_kept(kept, output, row) {
                    continue;
                }
                self.replay.differ += 1;
                self.differing.insert(kept.from.name.clone());
                if self.tell_all || self.replay.first.len() < EXAMPLES_MAX {
                    let value = |column, status: &str| format!("{} {status}", shown(column, row));
                    self.replay.first.push(format!(
                        "{}.{} of {} at {}: logged {}, computed {}",
                        kept.from.name,
                        field.name(),
                        kept.called(row),
                        EventTime(kept.moments[row]),
                        value(&kept.values[output], kept.statuses[output].value(row)),
                        value(&again.columns[output], again.statuses[output].value(row)),
                    ));
                }
            }
        }
    }

    /// Counts the values of an answer that was compared with what is known by now.
    pub(super) fn looked_back(&mut self, kept: &Kept) {
        self.hindsight.vectors += kept.len() as u64;
        for output in 0..kept.outputs.len() {
            let values = (0..kept.len()).filter(|&row| kept.was_asked(output, row)).count() as u64;
            self.hindsight.values += values;
            self.feature(kept, output).values += values;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a share, for people")]
    pub(super) fn finish(mut self) -> Audited {
        self.hindsight.features.retain(|feature| feature.values > 0);
        for feature in &mut self.hindsight.features {
            feature.share = feature.differ as f64 / feature.values as f64;
        }
        self
    }

    fn feature(&mut self, kept: &Kept, output: usize) -> &mut FeatureAudit {
        let (name, feature) = (&kept.from.name, kept.outputs[output].name());
        let features = &mut self.hindsight.features;
        let known = features.iter().position(|known| known.name == *name && known.feature == *feature);
        let at = known.unwrap_or_else(|| {
            features.push(FeatureAudit { name: name.clone(), feature: feature.clone(), ..FeatureAudit::default() });
            features.len() - 1
        });
        &mut features[at]
    }

    /// Tells of a value that is another one by now.
    pub(super) fn differs(
        &mut self,
        kept: &Kept,
        row: usize,
        output: usize,
        now: &Again,
        causes: &[Cause],
        events: &dyn Fn(Cause) -> Vec<EventTime>,
    ) {
        let is_first = !(0..output).any(|earlier| kept.was_asked(earlier, row) && !now.is_as_kept(kept, earlier, row));
        self.hindsight.vectors_differ += u64::from(is_first);
        self.hindsight.differ += 1;
        let feature = self.feature(kept, output);
        feature.differ += 1;
        for cause in causes {
            *feature.causes.entry(*cause).or_default() += 1;
        }
        for cause in causes {
            *self.hindsight.causes.entry(*cause).or_default() += 1;
        }
        let told = |cause: &Cause| self.hindsight.examples.iter().filter(|example| example.causes.contains(cause)).count();
        if !self.tell_all && causes.iter().all(|cause| told(cause) >= EXAMPLES_OF_A_CAUSE_MAX) {
            return;
        }
        let value = |column: &arrow::array::ArrayRef| column.is_valid(row).then(|| shown(column, row));
        let mut events: Vec<EventTime> = causes.iter().flat_map(|cause| events(*cause)).collect();
        events.sort_unstable();
        events.dedup();
        // The latest of them, which windows that end at the moment hold.
        events.drain(..events.len().saturating_sub(EVENTS_MAX));
        self.hindsight.examples.push(Difference {
            name: kept.from.name.clone(),
            request_id: kept.request_id(row).map(str::to_owned),
            row: kept.numbers[row],
            at: moment(kept.moments[row]),
            feature: kept.outputs[output].name().clone(),
            served: value(&kept.values[output]),
            served_status: kept.statuses[output].value(row).to_owned(),
            now: value(&now.columns[output]),
            now_status: now.statuses[output].value(row).to_owned(),
            causes: causes.to_vec(),
            events: events.into_iter().map(|event| event.to_string()).collect(),
        });
    }
}

/// Counts vectors by the reason.
fn add(all: &mut Vec<NotAuditable>, vectors: u64, why: &str) {
    match all.iter_mut().find(|known| known.why == why) {
        Some(known) => known.vectors += vectors,
        None => all.push(NotAuditable { vectors, why: why.to_owned() }),
    }
}

impl PredictionsReplayed {
    pub(super) fn not_computed(&mut self, rows: u64, why: &str) {
        add(&mut self.not_computed, rows, why);
    }

    pub(super) fn differs(&mut self, line: impl FnOnce() -> String) {
        self.differ += 1;
        if self.first.len() < EXAMPLES_MAX {
            self.first.push(line());
        }
    }

    fn text(&self, paint: Paint) -> String {
        let PredictionsReplayed { rows, values, orders, differ, first, not_computed } = self;
        let differ = if *differ == 0 { paint.green("0 differ") } else { paint.red(format!("{} differ", grouped(*differ))) };
        let orders = if *orders == 0 { String::new() } else { format!(" and {}", counted(*orders, "order", "orders")) };
        let mut text = format!(
            "{}     of {} computed again by the models that were run, {}{orders}: {differ}\n",
            paint.bold("scores"),
            counted(*rows, "row", "rows"),
            counted(*values, "prediction", "predictions"),
        );
        first.iter().for_each(|line| text += &format!("  {} {line}\n", paint.red("differs:")));
        for NotAuditable { vectors, why } in not_computed {
            text += &format!("  {} of {}: {why}\n", paint.yellow("not computed:"), counted(*vectors, "row", "rows"));
        }
        text
    }
}

impl Difference {
    /// Why, and by which events.
    pub fn why(&self) -> String {
        let causes: Vec<&str> = self.causes.iter().map(|cause| cause.word()).collect();
        let events = if self.events.is_empty() { String::new() } else { format!(", by events of {}", self.events.join(", ")) };
        format!("{}{events}", causes.join(" and "))
    }
}

impl Report for Audited {
    fn text(&self, paint: Paint) -> String {
        let Audited { vectors, from, to, replay, hindsight, fallbacks, not_auditable, predictions, differing: _, tell_all: _ } = self;
        let range = from.as_ref().zip(to.as_ref()).map(|(from, to)| format!(", of moments from {from} to {to}")).unwrap_or_default();
        let mut text = format!("{} in the log{range}\n\n", counted(*vectors, "vector", "vectors"));
        text += &replay.text(paint);
        text += &predictions.as_ref().map(|predictions| predictions.text(paint)).unwrap_or_default();
        text += &hindsight.text(paint);
        if *fallbacks > 0 {
            text += &format!(
                "fallback   {} served from the last known good, whose positions are not known\n",
                counted(*fallbacks, "vector was", "vectors were")
            );
        }
        for NotAuditable { vectors, why } in not_auditable {
            text += &format!("{} {}: {why}\n", paint.yellow("not auditable"), counted(*vectors, "vector", "vectors"));
        }
        text
    }
}

impl Replayed {
    fn text(&self, paint: Paint) -> String {
        let Replayed { vectors, values, differ, first } = self;
        let differ = if *differ == 0 { paint.green("0 differ") } else { paint.red(format!("{} differ", grouped(*differ))) };
        let lines: String = first.iter().map(|line| format!("  {} {line}\n", paint.red("differs:"))).collect();
        format!(
            "{}     {} computed again at the positions they were served from, {}: {differ}\n{lines}",
            paint.bold("replay"),
            counted(*vectors, "vector", "vectors"),
            counted(*values, "value", "values"),
        )
    }
}

impl Hindsight {
    fn text(&self, paint: Paint) -> String {
        let Hindsight { vectors, vectors_differ, values, differ, causes, features, examples } = self;
        let by_cause: Vec<String> = causes.iter().map(|(cause, count)| format!("{} {}", cause.word(), grouped(*count))).collect();
        let by_cause = if by_cause.is_empty() { String::new() } else { format!(" ({})", by_cause.join(", ")) };
        let mut text = format!(
            "{}  {} with all that is known by now, {}: {} differ, in {}{by_cause}\n",
            paint.bold("hindsight"),
            counted(*vectors, "vector", "vectors"),
            counted(*values, "value", "values"),
            grouped(*differ),
            counted(*vectors_differ, "vector", "vectors"),
        );
        if *differ > 0 {
            text += &format!("\n{}\n", table(features, causes).render(paint));
        }
        for example in examples {
            let Difference { name, request_id, row, at, feature, served, served_status, now, now_status, .. } = example;
            let value = |value: &Option<String>, status: &str| format!("{} {status}", value.as_deref().unwrap_or("NULL"));
            let called =
                request_id.as_ref().map_or_else(|| format!("row {row} of a request"), |request_id| format!("request {request_id} row {row}"));
            text += &format!("  {name}.{feature} of {called} at {at}: served {}, now {}\n", value(served, served_status), value(now, now_status));
            text += &format!("    {}\n", example.why());
        }
        text
    }
}

/// The features that differ, and why.
fn table(features: &[FeatureAudit], causes: &BTreeMap<Cause, u64>) -> Table {
    let shown: Vec<Cause> = Cause::ALL.into_iter().filter(|cause| causes.contains_key(cause)).collect();
    let mut columns = vec![("feature", Align::Left), ("values", Align::Right), ("differ", Align::Right), ("share", Align::Right)];
    columns.extend(shown.iter().map(|cause| (cause.word(), Align::Right)));
    let mut table = Table::new(&columns).indented(2);
    for feature in features.iter().filter(|feature| feature.differ > 0) {
        let FeatureAudit { name, feature, values, differ, share, causes } = feature;
        let cells = [format!("{name}.{feature}"), grouped(*values), grouped(*differ), format!("{:.2}%", 100.0 * share)];
        let by_cause = shown.iter().map(|cause| causes.get(cause).map_or_else(String::new, |count| grouped(*count)));
        table.row(cells.into_iter().chain(by_cause).map(Cell::from));
    }
    table
}
