//! The point-in-time join: a spine of entities and moments, joined with a view's events, as one DataFusion plan.
//!
//! [`PointInTimeExec`] wants both inputs hashed by entity, and sorted by it. Here they come out of memory that way ([`Unit`]); an engine that runs plans on many
//! machines, or beyond memory, puts a shuffle and a sort where the plan requires them, and nothing else changes. What is computed is a
//! [`sweep`](crate::tiles::sweep) over each entity's events and moments: the aggregates, and the finishing expressions, of every other read.

mod events;
mod exec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType, UInt8Type, UInt64Type};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use lockstep_model::{Error, Status, TimeMode};

use crate::tiles::ReadStats;
use crate::transformation::{Features, Transformation};

pub use events::{Unit, assign, each, event_schema, slices, sorted, spine_schema};
pub use exec::PointInTimeExec;

/// A read of many moments, cut into units that can be worked on side by side.
#[derive(Debug)]
pub struct Reading {
    plan: Arc<dyn ExecutionPlan>,
    features: usize,
}

/// Requests that were answered together.
#[derive(Debug)]
pub struct Part {
    /// Which requests these are.
    pub rows: Vec<u64>,
    /// Their features, in the same order.
    pub features: Features,
}

impl Reading {
    /// To read `view`, unit by unit.
    ///
    /// # Errors
    /// Where the plan cannot be made.
    pub fn new(view: &Arc<Transformation>, mode: TimeMode, units: Vec<Unit>) -> Result<Reading, Error> {
        let (events, spine): (Vec<_>, Vec<_>) = units.into_iter().map(|unit| (unit.events, unit.spine)).unzip();
        let plan = || PointInTimeExec::try_new(Arc::clone(view), mode, memory(&events, event_schema())?, memory(&spine, spine_schema())?);
        Ok(Reading { plan: Arc::new(plan().map_err(failed)?), features: view.features.fields().len() })
    }

    /// How many units there are.
    pub fn units(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }

    /// Works on a unit. Nothing in it waits for anything but the processor.
    ///
    /// # Errors
    /// Where stored events cannot be decoded.
    pub async fn unit(&self, unit: usize) -> Result<Vec<Part>, Error> {
        let stream = self.plan.execute(unit, Arc::new(TaskContext::default())).map_err(failed)?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(failed)?;
        batches.iter().map(|batch| Part::of(batch, self.features)).collect()
    }
}

fn memory(partitions: &[Vec<RecordBatch>], schema: SchemaRef) -> PlanResult<Arc<dyn ExecutionPlan>> {
    Ok(MemorySourceConfig::try_new_exec(partitions, schema, None)?)
}

fn failed(error: DataFusionError) -> Error {
    Error::internal("a point-in-time join failed").caused_by(error)
}

impl Part {
    /// Reads an output batch of [`PointInTimeExec`], of so many features.
    fn of(batch: &RecordBatch, features: usize) -> Result<Part, Error> {
        let other = || Error::internal("a point-in-time join gave other columns than it has");
        let rows = batch.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(other)?.values().to_vec();
        let statuses = batch.columns().get(1 + features..1 + 2 * features).ok_or_else(other)?.iter().map(|column| {
            let codes = column.as_primitive_opt::<UInt8Type>().ok_or_else(other)?;
            codes.values().iter().map(|&code| STATUSES.get(usize::from(code)).copied().ok_or_else(other)).collect::<Result<Vec<_>, Error>>()
        });
        let statuses = statuses.collect::<Result<_, _>>()?;
        let newest = batch.columns().last().and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()).ok_or_else(other)?;
        let columns = batch.columns()[1..=features].to_vec();
        Ok(Part { rows, features: Features { columns, statuses, newest: newest.iter().collect(), stats: ReadStats::default() } })
    }
}

/// Statuses in the order of their codes.
const STATUSES: [Status; 5] = [Status::NotFound, Status::Expired, Status::Error, Status::Null, Status::Present];
