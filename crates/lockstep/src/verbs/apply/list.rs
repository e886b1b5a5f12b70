//! `apply --list`: every set of definitions that was applied.

use anyhow::Result;
use lockstep_serve::admin::Progress;
use lockstep_serve::chosen::Stand;
use lockstep_store::{Definitions, OnlineStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::feed::wanted::{Set, Why, wanted};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::table::{Align, Cell, Table};

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {}

/// Every set of definitions that was applied.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedList {
    /// The set that serves; absent where none is filled yet.
    pub serving: Option<u64>,
    /// The oldest first.
    pub definitions: Vec<AppliedSet>,
}

/// A set of definitions that was applied.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedSet {
    /// Its number.
    pub version: u64,
    /// Fingerprint of what it means.
    pub fingerprint: String,
    /// When it was applied.
    pub applied_at: String,
    /// Who applied it, where known.
    pub by: Option<String>,
    /// Why, where said.
    pub reason: Option<String>,
}

/// Lists.
///
/// # Errors
/// NotFound where there is no store; where it cannot be read.
pub fn run(context: &Context) -> Result<Outcome> {
    context.out.show(&context.ask(&Question {})?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "apply --list";
    type Answer = AppliedList;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<AppliedList> {
        let cut = OnlineStore::cut(&*owned.store);
        let (history, generations) = (cut.definitions_history()?, cut.generations()?);
        // What is to serve first of all is wanted before it is filled, and answers nothing until then.
        let serves = |set: &Set| matches!(set.why, Why::Serves) && Stand::of(&set.catalog, &generations) != Stand::Filling;
        let serving = wanted(owned)?.into_iter().find(serves).map(|set| set.version);
        Ok(AppliedList { serving, definitions: history.into_iter().map(AppliedSet::from).collect() })
    }
}

impl From<Definitions> for AppliedSet {
    fn from(Definitions { version, applied_at, applied }: Definitions) -> Self {
        AppliedSet {
            version,
            fingerprint: applied.fingerprint.to_string(),
            applied_at: applied_at.to_string(),
            by: applied.by,
            reason: applied.reason,
        }
    }
}

impl Report for AppliedList {
    fn text(&self, paint: Paint) -> String {
        if self.definitions.is_empty() {
            return "no definitions were applied · `lockstep apply` does\n".to_owned();
        }
        let columns = [("definitions", Align::Right), ("means", Align::Left), ("applied", Align::Left), ("", Align::Left), ("why", Align::Left)];
        let mut table = Table::new(&columns);
        for AppliedSet { version, fingerprint, applied_at, by, reason } in &self.definitions {
            let serves = if self.serving == Some(*version) { "serves" } else { "" };
            let by = by.as_ref().map(|by| format!("by {by}"));
            let why: Vec<String> = by.into_iter().chain(reason.clone()).collect();
            table.row([
                version.to_string().into(),
                fingerprint[..12].into(),
                applied_at.as_str().into(),
                Cell::painted(serves, |paint, text| paint.green(text)),
                why.join(" · ").into(),
            ]);
        }
        table.render(paint)
    }
}
