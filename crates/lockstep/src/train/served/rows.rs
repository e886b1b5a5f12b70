//! Rows of a training set, put together from answers and outcomes.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lockstep_model::{Error, FilledBy};

use super::decisions::{Decision, Decisions};
use super::join::Joined;
use super::log::{Group, numbers, request_ids};
use super::outcomes::Outcomes;
use super::weight::Weighed;
use super::{PROPENSITY, REQUEST_ID, REQUEST_ROW};
use crate::kept::Kept;
use crate::requests::MOMENT;
use crate::train::FeaturePart;

/// Columns that say what is known of a row.
const ACTION: &str = "action";
const DECIDED_BY: &str = "decided_by";
/// Of candidates that were ranked, a list each: where each was answered, from 1, and with which probability it stood there.
const PLACE: &str = "ranked_place";
const PLACE_PROPENSITY: &str = "ranked_propensity";
const OUTCOME_STATUS: &str = "outcome_status";
const WEIGHT: &str = "sample_weight";
const LAST_KNOWN_GOOD: &str = "last_known_good";

/// Where an outcome is known, and where it is not.
const KNOWN: &str = "KNOWN";
const CENSORED: &str = "CENSORED";

/// How rows are put together.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The columns of the training set.
    pub schema: SchemaRef,
    /// What each of them is.
    pub roles: Vec<&'static str>,
    outcomes: &'a Outcomes,
    /// What was done with rows, where that is known of any.
    decisions: Option<&'a Decisions>,
    /// Whether it is told of candidates where they were answered.
    ranked: bool,
    /// The columns that were asked with and do not come out under their own names.
    request: Vec<usize>,
    features: usize,
    with_statuses: bool,
    /// With the statuses of all features, and what filled them, behind the columns.
    whole: SchemaRef,
}

/// Rows that wait until they are as many as a part has.
#[derive(Debug)]
pub struct Waiting {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: usize,
}

