//! `plan --values`: what changed views give over history, before and after.
//!
//! Both definitions are computed where the question is asked, as training sets are: by the definitions' files and the history beside them. The store's owner only says what was applied.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef};
use lockstep_ingest::offline::training::Histories;
use lockstep_ingest::pipeline::BackfillOptions;
use lockstep_ingest::source::Stores;
use lockstep_model::{Error, EventTime, SystemClock};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::sql_name;
use lockstep_transform::drift::stability_index;
use lockstep_transform::tiles::{Request, Shape};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Change, PlannedView};
use crate::feed::stop_on_signals;
use crate::output::Paint;
use crate::progress::Display;
use crate::project::Project;
use crate::release::measure::Smallest;
use crate::table::{Align, Cell, Table};
use crate::text::{counted, grouped};
use crate::verify::same_at;

/// What a changed view gives over history, before and after.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ViewValues {
    /// The view.
    pub view: String,
    /// The moment that features were read at: that of the newest event of its history. Absent where there is no event.
    pub moment: Option<String>,
    /// Entities that have had an event, whenever, by the definition before.
    pub entities_before: u64,
    /// The same, by the definition after.
    pub entities_after: u64,
    /// How many of either were read: those with the smallest hashes.
    pub sampled: u64,
    /// Why nothing was compared, where nothing was.
    pub incomparable: Option<String>,
    /// The features that both definitions have, in the order of the one after.
    pub features: Vec<FeatureValues>,
}

/// A feature's values, before and after.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FeatureValues {
    /// The feature.
    pub feature: String,
    /// The share of entities whose value is another one in any bit; absent where the type is another one.
    pub changed: Option<f64>,
    /// The share of entities for which it was NULL.
    pub null_before: f64,
    /// The share of entities for which it is.
    pub null_after: f64,
    /// How far the values have moved: the population stability index. 0.1 is little, 0.25 is a shift. Absent for fewer than 500 entities, and for types that have none.
    pub drift: Option<f64>,
    /// Both types, where they differ.
    pub types: Option<[String; 2]>,
}

/// Definitions, and the histories of the views that are compared.
struct Side<'a> {
    catalog: &'a Catalog,
    histories: Histories,
}

/// Computes both definitions of each view that changed, for so many entities of history.
///
/// # Errors
/// Where a history cannot be read.
pub fn compare(project: &Project, before: &Catalog, after: &Catalog, views: &[PlannedView], sample: NonZeroUsize) -> Result<Vec<ViewValues>> {
    let changed: Vec<&str> = views.iter().filter(|view| view.change == Change::Changed).map(|view| view.view.as_str()).collect();
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let stop = stop_on_signals()?;
    let mut display = Display::new();
    let mut read = |catalog, whose: &str| -> Result<Side<'_>> {
        let histories = histories(project, catalog, &changed, &stop, &mut display);
        Ok(Side { catalog, histories: histories.with_context(|| format!("read the history that the definitions {whose} name, for --values"))? })
    };
    let (before, after) = (read(before, "that were applied")?, read(after, "here")?);
    let values = changed.iter().map(|view| compare_view(view, &before, &after, sample.get())).collect();
    display.finish();
    values
}

fn histories(project: &Project, catalog: &Catalog, views: &[&str], stop: &Arc<AtomicBool>, display: &mut Display) -> Result<Histories> {
    let views: Vec<Arc<Transformation>> = views.iter().filter_map(|view| catalog.views.get(*view).cloned()).collect();
    let options = BackfillOptions {
        until: None,
        base: project.dir.clone(),
        stores: Stores::local(),
        // Both sides are held at once.
        memory_bytes: project.config.memory.train.0 / 2,
        batch_rows: project.config.batch_rows.get(),
        shape: Shape::default(),
        threads: project.config.threads(),
        stop: Arc::clone(stop),
        clock: Arc::new(SystemClock),
    };
    let histories = Histories::read(catalog, &views, &options, Some(&std::env::temp_dir()), &mut |progress| display.show(progress))?;
    histories.ok_or_else(|| Error::unavailable("told to stop").into())
}

