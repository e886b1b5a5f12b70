//! Which entity is asked for most, and which one most events come to: a few counters a view, by the rule of Misra and Gries, so that a share that is told is one that there is at the least.
//!
//! What comes together is counted together: of a batch each entity is looked up once, and then all counters but the largest go, at the cost of as many steps as there are counters.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_model::{EventTime, Generation, key};
use lockstep_transform::catalog::Catalog;

use super::reading::HotKey;
use super::skew::SLOTS;
use crate::feature_log::{Pick, Vectors};

/// Counters that are left of a batch: an entity that is in more than one row of so many has one.
const COUNTERS: usize = 64;
/// Views of services that are looked at, at most.
const TRACKED_MAX: usize = 10_000;
/// How many times as much as its equal part an entity must have to be hot: of four that are asked for alike, none is.
const TIMES_ITS_PART: f64 = 2.0;
/// A slot of the events that come, µs: the window is an hour.
const EVENTS_SLOT: i64 = 3_600_000_000 / SLOTS;

/// Entities that are asked for, of the last window.
#[derive(Debug)]
pub struct HotKeys {
    slot: i64,
    /// By service or view that is asked, and view.
    views: BTreeMap<(String, String), Slots<String>>,
}

type Slots<K> = VecDeque<(i64, Counters<K>)>;

#[derive(Debug)]
struct Counters<K> {
    rows: u64,
    by_key: HashMap<K, u64>,
    /// Whether counters went: there are more entities than are known.
    is_cut: bool,
}

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Counters { rows: 0, by_key: HashMap::default(), is_cut: false }
    }
}

/// The entities that events come to, of each generation that is fed here: told by who feeds them, once for each commit.
#[derive(Debug, Default)]
pub struct Came(Mutex<BTreeMap<Generation, Slots<Vec<u8>>>>);

impl Came {
    /// Takes in the entities of a commit that is made at a moment, each once, with its events.
    pub fn came(&self, generation: Generation, at: EventTime, entities: &mut dyn Iterator<Item = (&[u8], u64)>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = all.entry(generation).or_default();
        forget(slots, at.0.div_euclid(EVENTS_SLOT));
        let counters = open(slots, at.0.div_euclid(EVENTS_SLOT));
        for (entity, events) in entities {
            counters.rows += events;
            // Most are known already, and need no copy.
            match counters.by_key.get_mut(entity) {
                Some(count) => *count += events,
                None => drop(counters.by_key.insert(entity.to_vec(), events)),
            }
        }
        counters.cut();
    }

    /// The entity that most events of a view came to within the last hour, if it is hot.
    pub fn hottest(&self, generation: Generation, view: &str, now: EventTime) -> Option<HotKey> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = all.get_mut(&generation)?;
        forget(slots, now.0.div_euclid(EVENTS_SLOT));
        let (entity, share, rows) = hot(slots)?;
        Some(HotKey { view: view.to_owned(), key: key::display(&entity), share, rows })
    }
}

/// Lets go of slots before the window that ends with a slot.
fn forget<K>(slots: &mut Slots<K>, last: i64) {
    slots.retain(|(number, _)| *number > last - SLOTS);
}

/// The counters of a slot, which is the last one.
fn open<K>(slots: &mut Slots<K>, number: i64) -> &mut Counters<K> {
    if slots.back().is_none_or(|(last, _)| *last < number) {
        slots.push_back((number, Counters::default()));
    }
    let last = slots.len() - 1;
    &mut slots[last].1
}

impl HotKeys {
    /// Of slots of so much time, µs.
    pub fn new(slot: i64) -> HotKeys {
        HotKeys { slot, views: BTreeMap::new() }
    }

    /// Takes in who was asked for.
    pub fn fold(&mut self, vectors: &Vectors, at: i64) {
        let number = at.div_euclid(self.slot);
        let rows: Vec<usize> = match &vectors.pick {
            Pick::None => return,
            Pick::All => (0..vectors.rows.num_rows()).collect(),
            Pick::Some(rows) => rows.iter().map(|row| *row as usize).collect(),
        };
        for (view, columns) in keys(&vectors.catalog, &vectors.name) {
            let key = (vectors.name.clone(), view);
            if self.views.len() >= TRACKED_MAX && !self.views.contains_key(&key) {
                continue;
            }
            let counters = open(self.views.entry(key).or_default(), number);
            for key in rows.iter().filter_map(|row| text(&vectors.rows, &columns, *row)) {
                counters.rows += 1;
                *counters.by_key.entry(key).or_default() += 1;
            }
            counters.cut();
        }
    }

    /// The entity that is asked for most, by service or view that is asked; of those that are hot.
    pub fn hottest(&mut self, now: i64) -> BTreeMap<String, HotKey> {
        let last = now.div_euclid(self.slot);
        let mut hottest: BTreeMap<String, HotKey> = BTreeMap::new();
        for ((target, view), slots) in &mut self.views {
            forget(slots, last);
            let Some((key, share, rows)) = hot(slots) else { continue };
            if hottest.get(target).is_none_or(|known| known.share < share) {
                hottest.insert(target.clone(), HotKey { view: view.clone(), key, share, rows });
            }
        }
        hottest
    }
}

