//! What goes into a file: the features of each input, of which types, and how many values of a row each is.

use arrow::datatypes::DataType;
use lockstep_score::{Element, Port};
use lockstep_transform::definition::{self, Diagnostic, Origin, quoted, sql_name, suggestion};
use lockstep_transform::service::ServicePlan;

use super::{listed, shown};
use crate::scoring::Training;

/// An input of the file, with what goes into it.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// Its name in the file.
    pub(crate) name: String,
    /// What it is made of.
    pub(crate) element: Element,
    /// Dimensions behind that of rows.
    pub(crate) dimensions: Vec<usize>,
    /// What goes into a row, from its first value on.
    pub(crate) features: Vec<Feature>,
}

/// A feature that goes into an input.
#[derive(Debug, Clone)]
pub(crate) struct Feature {
    /// Its name.
    pub(crate) name: String,
    /// Its place among the outputs of the service.
    pub(crate) column: usize,
    /// Its type.
    pub(crate) data_type: DataType,
    /// How many values of a row it is: 1, or a list's length.
    pub(crate) values: usize,
}

/// Binds the file's inputs, in its order.
pub(super) fn bind(
    model: &definition::Model,
    service: &ServicePlan,
    ports: &[Port],
    training: Option<&Training>,
    found: &mut Vec<Diagnostic>,
) -> Vec<Input> {
    for (name, (origin, _)) in &model.places.inputs {
        if !ports.iter().any(|port| port.name == *name) {
            let diagnostic = origin.error(format!("`{}` has no input `{name}`", model.path)).note(format!("inputs of the file: {}", listed(ports)));
            let near = suggestion(name, ports.iter().map(|port| port.name.as_str()));
            found.push(diagnostic.help_opt(near.map(|near| format!("did you mean {}?", quoted(near)))));
        }
    }
    let mut inputs = Vec::new();
    for port in ports {
        match model.inputs.get(&port.name) {
            Some(features) => inputs.extend(Binding { model, service, port, training }.input(features, found)),
            None => {
                let diagnostic = model.origin.error(format!("nothing goes into input `{}` of `{}`", port.name, model.path));
                let diagnostic = diagnostic.note(format!("inputs of the file: {}", listed(ports)));
                found.push(diagnostic.help(format!("name its features: {} => (…)", quoted(&port.name))));
            }
        }
    }
    inputs
}

struct Binding<'a> {
    model: &'a definition::Model,
    service: &'a ServicePlan,
    port: &'a Port,
    training: Option<&'a Training>,
}

