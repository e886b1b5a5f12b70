//! From the values of windows to features with statuses.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::nullif;
use lockstep_model::{Error, Status};

use super::body::{Feature, quoted, value_column};
use super::session::Table;
use super::windows::named;
use super::{Kind, Oracle, OracleFeatures, Probes, WindowValues, internal, kernel};

const VALUES: &str = "oracle values";

/// The items of the SELECT list over the values of their windows, and the status of each value.
pub(super) async fn features(oracle: &Oracle<'_>, windows: WindowValues, probes: &Probes, kind: Kind) -> Result<OracleFeatures, Error> {
    let body = &oracle.body;
    let values = windows.values.iter().enumerate().map(|(index, values)| (value_column(index), values.clone())).collect();
    let values = named(values)?;
    let columns = evaluate(oracle, &values).await?;
    let failed = windows.failed(body);
    let newest: Vec<Option<i64>> = windows.newest().collect();
    let mut features = OracleFeatures { columns: Vec::new(), statuses: Vec::new(), kinds: vec![kind; columns.len()] };
    for (feature, column) in body.features.iter().zip(&columns) {
        let has_failed = |row: usize| feature.calls.iter().any(|&call| failed[call].as_ref().is_some_and(|failed| failed.value(row)));
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

async fn evaluate(oracle: &Oracle<'_>, values: &RecordBatch) -> Result<Vec<ArrayRef>, Error> {
    let item = |feature: &Feature| format!("{} AS {}", feature.expr, quoted(&feature.name));
    let items: Vec<String> = oracle.body.features.iter().map(item).collect();
    let sql = format!("SELECT {} FROM {}", items.join(", "), quoted(VALUES));
    let table = Table::new(VALUES, values.clone());
    Ok(oracle.session.query(vec![table], &sql).await.map_err(internal("the items of the SELECT list"))?.columns().to_vec())
}
