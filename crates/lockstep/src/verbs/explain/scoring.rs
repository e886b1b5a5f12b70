//! What a deployment or a model does: which features go into what, what is predicted, and what follows from that.

use std::fmt::Write as _;

use lockstep_model::Error;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Actions, DecideBy, Deployment, Explore, ExploreBy, Model, Pick, Ranking, Step, sql_name};
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{Paint, Report};

/// A deployment or a model.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExplainedScoring {
    /// Its name.
    pub name: String,
    /// `deployment` or `model`.
    pub kind: &'static str,
    /// Digest of what it means.
    pub meaning: String,
    /// What it is asked with, each with its type.
    pub request: Vec<String>,
    /// Its models: those of its steps, its fallback and its shadow.
    pub models: Vec<ExplainedModel>,
    /// How candidates are ranked, where the first step has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranking: Option<ExplainedRanking>,
    /// What may be done with a row, and when each follows from the predictions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ExplainedAction>,
    /// For which rows something else is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explore: Option<ExplainedExplore>,
}

/// A model in its place.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExplainedModel {
    /// What it is called there: `fallback` and `shadow` for these.
    pub step: String,
    /// The model.
    pub model: String,
    /// Its file.
    pub path: String,
    /// The feature service whose outputs go into it.
    pub service: String,
    /// Digest of what that means.
    pub service_meaning: String,
    /// The views that the service reads.
    pub views: Vec<String>,
    /// The columns of the request of its service that are predictions of earlier steps, with the step, and those that are outputs of the candidate at hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// Its inputs, each with its features in order.
    pub inputs: Vec<ExplainedInput>,
    /// What it predicts: name, type, and the output of the file.
    pub predictions: Vec<String>,
}

/// An input of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExplainedInput {
    /// Its name.
    pub input: String,
    /// The features in it, in order.
    pub features: Vec<String>,
}

/// How candidates are ranked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExplainedRanking {
    /// By which predictions, and which come first; the order of the service where there are none.
    pub by: Vec<String>,
    /// How many of a request are answered at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
    /// The outputs of the service that say which candidate it is.
    pub items: Vec<String>,
}

/// An action.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExplainedAction {
    /// Its name.
    pub action: String,
    /// When it follows from the predictions.
    pub when: String,
}

/// How a deployment explores.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExplainedExplore {
    /// The share of rows.
    pub share: f64,
    /// What is tried.
    pub by: String,
    /// The propensity of the action that follows from the predictions, where it is the same for all rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
    /// That of any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity_of_others: Option<f64>,
}

/// Explains a deployment or a model; `None` where there is none of the name.
///
/// # Errors
/// Internal where a checked definition lacks what it names.
pub fn explain(catalog: &Catalog, name: &str) -> Result<Option<ExplainedScoring>, Error> {
    let definitions = &catalog.definitions;
    if let Some(deployment) = definitions.deployments.get(name) {
        return of_deployment(catalog, deployment).map(Some);
    }
    let Some(model) = definitions.models.get(name) else { return Ok(None) };
    let plan = catalog.services.get(&model.service).ok_or_else(|| lacks("such service"))?;
    let request = plan.request.fields().iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type())));
    Ok(Some(ExplainedScoring {
        name: name.to_owned(),
        kind: "model",
        meaning: catalog.models.get(name).map(ToString::to_string).unwrap_or_default(),
        request: request.collect(),
        models: vec![explained(catalog, name, model)?],
        ranking: None,
        actions: Vec::new(),
        explore: None,
    }))
}

fn lacks(what: &str) -> Error {
    Error::internal(format!("definitions are checked, and there is no {what}"))
}

fn of_deployment(catalog: &Catalog, deployment: &Deployment) -> Result<ExplainedScoring, Error> {
    let steps = deployment.steps.iter().map(|step| (step.name.as_str(), step.model.as_str(), given(step)));
    let beside = [("fallback", &deployment.fallback), ("shadow", &deployment.shadow)];
    let beside = beside.into_iter().filter_map(|(step, model)| Some((step, model.as_deref()?, Vec::new())));
    let model = |(step, model, given): (&str, &str, Vec<String>)| {
        let found = catalog.definitions.models.get(model).ok_or_else(|| lacks("such model"))?;
        Ok::<_, Error>(ExplainedModel { given, ..explained(catalog, step, found)? })
    };
    Ok(ExplainedScoring {
        name: deployment.name.clone(),
        kind: "deployment",
        meaning: catalog.deployments.get(&deployment.name).map(ToString::to_string).unwrap_or_default(),
        request: deployment.request.iter().map(|column| format!("{} {}", column.name, sql_name(&column.data_type))).collect(),
        models: steps.chain(beside).map(model).collect::<Result<_, _>>()?,
        ranking: deployment.ranking.as_ref().map(explained_ranking),
        actions: deployment.actions.as_ref().map(explained_actions).unwrap_or_default(),
        explore: deployment.explore.map(|explore| explained_explore(explore, deployment.actions.as_ref())),
    })
}

