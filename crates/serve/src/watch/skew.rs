//! What a sample of the served values is like, window by window, beside what models were trained on.
//!
//! A window is twelve slots; what is older goes slot by slot. Each slot of a feature has its statuses, and its values by the bins of what they are compared with
//! ([`lockstep_transform::distribution`]): the training set of a model that is deployed. Predictions were in no training set. They are compared with those of the run of their deployment that
//! is published, and where there is none with what was predicted first, for as long as a window.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockstep_model::{Error, Status};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::distribution::{Counts, Reference, concat};

use super::hot::HotKeys;
use super::reading::{Against, Bin, Drift, FeatureReading, HotKey, Statuses};
use crate::feature_log::{Pick, Predicted, Vectors};
use crate::scoring::Training;

/// Slots of a window.
pub const SLOTS: i64 = 12;
/// Slots that values must have moved in one direction through to creep, and how far in all: in ranks of what they are compared with.
const CREEPING_SLOTS: usize = 5;
const CREEPING_BY: f64 = 0.15;
/// The greatest part of that one step may have: what jumps does not creep.
const STEP_MAX: f64 = 1.0 / 3.0;
/// Fewest values of a slot that say where it lies.
const RANKED_MIN: u64 = 30;
/// Features and predictions that are looked at, at most.
const TRACKED_MAX: usize = 20_000;
/// Values that are held until they are what others are compared with.
const HELD_MAX: usize = 1 << 15;

/// What is served, in windows.
#[derive(Debug)]
pub struct Skew {
    pub(super) slot: i64,
    /// The number of the definitions that all of it is of.
    pub(super) definitions: u64,
    /// Whether it was told what their models were trained on: that is not written down.
    is_told: bool,
    trained: BTreeMap<(String, String), Trained>,
    /// By deployment and prediction: those of the run that is published.
    published: BTreeMap<(String, String), Arc<Reference>>,
    pub(super) features: BTreeMap<(String, String), Tracked>,
    pub(super) scores: BTreeMap<(String, String), Tracked>,
    hot: HotKeys,
}

/// A feature as a training set has it.
#[derive(Debug)]
struct Trained {
    states: BTreeMap<String, Vec<u8>>,
    values: u64,
    rows: u64,
}

/// A feature or a prediction, of the last window.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) views: Vec<String>,
    pub(super) compared: Compared,
    pub(super) slots: VecDeque<(i64, Slot)>,
    /// All that were ever taken in, by status.
    pub(super) values: [u64; 5],
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) statuses: [u64; 5],
    pub(super) counts: Counts,
}

/// With what values are compared.
#[derive(Debug)]
pub(super) enum Compared {
    Nothing,
    With(Against, Arc<Reference>),
    /// With those that came first, which are gathered.
    Gathering(Gathered),
}

/// Values that came first: every so many of them, so that they fit.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) since: i64,
    pub(super) held: Vec<ArrayRef>,
    pub(super) rows: usize,
    pub(super) seen: u64,
    pub(super) every: u64,
}

impl Skew {
    /// Of windows of so much time, µs.
    pub fn new(window: i64) -> Skew {
        let slot = (window / SLOTS).max(1);
        Skew {
            slot,
            definitions: 0,
            is_told: false,
            trained: BTreeMap::new(),
            published: BTreeMap::new(),
            features: BTreeMap::new(),
            scores: BTreeMap::new(),
            hot: HotKeys::new(slot),
        }
    }

    /// The length of its windows, µs.
    pub fn window(&self) -> i64 {
        self.slot * SLOTS
    }

