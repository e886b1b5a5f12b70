//! Definitions as people write them, compiled, and rows sent through what comes out.

mod fingerprints;
mod values;
mod views;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use lockstep_model::{Status, TimeMode};

use crate::catalog::Catalog;
use crate::changes::{SourceChanges, StagedChanges};
use crate::definition::{Definitions, SourceFile};
use crate::tiles::{MemoryState, Request, Shape, apply};
use crate::transformation::{Features, Transformation};

/// What the definitions of these tests stand on.
const BASE: &str = "
CREATE ENTITY shop (shop VARCHAR);
CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, item VARCHAR, price DOUBLE, pieces INT, paid BOOLEAN, sold_at TIMESTAMP)
WITH (event_time = 'sold_at', allowed_lateness = '1 hour');
CREATE SOURCE returns (id BIGINT PRIMARY KEY, shop BIGINT, refund INT, returned_at TIMESTAMP) WITH (event_time = 'returned_at');
";

/// A view over sales, from its features; `{w}` stands for a window's keys and order.
pub(crate) fn sales(features: &str) -> String {
    let windows = features.replace("{w}", "PARTITION BY shop ORDER BY sold_at");
    format!("CREATE FEATURE VIEW v ENTITY shop AS SELECT shop, {windows}")
}

pub(crate) fn catalog(view: &str) -> Result<Catalog, String> {
    let files = [SourceFile::new("base.sql", BASE), SourceFile::new("v.sql", view)];
    let text = |errors: Vec<crate::definition::Diagnostic>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Catalog::compile(Definitions::parse(&files).map_err(text)?).map_err(text)
}

fn view(sql: &str) -> Arc<Transformation> {
    Arc::clone(&catalog(sql).unwrap_or_else(|error| panic!("{sql}\n{error}")).views["v"])
}

/// Sends rows of a branch's source through a view, all of them new; the primary keys are their numbers.
pub(crate) fn feed(view: &Transformation, branch: usize, columns: Vec<ArrayRef>, schema: &Catalog, state: &mut MemoryState) -> StagedChanges {
    let source = &schema.sources[&view.branches[branch].source];
    let rows = RecordBatch::try_new(Arc::clone(&source.schema), columns).unwrap();
    let n = rows.num_rows();
    let keys: Vec<[u8; 4]> = (0..n as u32).map(u32::to_be_bytes).collect();
    let (sign, known_from, known_until) = (vec![true; n], vec![i64::MIN; n], vec![i64::MAX; n]);
    let suffix = |row: usize| (keys[row].as_slice(), [].as_slice());
    let changes = SourceChanges { rows: &rows, sign: &sign, known_from: &known_from, known_until: &known_until, suffix: &suffix };
    let mut staged = StagedChanges::default();
    staged.stage(view, branch, changes).unwrap();
    let writes = apply(&view.measures, Shape { leaf_rows_max: 2, buffer_rows_max: 1 }, state, &mut staged.by_entity()).unwrap();
    state.write(writes);
    staged
}

/// All features of entities with text keys at a moment, µs.
fn read(view: &Transformation, state: &MemoryState, entities: &[&str], at: i64) -> Features {
    let keys: ArrayRef = Arc::new(arrow::array::StringArray::from(entities.to_vec()));
    let keys = view.entity_keys(&[keys]).unwrap();
    let requests: Vec<Request<'_>> = (0..entities.len()).map(|row| Request { entity: keys.get(row), at }).collect();
    view.read_at(state, &requests, TimeMode::Event, None).unwrap()
}

/// Values and statuses as text: `1.5`, `NULL/ERROR`, a row an entity.
fn shown(features: &Features) -> Vec<String> {
    let cell = |(column, statuses): (&ArrayRef, &Vec<Status>), row: usize| {
        let value = arrow::util::display::array_value_to_string(column, row).unwrap();
        let value = if column.is_null(row) { "NULL".to_owned() } else { value };
        match statuses[row] {
            Status::Present => value,
            status => format!("{value}/{status:?}"),
        }
    };
    let rows = features.newest.len();
    (0..rows).map(|row| features.columns.iter().zip(&features.statuses).map(|pair| cell(pair, row)).collect::<Vec<_>>().join(" ")).collect()
}