fn explained(catalog: &Catalog, step: &str, model: &Model) -> Result<ExplainedModel, Error> {
    let plan = catalog.services.get(&model.service).ok_or_else(|| lacks("such service"))?;
    let mut views: Vec<String> = Vec::new();
    for join in &plan.joins {
        if !views.contains(&join.transformation.view) {
            views.push(join.transformation.view.clone());
        }
    }
    let prediction = |prediction: &lockstep_transform::definition::Prediction| {
        let pick = match &prediction.pick {
            None => String::new(),
            Some(Pick::Label(label)) => format!("['{label}']"),
            Some(Pick::Index(index)) => format!("[{index}]"),
        };
        format!("{} {} from {}{pick}", prediction.name, sql_name(&prediction.data_type), prediction.output)
    };
    Ok(ExplainedModel {
        step: step.to_owned(),
        model: model.name.clone(),
        path: model.path.clone(),
        service: model.service.clone(),
        service_meaning: plan.meaning.to_string(),
        views,
        given: Vec::new(),
        inputs: model.inputs.iter().map(|(input, features)| ExplainedInput { input: input.clone(), features: features.clone() }).collect(),
        predictions: model.predictions.iter().map(prediction).collect(),
    })
}

/// What a step takes of those before it.
fn given(step: &Step) -> Vec<String> {
    let predicted = step.given.iter().map(|(column, from)| format!("{column} of step {from}"));
    predicted.chain(step.of_candidate.iter().map(|column| format!("{column} of the candidate"))).collect()
}

fn explained_ranking(ranking: &Ranking) -> ExplainedRanking {
    let by = ranking.by.iter().map(|(prediction, descending)| format!("{prediction} {}", if *descending { "DESC" } else { "ASC" }));
    ExplainedRanking { by: by.collect(), top: ranking.top, items: ranking.items.clone() }
}

fn ranking_text(ranking: &ExplainedRanking) -> String {
    let ExplainedRanking { by, top, items } = ranking;
    let by = if by.is_empty() { "in the order of the service".to_owned() } else { format!("by {}", by.join(", ")) };
    let top = top.map(|top| format!(", of which the first {top} are answered")).unwrap_or_default();
    format!("\n  candidates, which are told by {}, are ranked {by}{top}\n", items.join(", "))
}

fn explained_actions(actions: &Actions) -> Vec<ExplainedAction> {
    let when = |at: usize, action: &String| match &actions.by {
        DecideBy::Scores => format!("{action} is the largest"),
        DecideBy::Thresholds { prediction, bounds } => match (at.checked_sub(1).and_then(|before| bounds.get(before)), bounds.get(at)) {
            (None, Some(below)) => format!("{prediction} < {below}"),
            (Some(from), Some(below)) => format!("{from} <= {prediction} < {below}"),
            (from, None) => format!("{} <= {prediction}", from.copied().unwrap_or(f64::NEG_INFINITY)),
        },
    };
    actions.names.iter().enumerate().map(|(at, action)| ExplainedAction { action: action.clone(), when: when(at, action) }).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a few actions")]
fn explained_explore(Explore { share, by }: Explore, actions: Option<&Actions>) -> ExplainedExplore {
    let others = actions.filter(|_| by == ExploreBy::Random).map(|actions| share / actions.names.len() as f64);
    ExplainedExplore { share, by: by.to_string(), propensity: others.map(|others| 1.0 - share + others), propensity_of_others: others }
}

impl Report for ExplainedScoring {
    fn text(&self, paint: Paint) -> String {
        let ExplainedScoring { name, kind, meaning, request, models, ranking, actions, explore } = self;
        let mut text = format!("{} {name}, {}\n", paint.bold(kind), meaning.get(..12).unwrap_or(meaning));
        let _ = writeln!(text, "  asked with {}", request.join(", "));
        for ExplainedModel { step, model, path, service, service_meaning, views, given, inputs, predictions } in models {
            let called = if step == model { model.clone() } else { format!("{step}: {model}") };
            let _ = writeln!(text, "\n{} {path}", paint.bold(called));
            let of = if views.is_empty() { "the request alone".to_owned() } else { views.join(", ") };
            let _ = writeln!(text, "  features of {} ({}), from {of}", paint.cyan(service), service_meaning.get(..12).unwrap_or(service_meaning));
            if !given.is_empty() {
                let _ = writeln!(text, "  asked with {}", given.join(", "));
            }
            for ExplainedInput { input, features } in inputs {
                let _ = writeln!(text, "  {input} takes {}", features.join(", "));
            }
            let _ = writeln!(text, "  predicts {}", predictions.join(", "));
        }
        text += &ranking.as_ref().map(ranking_text).unwrap_or_default();
        if !actions.is_empty() {
            let _ = writeln!(text, "\n{}", paint.bold("actions"));
        }
        for ExplainedAction { action, when } in actions {
            let _ = writeln!(text, "  {action} where {when}");
        }
        if let Some(ExplainedExplore { share, by, propensity, propensity_of_others }) = explore {
            let how = match (propensity, propensity_of_others) {
                (Some(best), Some(others)) => format!(": the action that follows has a propensity of {best}, each other of {others}"),
                _ if ranking.is_some() => ": these requests are answered in an order of chance".to_owned(),
                _ if actions.is_empty() => ": the caller does something else with these".to_owned(),
                _ => ": propensities follow from the scores of a row".to_owned(),
            };
            let _ = writeln!(text, "  a share of {share} explores, {by}{how}");
        }
        text
    }
}
