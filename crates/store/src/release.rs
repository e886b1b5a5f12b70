//! Releases: what is served, and each move of the pointer that says so. Both are appended and never changed.
//!
//! A release names a set of definitions and a generation for each view, which are read together: whoever serves it never mixes two. A switch makes one of them the
//! release that serves, by one write, so that there is no moment without one and none with two.

use std::sync::Arc;

use lockstep_model::{Error, EventTime, Generation};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::book::Book;
use crate::{GenerationInfo, layout};

/// What a release is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRelease {
    /// The version of the definitions that answer.
    pub definitions: u64,
    /// The generations that are read, one a view.
    pub generations: Vec<Generation>,
    /// The snapshot that it was validated on.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// What validation found; whoever validates knows what it means.
    #[serde(default)]
    pub validation: Option<serde_json::Value>,
}

/// A set of definitions and generations that has served, or does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// 1 for the first of a store, one more for each later one.
    pub release: u32,
    /// When it was made.
    pub made_at: EventTime,
    /// What it is made of.
    #[serde(flatten)]
    pub new: NewRelease,
}

/// Which way the pointer moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchKind {
    /// To a release that is new.
    Promote,
    /// To one that has served before.
    RollBack,
}

/// A move of the pointer that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSwitch {
    /// Which way.
    pub kind: SwitchKind,
    /// Whether it was made in spite of what validation said, or without it.
    #[serde(default)]
    pub forced: bool,
    /// Who made it, where known.
    #[serde(default)]
    pub by: Option<String>,
    /// Why, where said.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether a limit that was passed made it, and nobody by hand.
    #[serde(default)]
    pub automatic: bool,
}

/// One move of the pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// 1 for the first of a store, one more for each later one: what serves is known by it.
    pub epoch: u64,
    /// The release that serves from here on.
    pub release: u32,
    /// The one that served before; absent for the first.
    pub from: Option<u32>,
    /// When it was made.
    pub at: EventTime,
    /// How and why.
    #[serde(flatten)]
    pub new: NewSwitch,
}

/// What the writer keeps in memory of releases.
#[derive(Debug, Clone, Default)]
pub(crate) struct Releases {
    /// Every release, oldest first.
    pub(crate) made: Vec<Release>,
    /// The last switch.
    pub(crate) switch: Option<Switch>,
}

impl Releases {
    /// The epoch of the last switch, 0 before the first.
    pub(crate) fn epoch(&self) -> u64 {
        self.switch.as_ref().map_or(0, |switch| switch.epoch)
    }

    /// The release that serves.
    pub(crate) fn serving(&self) -> Option<&Release> {
        self.switch.as_ref().and_then(|switch| self.find(switch.release))
    }

    fn find(&self, release: u32) -> Option<&Release> {
        self.made.iter().find(|made| made.release == release)
    }

    fn known(&self) -> String {
        let known: Vec<String> = self.made.iter().map(|made| made.release.to_string()).collect();
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    }
}

/// Appends a release and the switch to it.
pub(crate) fn promote(
    book: &mut Book,
    batch: &mut Batch<'_>,
    expected: u64,
    new: NewRelease,
    switch: NewSwitch,
    now: EventTime,
) -> Result<(Release, Switch), Error> {
    expect_kind(&switch, SwitchKind::Promote)?;
    refuse_overtaken(book, expected)?;
    refuse_unknown_definitions(book, new.definitions)?;
    refuse_unfit(book, &new.generations)?;
    let last = book.releases.made.last().map_or(0, |made| made.release);
    let release = Release { release: last.saturating_add(1), made_at: now, new };
    batch.put_record(layout::release_key(release.release), &release)?;
    Arc::make_mut(&mut book.releases).made.push(release.clone());
    let switch = switch_to(book, batch, release.release, switch, now)?;
    Ok((release, switch))
}

