//! What the log is told of predictions.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use lockstep_model::Error;

use super::deployed::Deployed;
use super::ranked::All;
use super::score::{MIXED, Scored, Way, taken};
use crate::feature_log::Predicted as Logged;

impl Scored {
    /// What is to be logged of some of the rows: those that came to a step.
    ///
    /// # Errors
    /// Internal where there are no such rows.
    pub(crate) fn predicted(&self, deployed: &Deployed, rows: &[u32]) -> Result<Logged, Error> {
        let all = rows.len() == self.ways.len();
        let some = |column: &ArrayRef| if all { Ok(Arc::clone(column)) } else { taken(column, rows) };
        let values = self.predictions.iter().map(some).collect::<Result<_, _>>()?;
        let ways = rows.iter().map(|&row| self.ways[row as usize].name()).collect();
        let logged = self.logged(deployed, Arc::clone(&deployed.schema), values, ways);
        Ok(Logged { decided: self.decided.as_ref().map(|decided| decided.of_rows(rows)).transpose()?, ..logged })
    }

    /// What is to be logged of ranked candidates, where their features are looked up: as these are, a vector for each request, of lists.
    pub(crate) fn predicted_by_request(&self, deployed: &Deployed) -> Option<Logged> {
        let All { by_request, predictions, ways, .. } = &self.ranked.as_ref()?.all;
        let values: Vec<ArrayRef> = predictions.iter().map(|column| by_request.lists(column)).collect();
        let fields = deployed.schema.fields().iter().zip(&values);
        let schema = Schema::new(fields.map(|(field, list)| Field::new(field.name(), list.data_type().clone(), true)).collect::<Vec<_>>());
        let way = |ways: &[Way]| match ways {
            [] => Way::Model.name(),
            [first, others @ ..] if others.iter().all(|way| way == first) => first.name(),
            _ => MIXED,
        };
        let ways = by_request.ranges().map(|rows| way(&ways[rows])).collect();
        let logged = self.logged(deployed, Arc::new(schema), values, ways);
        Some(Logged { decided: self.decided_by_request(), ranked: self.places(), ..logged })
    }

    /// What is to be logged of the candidates that came to a later step, where the features of that are looked up: a vector for each of them.
    ///
    /// # Errors
    /// Internal where there is no such step.
    pub(crate) fn predicted_of_candidates(&self, deployed: &Deployed, step: usize) -> Result<Option<Logged>, Error> {
        let Some((All { predictions, ways, .. }, came)) = self.ranked.as_ref().and_then(|ranked| Some((&ranked.all, ranked.all.came.get(step)?)))
        else {
            return Ok(None);
        };
        let values = predictions.iter().map(|column| taken(column, came)).collect::<Result<_, _>>()?;
        let ways = came.iter().map(|&row| ways[row as usize].name()).collect();
        Ok(Some(self.logged(deployed, Arc::clone(&deployed.schema), values, ways)))
    }

    fn logged(&self, deployed: &Deployed, schema: SchemaRef, values: Vec<ArrayRef>, ways: Vec<&'static str>) -> Logged {
        Logged {
            deployment: deployed.name.as_str().into(),
            models: self.ran.iter().map(|ran| [ran.step.clone(), ran.model.bound.name.clone(), ran.model.bound.sha256.clone()]).collect(),
            schema,
            values,
            ways,
            decided: None,
            ranked: None,
        }
    }
}
