//! The rows of a view's FROM and WHERE, with their entity, in the order of (entity, event time, branch, primary key).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{
    SortColumn, SortOptions, cast, concat_batches, filter, filter_record_batch, lexsort_to_indices, take_arrays, take_record_batch,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use lockstep_model::Error;

use super::body::{BRANCH, ROW, TIME, calendar_column, input_column, key_column};
use super::session::Table;
use super::{Oracle, Winners, internal, kernel};
use crate::catalog::SourcePlan;

#[derive(Debug)]
pub(super) struct Events {
    pub(super) times: ArrayRef,
    /// The entity's key, in its types.
    pub(super) keys: Vec<ArrayRef>,
    /// Per calendar of the body: the period.
    pub(super) calendars: Vec<ArrayRef>,
    /// Per input of the body's aggregates: its value.
    pub(super) inputs: Vec<ArrayRef>,
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
        let tables = sorted.iter().map(|(name, sorted)| Ok(Table::new(name, sorted.numbered()?))).collect::<Result<Vec<_>, Error>>()?;
        let rows = match oracle.session.query(tables.clone(), &oracle.body.rows_sql()).await {
            Ok(rows) => rows,
            Err(_) => isolated_rows(oracle, &tables).await?,
        };
        Events::of_rows(oracle, &rows, &sorted)
    }

    fn of_rows(oracle: &Oracle<'_>, rows: &RecordBatch, sorted: &HashMap<&str, Sorted>) -> Result<Events, Error> {
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

        let order = keys.iter().cloned().chain([column(&rows, TIME)?, column(&rows, BRANCH)?, column(&rows, ROW)?]);
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
        let inputs = (0..oracle.body.inputs.len()).map(|i| column(&rows, &input_column(i))).collect::<Result<_, _>>()?;
        Ok(Events { times: column(&rows, TIME)?, keys, calendars, inputs, known_from, known_until })
    }
}

fn column(rows: &RecordBatch, name: &str) -> Result<ArrayRef, Error> {
    rows.column_by_name(name).cloned().ok_or_else(|| Error::internal(format!("no column `{name}`")))
}

/// The rows of the view where an expression fails for some: each expression by itself, NULL where it fails.
async fn isolated_rows(oracle: &Oracle<'_>, tables: &[Table<'_>]) -> Result<RecordBatch, Error> {
    let body = &oracle.body;
    let mut parts = Vec::new();
    for (branch, source) in body.branches.iter().enumerate() {
        let table = tables.iter().find(|table| table.name == source).ok_or_else(|| Error::internal(format!("no rows of source `{source}`")))?;
        let values = async |sql: &str| {
            let values = oracle.session.item(tables.to_vec(), sql, branch, &table.rows).await;
            values.map_err(internal("an expression over the rows of the view"))
        };
        let mut passes = vec![true; table.rows.num_rows()];
        for condition in body.conditions_sql(branch) {
            let holds = values(&condition).await?.values;
            let holds = holds.as_boolean_opt().ok_or_else(|| Error::internal("a condition that is no boolean"))?;
            passes.iter_mut().enumerate().for_each(|(row, passes)| *passes &= holds.is_valid(row) && holds.value(row));
        }
        let mut columns = Vec::new();
        for (name, item) in body.row_items() {
            columns.push((name, values(&body.item_sql(&item)).await?.values));
        }
        columns.push((BRANCH.to_owned(), Arc::new(Int64Array::from(vec![branch as i64; passes.len()]))));
        columns.push((ROW.to_owned(), column(&table.rows, ROW)?));
        parts.push(filter_record_batch(&named(columns)?, &BooleanArray::from(passes)).map_err(kernel)?);
    }
    let schema = parts.first().map(RecordBatch::schema).ok_or_else(|| Error::internal("a view without sources"))?;
    concat_batches(&schema, &parts).map_err(kernel)
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

/// A batch of columns that may be NULL.
pub(super) fn named(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch, Error> {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).map_err(kernel)
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
