//! Reports of decisions and outcomes: read, checked and handed on, whatever the protocol.

use std::sync::Arc;

use lockstep_client::proto::values::Values as Kind;
use lockstep_client::proto::{self, ReportDecisionRequest, ReportOutcomeRequest, ReportResponse, RequestColumn};
use lockstep_model::Error;
use serde_json::{Map, Number, Value};

use super::deadline::Deadline;
use super::failure::Failure;
use super::service::Service;
use crate::report::Report;

/// Takes reports: they are on the disk once it returns.
///
/// # Errors
/// Invalid where one is none; Unavailable where nothing is logged here, or the disk does not answer; as a push.
pub async fn take(service: &Arc<Service>, deadline: &Deadline, kind: &'static str, reports: Vec<Report>) -> Result<ReportResponse, Failure> {
    if reports.is_empty() {
        return Err(Error::invalid("nothing is reported · give at least one").into());
    }
    service.limits.check_rows(reports.len(), false)?;
    reports.iter().enumerate().try_for_each(|(row, report)| report.check(row))?;
    let log = service.reports.clone().ok_or_else(|| {
        Error::unavailable("this server keeps no reports · it does where it logs what it serves: [serve.feature_log] in lockstep.toml")
    })?;
    let until = deadline.until(service.limits.request_time_max)?;
    let taken = reports.len() as u32;
    service.push(until, move || Ok(log.append(&reports)?)).await?;
    service.metrics.reported(kind, u64::from(taken));
    Ok(ReportResponse { taken })
}

/// The decisions of a request over gRPC.
pub fn decisions(request: &ReportDecisionRequest) -> Vec<Report> {
    let report = |of: &proto::Decision| Report::decision((&of.request_id, of.row), &of.action, of.propensity);
    request.decisions.iter().map(report).collect()
}

/// The outcomes of a request over gRPC.
///
/// # Errors
/// Invalid where a value is none, or there are several.
pub fn outcomes(request: &ReportOutcomeRequest) -> Result<Vec<Report>, Error> {
    let report = |(row, outcome): (usize, &proto::Outcome)| {
        let named = |error: Error| Error::invalid(format!("report {row}: {error}"));
        let time = outcome.outcome_time_micros.ok_or_else(|| named(Error::invalid("its outcome_time_micros is missing · say when it was known")))?;
        let values = outcome.values.iter().map(value).collect::<Result<Map<_, _>, _>>().map_err(named)?;
        Ok(Report::outcome((&outcome.request_id, outcome.row), time, values))
    };
    request.outcomes.iter().enumerate().map(report).collect()
}

/// A column of one value.
fn value(column: &RequestColumn) -> Result<(String, Value), Error> {
    let name = &column.name;
    let values = column.values.as_ref().ok_or_else(|| Error::invalid(format!("`{name}` has no value")))?;
    if values.nulls == [0] {
        return Ok((name.clone(), Value::Null));
    }
    let float = |value: f64| Number::from_f64(value).map(Value::Number);
    let one = match &values.values {
        Some(Kind::Booleans(found)) => only(&found.values).map(|value| Value::Bool(*value)),
        Some(Kind::Ints(found)) => only(&found.values).map(|value| Value::from(*value)),
        Some(Kind::Uints(found)) => only(&found.values).map(|value| Value::from(*value)),
        Some(Kind::Floats(found)) => only(&found.values).and_then(|value| float(f64::from(*value))),
        Some(Kind::Doubles(found)) => only(&found.values).and_then(|value| float(*value)),
        Some(Kind::Strings(found)) => only(&found.values).map(|value| Value::String(value.clone())),
        _ => None,
    };
    let wrong = || Error::invalid(format!("`{name}` is not one truth value, number or text · give an outcome one value of each name"));
    Ok((name.clone(), one.ok_or_else(wrong)?))
}

fn only<T>(values: &[T]) -> Option<&T> {
    if let [only] = values { Some(only) } else { None }
}

/// What is told of a request that reports: what it reports, and the id of the first.
macro_rules! asked {
    ($($request:ty => $reports:ident),+) => {
        $(impl $crate::server::call::Asked for $request {
            fn name(&self) -> &str {
                stringify!($reports)
            }

            fn request_id(&self) -> &str {
                self.$reports.first().map_or("", |report| &report.request_id)
            }

            fn rows(&self) -> usize {
                self.$reports.len()
            }
        })+
    };
}

pub(super) use asked;

asked!(ReportDecisionRequest => decisions, ReportOutcomeRequest => outcomes);
