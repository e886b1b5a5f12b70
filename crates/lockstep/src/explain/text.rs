//! An explained view for people.

use std::fmt::Write;

use super::{Estimate, Explained, Input, TreeText};
use crate::output::{Paint, Report};
use crate::table::{Align, Table};
use crate::text::{age, bytes, grouped};

impl Report for Explained {
    fn text(&self, paint: Paint) -> String {
        let mut text = format!("{} {}\n", paint.bold(&self.view), paint.dim(format!("feature view of {}", self.entity)));
        let mut section = |title: &str, body: String| {
            let _ = write!(text, "\n{}\n{body}", paint.bold(title));
        };
        section("rows", self.inputs.iter().map(|input| input_text(input, paint)).collect());
        section("measures: a tile keeps a state of each", self.measures_text(paint));
        section("windows", self.windows_text(paint));
        section("features", self.features_text(paint));
        section("the tree of an entity", tree_text(&self.tree));
        section("what it keeps, and what a read of all features touches", self.estimates_text(paint));
        section("kept and told", self.rules());
        if let Some(measured) = &self.measured {
            section("in the store", measured.text(paint));
        }
        text
    }
}

fn input_text(input: &Input, paint: Paint) -> String {
    let mut text = format!("  {}, at {}, one per {}\n", paint.cyan(&input.source), input.event_time, input.primary_key.join(", "));
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]).indented(4);
    let mut line = |name: &str, value: &str| table.row([name.into(), value.into()]);
    if let Some(filter) = &input.filter {
        line("where", filter);
    }
    line("key", &input.key.join(", "));
    input.stored.iter().enumerate().for_each(|(at, stored)| line(&format!("s{}", at + 1), stored));
    line("known", &input.available);
    line("lateness", &input.lateness.as_ref().map_or_else(|| "unbounded".to_owned(), |lateness| format!("up to {lateness}")));
    if let Some(version) = &input.version {
        line("version", version);
    }
    line("history", &input.history);
    text += &table.render(paint);
    text
}

fn tree_text(tree: &TreeText) -> String {
    let TreeText { head_rows_max, leaf_rows_max, ways, newest_rows, slots_micros } = tree;
    let slots: Vec<String> = slots_micros.iter().map(|&slot| slot_text(slot)).collect();
    let mut text = format!(
        "  its head holds up to {head_rows_max} events, a leaf up to {leaf_rows_max} in sixteen runs, each with a tile; where there are more, a page has sixteen slots of equal time, each with a tile\n  \
         slots: {}\n  \
         a read asks for the head and the root, and below it for at most {ways} keys a level: one for each edge of a window, one for the moment itself{}\n  \
         n events spread evenly have about log16(n / {leaf_rows_max}) levels, however long the windows are; at each edge at most a run of events is folded one by one\n",
        slots.join(", "),
        if *newest_rows > 0 { ", one for the newest events" } else { "" },
    );
    if *newest_rows == u64::MAX {
        text += "  a window of rows without a start looks at every event\n";
    } else if *newest_rows > 0 {
        let _ = writeln!(text, "  windows of rows look at the newest {newest_rows} events, at most so many leaves more");
    }
    text
}

fn slot_text(micros: u64) -> String {
    const YEAR: u64 = 31_556_952_000_000;
    if micros > 1 << 52 {
        return "any length".to_owned();
    }
    if micros > 2 * YEAR {
        return format!("{:.1} years", micros as f64 / YEAR as f64);
    }
    age(i64::try_from(micros).unwrap_or(i64::MAX))
}

impl Explained {
    fn measures_text(&self, paint: Paint) -> String {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left)]).indented(2);
        for measure in &self.measures {
            let note = if measure.tiled { "" } else { "no tiles: read from single events" };
            table.row([measure.name.as_str().into(), measure.call.as_str().into(), note.into()]);
        }
        table.render(paint)
    }

    fn windows_text(&self, paint: Paint) -> String {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left)]).indented(2);
        for window in &self.windows {
            let tiles = window.slot_micros.map_or_else(
                || "from single events".to_owned(),
                |slot| format!("tiles of slots up to {}", slot_text(slot)).replace("up to any", "of any"),
            );
            table.row([window.name.as_str().into(), window.frame.as_str().into(), tiles.into()]);
        }
        table.render(paint)
    }

    fn features_text(&self, paint: Paint) -> String {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left), ("", Align::Left)]).indented(2);
        for feature in &self.features {
            table.row([feature.name.as_str().into(), feature.data_type.as_str().into(), feature.reads.join(" ").into(), feature.sql.as_str().into()]);
        }
        table.render(paint)
    }

    fn estimates_text(&self, paint: Paint) -> String {
        let right = Align::Right;
        let columns = [
            ("events", right),
            ("kept", right),
            ("an event", right),
            ("keys", right),
            ("rounds", right),
            ("read", right),
            ("tiles", right),
            ("single events", right),
        ];
        let mut table = Table::new(&columns).indented(2);
        for Estimate { events, kept_bytes, read, .. } in &self.estimates {
            table.row(
                [
                    grouped(*events as u64),
                    bytes(*kept_bytes),
                    bytes(kept_bytes.div_ceil(*events as u64)),
                    grouped(read.keys),
                    grouped(read.rounds),
                    bytes(read.bytes),
                    grouped(read.tiles),
                    grouped(read.events),
                ]
                .map(Into::into),
            );
        }
        let mut text = table.render(paint);
        text += "  of made-up events spread evenly over the longest window; bytes are before compression\n";
        text += &self.resolution_text();
        text
    }

    /// What exactness costs, by the largest entity.
    fn resolution_text(&self) -> String {
        if let Some(grid) = &self.resolution {
            return format!("  edges that are not the moment itself are floored to {grid}, on both paths alike\n");
        }
        let Some(Estimate { events, read, with_resolution: Some(floored), .. }) = self.estimates.last() else { return String::new() };
        format!(
            "  edges are exact: every moment can become one, so that all events of the longest window are kept one by one. With resolution = '1 minute'\n  \
             they would be floored to the minute, which changes values; a read of {} events would touch {} keys and {} single events, not {} and {}\n",
            grouped(*events as u64),
            grouped(floored.keys),
            grouped(floored.events),
            grouped(read.keys),
            grouped(read.events),
        )
    }

    fn rules(&self) -> String {
        let mut text = String::new();
        let _ = match (&self.retention, &self.kept_for_ever) {
            (Some(retention), _) => writeln!(text, "  state is kept for {retention} behind the watermark"),
            (None, Some(why)) => writeln!(text, "  state is kept for ever · {why}"),
            (None, None) => Ok(()),
        };
        text += "  NOT_FOUND  the entity has no event at or before the moment: the value that SQL gives over no rows\n";
        if let Some(ttl) = &self.ttl {
            let _ = writeln!(text, "  EXPIRED    its newest event is older than {ttl}");
        }
        text += "  ERROR      a sum overflowed, a limit was passed, or a cast or a division failed\n";
        let clock = match self.time {
            lockstep_model::TimeMode::Known => "known time: an event counts once it has happened and could be known",
            lockstep_model::TimeMode::Event => "event time: an event counts once it has happened",
        };
        let _ = writeln!(text, "  read in {clock}");
        let _ = writeln!(text, "  means {}, encoded as {}", &self.meaning[..12], &self.state[..12]);
        text
    }
}