impl Binding<'_> {
    fn input(&self, names: &[String], found: &mut Vec<Diagnostic>) -> Option<Input> {
        let before = found.len();
        let (origin, origins) = self.model.places.inputs.get(&self.port.name)?;
        let mut features = Vec::new();
        for (name, origin) in names.iter().zip(origins) {
            let (column, field) = self.service.schema.column_with_name(name)?;
            found.extend(self.unfit(name, field.data_type(), origin));
            // A list of no known length is filled in by what the others leave.
            let length = if is_list(field.data_type()) { self.service.outputs[column].length } else { Some(1) };
            features.push((Feature { name: name.clone(), column, data_type: field.data_type().clone(), values: 0 }, length));
        }
        if found.len() > before {
            return None;
        }
        let features = self.widths(features, origin, origins, found)?;
        let values: usize = features.iter().map(|feature| feature.values).sum();
        // What is open is as wide as its features.
        let dimensions = match self.port.width.as_slice() {
            [] => Vec::new(),
            [None] => vec![values],
            width => width.iter().map(|width| width.unwrap_or(1)).collect(),
        };
        Some(Input { name: self.port.name.clone(), element: self.port.element, dimensions, features })
    }

    /// Why a feature cannot go into the input, by its type.
    fn unfit(&self, name: &str, data_type: &DataType, origin: &Origin) -> Option<Diagnostic> {
        let element = match data_type {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => field.data_type(),
            other => other,
        };
        let is_text = matches!(element, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let is_whole = element.is_integer() || *element == DataType::Boolean;
        let help = match (self.port.element, element) {
            (Element::Text, _) if is_text => return None,
            (Element::Text, _) => format!("let the service give CAST(… AS VARCHAR) AS {}, as the model was trained on it", quoted(name)),
            (Element::Float32 | Element::Float64, _) if is_whole || element.is_floating() => return None,
            (Element::Int32 | Element::Int64, _) if is_whole => return None,
            (Element::Bool, DataType::Boolean) => return None,
            (_, _) if is_text => {
                format!(
                    "let the service give hash_bucket(…, 64) or one_hot(…, 'a', 'b') AS {}, or export the model with an input of strings",
                    quoted(name)
                )
            }
            (Element::Int32 | Element::Int64, _) => {
                format!("let the service give CAST(… AS BIGINT) AS {}: nothing is rounded on the way", quoted(name))
            }
            (Element::Bool, _) => format!("let the service give a condition AS {}, such as x > 0", quoted(name)),
            _ => format!("let the service give another type AS {}", quoted(name)),
        };
        let title = format!("feature `{name}` is of type {}, and input `{}` takes {}", sql_name(data_type), self.port.name, self.port.element);
        Some(origin.error(title).help(help))
    }

    /// How many values of a row each feature is.
    fn widths(
        &self,
        features: Vec<(Feature, Option<usize>)>,
        origin: &Origin,
        origins: &[Origin],
        found: &mut Vec<Diagnostic>,
    ) -> Option<Vec<Feature>> {
        let open: Vec<usize> = (0..features.len()).filter(|&at| features[at].1.is_none()).collect();
        let known: usize = features.iter().filter_map(|(_, length)| *length).sum();
        let total = match self.port.width.as_slice() {
            [] => Some(1),
            [None] => None,
            width => match width.iter().copied().collect::<Option<Vec<usize>>>() {
                Some(width) => Some(width.iter().product()),
                None => {
                    let diagnostic = origin.error(format!("input `{}` leaves several lengths open: {}", self.port.name, shown(self.port)));
                    found.push(diagnostic.note("features of a row have one length").help("export the model with fixed lengths, all but the first"));
                    return None;
                }
            },
        };
        let filled = match (open.as_slice(), total) {
            ([], _) => 0,
            ([_], Some(total)) if total > known => total - known,
            ([at, ..], _) => {
                found.push(self.unknown_length(&features[*at].0.name, &origins[*at], open.len(), total));
                return None;
            }
        };
        let values = known + filled;
        if total.is_some_and(|total| total != values) {
            let lengths: Vec<usize> = features.iter().map(|(_, length)| length.unwrap_or(filled)).collect();
            found.push(self.other_width(&lengths, total.unwrap_or(values), origin, origins));
            return None;
        }
        Some(features.into_iter().map(|(feature, length)| Feature { values: length.unwrap_or(filled), ..feature }).collect())
    }

    fn unknown_length(&self, name: &str, origin: &Origin, open: usize, total: Option<usize>) -> Diagnostic {
        let diagnostic = origin.error(format!("how long the list `{name}` is cannot be told"));
        let why = match (open, total) {
            (_, None) => format!("input `{}` of the file is of any width", self.port.name),
            (1, Some(total)) => format!("the other features fill input `{}`, of {total} values, already", self.port.name),
            (_, Some(_)) => "two lists could share the input in any way".to_owned(),
        };
        diagnostic.note(why).help("export the model with an input of fixed width for each list, or give it [x, y, z] or one_hot(…)")
    }

    /// An input of another width than its features have: which one is too many, or which ones of the training set are not there.
    fn other_width(&self, lengths: &[usize], total: usize, origin: &Origin, origins: &[Origin]) -> Diagnostic {
        let values: usize = lengths.iter().sum();
        let names = self.model.inputs.get(&self.port.name).map_or(&[][..], Vec::as_slice);
        let features = names.iter().zip(lengths).map(|(name, length)| match length {
            1 => quoted(name),
            length => format!("{} ({length} values)", quoted(name)),
        });
        let note = format!("features: {}", features.collect::<Vec<_>>().join(", "));
        if values > total {
            let mut sum = 0;
            let beyond = lengths.iter().position(|length| {
                sum += length;
                sum > total
            });
            let (name, at) = beyond.map_or(("", origin), |at| (names[at].as_str(), origins.get(at).unwrap_or(origin)));
            let title = format!("`{name}` is too many: input `{}` takes {}, and its features are {values}", self.port.name, columns(total));
            return at.error(title).note(note).help("leave out what the model was not trained on");
        }
        let title = format!("input `{}` takes {}, and its features are {values}", self.port.name, columns(total));
        let missing: Vec<String> = self.trained_without(names);
        let help = if missing.is_empty() { "name them all, in the order of training".to_owned() } else { format!("add {}", missing.join(", ")) };
        let note_missing = (!missing.is_empty()).then(|| format!("features of the training set that no input takes: {}", missing.join(", ")));
        note_missing.into_iter().fold(origin.error(title).note(note), |diagnostic, note| diagnostic.note(note)).help(help)
    }

    /// Features of the training set that go into no input.
    fn trained_without(&self, _: &[String]) -> Vec<String> {
        let taken = self.model.features();
        let trained = self.training.into_iter().flat_map(|training| training.features.iter());
        trained.filter(|feature| !taken.contains(&feature.name.as_str())).map(|feature| quoted(&feature.name)).collect()
    }
}

fn columns(count: usize) -> String {
    if count == 1 { "1 value a row".to_owned() } else { format!("{count} values a row") }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}
