//! Deployments: which model answers, or which chain of them, and what happens where it cannot.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use indexmap::IndexMap;

use super::actions;
use super::chain::{Chain, chain};
use super::data_type::sql_name;
use super::ddl::WrittenStep;
use super::lex::Statement;
use super::names::{Name, did_you_mean, list, quoted};
use super::options::{WrittenDeploymentOptions, WrittenOption, read, value_span};
use super::ranking::{Ranked, ranking};
use super::service::{DEFAULT, Defaulted, checked_defaults};
use super::text::Origin;
use super::{Column, Deployment, DeploymentOptions, Diagnostic, Interval, Literal, Model, Prediction, Service, Step, When};

/// A deployment as written.
pub(super) struct WrittenDeployment<'a> {
    pub(super) statement: &'a Statement,
    pub(super) name: &'a Name,
    pub(super) steps: &'a [WrittenStep],
    pub(super) options: &'a [WrittenOption],
}

/// What a deployment may name.
pub(super) struct Known<'a> {
    pub(super) services: &'a IndexMap<String, Service>,
    pub(super) models: &'a IndexMap<String, Model>,
    /// Models by name, also those that are defined wrongly.
    pub(super) model_names: &'a [&'a str],
}

/// Checks a deployment. Where it gives nothing, diagnostics were added, to it or to what it needs.
pub(super) fn deployment(written: &WrittenDeployment<'_>, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> Option<Deployment> {
    let before = found.len();
    let statement = written.statement;
    let (defaults, others): (Vec<&WrittenOption>, Vec<&WrittenOption>) =
        written.options.iter().partition(|option| option.name.text.starts_with(DEFAULT));
    let others: Vec<WrittenOption> = others.into_iter().cloned().collect();
    let read: WrittenDeploymentOptions = read(&others, "options of a deployment", &["default.<prediction>"], &statement.origin, found);
    let check = Check { written, known };
    let options = check.options(&read, found);
    let steps = check.steps(found)?;
    let services: Vec<(&Name, &Service)> = steps.iter().map(|(name, _, service)| (*name, *service)).collect();
    let Chain { steps, request } = chain(written.name, &steps, statement, found)?;
    let predictions = &known.models.get(&steps.last()?.model)?.predictions;
    let ranking = ranking(&Ranked { statement, options: written.options, read: &read, services: &services, predictions }, found);
    let defaults = check.defaults(&defaults, predictions, found);
    let deciding = actions::Written { read: &read, options: written.options, statement: &statement.origin, name: written.name.span, predictions };
    let actions = deciding.actions(found);
    let explore = deciding.explore(actions.as_ref(), ranking.is_some(), found);
    if let Some(fallback) = &read.fallback {
        check.fallback(fallback, &steps, predictions, &request, found);
    }
    if let Some(shadow) = &read.shadow {
        check.beside(shadow, "shadow", &steps, &request, found);
    }
    for (name, when) in [("when_missing", options.when_missing), ("when_stale", options.when_stale)] {
        check.when(name, when, read.fallback.is_some(), predictions, &defaults, found);
    }
    (found.len() == before).then(|| Deployment {
        name: written.name.text.clone(),
        origin: statement.origin.at(written.name.span),
        statement: statement.origin.span,
        steps,
        request,
        predictions: predictions.clone(),
        fallback: read.fallback,
        shadow: read.shadow,
        defaults,
        ranking,
        actions,
        explore,
        options,
    })
}

/// Most rows that are run at once, most requests that may wait, most threads.
const BATCH_MAX: u32 = 65_536;
const QUEUE_MAX: u32 = 1_000_000;
const THREADS_MAX: u32 = 256;

struct Check<'a> {
    written: &'a WrittenDeployment<'a>,
    known: &'a Known<'a>,
}

impl<'a> Check<'a> {
    fn at(&self, name: &Name) -> Origin {
        self.written.statement.origin.at(name.span)
    }

    /// Where an option's value is written.
    fn place(&self, option: &str) -> Origin {
        self.written.statement.origin.at(value_span(self.written.options, option).unwrap_or(self.written.name.span))
    }

    /// A model and its service; nothing where either is not there, which is said.
    fn model(&self, name: &str, at: &Origin, found: &mut Vec<Diagnostic>) -> Option<(&'a Model, &'a Service)> {
        let Some(model) = self.known.models.get(name) else {
            if !self.known.model_names.contains(&name) {
                found.push(did_you_mean(at.error(format!("unknown model `{name}`")), name, "models", self.known.model_names));
            }
            return None;
        };
        Some((model, self.known.services.get(&model.service)?))
    }