    /// Tells which definitions serve, and what their models were trained on: by service. Where others serve than before, what was seen of those is forgotten.
    pub fn serves<'t>(&mut self, definitions: u64, trained: impl IntoIterator<Item = (&'t str, &'t Training)>) {
        if self.definitions == definitions && self.is_told {
            return;
        }
        if self.definitions != definitions {
            *self = Skew { definitions, ..Skew::new(self.window()) };
        }
        self.is_told = true;
        for (service, training) in trained {
            for feature in &training.features {
                let decode = |state: &String| STANDARD.decode(state).unwrap_or_default();
                let states = feature.profile.iter().map(|(name, state)| (name.clone(), decode(state))).collect();
                let trained = Trained { states, values: feature.summary.count, rows: training.rows };
                // Where several models are trained on it, the first counts.
                self.trained.entry((service.to_owned(), feature.name.clone())).or_insert(trained);
            }
        }
    }

    /// Tells what the published run of a deployment predicted: what it predicts from here on is compared with that. Of another run than before, what was compared with that one is
    /// forgotten.
    pub fn published(&mut self, deployment: &str, prediction: &str, reference: &Arc<Reference>) {
        let key = (deployment.to_owned(), prediction.to_owned());
        if self.published.get(&key).is_some_and(|known| Arc::ptr_eq(known, reference)) {
            return;
        }
        if let Some(tracked) = self.scores.get_mut(&key) {
            tracked.compare_with(Against::Published, reference);
        }
        self.published.insert(key, Arc::clone(reference));
    }

    /// Takes in vectors that were served at a moment.
    ///
    /// # Errors
    /// Internal where columns are of other types than before.
    pub fn fold(&mut self, vectors: &Vectors, at: i64) -> Result<(), Error> {
        if vectors.definitions != self.definitions {
            return Ok(());
        }
        let rows = match &vectors.pick {
            Pick::None => return Ok(()),
            Pick::All => None,
            Pick::Some(rows) => Some(UInt32Array::from(rows.clone())),
        };
        for output in &vectors.outputs {
            let Some((name, views)) = named(&vectors.catalog, &vectors.name, output.index) else { continue };
            let statuses = |row: &u32| output.statuses[*row as usize];
            let statuses: Vec<Status> = rows.as_ref().map_or_else(|| output.statuses.clone(), |rows| rows.values().iter().map(statuses).collect());
            let values = some(&output.values, rows.as_ref())?;
            self.feature((&vectors.name, &name), views, &values, &statuses, at)?;
        }
        if let Some(predicted) = &vectors.predicted {
            self.predicted(predicted, rows.as_ref(), at)?;
        }
        self.hot.fold(vectors, at);
        Ok(())
    }

    fn feature(&mut self, (target, name): (&str, &str), views: Vec<String>, values: &ArrayRef, statuses: &[Status], at: i64) -> Result<(), Error> {
        let key = (target.to_owned(), name.to_owned());
        if !self.features.contains_key(&key) {
            if self.features.len() >= TRACKED_MAX {
                return Ok(());
            }
            let reference = match self.trained.get(&key) {
                Some(Trained { states, values: count, rows }) => Reference::of_profile(values.data_type(), states, (*count, *rows)),
                None => Ok(None),
            };
            let compared = match reference {
                Ok(Some(reference)) => Compared::With(Against::Training, Arc::new(reference)),
                Ok(None) => Compared::Nothing,
                Err(error) => {
                    tracing::warn!(%error, target, feature = name, "read what a feature was like in training");
                    Compared::Nothing
                }
            };
            self.features.insert(key.clone(), Tracked::new(views, compared));
        }
        let slot = self.slot;
        self.features.get_mut(&key).map_or(Ok(()), |tracked| tracked.add(values, statuses, at, slot))
    }

    fn predicted(&mut self, predicted: &Predicted, rows: Option<&UInt32Array>, at: i64) -> Result<(), Error> {
        for (field, values) in predicted.schema.fields().iter().zip(&predicted.values) {
            let values = some(values, rows)?;
            let status = |row: usize| if values.is_null(row) { Status::Null } else { Status::Present };
            let statuses: Vec<Status> = (0..values.len()).map(status).collect();
            let key = (predicted.deployment.to_string(), field.name().clone());
            if !self.scores.contains_key(&key) && self.scores.len() >= TRACKED_MAX {
                continue;
            }
            let published = self.published.get(&key).map(|reference| Compared::With(Against::Published, Arc::clone(reference)));
            let new = || Tracked::new(Vec::new(), published.unwrap_or_else(|| Compared::Gathering(Gathered::since(at))));
            self.scores.entry(key).or_insert_with(new).add(&values, &statuses, at, self.slot)?;
        }
        Ok(())
    }

    /// What each feature of each service and view is like in the window that ends at a moment.
    pub fn features(&mut self, now: i64) -> BTreeMap<String, Vec<FeatureReading>> {
        readings(&mut self.features, now, self.slot)
    }

    /// What each prediction of each deployment is like.
    pub fn scores(&mut self, now: i64) -> BTreeMap<String, Vec<FeatureReading>> {
        readings(&mut self.scores, now, self.slot)
    }

    /// The entity of each service and view that is asked for most.
    pub fn hottest(&mut self, now: i64) -> BTreeMap<String, HotKey> {
        self.hot.hottest(now)
    }
}

