//! What follows from predictions: which action is taken, and for which share of rows another one is tried.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::DataType;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::names::{did_you_mean, list};
use super::options::{WrittenDeploymentOptions, WrittenOption, value_span};
use super::text::{Origin, Span};
use super::{Diagnostic, Prediction};

/// Most actions of a deployment.
const ACTIONS_MAX: usize = 64;

/// The actions of a deployment, and how one of them follows from predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Actions {
    /// Their names, at least two.
    pub names: Vec<String>,
    /// How one of them follows.
    pub by: DecideBy,
}

/// How an action follows from predictions.
#[derive(Debug, Clone, PartialEq)]
pub enum DecideBy {
    /// Every action is a prediction, and the one that is largest is taken; of equal ones the first.
    Scores,
    /// One prediction, cut by bounds that ascend: below the first one it is the first action, from the last one on the last.
    Thresholds {
        /// The prediction.
        prediction: String,
        /// One fewer than there are actions.
        bounds: Vec<f64>,
    },
}

/// For which rows something else is tried, and what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Explore {
    /// The share of rows: more than 0, up to 1.
    pub share: f64,
    /// What is tried.
    pub by: ExploreBy,
}

/// What is tried where a row explores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum ExploreBy {
    /// Any action, each as likely as the others.
    #[default]
    Random,
    /// An action by its score: one is `e` times as likely as another whose score is less by this temperature.
    Softmax(f64),
}

impl FromStr for ExploreBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no way to explore: write 'random', or 'softmax' and a temperature, such as 'softmax 0.5'");
        match text.split_once(' ') {
            None if text == "random" => Ok(ExploreBy::Random),
            Some(("softmax", temperature)) => {
                let temperature: f64 = temperature.trim().parse().map_err(|_| wrong())?;
                if temperature > 0.0 && temperature.is_finite() { Ok(ExploreBy::Softmax(temperature)) } else { Err(wrong()) }
            }
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for ExploreBy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for ExploreBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExploreBy::Random => f.write_str("random"),
            ExploreBy::Softmax(temperature) => write!(f, "softmax {temperature}"),
        }
    }
}

impl JsonSchema for ExploreBy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExploreBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(random|softmax [0-9.eE+-]+)$"})
    }
}

/// The options of a deployment, as far as they are about actions.
pub(super) struct Written<'a> {
    /// As they are read.
    pub(super) read: &'a WrittenDeploymentOptions,
    /// As they are written.
    pub(super) options: &'a [WrittenOption],
    /// The statement.
    pub(super) statement: &'a Origin,
    /// Where the deployment is named.
    pub(super) name: Span,
    /// What it predicts.
    pub(super) predictions: &'a [Prediction],
}

