//! Answers as messages of the wire.

use arrow::datatypes::{DataType, FieldRef};
use lockstep_client::proto::{self, GetFeaturesResponse, Metadata};
use lockstep_model::{Error, FilledBy, PartitionId, Position, Status, TimeMode};
use lockstep_transform::definition::sql_name;

use super::service::Asked;
use crate::desk::{Answered, Feature, RoleRead};
use crate::live::{Reach, State};
use crate::wire;

/// An answer as a message.
///
/// # Errors
/// Internal for a type that the wire has not; where the store cannot be read.
pub fn response(asked: &Asked, answered: Answered, metadata: Metadata, request_id: String) -> Result<GetFeaturesResponse, Error> {
    let Answered { features, reads, time, rows } = answered;
    let reach = asked.origin.reach();
    let full = matches!(metadata, Metadata::Unspecified | Metadata::Full);
    let mut response = GetFeaturesResponse { request_id, rows: rows as u32, time: wire_time(time).into(), ..GetFeaturesResponse::default() };
    response.features =
        features.into_iter().map(|feature| wire_feature(feature, metadata, &asked.moments)).collect::<Result<_, _>>()?;
    response.moment_micros = asked.now;
    response.definitions = asked.state.version;
    if full {
        // Where logs stand now says nothing of what was read earlier.
        response.positions = reach.map(|reach| positions(&asked.state, reach, &reads)).transpose()?.unwrap_or_default();
    }
    if metadata != Metadata::None {
        response.reads = reads.into_iter().map(|read| read_state(&asked.state, reach, read)).collect::<Result<_, _>>()?;
    }
    Ok(response)
}

fn wire_feature(feature: Feature, metadata: Metadata, moments: &[i64]) -> Result<proto::Feature, Error> {
    let Feature { name, values, statuses, stale, filled_by, event_times, known_at } = feature;
    let mut wired = proto::Feature { name, ..proto::Feature::default() };
    wired.r#type = Some(wire::wire_type(values.data_type())?);
    wired.values = Some(wire::values(&values)?);
    if metadata == Metadata::None {
        return Ok(wired);
    }
    wired.statuses = statuses.into_iter().map(|status| wire_status(status).into()).collect();
    wired.stale = stale.unwrap_or_default();
    if filled_by.iter().any(|filled| *filled != FilledBy::None) {
        wired.filled_by = filled_by.iter().map(|filled| wire_filled(*filled).into()).collect();
    }
    if let Some(known_at) = known_at {
        wired.ages_micros = known_at.iter().zip(moments).map(|(known_at, moment)| moment.saturating_sub(*known_at)).collect();
    }
    if metadata != Metadata::Statuses {
        wired.event_times_micros = event_times.iter().map(|time| time.unwrap_or(i64::MIN)).collect();
    }
    Ok(wired)
}

/// What was read, as the wire says it; how far it had come is left out where nothing is to be read for it.
pub fn read_state(state: &State, reach: Option<Reach>, RoleRead { role, lag }: RoleRead) -> Result<proto::ReadState, Error> {
    let standing = reach.map(|reach| state.standing(&role.view.view, reach)).transpose()?.flatten();
    let watermark_micros = standing.and_then(|standing| standing.watermark);
    Ok(proto::ReadState {
        alias: role.alias,
        view: role.view.view.clone(),
        version: role.version,
        generation: role.generation.0,
        watermark_micros,
        lag_micros: lag,
    })
}

/// Where the logs stood, once for all views that had come equally far.
fn positions(state: &State, reach: Reach, reads: &[RoleRead]) -> Result<Vec<proto::Positions>, Error> {
    let mut groups: Vec<(&[(PartitionId, Position)], Vec<String>)> = Vec::new();
    for RoleRead { role, .. } in reads {
        let view = &role.view.view;
        let Some(standing) = state.standing(view, reach)? else { continue };
        match groups.iter_mut().find(|(positions, _)| *positions == standing.positions.as_slice()) {
            Some((_, views)) if views.contains(view) => {}
            Some((_, views)) => views.push(view.clone()),
            None => groups.push((&standing.positions, vec![view.clone()])),
        }
    }
    let partition = |(id, position): &(PartitionId, Position)| proto::PartitionPosition {
        source: id.source.clone(),
        partition: id.partition.clone(),
        next: position.rows(),
    };
    let group = |(positions, views): (&[(PartitionId, Position)], Vec<String>)| proto::Positions {
        views,
        partitions: positions.iter().map(partition).collect(),
    };
    Ok(groups.into_iter().map(group).collect())
}

/// A column as the wire describes it.
pub fn wire_field(field: &FieldRef) -> Result<proto::Field, Error> {
    let data_type: &DataType = field.data_type();
    Ok(proto::Field { name: field.name().clone(), r#type: Some(wire::wire_type(data_type)?), sql: sql_name(data_type) })
}

/// The clock as the wire says it.
pub fn wire_time(time: TimeMode) -> proto::TimeMode {
    match time {
        TimeMode::Known => proto::TimeMode::Known,
        TimeMode::Event => proto::TimeMode::Event,
    }
}

fn wire_status(status: Status) -> proto::Status {
    match status {
        Status::NotFound => proto::Status::NotFound,
        Status::Expired => proto::Status::Expired,
        Status::Error => proto::Status::Error,
        Status::Null => proto::Status::Null,
        Status::Present => proto::Status::Present,
    }
}

fn wire_filled(filled: FilledBy) -> proto::FilledBy {
    match filled {
        FilledBy::None => proto::FilledBy::None,
        FilledBy::Default => proto::FilledBy::Default,
        FilledBy::LastKnownGood => proto::FilledBy::LastKnownGood,
    }
}
