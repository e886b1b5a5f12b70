//! What comes out of a file: which values of which output each prediction is.

use arrow::datatypes::DataType;
use lockstep_score::{Element, Port};
use lockstep_transform::definition::{self, Diagnostic, Pick, Prediction, quoted, sql_name, suggestion};

use super::{listed, shown};

/// A prediction, by where its values are.
#[derive(Debug, Clone)]
pub(crate) struct Predicted {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) data_type: DataType,
    /// The output of the file, as an index.
    pub(crate) output: usize,
    /// Which value of a row it is; all of them, where it is a list.
    pub(crate) at: usize,
}

/// Binds predictions to the file's outputs.
pub(super) fn bind(model: &definition::Model, ports: &[Port], found: &mut Vec<Diagnostic>) -> Vec<Predicted> {
    model.predictions.iter().filter_map(|prediction| predicted(model, prediction, ports).map_err(|diagnostic| found.push(diagnostic)).ok()).collect()
}

fn predicted(model: &definition::Model, prediction: &Prediction, ports: &[Port]) -> Result<Predicted, Diagnostic> {
    let Some(output) = ports.iter().position(|port| port.name == prediction.output) else {
        let diagnostic = prediction.output_origin.error(format!("`{}` has no output `{}`", model.path, prediction.output));
        let near = suggestion(&prediction.output, ports.iter().map(|port| port.name.as_str()));
        let diagnostic = diagnostic.note(format!("outputs of the file: {}", listed(ports)));
        return Err(diagnostic.help_opt(near.map(|near| format!("did you mean {}?", quoted(near)))));
    };
    let port = &ports[output];
    let (is_list, element) = match &prediction.data_type {
        DataType::List(field) => (true, field.data_type()),
        other => (false, other),
    };
    if !is_of(port.element, element) {
        let title = format!(
            "prediction `{}` is declared {}, and output `{}` gives {}",
            prediction.name,
            sql_name(&prediction.data_type),
            port.name,
            port.element
        );
        let wanted = if is_list { format!("{}[]", type_of(port.element)) } else { type_of(port.element).to_owned() };
        return Err(prediction.origin.error(title).help(format!("write {} {wanted}", quoted(&prediction.name))));
    }
    let at = if is_list { 0 } else { position(prediction, port)? };
    Ok(Predicted { name: prediction.name.clone(), data_type: prediction.data_type.clone(), output, at })
}

/// Which value of a row a prediction is.
fn position(prediction: &Prediction, port: &Port) -> Result<usize, Diagnostic> {
    let width = port.width.iter().copied().product::<Option<usize>>();
    let origin = prediction.pick_origin.as_ref().unwrap_or(&prediction.output_origin);
    match &prediction.pick {
        None if width == Some(1) => Ok(0),
        None => {
            let title = format!("output `{}` gives several values a row, {}, and prediction `{}` is one", port.name, shown(port), prediction.name);
            let diagnostic = labels_noted(origin.error(title), port);
            Err(diagnostic.help(format!(
                "say which: {} FROM {}{}, or take all as a list",
                quoted(&prediction.name),
                quoted(&port.name),
                example(port)
            )))
        }
        Some(Pick::Index(at)) if width.is_none_or(|width| *at < width) => Ok(*at),
        Some(Pick::Index(at)) => {
            let title = format!("output `{}` has no value at {at}: {}", port.name, shown(port));
            Err(origin.error(title).note("positions begin with 0").help(format!(
                "write one that is there, such as {}{}",
                quoted(&port.name),
                example(port)
            )))
        }
        Some(Pick::Label(label)) => {
            let labels = port.labels.as_deref().unwrap_or_default();
            labels.iter().position(|known| known == label).ok_or_else(|| {
                let title = if labels.is_empty() {
                    format!("the file has no labels for output `{}`", port.name)
                } else {
                    format!("output `{}` has no label '{label}'", port.name)
                };
                let diagnostic = labels_noted(origin.error(title), port);
                let near = suggestion(label, labels.iter().map(String::as_str)).map(|near| format!("did you mean '{near}'?"));
                diagnostic.help_opt(near.or_else(|| labels.is_empty().then(|| format!("write a position from 0, {}[0]", quoted(&port.name)))))
            })
        }
    }
}

fn labels_noted(diagnostic: Diagnostic, port: &Port) -> Diagnostic {
    match port.labels.as_deref() {
        Some(labels) if !labels.is_empty() => {
            diagnostic.note(format!("labels: {}", labels.iter().map(|label| format!("'{label}'")).collect::<Vec<_>>().join(", ")))
        }
        _ => diagnostic,
    }
}

fn example(port: &Port) -> String {
    // Of two classes it is mostly the second that is asked about.
    match port.labels.as_deref().and_then(<[String]>::last) {
        Some(label) => format!("['{label}']"),
        None => "[0]".to_owned(),
    }
}

/// Whether values of an output can be of a type: without a loss, or, of whole numbers, where they have room.
fn is_of(element: Element, data_type: &DataType) -> bool {
    use DataType::*;
    match element {
        Element::Float32 => matches!(data_type, Float32 | Float64),
        Element::Float64 => *data_type == Float64,
        Element::Int32 => data_type.is_integer() || matches!(data_type, Boolean | Float64),
        Element::Int64 => data_type.is_integer() || *data_type == Boolean,
        Element::Bool => *data_type == Boolean,
        Element::Text => *data_type == Utf8,
    }
}

/// The type in which nothing of an output is lost.
fn type_of(element: Element) -> &'static str {
    match element {
        Element::Float32 | Element::Float64 => "DOUBLE",
        Element::Int32 | Element::Int64 => "BIGINT",
        Element::Bool => "BOOLEAN",
        Element::Text => "VARCHAR",
    }
}
