//! A store's status, as people read it.

use std::fmt::Write;

use super::{AppliedLogStatus, FeatureLogStatus, LoggedStatus, Role, SourceStatus, StoreStatus, VersionStatus, deployments, watched};
use crate::output::{Paint, Report};
use crate::row_counts::told;
use crate::table::{Align, Table};
use crate::text::{bytes, counted, grouped};
use crate::usage::Usage;

impl Report for StoreStatus {
    fn text(&self, paint: Paint) -> String {
        let StoreStatus {
            store,
            disk_bytes,
            definitions,
            fingerprint,
            applied_at,
            release,
            signals,
            watched,
            views,
            deployments,
            applied_logs,
            feature_log,
            letters_waiting,
        } = self;
        let mut text = format!("{} {}, {} on the disk\n", paint.bold("store"), store, bytes(*disk_bytes));
        if *definitions == 0 {
            return text + "nothing was applied to it yet · run `lockstep apply`\n";
        }
        let _ = writeln!(text, "definitions version {definitions}, {}, applied {applied_at}", &fingerprint[..12]);
        if let Some(release) = release {
            let _ = writeln!(text, "release {release} serves");
        }
        text += &watched::signals_text(signals, watched.is_some(), paint);
        text += &watched.as_ref().map_or_else(String::new, |reading| watched::reading_text(reading, paint));
        views.iter().for_each(|view| text += &version_text(view, release.is_some(), paint));
        text += &deployments::text(deployments, paint);
        applied_logs.iter().for_each(|log| text += &applied_log_text(log, paint));
        text += &feature_log.as_ref().map_or_else(String::new, |log| feature_log_text(log, paint));
        for (source, waiting) in letters_waiting {
            let _ = writeln!(text, "\n{} of {} wait to be sent", counted(*waiting, "dead letter", "dead letters"), paint.cyan(source));
        }
        text
    }
}

fn applied_log_text(log: &AppliedLogStatus, paint: Paint) -> String {
    let AppliedLogStatus { source, keep, files, rows, bytes: size, waiting, oldest, newest } = log;
    let keep = keep.as_ref().map_or_else(|| "declared no more".to_owned(), |keep| format!("keeps {keep}"));
    let mut text = format!("\n{} of {}, {keep}\n", paint.bold("applied log"), paint.cyan(source));
    let (events, files) = (counted(*rows, "event", "events"), counted(*files as u64, "file", "files"));
    let _ = writeln!(text, "  {events} in {files}, {} · {} for a file", bytes(*size), counted(*waiting, "waits", "wait"));
    if let (Some(oldest), Some(newest)) = (oldest, newest) {
        let _ = writeln!(text, "  applied from {oldest} to {newest}");
    }
    text
}

fn feature_log_text(log: &FeatureLogStatus, paint: Paint) -> String {
    let FeatureLogStatus { dir, share, services, expired } = log;
    let share = share.map_or_else(|| "declared no more".to_owned(), |share| format!("a share of {share} of what is served"));
    let gone = if *expired > 0 { format!(" · {} past its retention", counted(*expired, "vector is", "vectors are")) } else { String::new() };
    let mut text = format!("\n{} in {dir}, {share}{gone}\n", paint.bold("feature log"));
    for LoggedStatus { name, files, rows, bytes: size, oldest, newest } in services {
        let (rows, files) = (counted(*rows, "vector", "vectors"), counted(*files as u64, "file", "files"));
        let _ = writeln!(text, "  {} {rows} in {files}, {}, served from {oldest} to {newest}", paint.cyan(name), bytes(*size));
    }
    if services.is_empty() {
        text += "  nothing is in a file yet\n";
    }
    text
}

fn version_text(view: &VersionStatus, is_released: bool, paint: Paint) -> String {
    let role = match view.role {
        Role::Serving => paint.green("serving"),
        Role::Filling => paint.yellow("waits for `lockstep backfill`"),
        Role::Next => {
            let stands = if view.caught_up_at.is_some() { "has caught up" } else { "catches up with its logs" };
            let files = if view.lacks.is_empty() { String::new() } else { format!(" · to be ingested again: {}", view.lacks.join(", ")) };
            let how = if is_released { " by `lockstep release promote`" } else { "" };
            paint.yellow(format!("{stands}, to serve with version {} of the definitions{how}{files}", view.definitions.unwrap_or_default()))
        }
        Role::Previous => paint.dim(format!("served until lately · fed until {} to serve again at once", view.until.as_deref().unwrap_or_default())),
        Role::Old => paint.dim(format!("old · `lockstep drop {}@{}` removes it", view.view, view.version)),
    };
    let mut text = format!("\n{} version {}, generation {}, {role}\n", paint.bold(&view.view), view.version, view.generation);
    let Usage { entities, events, state_bytes, primary_keys, exact, .. } = &view.usage;
    let (about, at_least) = if *exact { ("", "") } else { ("about ", "at least ") };
    let (entities, events) = (counted(*entities, "entity", "entities"), counted(*events, "event", "events"));
    let _ = writeln!(text, "  {about}{entities}, {events}, {} · {at_least}{} remembered", bytes(*state_bytes), counted(*primary_keys, "key", "keys"));
    let from = view.readable_from.as_ref().map_or_else(|| "every moment can be read".to_owned(), |from| format!("readable from {from}"));
    let watermark = view.watermark.as_ref().map_or_else(|| "no watermark yet".to_owned(), |watermark| format!("watermark {watermark}"));
    let _ = writeln!(text, "  {from} · {watermark}");
    view.sources.iter().for_each(|source| text += &source_text(source, paint));
    text
}

fn source_text(source: &SourceStatus, paint: Paint) -> String {
    let others = source.rows.others() + &told([(source.null_keys, "without an entity"), (source.row_errors, "failed expressions")]);
    let mut text = format!("  {} {} applied{others}\n", paint.cyan(&source.source), grouped(source.rows.applied));
    let mut table = Table::new(&[("", Align::Left), ("", Align::Right), ("", Align::Left)]).indented(4);
    for partition in &source.partitions {
        let what = if partition.history { "history " } else { "log " };
        let end = if partition.complete { "to its end" } else { "so far" };
        let newest = partition.newest.as_ref().map(|newest| format!(", newest {newest}")).unwrap_or_default();
        let lag = partition.lag.map(|lag| format!(", {} behind", grouped(lag))).unwrap_or_default();
        table.row([format!("{what}{}", partition.partition).into(), grouped(partition.rows).into(), format!("rows {end}{newest}{lag}").into()]);
    }
    text += &table.render(paint);
    text
}
