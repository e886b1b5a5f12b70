//! A compiled view: the one transformation that history and stream go through, and that lookups and training rows are read by.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, nullif};
use arrow::datatypes::{FieldRef, SchemaRef, TimestampMicrosecondType};
use datafusion::physical_expr::utils::collect_columns;
use lockstep_model::key::Keys;
use lockstep_model::{Error, Fingerprint, StateRead, Status, TimeMode};

use crate::eval::{Evaluated, RowExpr};
use crate::tiles::{self, Frame, Measures, ReadPlan, ReadStats, Request, Touch, Values};

/// A compiled view.
#[derive(Debug)]
pub struct Transformation {
    /// The view's name.
    pub view: String,
    /// Key columns of its entity.
    pub entity: Vec<FieldRef>,
    /// The inputs, in the order of their `UNION ALL`.
    pub branches: Vec<Branch>,
    /// What tiles keep.
    pub measures: Measures,
    /// The distinct frames.
    pub frames: Vec<Frame>,
    /// Per window call of the body: its measure and its frame.
    pub outputs: Vec<(usize, usize)>,
    /// How the values of the window calls are read.
    pub reading: ReadPlan,
    /// One column per window call.
    pub values_schema: SchemaRef,
    /// Per feature, its expression over the window calls' values.
    pub finish: Vec<RowExpr>,
    /// The features.
    pub features: SchemaRef,
    /// How long values live after the entity's newest event, µs.
    pub ttl: Option<i64>,
    /// Of predictions: the feature that says when the oldest thing happened that one was made from.
    pub oldest_input: Option<usize>,
    /// Digest of [`Self::meaning_text`].
    pub meaning: Fingerprint,
    /// Canonical text of what the view means.
    pub meaning_text: String,
    /// Digest of the codec version of each aggregate and of the key layout.
    pub state: Fingerprint,
}

/// One input of a view: its row stage.
#[derive(Debug)]
pub struct Branch {
    /// The source's name.
    pub source: String,
    /// Index of the event time among the source's columns.
    pub event_time: usize,
    /// Rows that count.
    pub filter: Option<RowExpr>,
    /// The entity key, in the entity's types.
    pub keys: Vec<RowExpr>,
    /// The columns stored with each event.
    pub columns: Vec<RowExpr>,
}

/// What the row stage made of a batch: of the rows that pass, in order.
#[derive(Debug)]
pub struct StagedRows {
    /// Which rows of the batch these are.
    pub rows: Vec<u32>,
    /// Entity key of each.
    pub keys: Keys,
    /// Stored columns.
    pub columns: Vec<ArrayRef>,
    /// Rows that passed but have a NULL in the entity key: they belong to no entity.
    pub null_keys: u64,
    /// Expressions that failed for a row and became NULL, a failing WHERE included.
    pub failed: u64,
}

/// Features of many requests.
#[derive(Debug)]
pub struct Features {
    /// One column per feature.
    pub columns: Vec<ArrayRef>,
    /// Per feature, one status per request.
    pub statuses: Vec<Vec<Status>>,
    /// Per request: time of the newest event that counts, µs.
    pub newest: Vec<Option<i64>>,
    /// What it cost.
    pub stats: ReadStats,
}

impl Branch {
    /// Runs the row stage over rows of the source, of its declared columns.
    pub fn stage(&self, batch: &RecordBatch) -> Result<StagedRows, Error> {
        let mut failed = 0;
        let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        let mut batch = batch.clone();
        if let Some(filter) = &self.filter {
            let passes = count_failed(filter.evaluate(&batch)?, &mut failed);
            (rows, batch) = keep(&rows, &batch, passes.as_boolean())?;
        }
        let mut key_columns = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            key_columns.push(count_failed(key.evaluate(&batch)?, &mut failed));
        }
        let keys = Keys::encode(&key_columns)?;
        let whole: BooleanArray = (0..keys.len()).map(|row| Some(!keys.has_null(row))).collect();
        let null_keys = whole.false_count() as u64;
        let keys = if null_keys > 0 {
            (rows, batch) = keep(&rows, &batch, &whole)?;
            let kept = key_columns.iter().map(|column| arrow::compute::filter(column, &whole)).collect::<Result<Vec<_>, _>>().map_err(kernel)?;
            Keys::encode(&kept)?
        } else {
            keys
        };
        let columns = self.columns.iter().map(|column| Ok(count_failed(column.evaluate(&batch)?, &mut failed))).collect::<Result<_, Error>>()?;
        Ok(StagedRows { rows, keys, columns, null_keys, failed })
    }
}

