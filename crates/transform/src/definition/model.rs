//! Models: an ONNX file, the features that go into it, what is predicted.
//!
//! Nothing here has seen the file. Whether it takes and gives what is declared is found out where it is read.

use arrow::datatypes::DataType;
use indexmap::IndexMap;

use super::data_type::{arrow_type, sql_name};
use super::ddl::{WrittenFeatures, WrittenModel, WrittenPrediction};
use super::lex::Statement;
use super::names::{Name, did_you_mean, quoted};
use super::options::{ModelOptions, read, value_span};
use super::text::Origin;
use super::{Diagnostic, Model, ModelPlaces, Prediction, Service};

/// What a model may name.
pub(super) struct Known<'a> {
    pub(super) services: &'a IndexMap<String, Service>,
    /// Services by name, also those that are defined wrongly.
    pub(super) service_names: &'a [&'a str],
}

/// Checks a model. Where it gives nothing, diagnostics were added, to it or to what it needs.
pub(super) fn model(statement: &Statement, name: &Name, written: &WrittenModel, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> Option<Model> {
    let before = found.len();
    let at = |name: &Name| statement.origin.at(name.span);
    let options: ModelOptions = read(&written.options, "options of a model", &[], &statement.origin, found);
    let predictions = predictions(statement, &written.predictions, found);
    check_fingerprint(statement, written, &options, found);
    let Some(service) = known.services.get(&written.service.text) else {
        if !known.service_names.contains(&written.service.text.as_str()) {
            let diagnostic = at(&written.service).error(format!("unknown feature service `{}`", written.service.text));
            found.push(did_you_mean(diagnostic, &written.service.text, "feature services", known.service_names));
        }
        return None;
    };
    let mut places = ModelPlaces {
        path: at(&written.path),
        inputs: IndexMap::new(),
        options: written.options.iter().map(|option| (option.name.text.clone(), statement.origin.at(option.value_span))).collect(),
    };
    let inputs = inputs(statement, written, service, &mut places, found);
    (found.len() == before).then(|| Model {
        name: name.text.clone(),
        origin: at(name),
        statement: statement.origin.span,
        path: written.path.text.clone(),
        service: service.name.clone(),
        inputs,
        predictions,
        options,
        places,
    })
}

/// A fingerprint of features is twelve digits of it, or all.
fn check_fingerprint(statement: &Statement, written: &WrittenModel, options: &ModelOptions, found: &mut Vec<Diagnostic>) {
    let Some(features) = &options.features else { return };
    let is_hexadecimal = features.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    if is_hexadecimal && (12..=64).contains(&features.len()) {
        return;
    }
    let at = statement.origin.at(value_span(&written.options, "features").unwrap_or(written.service.span));
    let diagnostic =
        at.error("this is no fingerprint of features").note("a fingerprint is 64 hexadecimal digits in lower case, of which the first 12 are enough");
    found.push(diagnostic.help(format!("write what `lockstep schema --service {}` prints", written.service.text)));
}

fn inputs(
    statement: &Statement,
    written: &WrittenModel,
    service: &Service,
    places: &mut ModelPlaces,
    found: &mut Vec<Diagnostic>,
) -> IndexMap<String, Vec<String>> {
    let mut inputs = IndexMap::new();
    for input in &written.inputs {
        let at = statement.origin.at(input.name.span);
        let (features, spans) = match &input.features {
            WrittenFeatures::All(span) => {
                let all: Vec<_> = service.outputs.iter().map(|output| output.name.clone()).collect();
                let origins = vec![statement.origin.at(*span); all.len()];
                (all, origins)
            }
            WrittenFeatures::Named(names) => features(statement, &input.name.text, names, service, found),
        };
        places.inputs.insert(input.name.text.clone(), (at.clone(), spans));
        if inputs.insert(input.name.text.clone(), features).is_some() {
            let diagnostic = at.error(format!("input `{}` is there twice", input.name.text));
            found.push(diagnostic.note("an input takes all of its features at once, in order").help("name them in one list"));
        }
    }
    inputs
}

/// The features of an input, each with its place.
fn features(statement: &Statement, input: &str, names: &[Name], service: &Service, found: &mut Vec<Diagnostic>) -> (Vec<String>, Vec<Origin>) {
    let outputs: Vec<_> = service.outputs.iter().map(|output| output.name.as_str()).collect();
    let (mut features, mut origins): (Vec<String>, Vec<Origin>) = (Vec::new(), Vec::new());
    for name in names {
        let at = statement.origin.at(name.span);
        if !outputs.contains(&name.text.as_str()) {
            let diagnostic = at.error(format!("unknown feature `{}`", name.text));
            found.push(did_you_mean(diagnostic, &name.text, &format!("outputs of {}", quoted(&service.name)), &outputs));
            continue;
        }
        if features.contains(&name.text) {
            let diagnostic = at.error(format!("feature `{}` goes into `{input}` twice", name.text));
            found.push(diagnostic.note("a model's columns are told by their place, and two of them would be one").help("name it once"));
        }
        features.push(name.text.clone());
        origins.push(at);
    }
    (features, origins)
}

fn predictions(statement: &Statement, written: &[WrittenPrediction], found: &mut Vec<Diagnostic>) -> Vec<Prediction> {
    let mut predictions: Vec<Prediction> = Vec::new();
    for one in written {
        let (name, at) = (&one.name.text, statement.origin.at(one.name.span));
        if let Some(first) = predictions.iter().find(|first| first.name.to_lowercase() == name.to_lowercase()) {
            let title = if first.name == *name {
                format!("prediction `{name}` is there twice")
            } else {
                format!("prediction `{name}` differs from `{}` by case alone", first.name)
            };
            found.push(at.error(title).help("give one of them another name"));
        }
        let Some(data_type) = prediction_type(statement, one, found) else { continue };
        predictions.push(Prediction {
            name: name.clone(),
            data_type,
            output: one.output.as_ref().unwrap_or(&one.name).text.clone(),
            pick: one.pick.as_ref().map(|(pick, _)| pick.clone()),
            output_origin: statement.origin.at(one.output.as_ref().unwrap_or(&one.name).span),
            pick_origin: one.pick.as_ref().map(|(_, span)| statement.origin.at(*span)),
            origin: at,
        });
    }
    predictions
}

fn prediction_type(statement: &Statement, written: &WrittenPrediction, found: &mut Vec<Diagnostic>) -> Option<DataType> {
    let at = statement.origin.at(written.type_span);
    let title = |shown: &str| format!("prediction `{}` cannot be of type {shown}", written.name.text);
    let data_type = match arrow_type(&written.data_type) {
        Ok(data_type) => data_type,
        Err(refused) => {
            found.push(at.error(title(at.file.slice(at.span))).note(refused.note).help_opt(refused.help));
            return None;
        }
    };
    let (element, is_list) = match &data_type {
        DataType::List(field) => (field.data_type(), true),
        other => (other, false),
    };
    if !is_predicted(element) {
        let diagnostic = at.error(title(&sql_name(&data_type))).note("a model gives numbers, truth values and texts, or lists of them");
        found.push(diagnostic.help("write DOUBLE, BIGINT, BOOLEAN, VARCHAR, or a list such as DOUBLE[]"));
        return None;
    }
    if let (true, Some((_, span))) = (is_list, &written.pick) {
        let diagnostic = statement.origin.at(*span).error(format!("prediction `{}` is a list, and this is one value of it", written.name.text));
        found.push(diagnostic.help(format!("leave it out, or write {} {}", quoted(&written.name.text), sql_name(element))));
        return None;
    }
    Some(data_type)
}

/// What a prediction, or an element of one, can be.
fn is_predicted(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Utf8)
}
