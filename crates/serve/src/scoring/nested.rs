//! Ranked candidates with one row for each request, for whoever keeps one: a list of what its candidates have, in the order in which they are answered.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::{concat, take};
use lockstep_model::{Error, FilledBy, Status};
use lockstep_transform::service::ByRequest;

use super::policy::Decided;
use super::ranked::Ranked;
use super::score::{Scored, StepLooked, Way};
use crate::desk::Feature;

impl Scored {
    /// One row for each request, where candidates were ranked: lists of these and of their predictions, and of the features of each step, all in one order. A candidate that did not come to a
    /// step has NULLs there. A request went the way of the candidate that is furthest from the model.
    ///
    /// # Errors
    /// Internal where there are no such rows.
    pub fn by_requests(mut self) -> Result<Scored, Error> {
        let decided = self.decided_by_request();
        let Some(Ranked { by_request: by, items, .. }) = self.ranked.take() else { return Ok(self) };
        let candidates = items.iter().map(|item| &item.values);
        self.predictions = candidates.chain(&self.predictions).map(|column| by.lists(column)).collect();
        self.ways = by.ranges().map(|rows| self.ways[rows].iter().copied().max().unwrap_or(Way::Model)).collect();
        self.whys = by.ranges().map(|rows| self.whys[rows].iter().flatten().next().cloned()).collect();
        self.decided = decided;
        self.looked.iter_mut().try_for_each(|step| step.nest(&by))?;
        Ok(self)
    }

    /// These rows and others that were scored after them, where each has one row for each request.
    ///
    /// # Errors
    /// Internal where they are not of one deployment.
    pub fn and(mut self, after: Scored) -> Result<Scored, Error> {
        let before = self.ways.len() as u32;
        self.predictions = both(&self.predictions, &after.predictions)?;
        self.ways.extend(after.ways);
        self.whys.extend(after.whys);
        for ran in after.ran {
            match self.ran.iter_mut().find(|known| known.step == ran.step) {
                Some(known) => known.rows += ran.rows,
                None => self.ran.push(ran),
            }
        }
        for mut step in after.looked {
            step.rows.iter_mut().for_each(|row| *row += before);
            match self.looked.iter_mut().find(|known| known.step == step.step) {
                Some(known) => known.extend(step)?,
                None => self.looked.push(step),
            }
        }
        self.decided = match (self.decided, after.decided) {
            (Some(decided), Some(after)) => Some(decided.and(&after)?),
            _ => None,
        };
        Ok(self)
    }
}

impl Decided {
    fn and(self, after: &Decided) -> Result<Decided, Error> {
        use arrow::array::AsArray;
        let joined = |of: &dyn Array, after: &dyn Array| concat(&[of, after]).map_err(not_of_one);
        Ok(Decided {
            actions: joined(&self.actions, &after.actions)?.as_string().clone(),
            propensities: joined(&self.propensities, &after.propensities)?.as_primitive().clone(),
            explored: BooleanArray::from_iter(self.explored.iter().chain(&after.explored)),
        })
    }
}

impl StepLooked {
    /// One row for each request, of rows that are candidates.
    fn nest(&mut self, by: &ByRequest) -> Result<(), Error> {
        let mut places: Vec<Option<u32>> = vec![None; by.requests.len()];
        self.rows.iter().zip(0u32..).for_each(|(&row, at)| places[row as usize] = Some(at));
        let answered = &mut self.looked.answered;
        let features = answered.features.iter().map(|feature| Ok(feature.each(&places)?.by_requests(by))).collect::<Result<_, Error>>()?;
        let oldest: Vec<Option<i64>> = places.iter().map(|place| answered.oldest_inputs[(*place)? as usize]).collect();
        answered.features = features;
        answered.oldest_inputs = by.oldest(&oldest).into();
        (answered.rows, answered.by_request) = (by.counts.len(), None);
        self.rows = (0..by.counts.len() as u32).collect();
        Ok(())
    }

    fn extend(&mut self, after: StepLooked) -> Result<(), Error> {
        let (answered, more) = (&mut self.looked.answered, after.looked.answered);
        for (feature, after) in answered.features.iter_mut().zip(more.features) {
            feature.values = concat(&[&*feature.values, &*after.values]).map_err(not_of_one)?;
            feature.statuses.extend(after.statuses);
            feature.filled_by = feature.filled_by.iter().chain(after.filled_by.iter()).copied().collect();
            feature.event_times = feature.event_times.iter().chain(after.event_times.iter()).copied().collect();
        }
        answered.oldest_inputs = answered.oldest_inputs.iter().chain(more.oldest_inputs.iter()).copied().collect();
        answered.rows += more.rows;
        self.rows.extend(after.rows);
        self.looked.recalled |= after.looked.recalled;
        Ok(())
    }
}

impl Feature {
    /// One for each of these places, NULL where there is none.
    fn each(&self, places: &[Option<u32>]) -> Result<Feature, Error> {
        let values = take(&self.values, &UInt32Array::from(places.to_vec()), None).map_err(not_of_one)?;
        let at = |place: &Option<u32>| place.map(|place| place as usize);
        Ok(Feature {
            name: Arc::clone(&self.name),
            head: Arc::clone(&self.head),
            values,
            // A candidate that fell out before has no status here; this one hides that of no other.
            statuses: places.iter().map(|place| at(place).map_or(Status::Present, |place| self.statuses[place])).collect(),
            stale: None,
            filled_by: places.iter().map(|place| at(place).map_or(FilledBy::None, |place| self.filled_by[place])).collect(),
            event_times: places.iter().map(|place| self.event_times[at(place)?]).collect(),
            known_at: None,
        })
    }
}

fn both(columns: &[ArrayRef], after: &[ArrayRef]) -> Result<Vec<ArrayRef>, Error> {
    columns.iter().zip(after).map(|(column, after)| concat(&[&**column, &**after]).map_err(not_of_one)).collect()
}

fn not_of_one(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows of one deployment").caused_by(error)
}
