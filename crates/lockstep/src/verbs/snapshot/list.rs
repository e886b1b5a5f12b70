//! `snapshot list`: which there are.

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::Listed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::table::{Align, Cell, Table};
use crate::text::bytes;

/// List the snapshots, oldest first
#[derive(Debug, Args)]
pub struct Arguments {}

/// What the owner of the store is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Question {}

/// Snapshots of a store.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotList {
    /// Each of them, oldest first.
    pub snapshots: Vec<ListedSnapshot>,
    /// Bytes on the disk that snapshots have and the store has no more: what dropping all of them gives back.
    pub held_bytes: u64,
}

/// A snapshot.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedSnapshot {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Option<String>,
    /// The moment up to which it answers.
    pub moment: Option<String>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// Bytes on the disk that only it has: what dropping it gives back.
    pub own_bytes: u64,
    /// Whether it is kept until it is dropped by hand.
    pub keep: bool,
    /// Why it was made.
    pub reason: Option<String>,
    /// What is wrong with it, as far as its manifest tells.
    pub damage: Option<String>,
}

/// Lists the snapshots.
///
/// # Errors
/// Where the store cannot be read.
pub fn run(context: &Context, _: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question::default())?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "snapshot list";
    type Answer = SnapshotList;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<SnapshotList> {
        let snapshots = owned.store.snapshots();
        Ok(SnapshotList { snapshots: snapshots.list()?.into_iter().map(ListedSnapshot::from).collect(), held_bytes: snapshots.held_bytes()? })
    }
}

impl From<Listed> for ListedSnapshot {
    fn from(Listed { name, manifest, own_bytes }: Listed) -> Self {
        let (manifest, damage) = match manifest {
            Ok(manifest) => (Some(manifest), None),
            Err(error) => (None, Some(error.to_string())),
        };
        ListedSnapshot {
            name,
            created_at: manifest.as_ref().map(|manifest| manifest.created_at.to_string()),
            moment: manifest.as_ref().map(|manifest| manifest.moment.to_string()),
            bytes: manifest.as_ref().map(lockstep_store::Manifest::bytes),
            own_bytes,
            keep: manifest.as_ref().is_some_and(|manifest| manifest.keep),
            reason: manifest.and_then(|manifest| manifest.reason),
            damage,
        }
    }
}

impl Report for SnapshotList {
    fn text(&self, paint: Paint) -> String {
        if self.snapshots.is_empty() {
            return "no snapshots · `lockstep snapshot create` makes one\n".to_owned();
        }
        let columns = [
            ("snapshot", Align::Left),
            ("answers up to", Align::Left),
            ("made", Align::Left),
            ("size", Align::Right),
            ("its own", Align::Right),
            ("", Align::Left),
        ];
        let mut table = Table::new(&columns);
        for ListedSnapshot { name, created_at, moment, bytes: size, own_bytes, keep, reason, damage } in &self.snapshots {
            let kept = if *keep { "kept" } else { "" };
            let said = [kept, reason.as_deref().unwrap_or_default()].into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(": ");
            let said = match damage {
                Some(damage) => Cell::painted(damage.clone(), |paint, text| paint.red(text)),
                None => Cell::from(said),
            };
            let [moment, created_at] = [moment, created_at].map(|at| at.clone().unwrap_or_default());
            table.row([
                name.as_str().into(),
                moment.into(),
                created_at.into(),
                size.map(bytes).unwrap_or_default().into(),
                bytes(*own_bytes).into(),
                said,
            ]);
        }
        table.render(paint) + &format!("the store has no more of it: {}\n", bytes(self.held_bytes))
    }
}
