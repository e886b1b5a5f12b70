//! `snapshot diff`: in what two snapshots differ.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use lockstep_model::{Error, Generation, StateKey, key};
use lockstep_serve::Lookup;
use lockstep_serve::admin::Progress;
use lockstep_store::{Cut, CutRead, Manifest};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::export::{find, looked_up};
use super::show::{Shown, ShownGeneration, ShownPosition};
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::pinned::Pinned;
use crate::table::{Align, Cell, Table};
use crate::text::{counted, grouped};
use crate::verify::same_at;

/// Entities that are compared at once.
const PAGE: usize = 4096;
/// Examples of a feature.
const EXAMPLES_MAX: usize = 3;

/// Compare two snapshots
///
/// By their definitions, the versions of their views, and how far each partition had been applied. With --values, every entity of every view that both have is looked up in
/// both, each at its snapshot's moment, and values and statuses are compared as bits. Exits with 1 if anything differs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A snapshot
    pub a: String,
    /// Another
    pub b: String,
    /// Compare the values of all entities
    #[arg(long)]
    pub values: bool,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// A snapshot.
    pub a: String,
    /// Another.
    pub b: String,
    /// Whether values are compared.
    pub values: bool,
}

/// In what two snapshots differ.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotsDiffer {
    /// The first.
    pub a: String,
    /// The second.
    pub b: String,
    /// Their moments.
    pub moments: [String; 2],
    /// The numbers of their definitions.
    pub definitions: [Option<u64>; 2],
    /// Whether the definitions mean the same.
    pub same_definitions: bool,
    /// Versions of views that only one has.
    pub views: Vec<ViewOfOne>,
    /// Partitions that do not stand at the same place, of versions that both have.
    pub positions: Vec<PositionDiffers>,
    /// Each view whose values were compared.
    pub values: Vec<ViewValues>,
}

/// A version of a view that only one snapshot has.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ViewOfOne {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// Its generation.
    pub generation: u32,
    /// The snapshot that has it.
    pub only_in: String,
}

/// A partition that does not stand at the same place.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PositionDiffers {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: String,
    /// Rows done in each; absent where it was not begun.
    pub rows: [Option<u64>; 2],
}

/// How the values of a view compare.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ViewValues {
    /// The view.
    pub view: String,
    /// Entities that either has.
    pub entities: u64,
    /// Of these, how many only the first has.
    pub only_a: u64,
    /// How many only the second has.
    pub only_b: u64,
    /// Entities of which any value or status differs.
    pub differing: u64,
    /// Features that only one has, or of another type.
    pub columns: Vec<String>,
    /// Each feature that both have.
    pub features: Vec<FeatureValues>,
}

/// How the values of a feature compare.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FeatureValues {
    /// Its name.
    pub name: String,
    /// Entities whose value or status differs.
    pub differing: u64,
    /// Some of them: entity, value, other value.
    pub examples: Vec<[String; 3]>,
}

/// Compares two snapshots.
///
/// # Errors
/// NotFound where there is none of a name; Data where one is damaged.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { a, b, values } = arguments;
    let differ = context.ask(&Question { a: a.clone(), b: b.clone(), values: *values })?;
    context.out.show(&differ)?;
    Ok(Outcome::of(!differ.any()))
}

impl ask::Question for Question {
    const VERB: &'static str = "snapshot diff";
    type Answer = SnapshotsDiffer;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<SnapshotsDiffer> {
        let snapshots = owned.store.snapshots();
        let [a, b] = [&self.a, &self.b].map(|name| Manifest::read(&snapshots.find(name)?));
        let mut differ = SnapshotsDiffer::of_manifests(&a?, &b?);
        if self.values {
            let (a, b) = (owned.pinned.get(&owned.store, &self.a)?, owned.pinned.get(&owned.store, &self.b)?);
            for view in a.served().catalog().views.keys() {
                // One that is not published in both, or is about other entities, has nothing to compare: that is told as a version which only one has.
                if let (Ok(of_a), Ok(of_b)) = (Side::new(&a, view), Side::new(&b, view))
                    && of_a.key_types().eq(of_b.key_types())
                {
                    differ.values.push(Comparing::new(of_a, of_b).compare(progress)?);
                }
            }
        }
        Ok(differ)
    }
}