impl<'a> Rows<'a> {
    /// Of answers such as those of `group`.
    ///
    /// # Errors
    /// Invalid where two columns would have one name.
    pub fn new(group: &Group, outcomes: &'a Outcomes, decisions: Option<&'a Decisions>, with_statuses: bool) -> Result<Rows<'a>, Error> {
        let is_feature = |name: &String| group.outputs.iter().any(|feature| feature.name() == name);
        let request: Vec<usize> = (0..group.request.fields().len()).filter(|&at| !is_feature(group.request.field(at).name())).collect();
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let plain = |name: &str, data_type: DataType, role: &'static str| (Field::new(name, data_type, true), role);
        let mut all =
            vec![plain(REQUEST_ID, DataType::Utf8, "carried"), plain(REQUEST_ROW, DataType::Int64, "carried"), plain(MOMENT, moment, "timestamp")];
        let as_it_is = |field: &Field, role| plain(field.name(), field.data_type().clone(), role);
        all.extend(request.iter().map(|&at| as_it_is(group.request.field(at), "request")));
        if decisions.is_some() {
            all.extend([
                plain(ACTION, DataType::Utf8, "decision"),
                plain(PROPENSITY, DataType::Float64, "decision"),
                plain(DECIDED_BY, DataType::Utf8, "decision"),
            ]);
        }
        if group.ranked {
            all.extend(placed().map(|(name, data_type)| plain(name, data_type, "decision")));
        }
        all.extend(outcomes.carried.schema().fields().iter().map(|field| as_it_is(field, "outcome")));
        all.extend([
            plain(OUTCOME_STATUS, DataType::Utf8, "outcome"),
            plain(WEIGHT, DataType::Float64, "weight"),
            plain(LAST_KNOWN_GOOD, DataType::Boolean, "carried"),
        ]);
        all.extend(group.outputs.iter().map(|field| as_it_is(field, "feature")));
        if with_statuses {
            all.extend(group.outputs.iter().map(|field| plain(&format!("{}_status", field.name()), DataType::Utf8, "status")));
        }
        let mut names = HashSet::new();
        if let Some((twice, _)) = all.iter().find(|(field, _)| !names.insert(field.name().clone())) {
            let name = twice.name();
            return Err(Error::invalid(format!(
                "there would be two columns `{name}` · the outcomes have one, or the log does · rename that of the outcomes"
            )));
        }
        let (fields, roles): (Vec<Field>, Vec<&str>) = all.into_iter().unzip();
        let beside = (0..2 * group.outputs.len()).map(|_| Field::new("", DataType::Utf8, true));
        let whole = Arc::new(Schema::new(fields.iter().cloned().chain(beside).collect::<Vec<_>>()));
        Ok(Rows {
            schema: Arc::new(Schema::new(fields)),
            roles,
            outcomes,
            decisions,
            ranked: group.ranked,
            request,
            features: group.outputs.len(),
            with_statuses,
            whole,
        })
    }

    /// Some rows of answers, of which the first is the row `before` of the log.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn of(&self, kept: &Kept, stay: &[usize], before: usize, joined: &Joined, weighed: &Weighed) -> Result<RecordBatch> {
        let rows: UInt32Array = stay.iter().map(|&row| row as u32).collect();
        let some = |column: &dyn Array| -> Result<ArrayRef> { Ok(take(column, &rows, None)?) };
        let outcomes: UInt32Array = stay.iter().map(|&row| joined.outcomes[before + row]).collect();
        let is_known = |outcome: Option<u32>| if outcome.is_some() { KNOWN } else { CENSORED };
        let recalled = FilledBy::LastKnownGood.to_string();
        let is_recalled = |row: &usize| kept.filled_by.iter().any(|filled| filled.is_valid(*row) && filled.value(*row) == recalled);
        let mut columns = vec![some(&request_ids(kept))?, some(&numbers(kept))?, some(&TimestampMicrosecondArray::from(kept.moments.clone()))?];
        for &at in &self.request {
            columns.push(some(kept.requests.column(at))?);
        }
        if let Some(decisions) = self.decisions {
            let decided = || stay.iter().map(|&row| decisions.of_rows[before + row]);
            let action = |of: Option<Decision>| of.map(|of| decisions.actions[of.action as usize].as_str());
            columns.push(Arc::new(decided().map(action).collect::<StringArray>()));
            columns.push(Arc::new(decided().map(|of| of.and_then(|of| of.propensity)).collect::<Float64Array>()));
            columns.push(Arc::new(decided().map(|of| of.map(|of| of.by.name())).collect::<StringArray>()));
        }
        if self.ranked {
            let ranked = kept.predicted.as_ref().and_then(|predicted| predicted.ranked.as_ref());
            for ((_, data_type), name) in placed().into_iter().zip(["place", "propensity"]) {
                let lists = ranked.and_then(|ranked| ranked.column_by_name(name)).filter(|lists| *lists.data_type() == data_type);
                columns.push(lists.map_or_else(|| Ok(new_null_array(&data_type, stay.len())), |lists| some(lists))?);
            }
        }
        for column in self.outcomes.carried.columns() {
            columns.push(take(column, &outcomes, None)?);
        }
        columns.push(Arc::new(outcomes.iter().map(|outcome| Some(is_known(outcome))).collect::<StringArray>()));
        columns.push(Arc::new(stay.iter().map(|&row| weighed.weights[before + row]).collect::<Float64Array>()));
        columns.push(Arc::new(stay.iter().map(|row| Some(is_recalled(row))).collect::<BooleanArray>()));
        for values in &kept.values {
            columns.push(some(values)?);
        }
        let statuses = kept.statuses.iter().map(|statuses| some(statuses)).collect::<Result<Vec<_>>>()?;
        if self.with_statuses {
            columns.extend(statuses.iter().cloned());
        }
        columns.extend(statuses);
        for filled_by in &kept.filled_by {
            columns.push(some(filled_by)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.whole), columns)?)
    }

    /// Rows that wait, of which there are none yet.
    pub fn waiting(&self) -> Waiting {
        Waiting { schema: Arc::clone(&self.whole), batches: Vec::new(), rows: 0 }
    }

    /// A part of the training set: its rows, how many of them have a value of the last known good, and what the values of each feature are.
    ///
    /// # Errors
    /// Where a value cannot be profiled.
    pub fn part(&self, whole: &RecordBatch) -> Result<(RecordBatch, Vec<FeaturePart>)> {
        let columns = self.schema.fields().len();
        let first = columns - self.features * if self.with_statuses { 2 } else { 1 };
        let feature = |at: usize| {
            let text = |column: usize| whole.column(column).as_string::<i32>();
            FeaturePart::served(whole.column(first + at), text(columns + at), text(columns + self.features + at))
        };
        let features = (0..self.features).map(feature).collect::<Result<_, _>>()?;
        Ok((whole.project(&(0..columns).collect::<Vec<_>>())?, features))
    }

    /// How many rows of a part have a value of the last known good.
    pub fn recalled(&self, part: &RecordBatch) -> u64 {
        part.column_by_name(LAST_KNOWN_GOOD).and_then(|column| column.as_boolean_opt()).map_or(0, |column| column.true_count() as u64)
    }
}

/// The columns of what was done with candidates.
fn placed() -> [(&'static str, DataType); 2] {
    let list = |data_type| DataType::new_list(data_type, true);
    [(PLACE, list(DataType::Int32)), (PLACE_PROPENSITY, list(DataType::Float64))]
}

impl Waiting {
    /// Takes rows in.
    pub fn push(&mut self, rows: RecordBatch) {
        self.rows += rows.num_rows();
        self.batches.push(rows);
    }

    /// As many rows as are wanted, once there are so many.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn take(&mut self, wanted: usize) -> Result<Option<RecordBatch>> {
        if self.rows < wanted {
            return Ok(None);
        }
        let all = self.rest()?;
        self.push(all.slice(wanted, all.num_rows() - wanted));
        Ok(Some(all.slice(0, wanted)))
    }

    /// All that wait.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn rest(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        Ok(concat_batches(&self.schema, &std::mem::take(&mut self.batches))?)
    }
}