    /// The steps, by their names.
    fn steps(&self, found: &mut Vec<Diagnostic>) -> Option<Vec<(&'a Name, &'a Model, &'a Service)>> {
        let mut steps: Vec<(&Name, &Model, &Service)> = Vec::new();
        let mut complete = true;
        for one in self.written.steps {
            let name = one.name.as_ref().unwrap_or(&one.model);
            if steps.iter().any(|(earlier, ..)| earlier.text == name.text) {
                found.push(self.at(name).error(format!("step `{}` is there twice", name.text)).help("give each step a name of its own"));
                complete = false;
            }
            match self.model(&one.model.text, &self.at(&one.model), found) {
                Some((model, service)) => steps.push((name, model, service)),
                None => complete = false,
            }
        }
        complete.then_some(steps)
    }

    fn defaults(&self, options: &[&WrittenOption], predictions: &[Prediction], found: &mut Vec<Diagnostic>) -> IndexMap<String, Literal> {
        let names: Vec<_> = predictions.iter().map(|prediction| prediction.name.as_str()).collect();
        let what = Defaulted { one: "prediction", many: "predictions", without: "leave it out, and there is no answer where there is no prediction" };
        let before = found.len();
        let defaults = checked_defaults(options, &names, &what, self.written.statement, found);
        if found.len() > before {
            return defaults;
        }
        for (name, literal) in &defaults {
            let Some(prediction) = predictions.iter().find(|prediction| prediction.name == *name) else { continue };
            if is_of(literal, &prediction.data_type) {
                continue;
            }
            let option = options.iter().find(|option| option.name.text[DEFAULT.len()..].eq_ignore_ascii_case(name));
            let at = option.map_or_else(|| self.at(self.written.name), |option| self.written.statement.origin.at(option.value_span));
            let title = format!("this is no {}, which prediction `{name}` is", sql_name(&prediction.data_type));
            found.push(at.error(title).help_opt(written_as(&prediction.data_type)));
        }
        defaults
    }

    /// What answers where the model does not gives the same predictions, of what callers give already.
    fn fallback(&self, name: &str, steps: &[Step], predictions: &[Prediction], request: &[Column], found: &mut Vec<Diagnostic>) {
        let Some(model) = self.beside(name, "fallback", steps, request, found) else { return };
        let schema = |predictions: &[Prediction]| -> Vec<(String, DataType)> {
            predictions.iter().map(|prediction| (prediction.name.clone(), prediction.data_type.clone())).collect()
        };
        if schema(&model.predictions) == schema(predictions) {
            return;
        }
        let shown = |predictions: &[Prediction]| {
            let one = |prediction: &Prediction| format!("{} {}", quoted(&prediction.name), sql_name(&prediction.data_type));
            predictions.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let diagnostic = self.place("fallback").error(format!("`{name}` gives other predictions, and cannot answer in place of the model"));
        let diagnostic =
            diagnostic.note(format!("the model gives {}", shown(predictions))).note(format!("`{name}` gives {}", shown(&model.predictions)));
        found.push(diagnostic.help(format!("let PREDICT of `{name}` say the same, in the same order")));
    }

    /// A model that is run beside the steps, or in place of them: it takes what callers give.
    fn beside(&self, name: &str, option: &str, steps: &[Step], request: &[Column], found: &mut Vec<Diagnostic>) -> Option<&'a Model> {
        let at = self.place(option);
        let (model, service) = self.model(name, &at, found)?;
        if steps.iter().any(|step| step.model == name) {
            let diagnostic = at.error(format!("`{name}` is a model of this deployment already"));
            found.push(diagnostic.note(format!("a {option} is another model")).help("name another one, or leave the option out"));
            return None;
        }
        if let Some(diagnostic) = self.other_candidates(name, option, steps, service) {
            found.push(diagnostic);
            return None;
        }
        for column in &service.request {
            let given = request.iter().find(|given| given.name == column.name);
            if given.is_some_and(|given| given.data_type == column.data_type) {
                continue;
            }
            let (name, data_type) = (quoted(&column.name), sql_name(&column.data_type));
            let diagnostic = at.error(format!("a request to `{}` does not give what `{}` asks for", self.written.name.text, service.name));
            let given = given.map_or_else(|| format!("no {name}"), |given| format!("{name} {}", sql_name(&given.data_type)));
            let diagnostic = diagnostic.note(format!("`{}` asks for {name} {data_type}, and a request gives {given}", service.name));
            found.push(
                diagnostic.help(format!("take a {option} of a service that asks for {}", list(request.iter().map(|given| given.name.as_str())))),
            );
            return None;
        }
        Some(model)
    }

