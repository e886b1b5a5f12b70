//! `schema`: what is read and written, and of what types.

use anyhow::Result;
use arrow::datatypes::{DataType, Field, FieldRef};
use clap::Args;
use lockstep_model::Error;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::sql_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Context;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::schemas;
use crate::table::{Align, Table};
use crate::text::did_you_mean;

const EXAMPLES: &str = "\
Examples:
  lockstep schema                       what there are schemas of
  lockstep schema config                the JSON Schema of lockstep.toml
  lockstep schema --json                all JSON Schemas in one object
  lockstep schema --service fraud_v1    what a request to it gives, and what it answers
  lockstep schema --deployment risk     what a request for its predictions gives, and what they are";

/// Print JSON Schemas, and the columns of services, views and deployments
///
/// Without a name, lists what there are JSON Schemas of: the settings, the options of definitions, and every JSON that a verb prints.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Print the JSON Schema of this
    #[arg(conflicts_with_all = ["service", "view", "deployment"])]
    name: Option<String>,
    /// Print the columns of a request to this feature service, and of its answer
    #[arg(long, value_name = "NAME", conflicts_with = "view")]
    service: Option<String>,
    /// Print the key and the features of this view
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// Print the columns of a request to this deployment, and its predictions
    #[arg(long, value_name = "NAME", conflicts_with_all = ["service", "view"])]
    deployment: Option<String>,
}

/// What a feature service, view or deployment is asked by, and what it answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Columns {
    /// Its name.
    pub name: String,
    /// `service`, `view` or `deployment`.
    pub kind: &'static str,
    /// What a request gives beside its moment.
    pub request: Vec<ColumnType>,
    /// What is answered.
    pub outputs: Vec<ColumnType>,
    /// The views it reads, by role.
    pub reads: Vec<RoleName>,
    /// Fingerprint of what it means.
    pub fingerprint: String,
}

/// A column.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ColumnType {
    /// Its name.
    pub name: String,
    /// Its type in SQL.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// A view that a service reads.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoleName {
    /// What the service calls it.
    pub alias: String,
    /// Its name.
    pub view: String,
}

/// Prints schemas or columns.
///
/// # Errors
/// NotFound for a name that is none; as [`crate::project::Project::catalog`] where columns are asked for.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let out = &context.out;
    match arguments {
        Arguments { service: Some(name), .. } => out.show(&service(&context.project()?.catalog()?, name)?)?,
        Arguments { view: Some(name), .. } => out.show(&view(&context.project()?.catalog()?, name)?)?,
        Arguments { deployment: Some(name), .. } => out.show(&deployment(&context.project()?.catalog()?, name)?)?,
        Arguments { name: Some(name), .. } => out.show_json(&named(name)?)?,
        Arguments { name: None, .. } if out.json => {
            let all: Map<String, Value> = schemas::all().into_iter().map(|named| (named.name.to_owned(), named.schema.to_value())).collect();
            out.show_json(&all)?;
        }
        Arguments { name: None, .. } => out.print(&list(out.out()))?,
    }
    Ok(Outcome::Fine)
}

fn list(paint: Paint) -> String {
    let mut table = Table::new(&[("name", Align::Left), ("describes", Align::Left)]);
    schemas::all().iter().for_each(|named| table.row([named.name.into(), named.about.into()]));
    table.render(paint)
}

fn named(name: &str) -> Result<Value, Error> {
    let all = schemas::all();
    let known: Vec<&str> = all.iter().map(|named| named.name).collect();
    let unknown =
        || Error::not_found(format!("no schema named `{name}` · schemas: {}{}", known.join(", "), did_you_mean(name, known.iter().copied())));
    all.iter().find(|named| named.name == name).map(|named| named.schema.clone().to_value()).ok_or_else(unknown)
}

fn service(catalog: &Catalog, name: &str) -> Result<Columns, Error> {
    let service = catalog.services.get(name).ok_or_else(|| unknown("feature service", name, catalog.services.keys()))?;
    Ok(Columns {
        name: name.to_owned(),
        kind: "service",
        request: service.request.fields().iter().map(column).collect(),
        outputs: service.schema.fields().iter().map(column).collect(),
        reads: service.joins.iter().map(|join| RoleName { alias: join.alias.clone(), view: join.view.clone() }).collect(),
        fingerprint: service.meaning.to_string(),
    })
}

fn view(catalog: &Catalog, name: &str) -> Result<Columns, Error> {
    let view = catalog.views.get(name).ok_or_else(|| unknown("feature view", name, catalog.views.keys()))?;
    Ok(Columns {
        name: name.to_owned(),
        kind: "view",
        request: view.entity.iter().map(column).collect(),
        outputs: view.features.fields().iter().map(column).collect(),
        reads: Vec::new(),
        fingerprint: view.meaning.to_string(),
    })
}

fn deployment(catalog: &Catalog, name: &str) -> Result<Columns, Error> {
    let meaning = catalog.deployments.get(name).ok_or_else(|| unknown("deployment", name, catalog.deployments.keys()))?;
    let deployment = catalog.definitions.deployments.get(name).ok_or_else(|| unknown("deployment", name, catalog.deployments.keys()))?;
    let of = |name: &str, data_type: &DataType| ColumnType { name: name.to_owned(), data_type: sql_name(data_type) };
    Ok(Columns {
        name: name.to_owned(),
        kind: "deployment",
        request: deployment.request.iter().map(|column| of(&column.name, &column.data_type)).collect(),
        outputs: deployment.predictions.iter().map(|prediction| of(&prediction.name, &prediction.data_type)).collect(),
        reads: Vec::new(),
        fingerprint: meaning.to_string(),
    })
}

fn column(field: &FieldRef) -> ColumnType {
    let field: &Field = field;
    ColumnType { name: field.name().clone(), data_type: sql_name(field.data_type()) }
}

/// The error of a name that the definitions do not have.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String> + Clone) -> Error {
    let listed: Vec<&str> = known.map(String::as_str).collect();
    let all = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    Error::not_found(format!("no {what} named `{name}` · there are: {all}{}", did_you_mean(name, listed)))
}

impl Report for Columns {
    fn text(&self, paint: Paint) -> String {
        let table = |columns: &[ColumnType]| {
            let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]).indented(2);
            columns.iter().for_each(|column| table.row([column.name.as_str().into(), column.data_type.as_str().into()]));
            table.render(paint)
        };
        let (kind, request, outputs) = match self.kind {
            "view" => ("feature view", "key", "features"),
            "deployment" => ("deployment", "request", "predictions"),
            _ => ("feature service", "request", "outputs"),
        };
        let mut text = format!("{} {}\n\n", paint.bold(&self.name), paint.dim(kind));
        text += &format!("{}\n{}\n{}\n{}", paint.bold(request), table(&self.request), paint.bold(outputs), table(&self.outputs));
        if !self.reads.is_empty() {
            let mut reads = Table::new(&[("", Align::Left), ("", Align::Left)]).indented(2);
            self.reads.iter().for_each(|role| reads.row([role.alias.as_str().into(), role.view.as_str().into()]));
            text += &format!("\n{}\n{}", paint.bold("reads"), reads.render(paint));
        }
        text
    }
}
