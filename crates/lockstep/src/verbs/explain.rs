//! `explain`: what a view does, and what it costs.

mod scoring;

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_model::{Clock, Error, EventTime, Fingerprint, StateRead, SystemClock};
use lockstep_serve::admin::Progress;
use lockstep_serve::explained::{WindowRead, windows};
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::{Request, Survey, survey};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use scoring::ExplainedScoring;

use super::schema::unknown;
use super::{Context, get};
use crate::ask;
use crate::explain::explain;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::requests;
use crate::text::{age, bytes, counted, grouped};
use crate::touched;
use crate::usage::{KEYS_MAX, Usage, usage};

const EXAMPLES: &str = "\
Examples:
  lockstep explain airport_load
  lockstep explain late
  lockstep explain airport_load --entity airport=EWR --as-of 2013-03-01T12:00:00Z";

/// Explain what a view does, and what it costs; what a deployment or a model does
///
/// Shows the row stage, the measures and windows, the levels of the time tree, what a read touches and an entity keeps (estimated with made-up events, and
/// counted where a store holds the view), and what is kept for how long. Of a deployment or a model: which features go into what, what is predicted, and which
/// action follows from that.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The feature view, the deployment or the model
    view: String,
    /// The key of an entity, column by column: shows its tree, and what a read of it comes from
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = get::assignment)]
    entity: Vec<(String, String)>,
    /// The moment of that read; now by default
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse, requires = "entity")]
    as_of: Option<EventTime>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The view.
    pub view: String,
    /// What it means where it is explained.
    pub meaning: Fingerprint,
    /// How its state is encoded there.
    pub state: Fingerprint,
    /// The key of an entity to look at; empty for none.
    pub entity: Vec<(String, String)>,
    /// The moment to read it at.
    pub at: EventTime,
}

/// What a store holds of a view.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// The version of the view that was looked at; absent where the store has none that means the same.
    pub version: Option<u32>,
    /// Whether it serves.
    pub published: bool,
    /// What it holds.
    pub usage: Usage,
    /// One entity of it.
    pub entity: Option<EntityMeasured>,
}

/// An entity in the store.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EntityMeasured {
    /// Its key, for people.
    pub entity: String,
    /// Its events.
    pub events: u64,
    /// Keys it takes.
    pub keys: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Its pages, by the length of their slots.
    pub levels: Vec<LevelMeasured>,
    /// The moment of the read.
    pub at: String,
    /// Keys that the read asked for.
    pub read_keys: u64,
    /// In how many batches.
    pub read_rounds: u64,
    /// Bytes it found.
    pub read_bytes: u64,
    /// What values came from.
    pub windows: Vec<WindowRead>,
}

/// Pages of one slot length.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LevelMeasured {
    /// How long their slots are, µs.
    pub slot_micros: u64,
    /// How many pages.
    pub pages: u64,
    /// How many tiles.
    pub tiles: u64,
}

/// Explains a view of the definitions, with what a store holds of it.
///
/// # Errors
/// NotFound for an unknown view; Invalid where the entity is not given by its key.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let catalog = project.catalog()?;
    if let Some(explained) = scoring::explain(&catalog, &arguments.view)? {
        context.out.show(&explained)?;
        return Ok(Outcome::Fine);
    }
    let view = catalog.views.get(&arguments.view).ok_or_else(|| unknown("feature view", &arguments.view, catalog.views.keys()))?;
    if !arguments.entity.is_empty() {
        requests::one(&catalog, &view.view, &arguments.entity)?;
    }
    let at = arguments.as_of.unwrap_or_else(|| SystemClock.now());
    let question = Question { view: view.view.clone(), meaning: view.meaning, state: view.state, entity: arguments.entity.clone(), at };
    let measured = if context.has_store(&project) { context.ask(&question)? } else { None };
    let missing = measured.as_ref().is_none_or(|measured| measured.entity.is_none());
    if !arguments.entity.is_empty() && missing {
        let message =
            format!("the store has no state of `{}` as it is defined · run `lockstep apply`, then `lockstep backfill {}`", view.view, view.view);
        return Err(Error::not_found(message).into());
    }
    context.out.show(&explain(&catalog, view, measured)?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "explain";
    type Answer = Option<Measured>;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Option<Measured>> {
        let store = &*owned.store;
        let Some(catalog) = &owned.applied()? else { return Ok(None) };
        let cut = OnlineStore::cut(store);
        let same = |info: &&lockstep_store::GenerationInfo| info.view == self.view && info.meaning == self.meaning && info.state == self.state;
        let Some(info) = cut.generations()?.iter().rfind(same).cloned() else { return Ok(Some(Measured::default())) };
        let state = cut.state(info.generation);
        let view = catalog.views.get(&self.view).filter(|view| view.meaning == self.meaning);
        let entity = match view {
            Some(view) if !self.entity.is_empty() && info.published() => Some(entity(catalog, view, &state, self)?),
            _ => None,
        };
        let usage = usage(&*cut, info.generation, KEYS_MAX)?;
        Ok(Some(Measured { version: Some(info.version), published: info.published(), usage, entity }))
    }
}