    /// A model beside others that has other rows than they: candidates are those of the first step's service.
    fn other_candidates(&self, name: &str, option: &str, steps: &[Step], service: &Service) -> Option<Diagnostic> {
        let first = &self.known.models.get(&steps.first()?.model)?.service;
        let ranks = self.known.services.get(first)?.candidates.is_some();
        let at = self.place(option);
        if service.name == *first || (!ranks && service.candidates.is_none()) {
            return None;
        }
        let diagnostic = at.error(format!("`{name}` has other rows than the model it is a {option} of"));
        let diagnostic = diagnostic.note(format!("the model takes features of `{first}`, and `{name}` those of `{}`", service.name));
        Some(diagnostic.help(format!("take a {option} of a model that uses `{first}`")))
    }

    /// What is to be done where features are missing or stale can be done.
    fn when(
        &self,
        option: &str,
        when: When,
        has_fallback: bool,
        predictions: &[Prediction],
        defaults: &IndexMap<String, Literal>,
        found: &mut Vec<Diagnostic>,
    ) {
        let at = self.place(option);
        match when {
            When::Fallback if !has_fallback => {
                let diagnostic = at.error(format!("`{option} = 'fallback'`, and there is no fallback"));
                found.push(diagnostic.help("name one: fallback = 'late_simple'"));
            }
            When::Default => {
                for prediction in predictions.iter().filter(|prediction| !defaults.contains_key(&prediction.name)) {
                    let diagnostic = at.error(format!("`{option} = 'default'`, and `{}` has no default", prediction.name));
                    found.push(diagnostic.help(format!("give it one: 'default.{}' = …", prediction.name)));
                }
            }
            When::Fallback | When::Score => {}
        }
    }

    fn options(&self, read: &WrittenDeploymentOptions, found: &mut Vec<Diagnostic>) -> DeploymentOptions {
        let mut options = DeploymentOptions::default();
        let mut number = |name: &str, value: Option<u32>, max: u32, field: &mut u32| match value {
            Some(value) if value == 0 || value > max => {
                let diagnostic = self.place(name).error(format!("option `{name}` is from 1 to {max}"));
                found.push(diagnostic.help(format!("leave it out for {field}")));
            }
            Some(value) => *field = value,
            None => {}
        };
        number("max_batch", read.max_batch, BATCH_MAX, &mut options.max_batch);
        number("queue", read.queue, QUEUE_MAX, &mut options.queue);
        number("threads", read.threads, THREADS_MAX, &mut options.threads);
        if read.timeout == Some(Interval::ZERO) {
            let diagnostic = self.place("timeout").error("option `timeout` is more than nothing");
            found.push(diagnostic.note("no model answers in no time").help(format!("leave it out for {}", options.timeout)));
        }
        options.timeout = read.timeout.unwrap_or(options.timeout);
        options.max_wait = read.max_wait.unwrap_or(options.max_wait.min(options.timeout));
        if options.max_wait > options.timeout {
            let diagnostic = self.place("max_wait").error(format!("a request would wait for longer than the timeout, {}", options.timeout));
            found.push(diagnostic.note("`max_wait` is how long one waits for others to be run with").help("write less, such as '2 ms'"));
        }
        options.when_missing = read.when_missing.unwrap_or_default();
        options.when_stale = read.when_stale.unwrap_or_default();
        options.max_age = read.max_age;
        self.max_age(&options, found);
        options
    }
}

impl Check<'_> {
    /// An age acts where something is done with what is stale.
    fn max_age(&self, options: &DeploymentOptions, found: &mut Vec<Diagnostic>) {
        let at = self.place("max_age");
        match options.max_age {
            Some(Interval::ZERO) => {
                let diagnostic = at.error("option `max_age` is more than nothing").note("every row would be stale");
                found.push(diagnostic.help("leave it out to do without"));
            }
            Some(_) if options.when_stale == When::Score => {
                let diagnostic = at.error("option `max_age` makes rows stale, and nothing is done with those that are");
                found.push(diagnostic.help("add when_stale = 'fallback' or when_stale = 'default', or leave it out"));
            }
            _ => {}
        }
    }
}

/// Whether a literal can be a value of a type.
fn is_of(literal: &Literal, data_type: &DataType) -> bool {
    match literal {
        Literal::Boolean(_) => *data_type == DataType::Boolean,
        Literal::Text(_) => *data_type == DataType::Utf8,
        Literal::Number(digits) => data_type.is_numeric() && ScalarValue::try_from_string(digits.clone(), data_type).is_ok(),
    }
}

/// How a literal of a type is written.
fn written_as(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => "write true or false".to_owned(),
        DataType::Utf8 => "write a text in quotes".to_owned(),
        DataType::List(_) => "leave it out: a list has no default".to_owned(),
        _ => "write a number of that type".to_owned(),
    })
}