/// All of them by who gives them, those that have moved most first.
fn readings(tracked: &mut BTreeMap<(String, String), Tracked>, now: i64, slot: i64) -> BTreeMap<String, Vec<FeatureReading>> {
    let mut all: BTreeMap<String, Vec<FeatureReading>> = BTreeMap::new();
    for ((target, name), tracked) in tracked {
        tracked.forget(now, slot);
        all.entry(target.clone()).or_default().push(tracked.reading(name, now, slot));
    }
    let index = |reading: &FeatureReading| reading.drift.as_ref().map_or(-1.0, |drift| drift.psi);
    all.values_mut().for_each(|readings| readings.sort_by(|a, b| index(b).total_cmp(&index(a))));
    all
}

/// The name of an output of a service or view, and the views behind it.
fn named(catalog: &Catalog, target: &str, index: usize) -> Option<(String, Vec<String>)> {
    if let Some(service) = catalog.services.get(target) {
        let mut views: Vec<String> = service.outputs.get(index)?.inputs.iter().map(|(join, _)| service.joins[*join].view.clone()).collect();
        views.sort_unstable();
        views.dedup();
        return Some((service.outputs.get(index)?.name.clone(), views));
    }
    let view = catalog.views.get(target)?;
    Some((view.features.fields().get(index)?.name().clone(), vec![target.to_owned()]))
}

fn some(values: &ArrayRef, rows: Option<&UInt32Array>) -> Result<ArrayRef, Error> {
    let kernel = |error| Error::internal("rows of an answer").caused_by(error);
    rows.map_or_else(|| Ok(ArrayRef::clone(values)), |rows| take(values, rows, None).map_err(kernel))
}

impl Tracked {
    pub(super) fn new(views: Vec<String>, compared: Compared) -> Tracked {
        Tracked { views, compared, slots: VecDeque::new(), values: [0; 5] }
    }

    /// Compares with something else from here on. What was counted by the bins of what it was compared with says nothing of that.
    fn compare_with(&mut self, against: Against, reference: &Arc<Reference>) {
        if !matches!(&self.compared, Compared::With(known, same) if *known == against && same == reference) {
            self.slots.iter_mut().for_each(|(_, slot)| slot.counts = Counts::default());
        }
        // What was gathered so far came in this window.
        if let Compared::Gathering(gathered) = &self.compared
            && let Ok(values) = concat(&gathered.held)
            && let Ok(counts) = reference.count(&values)
            && let Some((_, slot)) = self.slots.back_mut()
        {
            slot.counts.add(&counts);
        }
        self.compared = Compared::With(against, Arc::clone(reference));
    }

