//! Which entity is asked for most: a few counters a view, by the rule of Misra and Gries, so that a share that is told is one that there is at the least.

use std::collections::{BTreeMap, HashMap, VecDeque};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_transform::catalog::Catalog;

use super::reading::HotKey;
use super::skew::SLOTS;
use crate::feature_log::{Pick, Vectors};

/// Counters of a slot: an entity that is in more than one row of so many has one.
const COUNTERS: usize = 64;
/// Views of services that are looked at, at most.
const TRACKED_MAX: usize = 10_000;
/// How many times as much as its equal part an entity must be asked for to be hot: of four that are asked for alike, none is.
const TIMES_ITS_PART: f64 = 2.0;

/// Entities that are asked for, of the last window.
#[derive(Debug)]
pub struct HotKeys {
    slot: i64,
    /// By service or view that is asked, and view.
    views: BTreeMap<(String, String), VecDeque<(i64, Counters)>>,
}

#[derive(Debug, Default)]
struct Counters {
    rows: u64,
    by_key: HashMap<String, u64>,
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
            let slots = self.views.entry(key).or_default();
            if slots.back().is_none_or(|(last, _)| *last < number) {
                slots.push_back((number, Counters::default()));
            }
            let Some((_, counters)) = slots.back_mut() else { continue };
            rows.iter().filter_map(|row| text(&vectors.rows, &columns, *row)).for_each(|key| counters.add(key));
        }
    }

    /// The entity that is asked for most, by service or view that is asked; of those that are hot.
    pub fn hottest(&mut self, now: i64) -> BTreeMap<String, HotKey> {
        let first = now.div_euclid(self.slot) - SLOTS + 1;
        let mut hottest: BTreeMap<String, HotKey> = BTreeMap::new();
        for ((target, view), slots) in &mut self.views {
            slots.retain(|(number, _)| *number >= first);
            let Some(hot) = hot(view, slots) else { continue };
            if hottest.get(target).is_none_or(|known| known.share < hot.share) {
                hottest.insert(target.clone(), hot);
            }
        }
        hottest
    }
}

fn hot(view: &str, slots: &VecDeque<(i64, Counters)>) -> Option<HotKey> {
    let mut by_key: HashMap<&str, u64> = HashMap::new();
    slots.iter().flat_map(|(_, counters)| &counters.by_key).for_each(|(key, count)| *by_key.entry(key).or_default() += count);
    let rows: u64 = slots.iter().map(|(_, counters)| counters.rows).sum();
    let (key, count) = by_key.iter().max_by_key(|(key, count)| (**count, std::cmp::Reverse(**key)))?;
    #[allow(clippy::cast_precision_loss, reason = "a share of a sample")]
    let (share, part) = (*count as f64 / rows.max(1) as f64, 1.0 / by_key.len() as f64);
    (share > part * TIMES_ITS_PART).then(|| HotKey { view: view.to_owned(), key: (*key).to_owned(), share, rows })
}

impl Counters {
    fn add(&mut self, key: String) {
        self.rows += 1;
        if let Some(count) = self.by_key.get_mut(&key) {
            *count += 1;
        } else if self.by_key.len() < COUNTERS {
            self.by_key.insert(key, 1);
        } else {
            self.by_key.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
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

    fn slots(keys: impl Iterator<Item = u32>) -> VecDeque<(i64, Counters)> {
        let mut counters = Counters::default();
        keys.for_each(|key| counters.add(key.to_string()));
        [(0, counters)].into()
    }

    #[test]
    fn one_entity_of_many_is_found_and_its_share_is_no_guess() {
        // Every third row is of entity 0, the others of ten thousand.
        let hot = hot("cards", &slots((0..30_000).map(|n| if n % 3 == 0 { 0 } else { n }))).unwrap();
        assert_eq!((hot.key.as_str(), hot.rows), ("0", 30_000));
        assert!(hot.share > 0.25 && hot.share <= 1.0 / 3.0, "{}", hot.share);
    }

    #[test]
    fn entities_that_are_asked_for_alike_are_not_hot() {
        for entities in [1, 3, 10, 1000] {
            assert_eq!(hot("cards", &slots((0..20_000).map(|n| n % entities))).filter(|hot| hot.share > 0.05), None, "{entities}");
        }
    }
}
