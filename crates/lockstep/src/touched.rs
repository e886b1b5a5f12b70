//! What values came from, for people.

use lockstep_serve::explained::{Candidates, Explained, RoleRead, WindowRead};

use crate::output::Paint;
use crate::text::{age, bytes, counted};

/// Lines of tiles and of events that people are shown of one window.
const LINES_MAX: usize = 8;

/// Candidates that people are shown of one view.
const CANDIDATES_MAX: usize = 8;

/// Everything that the features of a request came from.
pub fn explained_text(explained: &Explained, paint: Paint) -> String {
    let mut text = explained.candidates.map(candidates_text).unwrap_or_default();
    for of_role in explained.reads.chunk_by(|a, b| a.role == b.role && a.view == b.view) {
        for RoleRead { role, view, version, entity, windows, answered } in of_role.iter().take(CANDIDATES_MAX) {
            let of = if role == view { String::new() } else { format!("{role}: ") };
            let out = if *answered == Some(false) { format!(" · {}", paint.yellow("not answered")) } else { String::new() };
            text += &format!("\n{of}{} version {version} of {entity}{out}\n", paint.bold(view));
            text += &windows_text(windows, "  ", paint);
        }
        let more = of_role.len().saturating_sub(CANDIDATES_MAX);
        if more > 0 {
            text += &format!("\n… {}; --json has all\n", counted(more, "more candidate", "more candidates"));
        }
    }
    let (keys, rounds) = (counted(explained.keys, "key", "keys"), counted(explained.rounds, "round", "rounds"));
    text + &format!("\nread {keys} in {rounds}, {}\n", bytes(explained.bytes))
}

fn candidates_text(candidates: Candidates) -> String {
    let Candidates { unnested, left, answered, by_fallback } = candidates;
    let by = if by_fallback { " by the fallback" } else { "" };
    format!("\n{}, {left} left by the conditions, {answered} answered{by}\n", counted(unnested, "candidate", "candidates"))
}

/// Windows for people.
pub fn windows_text(windows: &[WindowRead], indent: &str, paint: Paint) -> String {
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
