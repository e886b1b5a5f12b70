//! `verify --self-test`: a copy of the store is damaged in one place after the other, and verify must notice each.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use lockstep_ingest::offline::{Replayed, replay};
use lockstep_ingest::pipeline::{Target, history_path};
use lockstep_model::{Error, PartitionId, Position, StateKey, StateWrite, key};
use lockstep_serve::admin::Progress;
use lockstep_store::{Commit, KeyWrite, OnlineStore, Store, StoreOptions};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::fault::{Damage, damage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::probes::Probe;
use super::{OTHER_SHAPE, VerifyOptions, ViewReport};
use crate::output::{Paint, Report};
use crate::table::{Align, Cell, Table};

/// Least rows of a position that is put back.
const POSITION_ROWS_MIN: u64 = 20;

/// What became of each damage.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SelfTested {
    /// One for each kind of damage.
    pub damages: Vec<Noticed>,
}

/// A damage, and whether verify noticed it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Noticed {
    /// What was damaged.
    pub damage: String,
    /// Where.
    pub place: String,
    /// Whether it was noticed; absent where the store has nothing of the kind.
    pub noticed: Option<bool>,
    /// Values that differ then.
    pub values: u64,
    /// What verify says.
    pub says: String,
}

/// There is one copy: self-tests of one process take turns.
static ALONE: Mutex<()> = Mutex::new(());

/// Damages a copy of `store`, next to it on the disk.
///
/// # Errors
/// Where the copy cannot be made, or an input cannot be read.
pub fn self_test(
    catalog: &Catalog,
    store: &Store,
    options: StoreOptions,
    targets: &[Target],
    verify: &VerifyOptions,
    progress: &Progress<'_>,
) -> Result<SelfTested> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let copy = Copy::of(store)?;
    let damaged = Store::open(&copy.0, options)?;
    let mut test = Test { catalog, store: &damaged, verify, damages: Vec::new() };
    let mut targets: Vec<(&Target, Replayed)> = targets
        .iter()
        .map(|target| Ok((target, replay(catalog, target, &*OnlineStore::cut(&damaged), &verify.files, OTHER_SHAPE)?)))
        .collect::<Result<_, Error>>()?;
    // The cheapest first: each damage is put where it can be.
    targets.sort_by_key(|(_, replayed)| replayed.rows);
    for kind in [Damage::Event, Damage::Tile, Damage::Ulp, Damage::Key] {
        progress(&format!("damaging: {}", name(kind)))?;
        test.state(kind, &targets)?;
    }
    test.primary_key(&targets)?;
    test.position(&targets)?;
    Ok(SelfTested { damages: test.damages })
}

/// A checkpoint, taken away with this.
struct Copy(PathBuf);

impl Copy {
    fn of(store: &Store) -> Result<Copy> {
        let mut name = store.dir().as_os_str().to_owned();
        name.push(".self-test");
        let dir = PathBuf::from(name);
        remove(&dir)?;
        store.checkpoint(&dir)?;
        Ok(Copy(dir))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!("{error:#}");
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() { std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display())) } else { Ok(()) }
}

struct Test<'a> {
    catalog: &'a Catalog,
    store: &'a Store,
    verify: &'a VerifyOptions,
    damages: Vec<Noticed>,
}

