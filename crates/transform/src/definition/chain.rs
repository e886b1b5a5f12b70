//! The joints of a chain: what a step takes of the steps before it, and what callers give.

use indexmap::IndexMap;

use super::data_type::sql_name;
use super::lex::Statement;
use super::names::{Name, list, quoted, suggestion};
use super::{Column, Diagnostic, Model, Prediction, Service, Step};

/// Steps that go together.
pub(super) struct Chain {
    pub(super) steps: Vec<Step>,
    /// What a request gives: the columns that the services of the steps ask for, but for predictions of earlier steps.
    pub(super) request: Vec<Column>,
}

/// Checks how the steps of a deployment, in order, go together; nothing where they do not.
pub(super) fn chain(deployment: &Name, steps: &[(&Name, &Model, &Service)], statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<Chain> {
    let before = found.len();
    let mut joints = Joints { deployment, statement, found, request: Vec::new(), predicted: Vec::new() };
    let mut checked = Vec::new();
    for &(name, model, service) in steps {
        let given = joints.step(name, service);
        if given.is_empty() && !checked.is_empty() {
            joints.apart(name, service);
        }
        joints.predicted.extend(model.predictions.iter().map(|prediction| (name.text.as_str(), prediction)));
        checked.push(Step { name: name.text.clone(), model: model.name.clone(), origin: statement.origin.at(name.span), given });
    }
    let request = joints.request.into_iter().map(|(_, column)| column.clone()).collect();
    (found.len() == before).then_some(Chain { steps: checked, request })
}

struct Joints<'a, 'f> {
    deployment: &'a Name,
    statement: &'a Statement,
    found: &'f mut Vec<Diagnostic>,
    /// What callers give, and the step that asked for it first.
    request: Vec<(&'a str, &'a Column)>,
    /// What earlier steps predict.
    predicted: Vec<(&'a str, &'a Prediction)>,
}

impl<'a> Joints<'a, '_> {
    /// What a step takes of earlier ones: its column, and the step that predicts it.
    fn step(&mut self, step: &'a Name, service: &'a Service) -> IndexMap<String, String> {
        let mut given = IndexMap::new();
        for column in &service.request {
            let predicted: Vec<_> = self.predicted.iter().copied().filter(|(_, prediction)| prediction.name == column.name).collect();
            match predicted.as_slice() {
                [] => self.of_caller(step, column),
                [(from, prediction)] => {
                    self.of_step(step, service, column, from, prediction);
                    given.insert(column.name.clone(), (*from).to_owned());
                }
                [(first, _), (second, _), ..] => {
                    let diagnostic = self.at(step).error(format!("`{}` of step `{}` could be of two steps before it", column.name, step.text));
                    let diagnostic = diagnostic.note(format!("`{first}` and `{second}` both predict it"));
                    self.found.push(diagnostic.help("give one of the predictions another name in its PREDICT"));
                    given.insert(column.name.clone(), (*first).to_owned());
                }
            }
        }
        given
    }

    fn of_step(&mut self, step: &Name, service: &Service, column: &Column, from: &str, prediction: &Prediction) {
        let name = &column.name;
        if prediction.data_type != column.data_type {
            let (is, wanted) = (sql_name(&prediction.data_type), sql_name(&column.data_type));
            let diagnostic = self.at(step).error(format!("`{name}` of step `{}` is of another type than what step `{from}` predicts", step.text));
            let diagnostic =
                diagnostic.note(format!("`{from}` predicts {} {is}, and `{}` asks for {} {wanted}", quoted(name), service.name, quoted(name)));
            self.found.push(diagnostic.help(format!("write {} {is} in the REQUEST of `{}`, or {wanted} in PREDICT", quoted(name), service.name)));
        }
        if let Some((first, _)) = self.request.iter().find(|(_, given)| given.name == *name) {
            let diagnostic = self.at(step).error(format!("`{name}` of step `{}` could be the caller's or a prediction", step.text));
            let diagnostic = diagnostic.note(format!("step `{first}` is given it by the caller, and step `{from}` predicts it"));
            self.found.push(diagnostic.help("give the prediction another name in its PREDICT"));
        }
    }

    fn of_caller(&mut self, step: &'a Name, column: &'a Column) {
        let Some((first, given)) = self.request.iter().find(|(_, given)| given.name == column.name) else {
            return self.request.push((&step.text, column));
        };
        if given.data_type != column.data_type {
            let title = format!("a request to `{}` would give `{}` in two types", self.deployment.text, column.name);
            let note = format!("{} for step `{first}`, and {} for step `{}`", sql_name(&given.data_type), sql_name(&column.data_type), step.text);
            let diagnostic = self.at(step).error(title).note(note);
            self.found.push(diagnostic.help("let the REQUEST of both services say the same type"));
        }
    }

    /// A step that takes nothing of those before it is no part of a chain.
    fn apart(&mut self, step: &Name, service: &Service) {
        let predictions: Vec<&str> = self.predicted.iter().map(|(_, prediction)| prediction.name.as_str()).collect();
        let diagnostic = self.at(step).error(format!("step `{}` takes nothing of the steps before it", step.text));
        let asked = list(service.request.iter().map(|column| column.name.as_str()));
        let diagnostic = diagnostic.note(format!("they predict {}; `{}` asks for {asked}", list(predictions.iter().copied()), service.name));
        let near = service.request.iter().find_map(|column| Some((column, suggestion(&column.name, predictions.iter().copied())?)));
        let help = match near {
            Some((column, prediction)) => format!("did you mean `{}` where `{}` asks for `{}`?", quoted(prediction), service.name, column.name),
            None => format!("ask for a prediction by its name in the REQUEST of `{}`, or make a deployment of each", service.name),
        };
        self.found.push(diagnostic.help(help));
    }

    fn at(&self, name: &Name) -> super::Origin {
        self.statement.origin.at(name.span)
    }
}