impl Side<'_> {
    fn view(&self, name: &str) -> Result<&Transformation> {
        let found = self.catalog.views.get(name);
        Ok(found.ok_or_else(|| Error::internal(format!("`{name}`, which changed, is not on both sides")))?)
    }

    /// The event time of the newest event that a view may read, µs.
    fn newest(&self, view: &Transformation) -> Option<i64> {
        let of_view = |source: &str| view.branches.iter().any(|branch| branch.source == source);
        let positions = self.histories.positions.iter().filter(|(id, _)| of_view(&id.source));
        positions.filter_map(|(_, position)| position.event_time_max()).max()
    }

    /// A column of each feature of a view, for these entities at a moment.
    fn features(&self, view: &Transformation, entities: &[Vec<u8>], at: i64) -> Result<Vec<ArrayRef>> {
        let requests: Vec<Request<'_>> = entities.iter().map(|entity| Request { entity, at }).collect();
        Ok(self.histories.features(&view.view, &requests, self.catalog.time_mode(view), &SystemClock)?.0.columns)
    }
}

fn compare_view(name: &str, before: &Side<'_>, after: &Side<'_>, sample: usize) -> Result<ViewValues> {
    let (old, new) = (before.view(name)?, after.view(name)?);
    let (entities_old, entities_new) = (before.histories.entities(name)?, after.histories.entities(name)?);
    let moment = before.newest(old).max(after.newest(new));
    let mut values = ViewValues {
        view: name.to_owned(),
        moment: moment.map(|moment| EventTime(moment).to_string()),
        entities_before: entities_old.len() as u64,
        entities_after: entities_new.len() as u64,
        sampled: 0,
        incomparable: None,
        features: Vec::new(),
    };
    let [key_old, key_new] = [old, new].map(key_text);
    if key_old != key_new {
        values.incomparable = Some(format!("its entity was {key_old}, and is {key_new}"));
        return Ok(values);
    }
    let entities = choose(&entities_old, &entities_new, sample);
    let Some(moment) = moment.filter(|_| !entities.is_empty()) else {
        values.incomparable = Some("there is no history of it".to_owned());
        return Ok(values);
    };
    values.sampled = entities.len() as u64;
    let (columns_old, columns_new) = (before.features(old, &entities, moment)?, after.features(new, &entities, moment)?);
    for (field, is) in new.features.fields().iter().zip(&columns_new) {
        if let Some(at) = old.features.fields().iter().position(|earlier| earlier.name() == field.name()) {
            values.features.push(FeatureValues::new(field.name(), &columns_old[at], is)?);
        }
    }
    Ok(values)
}

/// The columns of an entity's key, as a definition says them.
fn key_text(view: &Transformation) -> String {
    let columns: Vec<String> = view.entity.iter().map(|key| format!("{} {}", key.name(), sql_name(key.data_type()))).collect();
    format!("({})", columns.join(", "))
}

/// The entities of either side with the smallest hashes: the same ones whenever they are asked for.
fn choose(before: &[Vec<u8>], after: &[Vec<u8>], most: usize) -> Vec<Vec<u8>> {
    let mut smallest = Smallest::new(most);
    before.iter().chain(after).for_each(|entity| smallest.add(entity));
    smallest.sorted()
}

impl FeatureValues {
    fn new(feature: &str, was: &ArrayRef, is: &ArrayRef) -> Result<FeatureValues> {
        let is_alike = was.data_type() == is.data_type();
        let differing = || (0..is.len()).filter(|&row| !same_at(was, row, is, row)).count();
        Ok(FeatureValues {
            feature: feature.to_owned(),
            changed: is_alike.then(|| share(differing(), is.len())),
            null_before: share(was.null_count(), was.len()),
            null_after: share(is.null_count(), is.len()),
            drift: if is_alike { stability_index(was, is)? } else { None },
            types: (!is_alike).then(|| [was, is].map(|column| sql_name(column.data_type()))),
        })
    }

