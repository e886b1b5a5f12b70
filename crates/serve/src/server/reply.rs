//! Answers as messages of the wire.

use arrow::datatypes::{DataType, FieldRef};
use lockstep_client::proto::{self, GetFeaturesResponse, Metadata};
use lockstep_model::{Error, FilledBy, PartitionId, Position, Status, TimeMode};
use lockstep_transform::definition::sql_name;
use lockstep_transform::service::CandidateCounts;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::service::Asked;
use crate::desk::{Answered, Feature, RoleRead};
use crate::live::{Reach, State};
use crate::wire::{self, encode};

/// Bytes of a feature of one row, about: its name, its type and what is said of its value.
const FEATURE_BYTES: usize = 64;
/// Of each further row.
const VALUE_BYTES: usize = 18;

/// An answer as a message.
///
/// # Errors
/// Internal for a type that the wire has not; where the store cannot be read.
pub fn response(asked: &Asked, answered: Answered, metadata: Metadata, request_id: String) -> Result<GetFeaturesResponse, Error> {
    let mut response = told(asked, &answered, metadata, request_id)?;
    response.features = features(answered, metadata, &asked.moments)?;
    Ok(response)
}

/// An answer without its features.
///
/// # Errors
/// Where the store cannot be read.
pub fn told(asked: &Asked, answered: &Answered, metadata: Metadata, request_id: String) -> Result<GetFeaturesResponse, Error> {
    head(asked, answered, metadata, request_id)
}

/// The features of an answer.
///
/// # Errors
/// Internal for a type that the wire has not.
pub fn features(answered: Answered, metadata: Metadata, moments: &[i64]) -> Result<Vec<proto::Feature>, Error> {
    let moments = answered.moments(moments);
    answered.features.into_iter().map(|feature| wire_feature(feature, metadata, &moments)).collect()
}

/// The bytes of what [`response`] gives, without the message.
///
/// # Errors
/// As [`response`].
pub fn encoded(asked: &Asked, answered: &Answered, metadata: Metadata, request_id: String) -> Result<Vec<u8>, Error> {
    let Answered { features, rows, .. } = answered;
    let (head, moments) = (head(asked, answered, metadata, request_id)?, answered.moments(&asked.moments));
    let mut out = Vec::with_capacity(head.encoded_len() + features.len() * (FEATURE_BYTES + rows * VALUE_BYTES));
    // Fields may come in any order.
    head.encode(&mut out).map_err(|error| Error::internal("a buffer that grows").caused_by(error))?;
    for feature in features {
        let guess = FEATURE_BYTES + rows * VALUE_BYTES;
        encode::message(&mut out, 3, guess, |out| write_feature(out, feature, metadata, &moments))?;
    }
    Ok(out)
}

/// An answer without its features.
fn head(asked: &Asked, answered: &Answered, metadata: Metadata, request_id: String) -> Result<GetFeaturesResponse, Error> {
    let Answered { oldest_inputs, reads, time, rows, by_request, .. } = answered;
    let reach = asked.origin.reach();
    let full = matches!(metadata, Metadata::Unspecified | Metadata::Full);
    let mut response = GetFeaturesResponse { request_id, rows: *rows as u32, time: wire_time(*time).into(), ..GetFeaturesResponse::default() };
    if let Some(by) = by_request {
        response.request_rows.clone_from(&by.requests);
        response.candidates = by.counts.iter().map(wire_counts).collect();
    }
    response.moment_micros = asked.now;
    response.definitions = asked.state.version;
    if let Some(at) = asked.state.release {
        (response.release, response.epoch) = (at.release, at.epoch);
    }
    if let Some(snapshot) = &asked.state.snapshot {
        response.snapshot.clone_from(&snapshot.name);
    }
    if full {
        // Where logs stand now says nothing of what was read earlier.
        response.positions = reach.map(|reach| positions(&asked.state, reach, reads)).transpose()?.unwrap_or_default();
        response.oldest_inputs_micros = oldest_inputs_micros(oldest_inputs);
    }
    if metadata != Metadata::None {
        response.reads = reads.iter().map(|read| read_state(&asked.state, reach, read)).collect::<Result<_, _>>()?;
    }
    Ok(response)
}

/// When the oldest input of each row happened, as the wire says it; nothing where no row has any.
pub fn oldest_inputs_micros(oldest: &[Option<i64>]) -> Vec<i64> {
    if oldest.iter().all(Option::is_none) { Vec::new() } else { oldest.iter().map(|at| at.unwrap_or(i64::MIN)).collect() }
}

