//! Rows that are kept apart, of all views: what one log tells several views is told once.

use std::collections::BTreeMap;

use lockstep_model::{Error, Generation, PartitionId};
use lockstep_store::{CutRead, GenerationInfo};
use lockstep_transform::catalog::Catalog;

use crate::text::did_you_mean;

/// Which entries are wanted.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Wanted {
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this view.
    pub view: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// An entry, and the views whose ledgers have it.
#[derive(Debug)]
pub struct Entry<T> {
    /// The entry.
    pub item: T,
    /// The views.
    pub views: Vec<String>,
}

/// The first entries by partition and row.
#[derive(Debug)]
pub struct Entries<T> {
    /// The first of them.
    pub entries: Vec<Entry<T>>,
    /// Whether there are more.
    pub more: bool,
}

type Ledger<'a, T> = Box<dyn Iterator<Item = Result<T, Error>> + 'a>;

/// Reads the ledgers of the newest version of each view.
///
/// # Errors
/// NotFound for a source or view that is not there; where the store cannot be read.
pub fn read<'c, T>(
    cut: &'c dyn CutRead,
    catalog: &Catalog,
    wanted: &Wanted,
    ledger: impl Fn(&'c dyn CutRead, Generation) -> Ledger<'c, T>,
    place: impl Fn(&T) -> (PartitionId, u64),
    keep: impl Fn(&T) -> bool,
) -> Result<Entries<T>, Error> {
    check("source", wanted.source.as_deref(), catalog.sources.keys())?;
    check("feature view", wanted.view.as_deref(), catalog.views.keys())?;
    let mut entries: BTreeMap<(PartitionId, u64), Entry<T>> = BTreeMap::new();
    let mut more = false;
    for info in newest(cut, wanted)? {
        for item in ledger(cut, info.generation) {
            let item = item?;
            let key = place(&item);
            let is_wanted = wanted.source.as_ref().is_none_or(|source| *source == key.0.source) && keep(&item);
            if !is_wanted {
                continue;
            }
            entries.entry(key).or_insert_with(|| Entry { item, views: Vec::new() }).views.push(info.view.clone());
            if entries.len() > wanted.limit {
                entries.pop_last();
                more = true;
            }
        }
    }
    Ok(Entries { entries: entries.into_values().collect(), more })
}

/// The newest version of each wanted view.
fn newest(cut: &dyn CutRead, wanted: &Wanted) -> Result<Vec<GenerationInfo>, Error> {
    let mut newest: BTreeMap<String, GenerationInfo> = BTreeMap::new();
    for info in cut.generations()? {
        if wanted.view.as_ref().is_none_or(|view| *view == info.view) {
            newest.insert(info.view.clone(), info);
        }
    }
    Ok(newest.into_values().collect())
}

fn check<'a>(what: &str, name: Option<&str>, known: impl Iterator<Item = &'a String> + Clone) -> Result<(), Error> {
    match name {
        Some(name) if !known.clone().any(|known| known == name) => {
            let all: Vec<&str> = known.map(String::as_str).collect();
            let meant = did_you_mean(name, all.iter().copied());
            Err(Error::not_found(format!("no {what} named `{name}` · there are: {}{meant}", all.join(", "))))
        }
        _ => Ok(()),
    }
}