impl Test<'_> {
    /// Damages the state of the entity with the most events.
    fn state(&mut self, kind: Damage, targets: &[(&Target, Replayed)]) -> Result<()> {
        for (target, replayed) in targets {
            let Some(at) = (0..replayed.entities.len()).max_by_key(|&at| replayed.entities[at].1.len()) else { continue };
            let entity = &replayed.entities[at].0;
            let reach = target.view.frames.iter().filter_map(|frame| frame.preceding).max().unwrap_or(i64::MAX);
            let generation = target.generation.generation;
            let cut = OnlineStore::cut(self.store);
            let state = cut.state(generation);
            let Some(damaged) = damage(&target.view.measures, &state, entity, kind, reach)? else { continue };
            let undo = self.values_of(target, damaged.writes.iter().map(|write| &write.key))?;
            drop(cut);
            let commit = |writes: Vec<StateWrite>| Commit { state: writes, ..Commit::new(generation, self.store.epoch()) };
            self.store.commit(commit(damaged.writes))?;
            let noticed = self.look(target, Some(Probe { entity: at, at: damaged.at }));
            self.store.commit(commit(undo))?;
            self.note(name(kind), format!("{} of {}", target.view.view, key::display(entity)), noticed);
            return Ok(());
        }
        self.nothing(name(kind));
        Ok(())
    }

    fn values_of<'k>(&self, target: &Target, keys: impl Iterator<Item = &'k StateKey>) -> Result<Vec<StateWrite>, Error> {
        let keys: Vec<StateKey> = keys.cloned().collect();
        let mut values = vec![None; keys.len()];
        let cut = OnlineStore::cut(self.store);
        cut.get_state(target.generation.generation, &keys, &mut |i, bytes| values[i] = bytes.map(<[u8]>::to_vec))?;
        Ok(keys.into_iter().zip(values).map(|(key, value)| StateWrite { key, value }).collect())
    }

    /// Forgets a primary key that should be remembered.
    fn primary_key(&mut self, targets: &[(&Target, Replayed)]) -> Result<()> {
        for (target, _) in targets {
            let generation = target.generation.generation;
            let mut last = None;
            OnlineStore::cut(self.store).each_key(generation, &mut |source, key, entry| {
                last = Some((source, key.to_vec(), entry.to_vec()));
                Ok(())
            })?;
            let Some((source, key, entry)) = last else { continue };
            let commit = |value: Option<Vec<u8>>| Commit {
                keys: vec![KeyWrite { source, key: key.as_slice().into(), value: value.map(Into::into) }],
                ..Commit::new(generation, self.store.epoch())
            };
            self.store.commit(commit(None))?;
            let noticed = self.look(target, None);
            self.store.commit(commit(Some(entry)))?;
            self.note("primary key", format!("{} of {}", target.view.view, key::display(&key)), noticed);
            return Ok(());
        }
        self.nothing("primary key");
        Ok(())
    }

    /// Puts a position back by half its rows.
    fn position(&mut self, targets: &[(&Target, Replayed)]) -> Result<()> {
        for (target, _) in targets {
            let generation = target.generation.generation;
            let positions = OnlineStore::cut(self.store).positions(generation)?;
            let long = |(_, position): &&(PartitionId, Position)| position.rows() >= POSITION_ROWS_MIN;
            let of_log = |(id, _): &&(PartitionId, Position)| history_path(&id.partition).is_none();
            let found = positions.iter().filter(long).find(of_log).or_else(|| positions.iter().find(long));
            let Some((id, position)) = found else { continue };
            let commit = |rows: u64| {
                let positions = vec![(id.clone(), position.at(rows))];
                Commit { positions, ..Commit::new(generation, self.store.epoch()) }
            };
            self.store.commit(commit(position.rows() / 2))?;
            let noticed = self.look(target, None);
            self.store.commit(commit(position.rows()))?;
            self.note("position", format!("{} in {} of {}", target.view.view, id.partition, id.source), noticed);
            return Ok(());
        }
        self.nothing("position");
        Ok(())
    }

    /// What verify finds. It is not to be broken off: that would look like damage noticed.
    fn look(&self, target: &Target, more: Option<Probe>) -> Result<ViewReport> {
        super::view(self.catalog, &*OnlineStore::cut(self.store), target, 500, more, self.verify, &|_| Ok(()))
    }

    fn note(&mut self, damage: &str, place: String, noticed: Result<ViewReport>) {
        let (found, values, says) = match noticed {
            Err(error) => (true, 0, format!("{error:#}")),
            Ok(report) => (report.differ() + report.state.wrong() > 0, report.differ(), says(&report)),
        };
        self.damages.push(Noticed { damage: damage.to_owned(), place, noticed: Some(found), values, says });
    }

    fn nothing(&mut self, damage: &str) {
        let says = "the store has nothing of the kind".to_owned();
        self.damages.push(Noticed { damage: damage.to_owned(), place: String::new(), noticed: None, values: 0, says });
    }
}

fn name(kind: Damage) -> &'static str {
    match kind {
        Damage::Event => "event",
        Damage::Tile => "tile",
        Damage::Key => "key",
        Damage::Ulp => "one ulp of a state",
    }
}

fn says(report: &ViewReport) -> String {
    let state = &report.state;
    match (state.first.first(), state.keys_differ) {
        (Some(fault), _) => fault.clone(),
        (None, 1..) => format!("{} remembered keys are not those of the inputs", state.keys_differ),
        (None, 0) => report.differences.first().map(|difference| difference.cause.clone()).unwrap_or_default(),
    }
}

impl SelfTested {
    /// Whether everything that was damaged was noticed.
    pub fn all_noticed(&self) -> bool {
        self.damages.iter().all(|damage| damage.noticed != Some(false))
    }
}

impl Report for SelfTested {
    fn text(&self, paint: Paint) -> String {
        let columns = [("damage", Align::Left), ("place", Align::Left), ("noticed", Align::Left), ("values", Align::Right), ("says", Align::Left)];
        let mut table = Table::new(&columns);
        for Noticed { damage, place, noticed, values, says } in &self.damages {
            let noticed = match noticed {
                Some(true) => Cell::painted("yes", |paint, text| paint.green(text)),
                Some(false) => Cell::painted("no", |paint, text| paint.red(text)),
                None => Cell::from("–"),
            };
            table.row([damage.as_str().into(), place.as_str().into(), noticed, values.to_string().into(), says.as_str().into()]);
        }
        let done = self.damages.iter().filter(|damage| damage.noticed.is_some()).count();
        let found = self.damages.iter().filter(|damage| damage.noticed == Some(true)).count();
        format!("{}\n{done} damages done to a copy of the store, one after the other; {found} noticed\n", table.render(paint))
    }
}
