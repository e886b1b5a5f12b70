//! `snapshot show`: what is in one.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_model::EventTime;
use lockstep_serve::admin::Progress;
use lockstep_store::{Manifest, SnapshotGeneration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::table::{Align, Table};
use crate::text::{bytes, grouped};

/// Show what is in a snapshot
///
/// Its moment, its definitions, its generations and where they stood in their logs. With --json, its files too.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot
    pub name: String,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The snapshot.
    pub name: String,
}

/// What is in a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Snapshot")]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// The version of its layout.
    pub format: u32,
    /// When it was made.
    pub created_at: String,
    /// The moment up to which it answers.
    pub moment: String,
    /// The number of the definitions it is read by.
    pub definitions: Option<u64>,
    /// Fingerprint of what they mean.
    pub fingerprint: Option<String>,
    /// The release that served when it was made.
    pub release: Option<u32>,
    /// Who made it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Whether it is kept until it is dropped by hand.
    pub keep: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes on the disk that only it has, where they were looked for: what dropping it gives back.
    pub own_bytes: Option<u64>,
    /// Its generations.
    pub generations: Vec<ShownGeneration>,
    /// Its files.
    pub files: Vec<ShownFile>,
}

/// A generation in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShownGeneration {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// The generation's number.
    pub generation: u32,
    /// Fingerprint of what the view means.
    pub meaning: String,
    /// Fingerprint of how its state is encoded.
    pub state: String,
    /// The earliest moment that it answers for; absent where that is every moment.
    pub readable_from: Option<String>,
    /// Up to which event time its sources had been applied.
    pub watermark: Option<String>,
    /// Where each partition stood.
    pub positions: Vec<ShownPosition>,
}

/// Where a partition stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShownPosition {
    /// The source.
    pub source: String,
    /// The partition; that of a file of history begins with `history:`.
    pub partition: String,
    /// Rows done; of a topic's partition the next offset.
    pub rows: u64,
    /// The newest event time.
    pub newest: Option<String>,
}

/// A file of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ShownFile {
    /// Its path below the snapshot.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// XXH3-128 of its bytes.
    pub xxh3: String,
}

/// Shows a snapshot.
///
/// # Errors
/// NotFound where there is none of the name; Data where its manifest is damaged.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question { name: arguments.name.clone() })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "snapshot show";
    type Answer = Shown;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Shown> {
        let snapshots = owned.store.snapshots();
        let dir = snapshots.find(&self.name)?;
        let own_bytes = snapshots.list()?.into_iter().find(|listed| listed.name == self.name).map(|listed| listed.own_bytes);
        Ok(Shown::new(&Manifest::read(&dir)?, own_bytes))
    }
}

impl Shown {
    /// A manifest, as it is shown.
    pub fn new(manifest: &Manifest, own_bytes: Option<u64>) -> Shown {
        let Manifest { name, format, created_at, moment, definitions, release, generations, by, reason, keep, files, .. } = manifest;
        let file = |file: &lockstep_store::SnapshotFile| ShownFile { path: file.path.clone(), bytes: file.bytes, xxh3: file.xxh3.clone() };
        Shown {
            name: name.clone(),
            format: *format,
            created_at: created_at.to_string(),
            moment: moment.to_string(),
            definitions: definitions.as_ref().map(|mark| mark.version),
            fingerprint: definitions.as_ref().map(|mark| mark.fingerprint.to_string()),
            release: *release,
            by: by.clone(),
            reason: reason.clone(),
            keep: *keep,
            bytes: manifest.bytes(),
            own_bytes,
            generations: generations.iter().map(ShownGeneration::from).collect(),
            files: files.iter().map(file).collect(),
        }
    }
}

impl From<&SnapshotGeneration> for ShownGeneration {
    fn from(of: &SnapshotGeneration) -> Self {
        let position = |at: &lockstep_store::PositionAt| ShownPosition {
            source: at.partition.source.clone(),
            partition: at.partition.partition.clone(),
            rows: at.position.rows(),
            newest: at.position.event_time_max().map(|newest| EventTime(newest).to_string()),
        };
        ShownGeneration {
            view: of.view.clone(),
            version: of.version,
            generation: of.generation.0,
            meaning: of.meaning.to_string(),
            state: of.state.to_string(),
            readable_from: (of.readable_from != EventTime::MIN).then(|| of.readable_from.to_string()),
            watermark: of.watermark.map(|watermark| watermark.to_string()),
            positions: of.positions.iter().map(position).collect(),
        }
    }
}

impl Report for Shown {
    fn text(&self, paint: Paint) -> String {
        let Shown { name, created_at, moment, definitions, fingerprint, release, by, reason, keep, bytes: size, own_bytes, generations, .. } = self;
        let mut text = format!("{} {name}, answers up to {moment}\n", paint.bold("snapshot"));
        let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let why = reason.as_ref().map(|reason| format!(" · {reason}")).unwrap_or_default();
        let _ = writeln!(text, "  made {created_at}{by}{why}");
        if let (Some(version), Some(fingerprint)) = (definitions, fingerprint) {
            let served = release.map(|release| format!(" · release {release} served")).unwrap_or_default();
            let _ = writeln!(text, "  definitions version {version}, {}{served}", &fingerprint[..12]);
        }
        let own = own_bytes.map(|own| format!("{} of its own and ", bytes(own))).unwrap_or_default();
        let _ = writeln!(text, "  files, {own}{} shared on the disk", bytes(size.saturating_sub(own_bytes.unwrap_or_default())));
        if *keep {
            text += "  kept until it is dropped\n";
        }
        generations.iter().for_each(|generation| text += &generation_text(generation, paint));
        text
    }
}

fn generation_text(of: &ShownGeneration, paint: Paint) -> String {
    let ShownGeneration { view, version, generation, meaning, readable_from, watermark, positions, .. } = of;
    let from = readable_from.as_ref().map_or_else(|| "every moment can be read".to_owned(), |from| format!("readable from {from}"));
    let watermark = watermark.as_ref().map_or_else(|| "no watermark".to_owned(), |watermark| format!("watermark {watermark}"));
    let mut text = format!("\n{} version {version}, generation {generation}, {}\n  {from} · {watermark}\n", paint.bold(view), &meaning[..12]);
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Right), ("", Align::Left)]).indented(4);
    for ShownPosition { source, partition, rows, newest } in positions {
        let newest = newest.as_ref().map(|newest| format!("rows, newest {newest}")).unwrap_or_else(|| "rows".to_owned());
        table.row([source.as_str().into(), partition.as_str().into(), grouped(*rows).into(), newest.into()]);
    }
    text += &table.render(paint);
    text
}
