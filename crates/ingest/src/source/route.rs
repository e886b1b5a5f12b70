//! Which of the wanted sources a row is of.

use super::ReadRequest;

/// Where a row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// To the wanted source of this index.
    To(usize),
    /// To a declared source that is not wanted.
    Elsewhere,
}

/// The names that rows may give in `_source`.
#[derive(Debug)]
pub(super) struct Router {
    wanted: Vec<String>,
    declared: Vec<String>,
}

impl Router {
    pub(super) fn new(request: &ReadRequest) -> Self {
        Router::of(request.sources.iter().map(|wanted| wanted.schema.name.clone()).collect(), request.declared.clone())
    }

    pub(super) fn of(wanted: Vec<String>, declared: Vec<String>) -> Self {
        Router { wanted, declared }
    }

    /// Where a row goes that names `source`, or names none.
    ///
    /// # Errors
    /// Why its source cannot be told.
    #[inline]
    pub(super) fn route(&self, source: Option<&str>) -> Result<Route, String> {
        let Some(name) = source else {
            return match self.wanted.len() {
                1 => Ok(Route::To(0)),
                _ => Err(format!("its source is not named, and {} are read · give each row a `_source`", self.wanted.join(", "))),
            };
        };
        match self.wanted.iter().position(|wanted| wanted == name) {
            Some(index) => Ok(Route::To(index)),
            None if self.declared.iter().any(|declared| declared == name) => Ok(Route::Elsewhere),
            None => Err(format!("`_source` names `{}`, which is not declared · declared: {}", shortened(name), self.declared.join(", "))),
        }
    }
}

/// Text cut to what a message can bear.
fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