/// The entity that is in most rows, its share of them and how many there are; of those that are hot.
fn hot<K: Clone + Eq + Hash + Ord>(slots: &Slots<K>) -> Option<(K, f64, u64)> {
    let mut by_key: HashMap<&K, u64> = HashMap::new();
    slots.iter().flat_map(|(_, counters)| &counters.by_key).for_each(|(key, count)| *by_key.entry(key).or_default() += count);
    let rows: u64 = slots.iter().map(|(_, counters)| counters.rows).sum();
    let is_cut = slots.iter().any(|(_, counters)| counters.is_cut);
    let entities = if is_cut { by_key.len().max(COUNTERS) } else { by_key.len() };
    let (key, count) = by_key.into_iter().max_by_key(|(key, count)| (*count, std::cmp::Reverse(*key)))?;
    #[allow(clippy::cast_precision_loss, reason = "a share of a sample")]
    let (share, part) = (count as f64 / rows.max(1) as f64, 1.0 / entities as f64);
    (share > part * TIMES_ITS_PART).then(|| (key.clone(), share, rows))
}

impl<K> Counters<K> {
    /// Lets go of all but the largest, and takes from each what the largest of those had that go: what is told is never more than there was.
    fn cut(&mut self) {
        if self.by_key.len() <= COUNTERS {
            return;
        }
        let mut counts: Vec<u64> = self.by_key.values().copied().collect();
        let (_, next, _) = counts.select_nth_unstable_by_key(COUNTERS, |count| std::cmp::Reverse(*count));
        let next = *next;
        self.by_key.retain(|_, count| {
            *count = count.saturating_sub(next);
            *count > 0
        });
        self.is_cut = true;
    }
}

/// The views whose key a request says by itself, with the columns that are the key.
fn keys(catalog: &Catalog, target: &str) -> Vec<(String, Vec<String>)> {
    if let Some(view) = catalog.views.get(target) {
        return vec![(target.to_owned(), view.entity.iter().map(|field| field.name().clone()).collect())];
    }
    let Some(service) = catalog.definitions.services.get(target) else { return Vec::new() };
    let column =
        |written: &str| service.request.iter().map(|column| &column.name).find(|name| format!("\"{}\".\"{name}\"", service.request_alias) == written);
    let key = |join: &lockstep_transform::definition::Join| {
        let columns: Option<Vec<String>> = join.keys.iter().map(|key| column(&key.expr.to_string()).cloned()).collect();
        Some((join.view.clone(), columns?))
    };
    let mut keys: Vec<_> = service.joins.iter().filter_map(key).collect();
    // Two roles of one view are two ways to ask for its entities; the first is looked at.
    keys.dedup_by(|a, b| a.0 == b.0);
    keys
}

/// The key of a row as text; `None` where a part is missing, which is no entity.
fn text(rows: &RecordBatch, columns: &[String], row: usize) -> Option<String> {
    let part = |name: &String| {
        let column = rows.column_by_name(name)?;
        if column.is_null(row) {
            return None;
        }
        ArrayFormatter::try_new(column, &FormatOptions::default()).ok()?.value(row).try_to_string().ok()
    };
    Some(columns.iter().map(part).collect::<Option<Vec<_>>>()?.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(keys: impl Iterator<Item = u32>, together: usize) -> Slots<String> {
        let mut counters = Counters::default();
        for (row, key) in keys.enumerate() {
            counters.rows += 1;
            *counters.by_key.entry(key.to_string()).or_default() += 1;
            if (row + 1) % together == 0 {
                counters.cut();
            }
        }
        counters.cut();
        [(0, counters)].into()
    }

    #[test]
    fn one_entity_of_many_is_found_and_its_share_is_no_guess() {
        for together in [1, 32, 5000, 50_000] {
            // Every third row is of entity 0, the others of ten thousand.
            let (key, share, rows) = hot(&slots((0..30_000).map(|n| if n % 3 == 0 { 0 } else { n }), together)).unwrap();
            assert_eq!((key.as_str(), rows), ("0", 30_000), "{together}");
            assert!(share > 0.25 && share <= 1.0 / 3.0, "{together}: {share}");
        }
    }

    #[test]
    fn entities_that_are_asked_for_alike_are_not_hot() {
        for entities in [1, 3, 10, 1000] {
            assert_eq!(hot(&slots((0..20_000).map(|n| n % entities), 32)).filter(|(_, share, _)| *share > 0.05), None, "{entities}");
        }
    }

    #[test]
    fn a_commit_costs_a_look_at_each_of_its_entities_and_what_is_held_has_a_bound() {
        let came = Came::default();
        let asked = std::cell::Cell::new(0);
        for commit in 0..200u64 {
            let entities: Vec<([u8; 8], u64)> = (0..1000).map(|n| ((commit * 1000 + n).to_be_bytes(), 1)).chain([([0xff; 8], 600)]).collect();
            let mut each = entities.iter().map(|(entity, events)| {
                asked.set(asked.get() + 1);
                (entity.as_slice(), *events)
            });
            came.came(Generation(1), EventTime(commit as i64 * 1_000_000), &mut each);
            let held: usize = came.0.lock().unwrap().values().flatten().map(|(_, counters)| counters.by_key.len()).sum();
            assert!(held <= COUNTERS, "{held}");
        }
        assert_eq!(asked.get(), 200 * 1001, "each entity of a commit once");
        let now = EventTime(200_000_000);
        let hottest = came.hottest(Generation(1), "cards", now).unwrap();
        assert_eq!((hottest.key.as_str(), hottest.rows), (key::display(&[0xff; 8]).as_str(), 200 * 1600));
        assert!(hottest.share > 0.36 && hottest.share <= 0.375, "{}", hottest.share);
        assert_eq!(came.hottest(Generation(2), "cards", now), None);
        // What was long ago is of no window.
        assert_eq!(came.hottest(Generation(1), "cards", EventTime(now.0 + 2 * 3_600_000_000)), None);
    }
}