    /// What is told of it: name, values changed, NULLs before and after, drift.
    pub fn cells(&self) -> [String; 5] {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let changed = match (&self.types, self.changed) {
            (Some([was, is]), _) => format!("{was} → {is}"),
            (None, changed) => changed.map(percent).unwrap_or_default(),
        };
        let drift = self.drift.map_or_else(|| "–".to_owned(), |drift| format!("{drift:.3}"));
        [self.feature.clone(), changed, percent(self.null_before), percent(self.null_after), drift]
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// What the columns of [`FeatureValues::cells`] are called.
pub const COLUMNS: [&str; 5] = ["feature", "values changed", "NULL before", "NULL after", "drift"];

impl ViewValues {
    /// What was looked at.
    pub fn about(&self) -> String {
        if let Some(why) = &self.incomparable {
            return format!("no values compared: {why}");
        }
        let entities = match (self.entities_before, self.entities_after) {
            (before, after) if before == after => counted(before, "entity", "entities"),
            (before, after) => format!("{} → {} entities", grouped(before), grouped(after)),
        };
        format!("{entities}, values of {} at {}", grouped(self.sampled), self.moment.as_deref().unwrap_or_default())
    }

    /// As people read it.
    pub fn text(&self, paint: Paint) -> String {
        let mut text = format!("{}  {}\n", paint.bold(&self.view), self.about());
        if self.features.is_empty() {
            return text;
        }
        let aligned = |(at, name)| (name, if at == 0 { Align::Left } else { Align::Right });
        let columns: Vec<(&str, Align)> = COLUMNS.into_iter().enumerate().map(aligned).collect();
        let mut table = Table::new(&columns).indented(2);
        for feature in &self.features {
            let is_other = feature.changed != Some(0.0);
            let cell = |(at, text): (usize, String)| {
                if at == 1 && is_other { Cell::painted(text, |paint, text| paint.yellow(text)) } else { Cell::from(text) }
            };
            table.row(feature.cells().into_iter().enumerate().map(cell));
        }
        let _ = write!(text, "{}", table.render(paint));
        text
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array};

    use super::*;

    #[test]
    fn what_both_have_is_compared_bit_by_bit() {
        let column = |values: Vec<Option<f64>>| Arc::new(Float64Array::from(values)) as ArrayRef;
        let (was, is) = (column(vec![Some(1.0), None, Some(0.0), Some(2.0)]), column(vec![Some(1.0), Some(3.0), Some(-0.0), None]));
        let values = FeatureValues::new("x", &was, &is).unwrap();
        assert_eq!((values.changed, values.null_before, values.null_after, values.drift), (Some(0.75), 0.25, 0.25, None));
        assert_eq!(values.cells(), ["x", "75.0 %", "25.0 %", "25.0 %", "–"]);
        let whole: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let values = FeatureValues::new("x", &was, &whole).unwrap();
        assert_eq!((values.changed, values.cells()[1].as_str()), (None, "DOUBLE → BIGINT"));
    }

    #[test]
    fn a_shift_of_many_values_is_told() {
        let column = |add: i64| Arc::new((0..1000).map(|n| Some(n + add)).collect::<Int64Array>()) as ArrayRef;
        let drift = |add| FeatureValues::new("x", &column(0), &column(add)).unwrap().drift.unwrap();
        assert!(drift(0) < 1e-9 && drift(500) > 0.25, "{} {}", drift(0), drift(500));
    }

    #[test]
    fn the_same_entities_are_chosen_whichever_side_has_them() {
        let entities = |from: u8, to: u8| (from..to).map(|n| vec![n]).collect::<Vec<_>>();
        let chosen = choose(&entities(0, 100), &entities(50, 200), 20);
        assert_eq!(chosen, choose(&entities(50, 200), &entities(0, 100), 20));
        assert_eq!((chosen.len(), choose(&entities(0, 200), &[], 20)), (20, chosen));
        assert_eq!(choose(&entities(0, 3), &entities(2, 5), 20).len(), 5);
    }
}
