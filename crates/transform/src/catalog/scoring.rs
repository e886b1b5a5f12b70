//! Models and deployments of a catalog: whether features can go into a model, and what they mean.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::DataType;
use indexmap::IndexMap;
use lockstep_model::Fingerprint;

use crate::compile::{canonical, digest};
use crate::definition::{Actions, DecideBy, Definitions, Deployment, Diagnostic, Explore, Literal, Model, Pick, Prediction, Ranking, sql_name};
use crate::service::ServicePlan;

/// Adds what each model means that is not among `meanings`, over compiled services. Models of services that do not compile are left out.
pub(super) fn models(
    definitions: &Definitions,
    services: &IndexMap<String, Arc<ServicePlan>>,
    meanings: &mut IndexMap<String, Fingerprint>,
    errors: &mut Vec<Diagnostic>,
) {
    for model in definitions.models.values() {
        if meanings.contains_key(&model.name) {
            continue;
        }
        let Some(service) = services.get(&model.service) else { continue };
        let before = errors.len();
        check_features(model, service, errors);
        if errors.len() > before {
            continue;
        }
        match model_meaning(model, service) {
            Ok(meaning) => drop(meanings.insert(model.name.clone(), digest(&meaning))),
            Err(message) => errors.push(model.origin.error(message)),
        }
    }
}

/// Adds what each deployment means that is not among `meanings`, of models that are known, over compiled services.
pub(super) fn deployments(
    definitions: &Definitions,
    services: &IndexMap<String, Arc<ServicePlan>>,
    models: &IndexMap<String, Fingerprint>,
    meanings: &mut IndexMap<String, Fingerprint>,
    errors: &mut Vec<Diagnostic>,
) {
    for deployment in definitions.deployments.values() {
        if meanings.contains_key(&deployment.name) {
            continue;
        }
        let Some(meaning) = deployment_meaning(deployment, models) else { continue };
        let before = errors.len();
        check_joints(definitions, deployment, services, errors);
        check_items(definitions, deployment, services, errors);
        if errors.len() == before {
            meanings.insert(deployment.name.clone(), digest(&meaning));
        }
    }
}

/// What SQL calls texts.
const TEXT: &str = "VARCHAR";

/// Whether what a step takes of the candidate at hand is of the type that it asks for.
fn check_joints(definitions: &Definitions, deployment: &Deployment, services: &IndexMap<String, Arc<ServicePlan>>, errors: &mut Vec<Diagnostic>) {
    let service_of = |model: &str| services.get(&definitions.models.get(model)?.service);
    let Some(first) = deployment.steps.first().and_then(|step| service_of(&step.model)) else { return };
    for step in &deployment.steps {
        let Some(service) = service_of(&step.model) else { continue };
        for name in &step.of_candidate {
            let (Ok(gives), Ok(asks)) = (first.schema.field_with_name(name), service.request.field_with_name(name)) else { continue };
            let (is, wanted) = (sql_name(gives.data_type()), sql_name(asks.data_type()));
            // Texts may be held in several ways, and are the same texts.
            if gives.data_type() == asks.data_type() || (is == TEXT && wanted == TEXT) {
                continue;
            }
            let diagnostic = step.origin.error(format!("`{name}` of step `{}` is of another type than `{}` gives", step.name, first.name));
            let diagnostic = diagnostic.note(format!("`{}` gives {name} {is}, and `{}` asks for {name} {wanted}", first.name, service.name));
            errors.push(diagnostic.help(format!("write {name} {is} in the REQUEST of `{}`", service.name)));
        }
    }
}

/// Whether what is published of ranked candidates is declared as their service gives it.
fn check_items(definitions: &Definitions, deployment: &Deployment, services: &IndexMap<String, Arc<ServicePlan>>, errors: &mut Vec<Diagnostic>) {
    let first = deployment.steps.first().and_then(|step| services.get(&definitions.models.get(&step.model)?.service));
    let Some(first) = first.filter(|_| deployment.ranking.is_some()) else { return };
    for predictions in definitions.predictions.values().filter(|predictions| predictions.deployment == deployment.name) {
        let Some(item) = predictions.list.as_ref().map(|list| &list.item) else { continue };
        let Ok(gives) = first.schema.field_with_name(&item.name) else { continue };
        let (is, declared) = (sql_name(gives.data_type()), sql_name(&item.data_type));
        if is != declared {
            let title = format!("`{}` is declared as {declared}, and `{}` gives {is}", item.name, first.name);
            errors.push(predictions.origin.at(item.span).error(title).help(format!("write {} {is}", item.name)));
        }
    }
}

/// Whether a tensor can be made of every feature.
fn check_features(model: &Model, service: &ServicePlan, errors: &mut Vec<Diagnostic>) {
    for (input, features) in &model.inputs {
        let origins = model.places.inputs.get(input).map_or(&[][..], |(_, features)| features);
        for (feature, origin) in features.iter().zip(origins) {
            let Ok(field) = service.schema.field_with_name(feature) else { continue };
            let Err((note, help)) = tensor_of(field.data_type(), feature) else { continue };
            let title = format!("feature `{feature}` is of type {}, which no model takes", shown(field.data_type()));
            errors.push(origin.error(title).note(note).help(help));
        }
    }
}

