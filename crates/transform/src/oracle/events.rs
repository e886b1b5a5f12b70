//! The rows of a view's FROM and WHERE, with their entity, in the order of (entity, event time, branch, primary key).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{SortColumn, SortOptions, cast, filter, filter_record_batch, lexsort_to_indices, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use lockstep_model::Error;

use super::body::{BRANCH, ROW, calendar_column, key_column};
use super::session::Table;
use super::{Oracle, Winners, internal, kernel};
use crate::catalog::SourcePlan;

#[derive(Debug)]
pub(super) struct Events {
    /// The columns of the relation.
    pub(super) columns: RecordBatch,
    /// The entity's key, in its types.
    pub(super) keys: Vec<ArrayRef>,
    /// Per calendar of the body: the period.
    pub(super) calendars: Vec<ArrayRef>,
    pub(super) known_from: Vec<i64>,
    pub(super) known_until: Vec<i64>,
}

/// The rows of a source by (event time, primary key).
struct Sorted {
    rows: RecordBatch,
    known_from: Vec<i64>,
    known_until: Vec<i64>,
}

/// Ascending, as key encodings compare.
pub(super) const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: true };

pub(super) fn order_of(columns: impl IntoIterator<Item = ArrayRef>) -> Result<UInt32Array, Error> {
    let columns: Vec<SortColumn> = columns.into_iter().map(|values| SortColumn { values, options: Some(ASCENDING) }).collect();
    lexsort_to_indices(&columns, None).map_err(kernel)
}

impl Events {
    pub(super) async fn load(oracle: &Oracle<'_>, winners: &[Winners]) -> Result<Events, Error> {
        if winners.len() != oracle.sources.len() {
            return Err(Error::invalid(format!(
                "view `{}` reads {} sources, and rows of {} are given",
                oracle.name,
                oracle.sources.len(),
                winners.len()
            )));
        }
        // A source that is read twice is one table.
        let mut sorted: HashMap<&str, Sorted> = HashMap::new();
        for (source, winners) in oracle.sources.iter().zip(winners) {
            if !sorted.contains_key(source.name.as_str()) {
                sorted.insert(&source.name, Sorted::of(source, winners)?);
            }
        }
        let tables = sorted.iter().map(|(name, sorted)| Ok(Table::new(name, sorted.numbered()?))).collect::<Result<_, Error>>()?;
        let rows = oracle.session.query(tables, &oracle.body.rows_sql()?).await.map_err(internal("the rows of the view"))?;
        Events::of_rows(oracle, &rows, &sorted)
    }

    fn of_rows(oracle: &Oracle<'_>, rows: &RecordBatch, sorted: &HashMap<&str, Sorted>) -> Result<Events, Error> {
        let column =
            |rows: &RecordBatch, name: &str| rows.column_by_name(name).cloned().ok_or_else(|| Error::internal(format!("no column `{name}`")));
        let mut whole = vec![true; rows.num_rows()];
        let mut keys = Vec::new();
        for (index, field) in oracle.entity.iter().enumerate() {
            let key = cast(&column(rows, &key_column(index))?, field.data_type()).map_err(kernel)?;
            whole.iter_mut().enumerate().for_each(|(row, whole)| *whole &= key.is_valid(row));
            keys.push(key);
        }
        let whole = BooleanArray::from(whole);
        let rows = filter_record_batch(rows, &whole).map_err(kernel)?;
        let keys = keys.iter().map(|key| filter(key, &whole)).collect::<Result<Vec<_>, _>>().map_err(kernel)?;

        let (branch, row) = (column(&rows, BRANCH)?, column(&rows, ROW)?);
        let order = keys.iter().cloned().chain([column(&rows, &oracle.body.event_time)?, branch, row]);
        let order = order_of(order)?;
        let rows = take_record_batch(&rows, &order).map_err(kernel)?;
        let keys = take_arrays(&keys, &order, None).map_err(kernel)?;

        let (mut known_from, mut known_until) = (Vec::with_capacity(rows.num_rows()), Vec::with_capacity(rows.num_rows()));
        let branches = cast(&column(&rows, BRANCH)?, &DataType::Int64).map_err(kernel)?;
        let places = column(&rows, ROW)?;
        for (branch, place) in branches.as_primitive::<Int64Type>().values().iter().zip(places.as_primitive::<UInt64Type>().values()) {
            let source = usize::try_from(*branch).ok().and_then(|branch| oracle.body.branches.get(branch));
            let source = source.and_then(|source| sorted.get(source.as_str())).ok_or_else(|| Error::internal("a row of no branch"))?;
            known_from.push(source.known_from[*place as usize]);
            known_until.push(source.known_until[*place as usize]);
        }
        let calendars = (0..oracle.body.calendars.len()).map(|i| column(&rows, &calendar_column(i))).collect::<Result<_, _>>()?;
        Ok(Events { columns: relation_columns(&rows)?, keys, calendars, known_from, known_until })
    }
}

/// Without what the oracle added.
fn relation_columns(rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let schema = rows.schema();
    let own = |field: &&Arc<Field>| field.name().starts_with("oracle ");
    let kept: Vec<usize> = schema.fields().iter().enumerate().filter(|(_, field)| !own(field)).map(|(i, _)| i).collect();
    rows.project(&kept).map_err(kernel)
}

impl Sorted {
    fn of(source: &SourcePlan, winners: &Winners) -> Result<Sorted, Error> {
        let rows = winners.rows.num_rows();
        let types = |schema: &SchemaRef| schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>();
        let fits = types(&winners.rows.schema()) == types(&source.schema)
            && [&winners.known_from, &winners.known_until].iter().all(|known| known.len() == rows);
        if !fits {
            return Err(Error::invalid(format!("these rows are not of the declared columns of source `{}`", source.name)));
        }
        let known_from: ArrayRef = Arc::new(arrow::array::Int64Array::from(winners.known_from.clone()));
        let columns = std::iter::once(source.event_time).chain(source.primary_key.iter().copied());
        let order = order_of(columns.map(|column| winners.rows.column(column).clone()).chain([known_from]))?;
        let pick = |known: &[i64]| order.values().iter().map(|&row| known[row as usize]).collect();
        Ok(Sorted {
            rows: take_record_batch(&winners.rows, &order).map_err(kernel)?,
            known_from: pick(&winners.known_from),
            known_until: pick(&winners.known_until),
        })
    }

    /// The rows with their numbers.
    fn numbered(&self) -> Result<RecordBatch, Error> {
        let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..self.rows.num_rows() as u64));
        with_columns(&self.rows, [(ROW.to_owned(), numbers)])
    }
}

/// A batch with further columns at its end. All columns may be NULL.
pub(super) fn with_columns(batch: &RecordBatch, more: impl IntoIterator<Item = (String, ArrayRef)>) -> Result<RecordBatch, Error> {
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true)).collect();
    let mut columns = batch.columns().to_vec();
    for (name, column) in more {
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(kernel)
}
