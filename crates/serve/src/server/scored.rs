//! Scores as messages of the wire.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::FieldRef;
use lockstep_client::proto::{self, Metadata, ScoreResponse};
use lockstep_model::Error;

use super::reply;
use super::scoring::{Given, ScoreAsked, ScoreHead};
use crate::scoring::{Decided, Ran, Ranked, Scored, StepLooked, Way};
use crate::wire;

/// Scores as a message; `given` are the features of each step.
///
/// # Errors
/// Internal for a type that the wire has not.
pub fn response(asked: &ScoreAsked, head: &ScoreHead, scored: Scored, given: &mut [Given]) -> Result<ScoreResponse, Error> {
    let oldest_inputs = scored.oldest_inputs();
    let Scored { predictions, ways, whys, ran, looked: steps, ranked, decided } = scored;
    let rows = ways.len();
    let fields = asked.deployed.schema.fields().iter().zip(&predictions);
    let mut response = ScoreResponse {
        request_id: head.request_id.clone(),
        rows: rows as u32,
        predictions: fields.map(|(field, values)| prediction(field, values, &ways, head.metadata)).collect::<Result<_, _>>()?,
        ways: ways.iter().map(|way| wire_way(*way).into()).collect(),
        moment_micros: asked.now,
        definitions: asked.state.version,
        ..ScoreResponse::default()
    };
    if let Some(at) = asked.state.release {
        (response.release, response.epoch) = (at.release, at.epoch);
    }
    if head.metadata != Metadata::None {
        response.models = ran.iter().map(scored_by).collect();
        if whys.iter().any(Option::is_some) {
            response.reasons = whys.iter().map(|why| why.as_ref().map(|why| why.text.to_string()).unwrap_or_default()).collect();
        }
    }
    if matches!(head.metadata, Metadata::Unspecified | Metadata::Full) {
        response.oldest_inputs_micros = reply::oldest_inputs_micros(&oldest_inputs);
    }
    let is_ranked = ranked.is_some();
    if let Some(Ranked { by_request, items, .. }) = ranked {
        let moments = by_request.each_row(&asked.moments);
        let item = |feature| reply::wire_feature(feature, head.metadata, &moments);
        response.items = items.into_iter().map(item).collect::<Result<_, _>>()?;
        response.candidates = by_request.counts.iter().map(reply::wire_counts).collect();
        response.request_rows.clone_from(&by_request.requests);
    }
    if let Some((decided, policy)) = decided.zip(asked.deployed.policy.as_ref()) {
        decide(&mut response, &decided, policy.actions().is_some(), is_ranked);
    }
    for (step, given) in steps.into_iter().zip(given) {
        add(&mut response, step, given, head)?;
    }
    Ok(response)
}

/// What is told of what was decided.
fn decide(response: &mut ScoreResponse, decided: &Decided, has_actions: bool, is_ranked: bool) {
    let explored = decided.explored.iter().map(|explored| explored == Some(true)).collect();
    if !has_actions && !is_ranked {
        response.explore = explored;
        return;
    }
    if has_actions {
        response.actions = decided.actions.iter().map(|action| action.unwrap_or_default().to_owned()).collect();
    }
    response.propensities = decided.propensities.values().to_vec();
    response.explored = explored;
}

/// What is told of the features of a step.
fn add(response: &mut ScoreResponse, step: StepLooked, given: &mut Given, head: &ScoreHead) -> Result<(), Error> {
    let StepLooked { step, rows, looked } = step;
    let told = std::mem::take(&mut given.told);
    response.time = told.time;
    for read in told.reads {
        if !response.reads.contains(&read) {
            response.reads.push(read);
        }
    }
    for group in told.positions {
        match response.positions.iter_mut().find(|known| known.partitions == group.partitions) {
            Some(known) => group.views.into_iter().for_each(|view| {
                if !known.views.contains(&view) {
                    known.views.push(view);
                }
            }),
            None => response.positions.push(group),
        }
    }
    if head.features {
        let rows = if rows.len() == response.rows as usize { Vec::new() } else { rows };
        let features = reply::features(looked.answered, head.metadata, &given.asked.moments)?;
        response.features.push(proto::StepFeatures { step, rows, features });
    }
    Ok(())
}

fn prediction(field: &FieldRef, values: &ArrayRef, ways: &[Way], metadata: Metadata) -> Result<proto::Feature, Error> {
    let mut wired = proto::Feature { name: field.name().clone(), ..proto::Feature::default() };
    wired.r#type = Some(wire::wire_type(field.data_type())?);
    wired.values = Some(wire::values(values)?);
    if metadata == Metadata::None {
        return Ok(wired);
    }
    let status = |(row, way): (usize, &Way)| match (values.is_valid(row), way) {
        (true, _) => proto::Status::Present,
        // The model, or the definition, has said NULL.
        (false, Way::Model | Way::LastKnownGood | Way::Fallback) => proto::Status::Null,
        (false, Way::Default | Way::None) => proto::Status::Error,
    };
    wired.statuses = ways.iter().enumerate().map(|row| status(row).into()).collect();
    if ways.contains(&Way::Default) {
        let filled = |(row, way): (usize, &Way)| match way {
            Way::Default if values.is_valid(row) => proto::FilledBy::Default,
            _ => proto::FilledBy::None,
        };
        wired.filled_by = ways.iter().enumerate().map(|row| filled(row).into()).collect();
    }
    Ok(wired)
}

fn scored_by(ran: &Ran) -> proto::ScoredBy {
    let bound = &ran.model.bound;
    proto::ScoredBy {
        step: ran.step.clone(),
        model: bound.name.clone(),
        sha256: bound.sha256.to_string(),
        runtime: bound.runtime.to_string(),
        service: bound.service.clone(),
        service_meaning: bound.service_meaning.to_string(),
        rows: ran.rows as u32,
    }
}

fn wire_way(way: Way) -> proto::Way {
    match way {
        Way::Model => proto::Way::Model,
        Way::LastKnownGood => proto::Way::LastKnownGood,
        Way::Fallback => proto::Way::FallbackModel,
        Way::Default => proto::Way::Default,
        Way::None => proto::Way::None,
    }
}
