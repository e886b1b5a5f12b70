//! The operator under DataFusion's own planner: inputs that are in no order and in any number of partitions are brought into the order that it requires.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use lockstep_model::TimeMode;
use lockstep_model::key::{KeyWriter, Keys};

use super::{PointInTimeExec, Reading, Unit, assign, event_schema, memory, slices, sorted, spine_schema};
use crate::catalog::Catalog;
use crate::changes::{SourceChanges, StagedChanges};
use crate::definition::{Definitions, SourceFile};
use crate::tiles::Request;
use crate::transformation::Transformation;

const SQL: &str = "
    CREATE ENTITY shop (shop VARCHAR);
    CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP) WITH (event_time = 'at', batch = 'sales.parquet');
    CREATE FEATURE VIEW takings ENTITY shop WITH (ttl = '100 microseconds') AS
    SELECT shop, sum(amount) OVER h AS sum_h, max(amount) OVER h AS max_h, count(*) OVER ever AS n, last_value(id) OVER two AS last_id
    FROM sales WHERE amount <> 3
    WINDOW h AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '20 microseconds' PRECEDING AND CURRENT ROW),
           ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
           two AS (PARTITION BY shop ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW);";

fn view() -> Arc<Transformation> {
    let definitions = Definitions::parse(&[SourceFile::new("v.sql", SQL)]).unwrap_or_else(|errors| panic!("{}", errors[0]));
    Arc::clone(&Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0])).views["takings"])
}

/// Sales of seven shops, some at one moment, in no order.
fn sales(rng: &mut fastrand::Rng, count: usize) -> RecordBatch {
    let mut ids: Vec<i64> = (0..count as i64).collect();
    rng.shuffle(&mut ids);
    let shops: StringArray = ids.iter().map(|id| Some(format!("shop {}", id % 7))).collect();
    let amounts: Float64Array =
        ids.iter().map(|_| (rng.usize(..9) > 0).then(|| f64::from(rng.i32(-5..6)) * 0.1 + 1e9 * f64::from(rng.i32(0..2)))).collect();
    let times: TimestampMicrosecondArray = ids.iter().map(|_| Some(rng.i64(0..200))).collect();
    let columns: Vec<(&str, ArrayRef)> =
        vec![("id", Arc::new(Int64Array::from(ids))), ("shop", Arc::new(shops)), ("amount", Arc::new(amounts)), ("at", Arc::new(times))];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn staged(view: &Transformation, sales: &RecordBatch) -> StagedChanges {
    let keys = Keys::encode(&[Arc::clone(sales.column(0))]).unwrap();
    let rows = sales.num_rows();
    let mut staged = StagedChanges::in_buckets(4);
    let changes = SourceChanges {
        rows: sales,
        sign: &vec![true; rows],
        known_from: &vec![i64::MIN; rows],
        known_until: &vec![i64::MAX; rows],
        suffix: &|row| (keys.get(row), &[]),
    };
    staged.stage(view, 0, changes).unwrap();
    staged
}

/// Partitions of sorted events.
fn events(staged: StagedChanges) -> Vec<Vec<RecordBatch>> {
    staged.into_buckets().iter().map(|bucket| sorted(&[bucket]).unwrap()).collect()
}

fn shuffled(batch: &RecordBatch, rng: &mut fastrand::Rng, partitions: usize) -> Vec<Vec<RecordBatch>> {
    let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
    rng.shuffle(&mut rows);
    let size = rows.len().div_ceil(partitions);
    rows.chunks(size).map(|rows| rows.chunks(13).map(|rows| take_record_batch(batch, &UInt32Array::from(rows.to_vec())).unwrap()).collect()).collect()
}

/// The output in the order of its requests.
fn by_row(batches: &[RecordBatch], schema: &SchemaRef) -> RecordBatch {
    let all = concat_batches(schema, batches).unwrap();
    let numbers = all.column(0).as_primitive::<UInt64Type>();
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    order.sort_by_key(|&row| numbers.value(row as usize));
    take_record_batch(&all, &UInt32Array::from(order)).unwrap()
}

#[tokio::test]
async fn a_planner_brings_inputs_into_the_order_that_is_required() {
    let (view, mut rng) = (view(), fastrand::Rng::with_seed(7));
    let events = events(staged(&view, &sales(&mut rng, 500)));
    let entities: Vec<Vec<u8>> = (0..9)
        .map(|shop| {
            let mut key = KeyWriter::new();
            key.push_str(&format!("shop {shop}"));
            key.as_bytes().to_vec()
        })
        .collect();
    let requests: Vec<Request<'_>> = (0..800).map(|_| Request { entity: &entities[rng.usize(..9)], at: rng.i64(-5..320) }).collect();
    let assigned = assign(&requests, events.len()).unwrap();
    let cut = |unit_rows: usize| -> Vec<Unit> {
        let of_partition = |(partition, numbers): (usize, &Vec<u32>)| {
            let rows = events[partition].iter().map(RecordBatch::num_rows).sum();
            let slices = slices(&requests, numbers.clone(), rows, unit_rows);
            slices.iter().map(|numbers| Unit::new(events[partition].clone(), &requests, numbers).unwrap()).collect::<Vec<_>>()
        };
        assigned.iter().enumerate().flat_map(of_partition).collect()
    };

    // As it is read here: by units, of whole partitions and of slices of them.
    let mut ours = Vec::new();
    for unit_rows in [1 << 20, 20] {
        let reading = Reading::new(&view, TimeMode::Event, cut(unit_rows)).unwrap();
        assert_eq!(reading.units() > 4, unit_rows == 20, "slices");
        let mut batches = Vec::new();
        for unit in 0..reading.units() {
            let stream = reading.plan.execute(unit, Arc::default()).unwrap();
            batches.extend(datafusion::physical_plan::common::collect(stream).await.unwrap());
        }
        ours.push(by_row(&batches, &reading.plan.schema()));
    }
    assert_eq!(ours[0], ours[1]);
    assert_eq!(ours[0].num_rows(), requests.len());
    assert!(ours[0].column(1).null_count() < requests.len() / 2, "most have a value");

    // As an engine plans it that is given no order at all.
    let units = cut(1 << 20);
    let all = |batches: Vec<&RecordBatch>, schema: SchemaRef| concat_batches(&schema, batches).unwrap();
    let of_events = all(units.iter().flat_map(|unit| &unit.events).collect(), event_schema());
    let of_spine = all(units.iter().flat_map(|unit| &unit.spine).collect(), spine_schema());
    let plan = PointInTimeExec::try_new(
        Arc::clone(&view),
        TimeMode::Event,
        memory(&shuffled(&of_events, &mut rng, 3), event_schema()).unwrap(),
        memory(&shuffled(&of_spine, &mut rng, 2), spine_schema()).unwrap(),
    );
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(5).with_batch_size(64));
    let state = context.state();
    let mut plan: Arc<dyn ExecutionPlan> = Arc::new(plan.unwrap());
    for rule in state.physical_optimizers() {
        plan = rule.optimize(plan, state.config_options()).unwrap();
    }
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert!(
        shown.contains("PointInTimeExec") && shown.matches("SortExec").count() == 2 && shown.matches("Hash([entity@0], 5)").count() == 2,
        "{shown}"
    );
    let batches = collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
    assert_eq!(by_row(&batches, &plan.schema()), ours[0], "{shown}");
}
