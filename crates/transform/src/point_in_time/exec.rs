//! The operator of the point-in-time join.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt8Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexRequirement, OrderingRequirements, Partitioning, PhysicalExpr, PhysicalSortRequirement};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PlanProperties,
};
use futures::{StreamExt, stream};
use lockstep_model::TimeMode;

use super::events::rows_of;
use crate::tiles::node::Row;
use crate::tiles::{Request, Series, sweep};
use crate::transformation::{Features, Transformation};

/// Events, or requests, that are gathered before they are worked on together.
const GATHERED: usize = 1 << 15;

/// Joins a spine with the events of one view: per request its number, the view's features, a status for each, and the time of the newest event that counts.
///
/// Inputs are as [`super::event_schema`] and [`super::spine_schema`] say. Requests come out in the order in which they go in.
#[derive(Debug)]
pub struct PointInTimeExec {
    view: Arc<Transformation>,
    mode: TimeMode,
    events: Arc<dyn ExecutionPlan>,
    spine: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl PointInTimeExec {
    /// The join of `events` of `view` with `spine`.
    ///
    /// # Errors
    /// Where the inputs have other columns.
    pub fn try_new(view: Arc<Transformation>, mode: TimeMode, events: Arc<dyn ExecutionPlan>, spine: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let is = |plan: &Arc<dyn ExecutionPlan>, schema: SchemaRef| {
            plan.schema().fields().iter().map(|field| field.data_type()).eq(schema.fields().iter().map(|field| field.data_type()))
        };
        if !is(&events, super::event_schema()) || !is(&spine, super::spine_schema()) {
            return internal_err!("a point-in-time join of columns that are no events, or no spine");
        }
        let partitions = spine.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(output_schema(&view)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(PointInTimeExec { view, mode, events, spine, properties: Arc::new(properties) })
    }

    fn hashed(input: &Arc<dyn ExecutionPlan>) -> Distribution {
        Distribution::KeyPartitioned(vec![column(input, 0)])
    }

    fn sorted(input: &Arc<dyn ExecutionPlan>) -> Option<OrderingRequirements> {
        let ascending = arrow::compute::SortOptions { descending: false, nulls_first: true };
        let by = [0, 1].map(|index| PhysicalSortRequirement::new(column(input, index), Some(ascending)));
        LexRequirement::new(by).map(OrderingRequirements::new)
    }
}

fn column(input: &Arc<dyn ExecutionPlan>, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(input.schema().field(index).name(), index))
}

/// `row`, the features, `status of FEATURE` for each, `newest`.
fn output_schema(view: &Transformation) -> SchemaRef {
    let mut fields = vec![Arc::new(Field::new("row", DataType::UInt64, false))];
    fields.extend(view.features.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true))));
    fields.extend(view.features.fields().iter().map(|field| Arc::new(Field::new(format!("status of {}", field.name()), DataType::UInt8, false))));
    fields.push(Arc::new(Field::new("newest", DataType::Timestamp(TimeUnit::Microsecond, None), true)));
    Arc::new(Schema::new(fields))
}

impl DisplayAs for PointInTimeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = match self.mode {
            TimeMode::Known => "known",
            TimeMode::Event => "event",
        };
        write!(f, "PointInTimeExec: view={}, time={time}", self.view.view)
    }
}

impl ExecutionPlan for PointInTimeExec {
    fn name(&self) -> &str {
        "PointInTimeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::co_partitioned(vec![Self::hashed(&self.events), Self::hashed(&self.spine)])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Self::sorted(&self.events), Self::sorted(&self.spine)]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.events, &self.spine]
    }

