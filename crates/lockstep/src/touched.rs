//! What values came from: per window, the tiles that were merged whole and the events that were folded one by one.

use lockstep_model::EventTime;
use lockstep_serve::{Lookup, Read, Role};
use lockstep_transform::tiles::{Touch, TouchKind};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::Paint;
use crate::text::{age, bytes, counted};

/// Lines of tiles and of events that people are shown of one window.
const LINES_MAX: usize = 8;

/// What the features of a request came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The views that were read, each in its role.
    pub reads: Vec<RoleRead>,
    /// Keys asked for.
    pub keys: u64,
    /// Batched reads.
    pub rounds: u64,
    /// Bytes of the values found.
    pub bytes: u64,
}

/// A view that was read in one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoleRead {
    /// What a service calls it; the view's own name otherwise.
    pub role: String,
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// The entity's key.
    pub entity: String,
    /// What was read of it, by window.
    pub windows: Vec<WindowRead>,
}

/// What request `request` of a lookup came from; absent where it was not asked for. What it cost is that of the whole lookup.
pub fn explained(lookup: &Lookup, request: usize) -> Option<Explained> {
    if lookup.reads.is_empty() {
        return None;
    }
    let role = |read: &Read| {
        let Role { alias, view, version, .. } = &read.role;
        let entity = lockstep_model::key::display(read.entities.get(request));
        let windows = windows(view, read.touches.as_ref()?, request);
        Some(RoleRead { role: alias.clone(), view: view.view.clone(), version: *version, entity, windows })
    };
    let reads = lookup.reads.iter().map(role).collect::<Option<_>>()?;
    Some(Explained { reads, keys: lookup.stats.keys, rounds: lookup.stats.rounds, bytes: lookup.stats.bytes })
}

impl Explained {
    /// For people.
    pub fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for RoleRead { role, view, version, entity, windows } in &self.reads {
            let of = if role == view { String::new() } else { format!("{role}: ") };
            text += &format!("\n{of}{} version {version} of {entity}\n", paint.bold(view));
            text += &self::text(windows, "  ", paint);
        }
        let (keys, rounds) = (counted(self.keys, "key", "keys"), counted(self.rounds, "round", "rounds"));
        text + &format!("\nread {keys} in {rounds}, {}\n", bytes(self.bytes))
    }
}

/// What the values over one window came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowRead {
    /// The window, as SQL writes it.
    pub window: String,
    /// The features that are made of values over it.
    pub features: Vec<String>,
    /// Tiles, in order of time.
    pub tiles: Vec<TileRead>,
    /// The times of events, ascending.
    pub events: Vec<String>,
}

/// A tile that lies inside a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TileRead {
    /// The first moment of its slot.
    pub from: String,
    /// The last.
    pub to: String,
    /// Events in it.
    pub events: u64,
    /// How long its slot is, µs.
    pub micros: u64,
}

/// What request `request` of a read of `view` came from, window by window.
pub fn windows(view: &Transformation, touches: &[Touch], request: usize) -> Vec<WindowRead> {
    view.frames
        .iter()
        .enumerate()
        .map(|(frame, window)| {
            let mut here: Vec<&Touch> = touches.iter().filter(|touch| touch.request == request && touch.frame == frame).collect();
            here.sort_by_key(|touch| touch.span);
            let (tiles, events): (Vec<&Touch>, Vec<&Touch>) = here.into_iter().partition(|touch| touch.kind == TouchKind::Tile);
            WindowRead {
                window: window.to_string(),
                features: features_over(view, frame),
                tiles: tiles.into_iter().map(tile).collect(),
                events: events.into_iter().map(|touch| EventTime(touch.span.0).to_string()).collect(),
            }
        })
        .collect()
}

fn tile(touch: &Touch) -> TileRead {
    let (from, to) = touch.span;
    TileRead { from: EventTime(from).to_string(), to: EventTime(to).to_string(), events: touch.rows, micros: to.abs_diff(from).saturating_add(1) }
}

/// The features that read a frame.
pub fn features_over(view: &Transformation, frame: usize) -> Vec<String> {
    let reads = |feature: &usize| view.calls_of(*feature).into_iter().any(|call| view.outputs[call].1 == frame);
    (0..view.features.fields().len()).filter(reads).map(|feature| view.features.field(feature).name().clone()).collect()
}

/// Windows for people.
pub fn text(windows: &[WindowRead], indent: &str, paint: Paint) -> String {
    windows.iter().map(|window| window_text(window, indent, paint)).collect()
}

fn window_text(window: &WindowRead, indent: &str, paint: Paint) -> String {
    let in_tiles: u64 = window.tiles.iter().map(|tile| tile.events).sum();
    let tiles = format!("{} with {}", counted(window.tiles.len(), "tile", "tiles"), counted(in_tiles, "event", "events"));
    let events = counted(window.events.len(), "single event", "single events");
    let sum = match (window.tiles.is_empty(), window.events.is_empty()) {
        (true, true) => "no events".to_owned(),
        (true, false) => events,
        (false, true) => tiles,
        (false, false) => format!("{tiles}, and {events}"),
    };
    let mut text = format!("{indent}{}\n{indent}  {}\n{indent}  {sum}\n", paint.bold(&window.window), paint.dim(window.features.join(", ")));
    let shown_tiles = window.tiles.iter().map(|tile| {
        let length = age(i64::try_from(tile.micros).unwrap_or(i64::MAX));
        format!("tile   {} + {length} · {}", tile.from, counted(tile.events, "event", "events"))
    });
    let shown_events = window.events.iter().map(|event| format!("event  {event}"));
    for lines in [lines(shown_tiles, "tiles"), lines(shown_events, "events")] {
        lines.into_iter().for_each(|line| text += &format!("{indent}    {line}\n"));
    }
    text
}

/// The first few lines, and how many more there are.
fn lines(all: impl ExactSizeIterator<Item = String>, what: &str) -> Vec<String> {
    let more = all.len().saturating_sub(LINES_MAX);
    let mut lines: Vec<String> = all.take(LINES_MAX).collect();
    if more > 0 {
        lines.push(format!("… {more} more {what}; --json has all"));
    }
    lines
}