fn shown(data_type: &DataType) -> String {
    match data_type {
        DataType::Duration(_) | DataType::Interval(_) => "INTERVAL".to_owned(),
        other => sql_name(other),
    }
}

/// Why a model takes no feature of a type, and what its service can give instead.
fn tensor_of(data_type: &DataType, feature: &str) -> Result<(), (&'static str, String)> {
    use DataType::*;
    const NUMBERS: &str = "models take numbers, truth values and texts, and lists of them";
    let instead = |what: &str| Err((NUMBERS, format!("let the service give {what} AS {feature}")));
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Utf8 | LargeUtf8 | Utf8View => Ok(()),
        List(element) if matches!(element.data_type(), List(_)) => instead("flatten(…), one list of all values,"),
        List(element) => tensor_of(element.data_type(), feature),
        Timestamp(..) => Err((
            "a moment means nothing to a model that is trained on others",
            format!("let the service give what it means: date_part('hour', …) AS {feature}, or date_part('epoch', r.request_time - …)"),
        )),
        Date32 => instead("date_part('dow', …), or the days since another date,"),
        Duration(_) | Interval(_) => instead("date_part('epoch', …), which is in seconds,"),
        Decimal128(..) => instead("CAST(… AS DOUBLE)"),
        Binary | LargeBinary | BinaryView => instead("encode(…, 'hex')"),
        _ => instead("CAST(… AS DOUBLE)"),
    }
}

/// The canonical text of what a model means: its features, their order and its predictions. Where its file is, is no part of it; what is in the file is pinned by its hash.
fn model_meaning(model: &Model, service: &ServicePlan) -> Result<String, String> {
    let mut out = format!("lockstep model meaning 1\nservice {:?} {}\n", model.service, service.meaning);
    for (input, features) in &model.inputs {
        let _ = writeln!(out, "input {input:?} {features:?}");
    }
    for Prediction { name, data_type, output, pick, .. } in &model.predictions {
        let pick = match pick {
            None => "all".to_owned(),
            Some(Pick::Label(label)) => format!("label {label:?}"),
            Some(Pick::Index(index)) => format!("index {index}"),
        };
        let _ = writeln!(out, "prediction {name:?} {} {output:?} {pick}", canonical::type_name(data_type)?);
    }
    let _ = writeln!(out, "runtime {:?} sha256 {:?}", model.options.runtime, model.options.sha256.map(|sha256| sha256.to_string()));
    Ok(out)
}

/// The canonical text of what a deployment means: which models answer what. How many threads it has and how long it waits are no part of it.
fn deployment_meaning(deployment: &Deployment, models: &IndexMap<String, Fingerprint>) -> Option<String> {
    let mut out = "lockstep deployment meaning 1\n".to_owned();
    for step in &deployment.steps {
        let _ = writeln!(out, "step {:?} {:?} {} given {:?}", step.name, step.model, models.get(&step.model)?, step.given);
        // Only where there are any, so that other chains mean what they meant.
        if !step.of_candidate.is_empty() {
            let _ = writeln!(out, "of candidate {:?}", step.of_candidate);
        }
    }
    for (option, model) in [("fallback", &deployment.fallback), ("shadow", &deployment.shadow)] {
        if let Some(model) = model {
            let _ = writeln!(out, "{option} {model:?} {}", models.get(model)?);
        }
    }
    for (name, default) in &deployment.defaults {
        let default = match default {
            Literal::Boolean(value) => format!("boolean {value}"),
            Literal::Number(digits) => format!("number {digits}"),
            Literal::Text(text) => format!("text {text:?}"),
        };
        let _ = writeln!(out, "default {name:?} {default}");
    }
    let _ = writeln!(out, "missing {:?} stale {:?}", deployment.options.when_missing, deployment.options.when_stale);
    if let Some(Ranking { by, top, items }) = &deployment.ranking {
        let _ = writeln!(out, "ranked by {by:?} top {top:?} items {items:?}");
    }
    // Only where there are any, so that deployments without mean what they meant.
    if let Some(Actions { names, by }) = &deployment.actions {
        let by = match by {
            DecideBy::Scores => "scores".to_owned(),
            DecideBy::Thresholds { prediction, bounds } => format!("thresholds of {prediction:?} {bounds:?}"),
        };
        let _ = writeln!(out, "actions {names:?} by {by}");
    }
    if let Some(Explore { share, by }) = &deployment.explore {
        let _ = writeln!(out, "explore {share:?} by {by}");
    }
    if let Some(max_age) = deployment.options.max_age {
        let _ = writeln!(out, "max_age {}", max_age.micros());
    }
    Some(out)
}