/// Appends a switch to a release that has served before.
pub(crate) fn roll_back(book: &mut Book, batch: &mut Batch<'_>, expected: u64, to: u32, switch: NewSwitch, now: EventTime) -> Result<Switch, Error> {
    expect_kind(&switch, SwitchKind::RollBack)?;
    refuse_overtaken(book, expected)?;
    let Some(release) = book.releases.find(to) else {
        return Err(Error::not_found(format!("the store has no release {to} · known: {} · name one of them", book.releases.known())));
    };
    if book.releases.serving().is_some_and(|serving| serving.release == to) {
        return Err(Error::invalid(format!("release {to} serves already · known: {} · name another", book.releases.known())));
    }
    for &generation in &release.new.generations {
        book.entry(generation).map_err(|error| Error::new(error.kind(), format!("release {to} cannot serve again · {error}")).caused_by(error))?;
    }
    switch_to(book, batch, to, switch, now)
}

fn switch_to(book: &mut Book, batch: &mut Batch<'_>, release: u32, new: NewSwitch, at: EventTime) -> Result<Switch, Error> {
    let releases = Arc::make_mut(&mut book.releases);
    let switch = Switch { epoch: releases.epoch().saturating_add(1), release, from: releases.switch.as_ref().map(|switch| switch.release), at, new };
    batch.put_record(layout::switch_key(switch.epoch), &switch)?;
    releases.switch = Some(switch.clone());
    Ok(switch)
}

/// Refuses to drop what serves.
pub(crate) fn refuse_serving(book: &Book, generation: Generation) -> Result<(), Error> {
    let serving = book.releases.serving().filter(|serving| serving.new.generations.contains(&generation));
    let Some(Release { release, .. }) = serving else { return Ok(()) };
    let GenerationInfo { view, version, .. } = &book.entry(generation)?.info;
    Err(Error::invalid(format!(
        "`{view}` version {version} is served by release {release} · generation {} · promote a release without it first",
        generation.0
    )))
}

fn expect_kind(switch: &NewSwitch, kind: SwitchKind) -> Result<(), Error> {
    if switch.kind == kind {
        return Ok(());
    }
    Err(Error::internal(format!("a switch of the kind {kind:?} was given as {:?}", switch.kind)))
}

fn refuse_overtaken(book: &Book, expected: u64) -> Result<(), Error> {
    let epoch = book.releases.epoch();
    if epoch == expected {
        return Ok(());
    }
    let serving = book.releases.serving().map_or_else(|| "none".to_owned(), |serving| serving.release.to_string());
    Err(Error::unavailable(format!(
        "the release that serves changed since it was read · expected epoch {expected}, the store has epoch {epoch}, serving release: {serving} · look at it and try again"
    )))
}

fn refuse_unknown_definitions(book: &Book, definitions: u64) -> Result<(), Error> {
    if (1..=book.definitions).contains(&definitions) {
        return Ok(());
    }
    let latest = book.definitions;
    Err(Error::not_found(format!("the store has no definitions {definitions} · the latest are {latest} · apply the definitions first")))
}

/// Refuses generations that cannot be read together: dropped or half-done ones, and two of one view.
fn refuse_unfit(book: &Book, generations: &[Generation]) -> Result<(), Error> {
    let infos = generations.iter().map(|&generation| Ok(&book.entry(generation)?.info)).collect::<Result<Vec<_>, Error>>()?;
    for (i, GenerationInfo { generation, view, version, published_at, .. }) in infos.iter().enumerate() {
        let number = generation.0;
        if published_at.is_none() {
            return Err(Error::invalid(format!(
                "`{view}` version {version} is not complete · generation {number} is not published · backfill it first"
            )));
        }
        if let Some(twin) = infos.iter().take(i).find(|twin| twin.view == *view) {
            return Err(Error::invalid(format!(
                "a release reads one generation a view · `{view}` has two in it: {} and {number} · leave one out",
                twin.generation.0
            )));
        }
    }
    Ok(())
}
