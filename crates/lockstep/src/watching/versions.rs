//! The versions of views that do not serve and are to.

use anyhow::Result;
use lockstep_serve::Lags;
use lockstep_serve::watch::reading::VersionReading;
use lockstep_store::OnlineStore;

use crate::feed::wanted::{self, Why};
use crate::owned::Owned;

/// Those of the definitions that were applied last; `lags` says how far they are behind, where they are fed here.
///
/// # Errors
/// Where the store cannot be read.
pub fn waiting(owned: &Owned, lags: Option<&Lags>) -> Result<Vec<VersionReading>> {
    let sets = wanted::wanted(owned)?;
    // Definitions of which nothing serves yet are no old version.
    if sets.len() < 2 {
        return Ok(Vec::new());
    }
    let mut versions = Vec::new();
    for info in OnlineStore::cut(&*owned.store).generations()? {
        let Some((definitions, Why::Next)) = wanted::why(&sets, &info) else { continue };
        let sources = sets
            .iter()
            .find(|set| set.version == definitions)
            .and_then(|set| set.catalog.views.get(&info.view).map(|view| set.catalog.sources_of(view)));
        let behind = |source: &str| lags.and_then(|lags| lags.source(info.generation, source)).and_then(|lag| lag.behind());
        let behind_rows = sources.into_iter().flatten().map(|source| behind(&source.name)).sum();
        versions.push(VersionReading {
            view: info.view.clone(),
            version: info.version,
            definitions,
            created_micros: info.created_at.0,
            published_micros: info.published_at.map(|at| at.0),
            caught_up: info.caught_up_at.is_some(),
            behind_rows,
        });
    }
    Ok(versions)
}