fn calls_of(finish: &RowExpr) -> impl Iterator<Item = usize> {
    collect_columns(&finish.expr).into_iter().map(|column| column.index())
}

fn count_failed(evaluated: Evaluated, failed: &mut u64) -> ArrayRef {
    *failed += evaluated.failed.map_or(0, |rows| rows.true_count() as u64);
    evaluated.values
}

fn keep(rows: &[u32], batch: &RecordBatch, mask: &BooleanArray) -> Result<(Vec<u32>, RecordBatch), Error> {
    let passes = |i: &usize| mask.is_valid(*i) && mask.value(*i);
    let kept = (0..mask.len()).filter(passes).map(|i| rows[i]).collect();
    Ok((kept, filter_record_batch(batch, mask).map_err(kernel)?))
}

fn kernel(error: arrow::error::ArrowError) -> Error {
    Error::internal("a kernel refused columns that the compiler had checked").caused_by(error)
}

impl Transformation {
    /// The encoded entity keys of rows of key columns, in the entity's order.
    ///
    /// # Errors
    /// Invalid where they are not of the entity's types.
    pub fn entity_keys(&self, columns: &[ArrayRef]) -> Result<Keys, Error> {
        let same = columns.len() == self.entity.len() && columns.iter().zip(&self.entity).all(|(column, key)| column.data_type() == key.data_type());
        if !same {
            let keys: Vec<String> = self.entity.iter().map(|key| format!("{} {}", key.name(), key.data_type())).collect();
            return Err(Error::invalid(format!("the key of `{}` is ({})", self.view, keys.join(", "))));
        }
        Keys::encode(columns)
    }