fn entity(catalog: &Catalog, view: &Transformation, state: &dyn StateRead, question: &Question) -> Result<EntityMeasured> {
    let row = requests::one(catalog, &question.view, &question.entity)?;
    let keys = view.entity_keys(row.columns())?;
    let Survey { head, leaves, pages, levels } = survey(state, keys.get(0))?;
    let mut touches = Vec::new();
    let request = Request { entity: keys.get(0), at: question.at.0 };
    let features = view.read_at(state, &[request], catalog.time_mode(view), Some(&mut touches))?;
    Ok(EntityMeasured {
        entity: lockstep_model::key::display(keys.get(0)),
        events: head.rows + leaves.rows,
        keys: head.keys + leaves.keys + pages.keys,
        bytes: head.bytes + leaves.bytes + pages.bytes,
        levels: levels
            .iter()
            .map(|level| LevelMeasured { slot_micros: slot_micros(level.nibbles), pages: level.pages, tiles: level.tiles })
            .collect(),
        at: question.at.to_string(),
        read_keys: features.stats.keys,
        read_rounds: features.stats.rounds,
        read_bytes: features.stats.bytes,
        windows: windows(view, &touches, 0),
    })
}

/// How long a slot is below so many half-bytes. Slots below a microsecond are of events of one moment.
fn slot_micros(nibbles: usize) -> u64 {
    u32::try_from(nibbles).ok().and_then(|nibbles| 64u32.checked_sub(4 * nibbles)).and_then(|bits| 1u64.checked_shl(bits)).unwrap_or(0)
}

impl Report for Measured {
    fn text(&self, paint: Paint) -> String {
        let Some(version) = self.version else {
            return "  nothing yet that means the same · `lockstep plan` says what applying it would do\n".to_owned();
        };
        let Usage { entities, events, state_keys, state_bytes, primary_keys, primary_key_bytes, exact } = &self.usage;
        let about = if *exact { "" } else { "about " };
        let serves = if self.published { "" } else { ", not backfilled yet" };
        let mut text = format!(
            "  version {version}{serves}: {about}{} with {}\n",
            counted(*entities, "entity", "entities"),
            counted(*events, "event", "events")
        );
        let per_event = state_bytes.checked_div(*events).map(|each| format!(", {} an event", bytes(each))).unwrap_or_default();
        let _ = writeln!(text, "  state: {about}{} in {}{per_event}", bytes(*state_bytes), counted(*state_keys, "key", "keys"));
        let at_least = if *exact { "" } else { "at least " };
        let _ = writeln!(text, "  primary keys remembered: {at_least}{}, {}", grouped(*primary_keys), bytes(*primary_key_bytes));
        if let Some(entity) = &self.entity {
            text += &entity_text(entity, paint);
        }
        text
    }
}

fn entity_text(entity: &EntityMeasured, paint: Paint) -> String {
    let EntityMeasured { entity, events, keys, bytes: size, levels, at, read_keys, read_rounds, read_bytes, windows } = entity;
    let mut text = format!(
        "\n{} {} in {}, {}\n",
        paint.bold(format!("entity {entity}")),
        counted(*events, "event", "events"),
        counted(*keys, "key", "keys"),
        bytes(*size)
    );
    for level in levels {
        let slot = if level.slot_micros == 0 { "one moment".to_owned() } else { age(i64::try_from(level.slot_micros).unwrap_or(i64::MAX)) };
        let _ = writeln!(text, "  slots of {slot}: {} with {}", counted(level.pages, "page", "pages"), counted(level.tiles, "tile", "tiles"));
    }
    let _ = writeln!(
        text,
        "  read at {at}: {} in {}, {}",
        counted(*read_keys, "key", "keys"),
        counted(*read_rounds, "round", "rounds"),
        bytes(*read_bytes)
    );
    text + &touched::windows_text(windows, "  ", paint)
}