impl Written<'_> {
    fn at(&self, option: &str) -> Origin {
        self.statement.at(value_span(self.options, option).unwrap_or(self.name))
    }

    /// The actions, where there are any.
    pub(super) fn actions(&self, found: &mut Vec<Diagnostic>) -> Option<Actions> {
        let names = &self.read.actions;
        if names.is_empty() {
            for (option, is_given) in [("decide_by", self.read.decide_by.is_some()), ("thresholds", !self.read.thresholds.is_empty())] {
                if is_given {
                    let diagnostic = self.at(option).error(format!("`{option}` says how an action follows, and there are none"));
                    found.push(diagnostic.help("name them: actions = ['approve', 'decline']"));
                }
            }
            return None;
        }
        self.check_names(names, found)?;
        let by = if self.read.thresholds.is_empty() { self.scores(names, found)? } else { self.thresholds(names, found)? };
        Some(Actions { names: names.clone(), by })
    }

    fn check_names(&self, names: &[String], found: &mut Vec<Diagnostic>) -> Option<()> {
        if names.len() < 2 || names.len() > ACTIONS_MAX {
            let diagnostic = self.at("actions").error(format!("there are from 2 to {ACTIONS_MAX} actions, and these are {}", names.len()));
            found.push(diagnostic.help("name all that may be done: actions = ['approve', 'decline']"));
            return None;
        }
        let wrong = names.iter().enumerate().find(|(at, name)| name.trim().is_empty() || names[..*at].contains(name));
        let Some((_, wrong)) = wrong else { return Some(()) };
        let title = if wrong.trim().is_empty() { "an action has no name".to_owned() } else { format!("action `{wrong}` is there twice") };
        found.push(self.at("actions").error(title).help("give each action a name of its own"));
        None
    }

    /// Every action is a prediction.
    fn scores(&self, names: &[String], found: &mut Vec<Diagnostic>) -> Option<DecideBy> {
        if self.read.decide_by.is_some() {
            let diagnostic = self.at("decide_by").error("one prediction decides between actions by thresholds, and there are none");
            found.push(diagnostic.help(format!("write as many as there are actions, less one: thresholds = {}", example(names.len() - 1))));
            return None;
        }
        let scored = |name: &String| self.predictions.iter().find(|prediction| prediction.name == *name);
        for name in names {
            match scored(name) {
                None => {
                    let diagnostic = self.at("actions").error(format!("action `{name}` is no prediction, and no thresholds say when it is taken"));
                    let known = list(self.predictions.iter().map(|prediction| prediction.name.as_str()));
                    let diagnostic = diagnostic.note(format!("the model predicts {known}"));
                    let help = format!("predict a score for each action, or write thresholds = {}", example(names.len() - 1));
                    found.push(diagnostic.help(help));
                    return None;
                }
                Some(prediction) if !prediction.data_type.is_numeric() => {
                    let diagnostic = self.at("actions").error(format!("prediction `{name}` is no number, and cannot be the score of an action"));
                    found.push(diagnostic.help("let the model predict a number for each action"));
                    return None;
                }
                Some(_) => {}
            }
        }
        Some(DecideBy::Scores)
    }

    /// One prediction is cut by bounds.
    fn thresholds(&self, names: &[String], found: &mut Vec<Diagnostic>) -> Option<DecideBy> {
        let bounds = &self.read.thresholds;
        let ascend = bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.iter().all(|bound| bound.is_finite());
        if bounds.len() + 1 != names.len() || !ascend {
            let title = if ascend {
                format!("{} thresholds do not tell {} actions apart", bounds.len(), names.len())
            } else {
                "thresholds do not ascend".to_owned()
            };
            let diagnostic = self.at("thresholds").error(title).note("below the first one it is the first action, from the last one on the last");
            found.push(diagnostic.help(format!("write {} that ascend: thresholds = {}", names.len() - 1, example(names.len() - 1))));
            return None;
        }
        Some(DecideBy::Thresholds { prediction: self.decided_by(found)?, bounds: bounds.clone() })
    }

    /// The prediction that thresholds cut: the one that is named, or the only number there is.
    fn decided_by(&self, found: &mut Vec<Diagnostic>) -> Option<String> {
        let is_number = |prediction: &&Prediction| prediction.data_type.is_numeric() && prediction.data_type != DataType::Null;
        let numbers: Vec<&str> = self.predictions.iter().filter(is_number).map(|prediction| prediction.name.as_str()).collect();
        match (&self.read.decide_by, numbers.as_slice()) {
            (Some(name), numbers) if numbers.contains(&name.as_str()) => Some(name.clone()),
            (Some(name), numbers) => {
                let diagnostic = self.at("decide_by").error(format!("`{name}` is no prediction that is a number"));
                found.push(did_you_mean(diagnostic, name, "numbers that are predicted", numbers));
                None
            }
            (None, [only]) => Some((*only).to_owned()),
            (None, numbers) => {
                let diagnostic = self.at("thresholds").error("thresholds of which prediction?");
                let diagnostic = diagnostic.note(format!("numbers that are predicted: {}", list(numbers.iter().copied())));
                found.push(diagnostic.help_opt(numbers.first().map(|first| format!("name it: decide_by = '{first}'"))));
                None
            }
        }
    }

    /// What is tried, and for which share. Of candidates that are ranked it is their order.
    pub(super) fn explore(&self, actions: Option<&Actions>, ranks: bool, found: &mut Vec<Diagnostic>) -> Option<Explore> {
        let by = self.read.explore_by.unwrap_or_default();
        let Some(share) = self.read.explore else {
            if self.read.explore_by.is_some() {
                let diagnostic = self.at("explore_by").error("`explore_by` says what is tried, and no share of rows tries anything");
                found.push(diagnostic.help("say for which share: explore = 0.05"));
            }
            return None;
        };
        if !(share > 0.0 && share <= 1.0) {
            let diagnostic = self.at("explore").error(format!("{share} is no share of rows"));
            found.push(diagnostic.help("write a number above 0 and up to 1, such as 0.05, or leave it out"));
            return None;
        }
        let has_scores = actions.is_some_and(|actions| actions.by == DecideBy::Scores);
        if matches!(by, ExploreBy::Softmax(_)) && ranks {
            let diagnostic = self.at("explore_by").error("softmax draws one of a few actions, and what explores here is the order of candidates");
            let diagnostic =
                diagnostic.note("with which probability it would put one of many behind others has no formula, and a propensity is to be exact");
            found.push(diagnostic.help("write explore_by = 'random', or leave it out: every order is then as likely as the others"));
            return None;
        }
        if matches!(by, ExploreBy::Softmax(_)) && !has_scores {
            let diagnostic = self.at("explore_by").error("softmax draws actions by their scores, and they have none");
            found.push(diagnostic.help("predict a score for each action, or write explore_by = 'random'"));
            return None;
        }
        Some(Explore { share, by })
    }
}

/// So many thresholds, as an example.
#[allow(clippy::cast_precision_loss, reason = "a few")]
fn example(count: usize) -> String {
    let bounds = (1..=count).map(|at| format!("{:.2}", at as f64 / (count + 1) as f64));
    format!("[{}]", bounds.collect::<Vec<_>>().join(", "))
}
