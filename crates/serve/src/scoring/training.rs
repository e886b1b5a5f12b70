//! What a model was trained on, as `lockstep train` has written it down: what its features meant then, and what they were like.

use std::collections::BTreeMap;

use lockstep_transform::definition::{self, Diagnostic, quoted, sql_name};
use lockstep_transform::profile::Summary;
use lockstep_transform::service::ServicePlan;
use serde::{Deserialize, Serialize};

/// A training set, by its manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Digest of its rows.
    pub digest: String,
    /// When it was made.
    pub created_at: String,
    /// Rows.
    pub rows: u64,
    /// Its features, in order.
    pub features: Vec<TrainedFeature>,
}

/// A feature of a training set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainedFeature {
    /// Its name.
    pub name: String,
    /// Its type in SQL.
    #[serde(rename = "type")]
    pub data_type: String,
    /// What its values were like.
    pub summary: Summary,
    /// States of their profile, by the names of aggregates, in base64, as they are in the manifest: what is served later is compared with them.
    pub profile: BTreeMap<String, String>,
}

/// What of a manifest is read here.
#[derive(Debug, Deserialize)]
struct Manifest {
    job: Job,
    created_at: String,
    columns: Vec<Column>,
    digest: String,
    report: Report,
}

#[derive(Debug, Deserialize)]
struct Job {
    name: String,
    meaning: String,
    #[serde(default)]
    views: Vec<View>,
}

#[derive(Debug, Deserialize)]
struct View {
    view: String,
    meaning: String,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    role: String,
}

#[derive(Debug, Deserialize)]
struct Report {
    rows: u64,
    #[serde(default)]
    features: Vec<Reported>,
}

#[derive(Debug, Deserialize)]
struct Reported {
    name: String,
    #[serde(default)]
    summary: Summary,
    #[serde(default)]
    profile: BTreeMap<String, String>,
}

/// Reads the manifest that a model names, and adds what of it does not go with the features; nothing where it is no manifest.
pub(super) fn read(model: &definition::Model, service: &ServicePlan, text: &[u8], found: &mut Vec<Diagnostic>) -> Option<Training> {
    let at = model.option_origin("training_set");
    let manifest: Manifest = match serde_json::from_slice(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            let diagnostic = at.error("this is no manifest of a training set").note(error.to_string());
            found.push(diagnostic.help("name the `manifest.json` that `lockstep train` wrote beside the rows"));
            return None;
        }
    };
    if manifest.job.name != service.name {
        let diagnostic = at.error(format!("the training set is of `{}`, and the model takes features of `{}`", manifest.job.name, service.name));
        found.push(diagnostic.help(format!("write USING {}, or name a training set of {}", quoted(&manifest.job.name), quoted(&service.name))));
        return None;
    }
    // Who says by their fingerprint that these are the features is held to that: a release may write a meaning otherwise.
    let is_confirmed = model.options.features.as_ref().is_some_and(|features| service.meaning.to_string().starts_with(features.as_str()));
    if manifest.job.meaning != service.meaning.to_string() && !is_confirmed {
        found.push(other_meaning(model, service, &manifest));
    } else {
        check_columns(model, service, &manifest, found);
    }
    Some(manifest.trained())
}

/// Features that mean something else than they meant in the training set.
fn other_meaning(model: &definition::Model, service: &ServicePlan, manifest: &Manifest) -> Diagnostic {
    let (name, then, now) = (&service.name, short(&manifest.job.meaning), service.meaning.short());
    let title = format!("`{}` was made for {name} as of meaning {then}, and the definition now means {now}", model.name);
    let is_other = |view: &&View| {
        service.joins.iter().find(|join| join.view == view.view).is_none_or(|join| join.transformation.meaning.to_string() != view.meaning)
    };
    let changed: Vec<&str> = manifest.job.views.iter().filter(is_other).map(|view| view.view.as_str()).collect();
    let note = if changed.is_empty() {
        format!("its views mean what they meant; {name} itself is another")
    } else {
        format!("views that changed: {}", changed.join(", "))
    };
    let diagnostic = model.option_origin("training_set").error(title).note(note);
    diagnostic.help(format!("train again (`lockstep train {name} …`), or keep what was trained on under its own name, beside the new {name}"))
}

/// Every feature of the model is one of the training set, of the same type.
fn check_columns(model: &definition::Model, service: &ServicePlan, manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    let trained: Vec<&Column> = manifest.columns.iter().filter(|column| column.role == "feature").collect();
    // A row of a training set has lists of what its candidates have, or is one of them.
    let schema = service.schema_by_request();
    for name in model.features() {
        let (Ok(field), Ok(of_candidate)) = (schema.field_with_name(name), service.schema.field_with_name(name)) else { continue };
        let at = origin_of(model, name);
        let (is, of_candidate) = (sql_name(field.data_type()), sql_name(of_candidate.data_type()));
        match trained.iter().find(|column| column.name == name) {
            None => {
                let all = trained.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
                let diagnostic = at.error(format!("feature `{name}` is not in the training set")).note(format!("its features: {all}"));
                found.push(diagnostic.help("leave it out, or train again with it"));
            }
            Some(column) if column.data_type != is && column.data_type != of_candidate => {
                let diagnostic = at.error(format!("feature `{name}` is of type {is}, and was {} in the training set", column.data_type));
                found.push(diagnostic.help("train again, or let the service give the former type"));
            }
            Some(_) => {}
        }
    }
}

/// Where a feature is named first.
fn origin_of<'a>(model: &'a definition::Model, feature: &str) -> &'a definition::Origin {
    let named = model.inputs.iter().find_map(|(input, features)| {
        let at = features.iter().position(|name| name == feature)?;
        model.places.inputs.get(input)?.1.get(at)
    });
    named.unwrap_or(&model.origin)
}

/// Whether features mean what the definition says that the model was trained on, where it says so by their fingerprint.
pub(super) fn check_features(model: &definition::Model, service: &ServicePlan, found: &mut Vec<Diagnostic>) {
    let (Some(trained), now) = (&model.options.features, service.meaning.to_string()) else { return };
    if now.starts_with(trained.as_str()) {
        return;
    }
    let title = format!("`{}` was trained on features of another meaning than {} has now", model.name, service.name);
    let diagnostic = model.option_origin("features").error(title).note(format!("trained on: {}; now: {}", short(trained), short(&now)));
    found.push(diagnostic.help(format!("train again and write features = '{}'", short(&now))));
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

impl Manifest {
    fn trained(self) -> Training {
        let Manifest { created_at, columns, digest, report, .. } = self;
        let mut reported: BTreeMap<String, Reported> = report.features.into_iter().map(|feature| (feature.name.clone(), feature)).collect();
        let features = columns.into_iter().filter(|column| column.role == "feature").map(|column| {
            let (summary, profile) = reported.remove(&column.name).map(|feature| (feature.summary, feature.profile)).unwrap_or_default();
            TrainedFeature { name: column.name, data_type: column.data_type, summary, profile }
        });
        Training { digest, created_at, rows: report.rows, features: features.collect() }
    }
}