impl SnapshotsDiffer {
    fn of_manifests(a: &Manifest, b: &Manifest) -> SnapshotsDiffer {
        let [a, b] = [a, b].map(|manifest| Shown::new(manifest, None));
        let names = [&a.name, &b.name];
        let is_of = |all: &Shown, wanted: &ShownGeneration| all.generations.iter().any(|of| of.generation == wanted.generation);
        let mut views = Vec::new();
        for (one, other, name) in [(&a, &b, names[0]), (&b, &a, names[1])] {
            views.extend(one.generations.iter().filter(|of| !is_of(other, of)).map(|of| ViewOfOne {
                view: of.view.clone(),
                version: of.version,
                generation: of.generation,
                only_in: name.clone(),
            }));
        }
        let both = a.generations.iter().filter_map(|of| Some((of, b.generations.iter().find(|other| other.generation == of.generation)?)));
        SnapshotsDiffer {
            positions: both.flat_map(|(a, b)| moved(a, b)).collect(),
            a: a.name.clone(),
            b: b.name.clone(),
            moments: [a.moment.clone(), b.moment.clone()],
            definitions: [a.definitions, b.definitions],
            same_definitions: a.fingerprint == b.fingerprint,
            views,
            values: Vec::new(),
        }
    }

    /// Whether they differ in anything but their names.
    fn any(&self) -> bool {
        let values = self.values.iter().any(|view| view.differing > 0 || !view.columns.is_empty());
        self.moments[0] != self.moments[1] || !self.same_definitions || !self.views.is_empty() || !self.positions.is_empty() || values
    }
}

/// Partitions of a generation that do not stand at the same place.
fn moved(a: &ShownGeneration, b: &ShownGeneration) -> Vec<PositionDiffers> {
    let mut rows: BTreeMap<(&str, &str), [Option<u64>; 2]> = BTreeMap::new();
    for (at, of) in [a, b].into_iter().enumerate() {
        for ShownPosition { source, partition, rows: done, .. } in &of.positions {
            rows.entry((source, partition)).or_default()[at] = Some(*done);
        }
    }
    rows.retain(|_, [a, b]| a != b);
    let differs = |((source, partition), rows): ((&str, &str), [Option<u64>; 2])| PositionDiffers {
        view: a.view.clone(),
        version: a.version,
        source: source.to_owned(),
        partition: partition.to_owned(),
        rows,
    };
    rows.into_iter().map(differs).collect()
}

/// A view in a snapshot.
struct Side<'a> {
    pinned: &'a Pinned,
    cut: Cut<'a>,
    view: &'a Arc<Transformation>,
    generation: Generation,
}

impl<'a> Side<'a> {
    fn new(pinned: &'a Pinned, view: &str) -> Result<Side<'a>, Error> {
        let (view, generation) = find(pinned, view)?;
        Ok(Side { pinned, cut: pinned.cut(), view, generation })
    }

    fn key_types(&self) -> impl Iterator<Item = &DataType> {
        self.view.entity.iter().map(|field| field.data_type())
    }

    fn look_up(&self, entities: &[Vec<u8>]) -> Result<Lookup> {
        Ok(looked_up(self.pinned, &self.cut, self.view, entities)?.1)
    }

    /// Which of these entities it has.
    fn has(&self, entities: &[Vec<u8>]) -> Result<Vec<bool>, Error> {
        let heads: Vec<StateKey> = entities.iter().map(|entity| StateKey::head(entity)).collect();
        let mut has = vec![false; heads.len()];
        self.cut.get_state(self.generation, &heads, &mut |i, head| has[i] = head.is_some())?;
        Ok(has)
    }
}

/// Two states of a view while they are compared.
struct Comparing<'a> {
    a: Side<'a>,
    b: Side<'a>,
    /// Features that both have: where they are in each.
    common: Vec<[usize; 2]>,
    report: ViewValues,
}

impl<'a> Comparing<'a> {
    fn new(a: Side<'a>, b: Side<'a>) -> Comparing<'a> {
        let (of_a, of_b) = (a.view.features.fields(), b.view.features.fields());
        let (mut common, mut columns, mut features) = (Vec::new(), Vec::new(), Vec::new());
        for (at, field) in of_a.iter().enumerate() {
            match of_b.iter().position(|other| other.name() == field.name() && other.data_type() == field.data_type()) {
                Some(other) => {
                    common.push([at, other]);
                    features.push(FeatureValues { name: field.name().clone(), differing: 0, examples: Vec::new() });
                }
                None => columns.push(field.name().clone()),
            }
        }
        let only_b = of_b.iter().filter(|field| of_a.iter().all(|other| other.name() != field.name()));
        columns.extend(only_b.map(|field| field.name().clone()));
        let view = a.view.view.clone();
        let report = ViewValues { view, entities: 0, only_a: 0, only_b: 0, differing: 0, columns, features };
        Comparing { a, b, common, report }
    }

    /// Compares the entities of the first, and then those that only the second has.
    fn compare(mut self, progress: &Progress<'_>) -> Result<ViewValues> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let entities = self.a.cut.entities_after(self.a.generation, after.as_deref(), PAGE)?;
            let Some(last) = entities.last().cloned() else { break };
            self.report.only_a += self.b.has(&entities)?.into_iter().filter(|has| !has).count() as u64;
            self.compare_page(&entities)?;
            progress(&format!("{}: {} entities compared", self.report.view, self.report.entities))?;
            after = Some(last);
        }
        after = None;
        loop {
            let entities = self.b.cut.entities_after(self.b.generation, after.as_deref(), PAGE)?;
            let Some(last) = entities.last().cloned() else { return Ok(self.report) };
            let has = self.a.has(&entities)?;
            let new: Vec<Vec<u8>> = entities.into_iter().zip(has).filter(|(_, has)| !has).map(|(entity, _)| entity).collect();
            self.report.only_b += new.len() as u64;
            self.compare_page(&new)?;
            progress(&format!("{}: {} entities compared", self.report.view, self.report.entities))?;
            after = Some(last);
        }
    }

    fn compare_page(&mut self, entities: &[Vec<u8>]) -> Result<()> {
        if entities.is_empty() {
            return Ok(());
        }
        let (a, b) = (self.a.look_up(entities)?, self.b.look_up(entities)?);
        let mut differs = vec![false; entities.len()];
        for (&[in_a, in_b], feature) in self.common.iter().zip(&mut self.report.features) {
            for (row, differs) in differs.iter_mut().enumerate() {
                let same = a.statuses[in_a][row] == b.statuses[in_b][row] && same_at(&a.columns[in_a], row, &b.columns[in_b], row);
                if same {
                    continue;
                }
                *differs = true;
                feature.differing += 1;
                if feature.examples.len() < EXAMPLES_MAX {
                    feature.examples.push([key::display(&entities[row]), shown(&a, in_a, row)?, shown(&b, in_b, row)?]);
                }
            }
        }
        self.report.entities += entities.len() as u64;
        self.report.differing += differs.into_iter().filter(|differs| *differs).count() as u64;
        Ok(())
    }
}

