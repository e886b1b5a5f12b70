//! `drop`: removes an old version of a view.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use lockstep_store::{GenerationInfo, OnlineStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::feed::wanted::{self, Why};
use crate::output::{Paint, Report};
use crate::owned::Owned;

/// Remove an old version of a view
///
/// With its state, its positions and its ledgers; what it took on the disk is free soon after. The version that the applied definitions mean is not dropped, nor one that serves. One
/// that served until lately is kept for `[releases] rollback_window`, so that it can serve again at once.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The view and its version
    #[arg(value_name = "VIEW@VERSION", value_parser = view_version)]
    pub version: (String, u32),
    /// Also where it served until lately
    #[arg(long)]
    pub now: bool,
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
    /// Whether it goes though it served until lately.
    #[serde(default)]
    pub now: bool,
}

/// How long to wait until what is given up is fed no more, and how often it is looked.
const LOOKS: u32 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
/// NotFound where there is no such version; Invalid where it is wanted; Unavailable where the owner of the store feeds it.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let (view, version) = arguments.version.clone();
    context.out.show(&context.ask(&Question { view, version, now: arguments.now })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "drop";
    const WRITES: bool = true;
    type Answer = Dropped;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Dropped> {
        let mut looks = 0;
        loop {
            let fed = owned.change();
            let info = self.find(owned)?;
            self.check_wanted(owned, &info)?;
            if !fed.contains(&info.generation) {
                self.drop_all(owned)?;
                return Ok(Dropped { view: info.view, version: info.version, generation: info.generation.0 });
            }
            // Whoever feeds what is given up notices in a moment.
            if !self.now || looks == LOOKS {
                return Err(self.is_fed().into());
            }
            looks += 1;
            drop(fed);
            sleep(LOOK_EVERY);
        }
    }
}

impl Question {
    /// Drops the version, of predictions with all runs that it holds.
    fn drop_all(&self, owned: &Owned) -> Result<()> {
        let generations = OnlineStore::cut(&*owned.store).generations()?;
        let of_version = generations.iter().filter(|info| info.view == self.view && info.version == self.version);
        of_version.into_iter().try_for_each(|info| Ok(owned.store.drop_generation(info.generation)?))
    }

    fn find(&self, owned: &Owned) -> Result<GenerationInfo> {
        let Question { view, version, .. } = self;
        let generations = OnlineStore::cut(&*owned.store).generations()?;
        if let Some(info) = generations.iter().find(|info| info.view == *view && info.version == *version) {
            return Ok(info.clone());
        }
        let known: Vec<String> = generations.iter().map(|info| format!("{}@{}", info.view, info.version)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::not_found(format!("the store has no `{view}@{version}` · there are: {known}")).into())
    }

    /// Refuses what is wanted. What is only kept for serving again is given up where that is asked for.
    fn check_wanted(&self, owned: &Owned, info: &GenerationInfo) -> Result<()> {
        let Question { view, version, now } = self;
        let catalog = owned.catalog()?;
        if catalog.views.get(view).is_some_and(|view| view.meaning == info.meaning && view.state == info.state) {
            let message =
                format!("`{view}@{version}` is what the applied definitions mean · apply others first, without it or with a changed `{view}`");
            return Err(Error::invalid(message).into());
        }
        let release = OnlineStore::cut(&*owned.store).serving()?.map(|(release, _)| release.release);
        let message = match (wanted::why(&wanted::wanted(owned)?, info), release) {
            (None, _) => return Ok(()),
            (Some((_, Why::Until(_))), _) if *now => return Ok(owned.store.note_keeping_up(&[(info.generation, false)])?),
            (Some((_, Why::Until(until))), _) => {
                format!("`{view}@{version}` served, and is kept until {until} to serve again at once · wait until then, or give that up by --now")
            }
            (Some(_), Some(release)) => format!("`{view}@{version}` is served by release {release} · promote a release without it first"),
            (Some((set, _)), None) => {
                format!("`{view}@{version}` serves with version {set} of the definitions · wait until what was applied since has caught up")
            }
        };
        Err(Error::invalid(message).into())
    }

    fn is_fed(&self) -> Error {
        let Question { view, version, .. } = self;
        Error::unavailable(format!("`{view}@{version}` is being fed by the owner of the store, process {} · stop that first", std::process::id()))
    }
}

impl Report for Dropped {
    fn text(&self, paint: Paint) -> String {
        format!("{} {}@{}, generation {}\n", paint.green("dropped:"), self.view, self.version, self.generation)
    }
}