    /// The values of all features for each request, at its moment.
    pub fn read_at(
        &self,
        state: &dyn StateRead,
        requests: &[Request<'_>],
        mode: TimeMode,
        touches: Option<&mut Vec<Touch>>,
    ) -> Result<Features, Error> {
        let values = tiles::read_at(&self.reading, &self.measures, state, requests, mode, touches)?;
        self.finish(values, requests)
    }

    /// Features that were read at earlier moments, as they are to be said at those of `requests`: what has expired since is absent.
    ///
    /// # Errors
    /// Internal where they are not this view's.
    pub fn say_later(&self, mut features: Features, requests: &[Request<'_>]) -> Result<Features, Error> {
        let expired: BooleanArray =
            requests.iter().zip(&features.newest).map(|(request, newest)| Some(self.is_expired(request.at, *newest))).collect();
        if expired.true_count() == 0 {
            return Ok(features);
        }
        for (column, statuses) in features.columns.iter_mut().zip(&mut features.statuses) {
            *column = nullif(column, &expired).map_err(kernel)?;
            let gone = statuses.iter_mut().enumerate().filter(|(row, _)| expired.value(*row));
            gone.for_each(|(_, status)| *status = Status::Expired);
        }
        Ok(features)
    }

    /// Turns values of window calls into features.
    pub(crate) fn finish(&self, values: Values, requests: &[Request<'_>]) -> Result<Features, Error> {
        let Values { columns, errors, newest, stats } = values;
        // What a request's status is whatever the feature, if any.
        let absent: Vec<Option<Status>> = requests.iter().zip(&newest).map(|(request, newest)| self.absent(request.at, *newest)).collect();
        let batch = self.values_batch(&columns, requests.len())?;
        let mut features =
            Features { columns: Vec::with_capacity(self.finish.len()), statuses: Vec::with_capacity(self.finish.len()), newest, stats };
        for finish in &self.finish {
            let Evaluated { values: column, failed } = match (&batch, finish.column()) {
                (None, Some(column)) => Evaluated { values: Arc::clone(&columns[column]), failed: None },
                (None, None) => return Err(Error::internal("an expression without the values it is over")),
                (Some(batch), _) => finish.evaluate(batch)?,
            };
            let failed = self.failed(finish, failed, &errors);
            let nulls = column.nulls();
            let status = |row: usize| {
                let failed = || failed.as_ref().filter(|failed| failed.value(row)).map(|_| Status::Error);
                let null = || nulls.filter(|nulls| nulls.is_null(row)).map(|_| Status::Null);
                absent[row].or_else(failed).or_else(null).unwrap_or(Status::Present)
            };
            let statuses: Vec<Status> = (0..requests.len()).map(status).collect();
            let hidden = |status: &Status| matches!(status, Status::Expired | Status::Error);
            let column = if statuses.iter().any(hidden) {
                let hidden: BooleanArray = statuses.iter().map(|status| Some(hidden(status))).collect();
                nullif(&column, &hidden).map_err(kernel)?
            } else {
                column
            };
            features.columns.push(column);
            features.statuses.push(statuses);
        }
        Ok(features)
    }

    /// The values as a batch, where a feature is more than one of them as it is.
    fn values_batch(&self, columns: &[ArrayRef], rows: usize) -> Result<Option<RecordBatch>, Error> {
        if self.finish.iter().all(|finish| finish.column().is_some()) {
            return Ok(None);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.values_schema), columns.to_vec(), &options).map(Some).map_err(kernel)
    }

    /// Per request: when the oldest thing happened that its features are made from, µs: the newest event, or of a prediction the oldest thing that went into it. `None` where there is nothing behind
    /// them, or nothing any more.
    pub fn oldest_inputs(&self, features: &Features, requests: &[Request<'_>]) -> Vec<Option<i64>> {
        let predicted = self.oldest_input.and_then(|at| features.columns[at].as_primitive_opt::<TimestampMicrosecondType>());
        let of = |(row, (request, newest)): (usize, (&Request<'_>, &Option<i64>))| {
            let newest = newest.filter(|_| !self.is_expired(request.at, *newest))?;
            let oldest = predicted.filter(|oldest| oldest.is_valid(row)).map(|oldest| oldest.value(row));
            Some(oldest.map_or(newest, |oldest| oldest.min(newest)))
        };
        requests.iter().zip(&features.newest).enumerate().map(of).collect()
    }

    fn absent(&self, at: i64, newest: Option<i64>) -> Option<Status> {
        match newest {
            None => Some(Status::NotFound),
            Some(_) if self.is_expired(at, newest) => Some(Status::Expired),
            Some(_) => None,
        }
    }

    /// Alive at exactly `ttl` after its newest event, expired a microsecond later.
    fn is_expired(&self, at: i64, newest: Option<i64>) -> bool {
        match (self.ttl, newest) {
            (Some(ttl), Some(newest)) => newest < at.saturating_sub(ttl),
            _ => false,
        }
    }

    /// The requests for which this feature's expression failed, or a window value that it reads; `None` where there is none.
    fn failed(&self, finish: &RowExpr, failed: Option<BooleanArray>, errors: &[Option<BooleanArray>]) -> Option<BooleanArray> {
        if errors.iter().all(Option::is_none) {
            return failed;
        }
        let of_inputs = calls_of(finish).filter_map(|call| errors[call].as_ref());
        of_inputs.fold(failed, |failed, errors| match failed {
            None => Some(errors.clone()),
            Some(failed) => Some(BooleanArray::new(failed.values() | errors.values(), None)),
        })
    }

    /// The window calls that a feature is made of, as indices of [`Self::outputs`], ascending.
    pub fn calls_of(&self, feature: usize) -> Vec<usize> {
        let mut calls: Vec<usize> = calls_of(&self.finish[feature]).collect();
        calls.sort_unstable();
        calls
    }

    /// The longest reach of any frame back from t, µs; `None` where one has no bound.
    pub fn reach(&self) -> Option<i64> {
        self.frames.iter().try_fold(0, |longest, frame| match (frame.last, frame.preceding, frame.calendar) {
            (None, Some(preceding), _) => Some(longest.max(preceding.saturating_add(frame.resolution - 1))),
            (None, None, Some(calendar)) => Some(longest.max(calendar.unit.span_max())),
            _ => None,
        })
    }
}
