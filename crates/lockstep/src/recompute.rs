//! Answers that were kept, computed again from whatever state there is of their views.

use arrow::array::{Array, ArrayRef, StringArray};
use lockstep_model::{Error, KeyIndex, StateRead, TimeMode};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::next_event::ViewState;
use lockstep_transform::tiles::Request;

use crate::kept::{Kept, texts};
use crate::verify::same;

/// The state of a view.
#[derive(Clone)]
pub struct Of<'a> {
    /// Its events.
    pub state: &'a dyn StateRead,
    /// What is remembered of its primary keys.
    pub keys: &'a dyn KeyIndex,
    /// Per source, by its number within the view: before which event time keys may be forgotten, µs.
    pub keys_before: Vec<(u16, i64)>,
}

/// What the outputs came to again.
#[derive(Debug, Clone)]
pub struct Again {
    /// Per output, the values.
    pub columns: Vec<ArrayRef>,
    /// Per output, the statuses' names.
    pub statuses: Vec<StringArray>,
    /// Per output, what filled the values.
    pub filled_by: Vec<StringArray>,
}

/// Computes answers again, by the clock `time`, from the state of each view that `of` finds.
///
/// # Errors
/// NotFound where what was asked is not defined; as `of`, and as answering has.
pub fn again<'a>(catalog: &Catalog, kept: &Kept, time: TimeMode, of: &dyn Fn(&str) -> Result<Of<'a>, Error>) -> Result<Again, Error> {
    let name = &kept.from.name;
    if let Some(service) = catalog.services.get(name) {
        let views = service.joins.iter().map(|join| of(&join.transformation.view)).collect::<Result<Vec<_>, _>>()?;
        let answer = if service.request_as.is_none() {
            let states: Vec<&dyn StateRead> = views.iter().map(|view| view.state).collect();
            service.answer(&states, &kept.requests, &kept.moments, time, None)?.by_requests()
        } else {
            let views: Vec<ViewState<'_>> =
                views.iter().map(|view| ViewState { state: view.state, keys: view.keys, keys_before: &view.keys_before }).collect();
            service.answer_events(&views, &kept.requests, &kept.moments, time, None)?
        };
        return Ok(Again { columns: answer.columns, statuses: texts(&answer.statuses), filled_by: texts(&answer.filled_by) });
    }
    let view = catalog.views.get(name).ok_or_else(|| Error::not_found(format!("`{name}`, which was asked, is defined no longer")))?;
    let entities = view.entity_keys(kept.requests.columns())?;
    let requests: Vec<Request<'_>> = kept.moments.iter().enumerate().map(|(row, &at)| Request { entity: entities.get(row), at }).collect();
    let features = view.read_at(of(name)?.state, &requests, time, None)?;
    let none = StringArray::from(vec!["NONE"; requests.len()]);
    let filled_by = vec![none; features.columns.len()];
    Ok(Again { columns: features.columns, statuses: texts(&features.statuses), filled_by })
}

impl Again {
    /// Whether an output of a row is what was kept, bit by bit.
    pub fn is_as_kept(&self, kept: &Kept, output: usize, row: usize) -> bool {
        same(&kept.values[output].slice(row, 1), &self.columns[output].slice(row, 1))
            && kept.statuses[output].value(row) == self.statuses[output].value(row)
            && kept.filled_by[output].value(row) == self.filled_by[output].value(row)
    }

    /// Whether an output of a row came to the same as another time.
    pub fn is_as(&self, other: &Again, output: usize, row: usize) -> bool {
        same(&other.columns[output].slice(row, 1), &self.columns[output].slice(row, 1))
            && other.statuses[output].value(row) == self.statuses[output].value(row)
            && other.filled_by[output].value(row) == self.filled_by[output].value(row)
    }
}