fn write_feature(out: &mut Vec<u8>, feature: &Feature, metadata: Metadata, moments: &[i64]) -> Result<(), Error> {
    let Feature { head, values, statuses, stale, filled_by, event_times, known_at, .. } = feature;
    out.extend_from_slice(head);
    encode::column(out, 3, values)?;
    if metadata == Metadata::None {
        return Ok(());
    }
    // Enums of fewer than 128 values take a byte each, and so do booleans.
    encode::packed(out, 4, statuses.len(), statuses.iter(), |out, status| out.push(wire_status(*status) as u8));
    let stale = stale.as_deref().unwrap_or_default();
    encode::packed(out, 5, stale.len(), stale.iter(), |out, stale| out.push(u8::from(*stale)));
    if filled_by.iter().any(|filled| *filled != FilledBy::None) {
        encode::packed(out, 6, filled_by.len(), filled_by.iter(), |out, filled| out.push(wire_filled(*filled) as u8));
    }
    if metadata != Metadata::Statuses {
        let event_times = event_times.iter().map(|time| time.unwrap_or(i64::MIN));
        encode::packed(out, 7, 8 * event_times.len(), event_times, |out, time| out.extend_from_slice(&time.to_le_bytes()));
    }
    if let Some(known_at) = known_at {
        let ages = || known_at.iter().zip(moments).map(|(known_at, moment)| encode::zigzag(moment.saturating_sub(*known_at)));
        encode::packed(out, 8, ages().map(encoded_len_varint).sum(), ages(), |out, age| encode_varint(age, out));
    }
    Ok(())
}

/// A feature as a message; `moments` are those of its rows.
///
/// # Errors
/// Internal for a type that the wire has not.
pub fn wire_feature(feature: Feature, metadata: Metadata, moments: &[i64]) -> Result<proto::Feature, Error> {
    let Feature { name, values, statuses, stale, filled_by, event_times, known_at, .. } = feature;
    let mut wired = proto::Feature { name: (*name).to_owned(), ..proto::Feature::default() };
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
pub fn read_state(state: &State, reach: Option<Reach>, RoleRead { role, lag }: &RoleRead) -> Result<proto::ReadState, Error> {
    let standing = reach.map(|reach| state.standing(&role.view.view, reach)).transpose()?.flatten();
    let watermark_micros = standing.and_then(|standing| standing.watermark);
    Ok(proto::ReadState {
        alias: role.alias.clone(),
        view: role.view.view.clone(),
        version: role.version,
        generation: role.generation.0,
        watermark_micros,
        lag_micros: *lag,
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

/// What became of the candidates of a request, as the wire says it.
pub fn wire_counts(counts: &CandidateCounts) -> proto::CandidateCounts {
    let CandidateCounts { unnested, left, answered, by_fallback } = *counts;
    proto::CandidateCounts { unnested, left, answered, by_fallback }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array};
    use proptest::prelude::*;

    use super::*;

    fn features() -> impl Strategy<Value = Feature> {
        let row = (any::<Option<f64>>(), 0..5_usize, any::<bool>(), 0..3_usize, any::<Option<i64>>(), any::<i64>());
        (proptest::collection::vec(row, 0..200), any::<[bool; 3]>()).prop_map(|(rows, [is_stale, is_filled, is_known])| {
            let statuses = [Status::NotFound, Status::Expired, Status::Error, Status::Null, Status::Present];
            let filled = [FilledBy::None, FilledBy::Default, FilledBy::LastKnownGood];
            let values: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Float64Array>());
            Feature {
                name: "spent_1h".into(),
                head: encode::head("spent_1h", values.data_type()).unwrap().into(),
                values,
                statuses: rows.iter().map(|row| statuses[row.1]).collect(),
                stale: is_stale.then(|| rows.iter().map(|row| row.2).collect()),
                filled_by: rows.iter().map(|row| if is_filled { filled[row.3] } else { FilledBy::None }).collect(),
                event_times: rows.iter().map(|row| row.4).collect(),
                known_at: is_known.then(|| rows.iter().map(|row| row.5).collect()),
            }
        })
    }

    proptest! {
        /// Byte for byte, whatever is said beside the values.
        #[test]
        fn features_are_written_as_messages_are(feature in features(), moment in any::<i64>()) {
            for metadata in [Metadata::Unspecified, Metadata::Full, Metadata::Statuses, Metadata::None] {
                let moments = vec![moment; feature.statuses.len()];
                let mut bytes = Vec::new();
                write_feature(&mut bytes, &feature, metadata, &moments).unwrap();
                let Feature { name, head, values, statuses, stale, filled_by, event_times, known_at } = &feature;
                let same = Feature {
                    name: Arc::clone(name),
                    head: Arc::clone(head),
                    values: Arc::clone(values),
                    statuses: statuses.clone(),
                    stale: stale.clone(),
                    filled_by: Arc::clone(filled_by),
                    event_times: Arc::clone(event_times),
                    known_at: known_at.clone(),
                };
                prop_assert_eq!(&bytes, &wire_feature(same, metadata, &moments).unwrap().encode_to_vec());
            }
        }
    }
}
