//! `snapshot drop`: removes one.

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::text::bytes;

/// Remove a snapshot
///
/// What neither the store nor another snapshot has is free on the disk then. Who is reading it reads on.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot
    pub name: String,
    /// Even if the release that serves, or the one before, was validated on it
    #[arg(long)]
    pub force: bool,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The snapshot.
    pub name: String,
    /// Whether one goes that a release was validated on.
    pub force: bool,
}

/// A snapshot that was removed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotDropped {
    /// Its name.
    pub name: String,
    /// Bytes that are free on the disk by that.
    pub own_bytes: u64,
}

/// Drops a snapshot.
///
/// # Errors
/// NotFound where there is none of the name; Invalid where a release needs it.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { name, force } = arguments;
    context.out.show(&context.ask(&Question { name: name.clone(), force: *force })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "snapshot drop";
    const WRITES: bool = true;
    type Answer = SnapshotDropped;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<SnapshotDropped> {
        let _alone = owned.change();
        let snapshots = owned.store.snapshots();
        let own_bytes = snapshots.list()?.into_iter().find(|listed| listed.name == self.name).map_or(0, |listed| listed.own_bytes);
        owned.store.drop_snapshot(&self.name, self.force)?;
        owned.pinned.forget(&snapshots);
        Ok(SnapshotDropped { name: self.name.clone(), own_bytes })
    }
}

impl Report for SnapshotDropped {
    fn text(&self, paint: Paint) -> String {
        format!("{} {}, which gives back {} on the disk\n", paint.green("dropped:"), self.name, bytes(self.own_bytes))
    }
}
