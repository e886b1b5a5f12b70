//! The joints of a chain: what a step takes of the steps before it, and what callers give.
//!
//! A column that a step's service asks for is a prediction of an earlier step, where one has its name; else, where the first step has candidates, what its service gives of the candidate at
//! hand; else the caller's. Where two of these could be meant, the definition is refused: nobody is to find out from wrong scores.

use indexmap::IndexMap;

use super::data_type::sql_name;
use super::expr::as_column;
use super::lex::Statement;
use super::names::{Name, list, normalise, quoted, suggestion};
use super::{Column, Diagnostic, Model, Output, Prediction, Service, Step};

/// Steps that go together.
pub(super) struct Chain {
    pub(super) steps: Vec<Step>,
    /// What a request gives: the columns that the services of the steps ask for, but for what earlier steps give.
    pub(super) request: Vec<Column>,
}

/// Checks how the steps of a deployment, in order, go together; nothing where they do not.
pub(super) fn chain(deployment: &Name, steps: &[(&Name, &Model, &Service)], statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<Chain> {
    let before = found.len();
    let mut joints = Joints { deployment, statement, found, request: Vec::new(), predicted: Vec::new(), candidates: None };
    let mut checked = Vec::new();
    for &(name, model, service) in steps {
        let Taken { given, of_candidate } = joints.step(name, service);
        if given.is_empty() && of_candidate.is_empty() && !checked.is_empty() {
            joints.apart(name, service);
        }
        joints.predicted.extend(model.predictions.iter().map(|prediction| (name.text.as_str(), prediction)));
        if checked.is_empty() && service.candidates.is_some() {
            joints.candidates = Some(service);
        }
        checked.push(Step { name: name.text.clone(), model: model.name.clone(), origin: statement.origin.at(name.span), given, of_candidate });
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
    /// The service of the first step, behind it and where it has candidates.
    candidates: Option<&'a Service>,
}

/// What a step takes of those before it.
#[derive(Default)]
struct Taken {
    given: IndexMap<String, String>,
    of_candidate: Vec<String>,
}

impl<'a> Joints<'a, '_> {
    /// What a step takes of earlier ones: its columns that they predict, with the step that does, and those that are outputs of the candidate at hand.
    fn step(&mut self, step: &'a Name, service: &'a Service) -> Taken {
        let mut taken = Taken::default();
        for column in &service.request {
            let predicted: Vec<_> = self.predicted.iter().copied().filter(|(_, prediction)| prediction.name == column.name).collect();
            let output = self.candidates.and_then(|of| Some((of, of.outputs.iter().find(|output| output.name == column.name)?)));
            match (predicted.as_slice(), output) {
                ([], Some((of, output))) => {
                    if self.of_candidate(step, column, (of, output)) {
                        taken.of_candidate.push(column.name.clone());
                    } else {
                        self.of_caller(step, column);
                    }
                }
                ([], None) => self.of_caller(step, column),
                ([(from, prediction)], output) => {
                    if let Some((of, _)) = output {
                        let what = format!("`{}` of step `{}` could be a prediction or an output of the candidate", column.name, step.text);
                        let note = format!("step `{from}` predicts it, and `{}` gives it", of.name);
                        self.found.push(self.at(step).error(what).note(note).help("give the prediction another name in its PREDICT"));
                    }
                    self.of_step(step, service, column, from, prediction);
                    taken.given.insert(column.name.clone(), (*from).to_owned());
                }
                ([(first, _), (second, _), ..], _) => {
                    let diagnostic = self.at(step).error(format!("`{}` of step `{}` could be of two steps before it", column.name, step.text));
                    let diagnostic = diagnostic.note(format!("`{first}` and `{second}` both predict it"));
                    self.found.push(diagnostic.help("give one of the predictions another name in its PREDICT"));
                    taken.given.insert(column.name.clone(), (*first).to_owned());
                }
            }
        }
        taken
    }

    /// Whether a column is what the candidate service gives under its name. What callers give already and the service repeats as it is stays the caller's, which is the same.
    fn of_candidate(&mut self, step: &Name, column: &Column, (of, output): (&Service, &Output)) -> bool {
        let Some((first, _)) = self.request.iter().find(|(_, given)| given.name == column.name) else { return true };
        let repeats = match as_column(&output.expr) {
            Some((Some(alias), name)) => normalise(alias) == of.request_alias && normalise(name) == column.name,
            _ => false,
        };
        if !repeats {
            let diagnostic =
                self.at(step).error(format!("`{}` of step `{}` could be the caller's or an output of the candidate", column.name, step.text));
            let diagnostic = diagnostic.note(format!("step `{first}` is given it by the caller, and `{}` gives another under this name", of.name));
            self.found.push(diagnostic.help(format!("give the output of `{}` another name, with AS", of.name)));
        }
        false
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
        let outputs = self.candidates.map(|of| format!(", `{}` gives {}", of.name, list(of.outputs.iter().map(|output| output.name.as_str()))));
        let (predicted, outputs) = (list(predictions.iter().copied()), outputs.unwrap_or_default());
        let diagnostic = diagnostic.note(format!("they predict {predicted}{outputs}; `{}` asks for {asked}", service.name));
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
