//! `release list`: each move of the pointer to what serves.

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::Switched;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::table::{Align, Cell, Table};

/// Show what serves and what has served, since when, by whom and why
#[derive(Debug, Args)]
pub struct Arguments {}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {}

/// Each move of the pointer to what serves.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Releases {
    /// The release that serves; absent where none was promoted yet.
    pub serving: Option<u32>,
    /// The oldest move first.
    pub switches: Vec<Switched>,
}

/// Lists.
///
/// # Errors
/// Where the store cannot be read.
pub fn run(context: &Context, _: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question {})?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "release list";
    type Answer = Releases;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Releases> {
        let cut = OnlineStore::cut(&*owned.store);
        let releases = cut.releases()?;
        let of = |number: u32| releases.iter().find(|release| release.release == number);
        let switches: Vec<Switched> = cut.switches()?.iter().filter_map(|switch| Some(Switched::new(switch, of(switch.release)?))).collect();
        Ok(Releases { serving: switches.last().map(|switch| switch.release), switches })
    }
}

impl Report for Releases {
    fn text(&self, paint: Paint) -> String {
        if self.switches.is_empty() {
            return "no release was promoted yet: the newest definitions serve once their views are filled · `lockstep release promote` begins\n"
                .to_owned();
        }
        let mut table = Table::new(&[
            ("epoch", Align::Right),
            ("release", Align::Right),
            ("definitions", Align::Right),
            ("", Align::Left),
            ("why", Align::Left),
            ("since", Align::Left),
        ]);
        for (number, switch) in self.switches.iter().enumerate() {
            let what = match (number + 1 == self.switches.len(), switch.kind.as_str()) {
                (true, _) => Cell::painted("serves", |paint, text| paint.green(text)),
                (false, "promote") => "promoted".into(),
                (false, _) => "went back".into(),
            };
            table.row([
                switch.epoch.to_string().into(),
                switch.release.to_string().into(),
                switch.definitions.to_string().into(),
                what,
                switch.why().into(),
                switch.at.as_str().into(),
            ]);
        }
        table.render(paint)
    }
}