    fn apply_expressions(&self, _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([events, spine]) = <[_; 2]>::try_from(children) else { return internal_err!("a point-in-time join has two inputs") };
        Ok(Arc::new(PointInTimeExec::try_new(Arc::clone(&self.view), self.mode, events, spine)?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let join = Join {
            view: Arc::clone(&self.view),
            mode: self.mode,
            schema: self.schema(),
            events: Groups::new(self.events.execute(partition, Arc::clone(&context))?),
            spine: Groups::new(self.spine.execute(partition, context)?),
        };
        let batches = stream::try_unfold(join, |mut join| async move { Ok(join.next().await?.map(|batch| (batch, join))) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// Both inputs, as far as they were read.
struct Join {
    view: Arc<Transformation>,
    mode: TimeMode,
    schema: SchemaRef,
    events: Groups,
    spine: Groups,
}

/// An input, entity by entity.
struct Groups {
    input: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    /// First row of the batch that was not given yet.
    at: usize,
}

/// All rows of one entity, in the batches that hold them.
#[derive(Default)]
struct Group {
    parts: Vec<RecordBatch>,
}

impl Groups {
    fn new(input: SendableRecordBatchStream) -> Self {
        Groups { input, batch: None, at: 0 }
    }

    /// The entity that is next, with its batch and row.
    async fn peek(&mut self) -> Result<Option<(&RecordBatch, usize)>> {
        while self.batch.as_ref().is_none_or(|batch| self.at >= batch.num_rows()) {
            match self.input.next().await.transpose()? {
                Some(batch) => (self.batch, self.at) = (Some(batch), 0),
                None => return Ok(None),
            }
        }
        Ok(self.batch.as_ref().map(|batch| (batch, self.at)))
    }

    /// All rows of the entity that is next, if it is the one given; those of entities before it are passed over.
    async fn take(&mut self, entity: &[u8]) -> Result<Group> {
        let mut group = Group::default();
        while let Some((batch, at)) = self.peek().await? {
            let entities = entities(batch)?;
            let last = entities.len();
            let start = if entities.value(at) < entity { first(at, last, |row| entities.value(row) >= entity) } else { at };
            let end = if start < last && entities.value(start) == entity { first(start, last, |row| entities.value(row) > entity) } else { start };
            if end > start {
                group.parts.push(batch.slice(start, end - start));
            }
            self.at = end;
            if end < last {
                break;
            }
        }
        Ok(group)
    }
}

/// The first of some rows for which something holds that holds for all after it: near the start, mostly.
fn first(start: usize, end: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (start, 1);
    while low + step < end && !holds(low + step) {
        low += step;
        step *= 2;
    }
    let (mut low, mut high) = (low, end.min(low + step));
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

fn entities(batch: &RecordBatch) -> Result<&BinaryArray> {
    batch.column(0).as_binary_opt::<i32>().ok_or_else(|| DataFusionError::Internal("entities are encoded keys".into()))
}

impl Group {
    fn rows(&self) -> usize {
        self.parts.iter().map(RecordBatch::num_rows).sum()
    }

    /// Adds its events.
    fn events<'a>(&'a self, rows: &mut Vec<Row<'a>>) {
        self.parts.iter().for_each(|part| rows.extend(rows_of(part)));
    }

    /// Adds its moments and the numbers of its requests.
    fn requests(&self, moments: &mut Vec<i64>, numbers: &mut Vec<u64>) {
        for part in &self.parts {
            moments.extend_from_slice(part.column(1).as_primitive::<TimestampMicrosecondType>().values());
            numbers.extend_from_slice(part.column(2).as_primitive::<UInt64Type>().values());
        }
    }
}

impl Join {
    /// The next requests, answered; `None` at the end.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let (mut gathered, mut events, mut requests) = (Vec::new(), 0, 0);
        while events < GATHERED && requests < GATHERED {
            let Some((batch, at)) = self.spine.peek().await? else { break };
            let entity = entities(batch)?.value(at).to_vec();
            let of_spine = self.spine.take(&entity).await?;
            let of_events = self.events.take(&entity).await?;
            requests += of_spine.rows();
            events += of_events.rows();
            gathered.push((of_events, of_spine));
        }
        if gathered.is_empty() { Ok(None) } else { self.answer(&gathered, events, requests).map(Some) }
    }

    fn answer(&self, gathered: &[(Group, Group)], events: usize, requests: usize) -> Result<RecordBatch> {
        let (mut rows, mut moments, mut numbers) = (Vec::with_capacity(events), Vec::with_capacity(requests), Vec::with_capacity(requests));
        let mut ends = Vec::with_capacity(gathered.len());
        for (of_events, of_spine) in gathered {
            of_events.events(&mut rows);
            of_spine.requests(&mut moments, &mut numbers);
            ends.push((rows.len(), moments.len()));
        }
        let (mut row, mut moment) = (0, 0);
        let series: Vec<Series<'_>> = ends
            .iter()
            .map(|&(rows_end, moments_end)| {
                let series = Series { rows: &rows[row..rows_end], moments: &moments[moment..moments_end] };
                (row, moment) = (rows_end, moments_end);
                series
            })
            .collect();
        let external = |error| DataFusionError::External(Box::new(error));
        let values = sweep(&self.view.reading, &self.view.measures, &series, self.mode).map_err(external)?;
        let at: Vec<Request<'_>> = moments.iter().map(|&at| Request { entity: &[], at }).collect();
        let features = self.view.finish(values, &at).map_err(external)?;
        self.batch(numbers, features)
    }

    fn batch(&self, numbers: Vec<u64>, features: Features) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(numbers))];
        columns.extend(features.columns);
        let codes = features.statuses.iter().map(|statuses| statuses.iter().map(|&status| status as u8).collect::<UInt8Array>());
        columns.extend(codes.map(|codes| Arc::new(codes) as ArrayRef));
        columns.push(Arc::new(TimestampMicrosecondArray::from(features.newest)));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