    /// Takes in values that were served at a moment.
    pub(super) fn add(&mut self, values: &ArrayRef, statuses: &[Status], at: i64, slot: i64) -> Result<(), Error> {
        self.forget(at, slot);
        let number = at.div_euclid(slot);
        if self.slots.back().is_none_or(|(last, _)| *last < number) {
            self.slots.push_back((number, Slot::default()));
        }
        let Some((_, open)) = self.slots.back_mut() else { return Ok(()) };
        for status in statuses {
            open.statuses[*status as usize] += 1;
            self.values[*status as usize] += 1;
        }
        match &mut self.compared {
            Compared::Nothing => {}
            Compared::With(_, reference) => open.counts.add(&reference.count(values)?),
            Compared::Gathering(gathered) if gathered.is_over(at, slot * SLOTS) => {
                let reference = Reference::of_values(&concat(&gathered.held)?)?;
                // Of lists there is nothing to compare.
                self.compared = reference.map_or(Compared::Nothing, |reference| Compared::With(Against::First, Arc::new(reference)));
            }
            Compared::Gathering(gathered) => gathered.add(values)?,
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, now: i64, slot: i64) {
        let first = now.div_euclid(slot) - SLOTS + 1;
        while self.slots.front().is_some_and(|(number, _)| *number < first) {
            self.slots.pop_front();
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "seconds, for people and limits")]
    pub(super) fn reading(&self, name: &str, now: i64, slot: i64) -> FeatureReading {
        let (mut statuses, mut counts) = ([0u64; 5], Counts::default());
        for (_, slot) in &self.slots {
            statuses.iter_mut().zip(slot.statuses).for_each(|(all, more)| *all += more);
            counts.add(&slot.counts);
        }
        let sampled: u64 = statuses.iter().sum();
        #[allow(clippy::cast_precision_loss, reason = "a share of a sample")]
        let share = |status: Status| if sampled == 0 { 0.0 } else { statuses[status as usize] as f64 / sampled as f64 };
        FeatureReading {
            feature: name.to_owned(),
            views: self.views.clone(),
            sampled,
            by_status: Statuses::of(statuses),
            values: Statuses::of(self.values),
            coverage: share(Status::Present),
            errors: share(Status::Error),
            drift: self.drift(&counts),
            creeping_seconds: self.creeping(now.div_euclid(slot)).map(|slots| slots as f64 * slot as f64 / 1e6),
        }
    }

    fn drift(&self, counts: &Counts) -> Option<Drift> {
        let Compared::With(against, reference) = &self.compared else { return None };
        let compared = reference.compare(counts)?;
        let bin = |(label, [reference, served]): (String, [f64; 2])| Bin { label, reference, served };
        Some(Drift {
            against: *against,
            psi: compared.index,
            psi_by_chance: compared.index_by_chance,
            ks: compared.distance,
            ks_by_chance: compared.distance_by_chance,
            reference_values: compared.values[0],
            reference_nulls: compared.nulls[0],
            nulls: compared.nulls[1],
            bins: compared.bins.into_iter().map(bin).collect(),
        })
    }

    /// Through how many slots that are over values have moved in one direction up to now, where those are several and it is far.
    fn creeping(&self, open: i64) -> Option<usize> {
        let Compared::With(_, reference) = &self.compared else { return None };
        let over = self.slots.iter().rev().filter(|(number, slot)| *number < open && slot.counts.values() >= RANKED_MIN);
        // The newest first.
        let ranks: Vec<f64> = over.filter_map(|(_, slot)| reference.rank(&slot.counts)).collect();
        let steps = || ranks.windows(2).map(|pair| pair[0] - pair[1]);
        let [up, down] = [1.0, -1.0].map(|way| 1 + steps().take_while(|step| step * way > 0.0).count());
        let slots = up.max(down).min(ranks.len());
        let far = ranks.first()? - ranks.get(slots.checked_sub(1)?)?;
        let longest = steps().take(slots.saturating_sub(1)).fold(0.0, |longest: f64, step| longest.max(step.abs()));
        (slots >= CREEPING_SLOTS && far.abs() >= CREEPING_BY && longest <= far.abs() * STEP_MAX).then_some(slots)
    }
}

impl Gathered {
    pub(super) fn since(since: i64) -> Gathered {
        Gathered { since, held: Vec::new(), rows: 0, seen: 0, every: 1 }
    }

    /// Whether values have come for as long as a window, and there are enough.
    fn is_over(&self, at: i64, window: i64) -> bool {
        at.saturating_sub(self.since) >= window && self.rows as u64 >= RANKED_MIN
    }

    fn add(&mut self, values: &ArrayRef) -> Result<(), Error> {
        let taken: Vec<u32> = (0..values.len() as u32).filter(|row| (self.seen + u64::from(*row)).is_multiple_of(self.every)).collect();
        self.seen += values.len() as u64;
        if !taken.is_empty() {
            self.rows += taken.len();
            self.held.push(some(values, Some(&UInt32Array::from(taken)))?);
        }
        // Pieces of a row or two take many times what is in them.
        if self.held.len() >= 256 {
            self.held = vec![concat(&self.held)?];
        }
        if self.rows >= HELD_MAX {
            let halved: UInt32Array = (0..self.rows as u32).step_by(2).collect();
            let halved = some(&concat(&self.held)?, Some(&halved))?;
            (self.rows, self.every, self.held) = (halved.len(), self.every * 2, vec![halved]);
        }
        Ok(())
    }
}
