//! `drop`: removes an old version of a view.

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;

/// Remove an old version of a view
///
/// With its state, its positions and its ledgers; what it took on the disk is free soon after. The version that the applied definitions mean is not dropped.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The view and its version
    #[arg(value_name = "VIEW@VERSION", value_parser = view_version)]
    pub version: (String, u32),
}

fn view_version(text: &str) -> Result<(String, u32), String> {
    let parsed = text.rsplit_once('@').and_then(|(view, version)| Some((view.to_owned(), version.parse().ok()?)));
    parsed.ok_or_else(|| format!("`{text}` is no version of a view · write airport_load@1 · `lockstep status` lists them"))
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
}

/// A version that was removed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// Its generation.
    pub generation: u32,
}

/// Drops a version of a view.
///
/// # Errors
/// NotFound where there is no such version; Invalid where it is the one that the applied definitions mean; Unavailable where the owner of the store feeds it.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let (view, version) = arguments.version.clone();
    context.out.show(&context.ask(&Question { view, version })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "drop";
    const WRITES: bool = true;
    type Answer = Dropped;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Dropped> {
        let fed = owned.change();
        let (store, catalog) = (&*owned.store, &*owned.catalog()?);
        let Question { view, version } = self;
        let generations = OnlineStore::cut(store).generations()?;
        let Some(info) = generations.iter().find(|info| info.view == *view && info.version == *version) else {
            let known: Vec<String> = generations.iter().map(|info| format!("{}@{}", info.view, info.version)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::not_found(format!("the store has no `{view}@{version}` · there are: {known}")).into());
        };
        if catalog.views.get(view).is_some_and(|view| view.meaning == info.meaning && view.state == info.state) {
            let message =
                format!("`{view}@{version}` is what the applied definitions mean · apply others first, without it or with a changed `{view}`");
            return Err(Error::invalid(message).into());
        }
        if fed.contains(&info.generation) {
            let message = format!("`{view}@{version}` is being fed by the owner of the store, process {} · stop that first", std::process::id());
            return Err(Error::unavailable(message).into());
        }
        store.drop_generation(info.generation)?;
        Ok(Dropped { view: view.clone(), version: *version, generation: info.generation.0 })
    }
}

impl Report for Dropped {
    fn text(&self, paint: Paint) -> String {
        format!("{} {}@{}, generation {}\n", paint.green("dropped:"), self.view, self.version, self.generation)
    }
}
