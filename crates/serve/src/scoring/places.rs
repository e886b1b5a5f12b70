//! Where ranked candidates are answered: what a log keeps of them, and what whoever reads it computes again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int32Array, StringArray, StructArray};
use arrow::datatypes::{Field, Fields};
use lockstep_model::Error;
use lockstep_transform::service::{ByRequest, CandidateCounts};

use super::deployed::Deployed;
use super::policy::{Draw, Reordered};
use super::score::{Scored, Way};

/// What was done with candidates, in the order of their service.
struct Places {
    /// The place at which each is answered, from 1; `None` for one that is not.
    places: Vec<Option<i32>>,
    /// With which probability it stands there.
    propensities: Vec<Option<f64>>,
}

impl Places {
    /// Of so many candidates, of which these are answered in this order; each with its propensity, where anything is left to chance.
    fn of(count: usize, answered: &ByRequest, order: &[u32], propensities: Option<&Float64Array>) -> Places {
        let mut all = Places { places: vec![None; count], propensities: vec![None; count] };
        for rows in answered.ranges() {
            for (row, place) in rows.zip(1..) {
                let candidate = order[row] as usize;
                all.places[candidate] = Some(place);
                all.propensities[candidate] = Some(propensities.map_or(1.0, |propensities| propensities.value(row)));
            }
        }
        all
    }

    /// A row for each request: lists `place`, `propensity` and `way`, one element a candidate.
    fn lists(self, by: &ByRequest, ways: &[Way]) -> StructArray {
        let ways: StringArray = ways.iter().map(|way| Some(way.name())).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("place", by.lists(&(Arc::new(Int32Array::from(self.places)) as ArrayRef))),
            ("propensity", by.lists(&(Arc::new(Float64Array::from(self.propensities)) as ArrayRef))),
            ("way", by.lists(&(Arc::new(ways) as ArrayRef))),
        ];
        let fields: Fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        StructArray::new(fields, columns.into_iter().map(|(_, column)| column).collect(), None)
    }
}

impl Scored {
    /// What was done with the candidates of each request, where they are ranked: see [`Deployed::places`].
    pub(super) fn places(&self) -> Option<StructArray> {
        let ranked = self.ranked.as_ref()?;
        let propensities = self.decided.as_ref().map(|decided| &decided.propensities);
        let places = Places::of(ranked.all.ways.len(), &ranked.by_request, &ranked.order, propensities);
        Some(places.lists(&ranked.all.by_request, &ranked.all.ways))
    }
}

impl Deployed {
    /// What is done with candidates of which all predictions are known, as their service gives them, and the way that each went: lists for each request, of the `place` at which a candidate is
    /// answered, from 1, of the `propensity` with which it stands there, and of the `way`; NULL for one that is not answered. `draws` are those of the requests; without, nothing is left to chance.
    ///
    /// # Errors
    /// Internal where the deployment does not rank, or predicts something else.
    pub fn places(&self, predictions: &[ArrayRef], by: &ByRequest, ways: &[Way], draws: Option<&[Draw]>) -> Result<StructArray, Error> {
        let ranking = self.ranking.as_ref().ok_or_else(|| Error::internal("places of what is not ranked"))?;
        let mut order = ranking.order(predictions, by)?;
        let answered = ranking.answered(by, &order);
        let mut propensities = None;
        if let Some((policy, draws)) = self.policy.as_ref().zip(draws) {
            let of_order: Vec<Way> = order.iter().map(|&row| ways[row as usize]).collect();
            let Reordered { order: reordered, decided } = policy.reorder(draws, &answered.requests, &of_order);
            order = reordered.iter().map(|&row| order[row as usize]).collect();
            propensities = Some(decided.propensities);
        }
        Ok(Places::of(ways.len(), &answered, &order, propensities.as_ref()).lists(by, ways))
    }
}

/// Which elements of lists are of which request.
pub fn by_lengths(lengths: impl Iterator<Item = usize>) -> ByRequest {
    let (mut requests, mut counts) = (Vec::new(), Vec::new());
    for (request, length) in lengths.enumerate() {
        requests.extend(std::iter::repeat_n(request as u32, length));
        counts.push(CandidateCounts { answered: length as u32, ..CandidateCounts::default() });
    }
    ByRequest { requests, counts }
}
