//! What values came from: per window, the tiles that were merged whole and the events that were folded one by one.

use lockstep_model::EventTime;
use lockstep_transform::service::{CandidateCounts, ReadFor};
use lockstep_transform::tiles::{Touch, TouchKind};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Lookup, Read, Role};

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
    /// What became of its candidates; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
}

/// What became of the candidates of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidates {
    /// How many there were.
    pub unnested: u32,
    /// How many the conditions left.
    pub left: u32,
    /// How many are answered.
    pub answered: u32,
    /// Whether these are the fallback's.
    pub by_fallback: bool,
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
    /// Whether the candidate is answered that it was read for; absent where it was read for the request itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
}

/// What request `request` of a lookup came from; absent where it was not asked for. What it cost is that of the whole lookup. A view of candidates was read for each of them that no condition
/// had put out before.
pub fn explained(lookup: &Lookup, request: usize) -> Option<Explained> {
    if lookup.reads.is_empty() {
        return None;
    }
    let reads = lookup.reads.iter().map(|read| of_request(read, request)).collect::<Option<Vec<_>>>()?;
    let candidates = lookup.counts.get(request).map(|counts| {
        let CandidateCounts { unnested, left, answered, by_fallback } = *counts;
        Candidates { unnested, left, answered, by_fallback }
    });
    Some(Explained {
        reads: reads.into_iter().flatten().collect(),
        keys: lookup.stats.keys,
        rounds: lookup.stats.rounds,
        bytes: lookup.stats.bytes,
        candidates,
    })
}

/// What was read for a request in one role; absent where it was not asked for.
fn of_request(read: &Read, request: usize) -> Option<Vec<RoleRead>> {
    let Role { alias, view, version, .. } = &read.role;
    let touches = read.touches.as_ref()?;
    let ReadFor { requests, answered } = read.read_for.clone().unwrap_or_default();
    let rows = match &requests {
        None => request..request + 1,
        Some(requests) => requests.partition_point(|&of| (of as usize) < request)..requests.partition_point(|&of| of as usize <= request),
    };
    let of_row = |row: usize| RoleRead {
        role: alias.clone(),
        view: view.view.clone(),
        version: *version,
        entity: lockstep_model::key::display(read.entities.get(row)),
        windows: windows(view, touches, row),
        answered: answered.as_ref().map(|answered| answered[row]),
    };
    Some(rows.map(of_row).collect())
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
