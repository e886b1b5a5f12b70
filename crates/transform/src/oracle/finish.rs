//! From the values of windows to features with statuses.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::nullif;
use lockstep_model::{Error, Status};

use super::body::{Feature, quoted, value_column};
use super::events::named;
use super::session::Table;
use super::{Kind, Oracle, OracleFeatures, Probes, WindowValues, internal, kernel};

const VALUES: &str = "oracle values";

/// The items of the SELECT list over the values of their windows, and the status of each value.
pub(super) async fn features(oracle: &Oracle<'_>, windows: WindowValues, probes: &Probes, kind: Kind) -> Result<OracleFeatures, Error> {
    let body = &oracle.body;
    let values = windows.values.iter().enumerate().map(|(index, values)| (value_column(index), values.clone())).collect();
    let values = named(values)?;
    let (columns, items_failed) = evaluate(oracle, &values).await?;
    let failed = windows.failed(body);
    let newest: Vec<Option<i64>> = windows.newest().collect();
    let mut features = OracleFeatures { columns: Vec::new(), statuses: Vec::new(), kinds: vec![kind; columns.len()] };
    for ((feature, column), item_failed) in body.features.iter().zip(&columns).zip(&items_failed) {
        let has_failed = |row: usize| {
            item_failed.get(row) == Some(&true) || feature.calls.iter().any(|&call| failed[call].as_ref().is_some_and(|failed| failed.value(row)))
        };
        let status = |row: usize| match newest[row] {
            None => Status::NotFound,
            Some(newest) if oracle.ttl.is_some_and(|ttl| probes.at[row] - newest > ttl) => Status::Expired,
            Some(_) if has_failed(row) => Status::Error,
            Some(_) if column.is_null(row) => Status::Null,
            Some(_) => Status::Present,
        };
        let statuses: Vec<Status> = (0..probes.at.len()).map(status).collect();
        let absent: BooleanArray = statuses.iter().map(|status| Some(matches!(status, Status::Expired | Status::Error))).collect();
        features.columns.push(nullif(column, &absent).map_err(kernel)?);
        features.statuses.push(statuses);
    }
    Ok(features)
}

/// The items, and where each could not be computed, which is nowhere if it is empty.
async fn evaluate(oracle: &Oracle<'_>, values: &RecordBatch) -> Result<(Vec<ArrayRef>, Vec<Vec<bool>>), Error> {
    let item = |feature: &Feature| format!("{} AS {}", feature.expr, quoted(&feature.name));
    let items: Vec<String> = oracle.body.features.iter().map(item).collect();
    let select = |items: &str| format!("SELECT {items} FROM {}", quoted(VALUES));
    let table = Table::new(VALUES, values.clone());
    if let Ok(columns) = oracle.session.query(vec![table.clone()], &select(&items.join(", "))).await {
        return Ok((columns.columns().to_vec(), vec![Vec::new(); items.len()]));
    }
    let (mut columns, mut failed) = (Vec::new(), Vec::new());
    for item in items {
        let evaluated =
            oracle.session.item(vec![table.clone()], &select(&item), 0, values).await.map_err(internal("the items of the SELECT list"))?;
        columns.push(evaluated.values);
        failed.push(evaluated.failed);
    }
    Ok((columns, failed))
}