/// A value for people; its status where there is none.
fn shown(lookup: &Lookup, output: usize, row: usize) -> Result<String> {
    let column = &lookup.columns[output];
    if column.is_null(row) {
        return Ok(lookup.statuses[output][row].to_string());
    }
    Ok(ArrayFormatter::try_new(column, &FormatOptions::new())?.value(row).to_string())
}

impl Report for SnapshotsDiffer {
    fn text(&self, paint: Paint) -> String {
        let SnapshotsDiffer { a, b, moments, definitions, same_definitions, views, positions, values } = self;
        let mut text = format!("{} {a} at {} · {} {b} at {}\n", paint.bold("a:"), moments[0], paint.bold("b:"), moments[1]);
        let version = |version: Option<u64>| version.map_or_else(|| "none".to_owned(), |version| version.to_string());
        let same = if *same_definitions { "mean the same" } else { "differ" };
        let _ = writeln!(text, "definitions version {} and {}, which {same}", version(definitions[0]), version(definitions[1]));
        for ViewOfOne { view, version, generation, only_in } in views {
            let _ = writeln!(text, "only {only_in} has {view} version {version}, generation {generation}");
        }
        text += &positions_text(positions, paint);
        values.iter().for_each(|view| text += &values_text(view, paint));
        text
    }
}

fn positions_text(positions: &[PositionDiffers], paint: Paint) -> String {
    if positions.is_empty() {
        return "every partition stands at the same place in both\n".to_owned();
    }
    let mut table =
        Table::new(&[("view", Align::Left), ("source", Align::Left), ("partition", Align::Left), ("a", Align::Right), ("b", Align::Right)]);
    for PositionDiffers { view, version, source, partition, rows } in positions {
        let [a, b] = rows.map(|rows| rows.map(grouped).unwrap_or_default());
        table.row([format!("{view}@{version}").into(), source.as_str().into(), partition.as_str().into(), a.into(), b.into()]);
    }
    format!("\n{}", table.render(paint))
}

fn values_text(view: &ViewValues, paint: Paint) -> String {
    let ViewValues { view, entities, only_a, only_b, differing, columns, features } = view;
    let entities = counted(*entities, "entity", "entities");
    let mut text = format!(
        "\n{}: of {entities}, {} differ · {} only in a, {} only in b\n",
        paint.bold(view),
        grouped(*differing),
        grouped(*only_a),
        grouped(*only_b)
    );
    for column in columns {
        let _ = writeln!(text, "  `{column}` is not in both, or of another type");
    }
    let columns = [("feature", Align::Left), ("differ", Align::Right), ("entity", Align::Left), ("a", Align::Right), ("b", Align::Right)];
    let mut table = Table::new(&columns).indented(2);
    for FeatureValues { name, differing, examples } in features {
        let mut named = Some((name.as_str(), grouped(*differing)));
        let none = [String::new(), String::new(), String::new()];
        let rows = if examples.is_empty() { std::slice::from_ref(&none) } else { examples.as_slice() };
        for [entity, a, b] in rows {
            let (name, differing) = named.take().unwrap_or_default();
            table.row([Cell::from(name), differing.into(), entity.as_str().into(), a.as_str().into(), b.as_str().into()]);
        }
    }
    text + &table.render(paint)
}
