//! The OpenAPI description, from the structs that are read and written.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::overview::Overview;
use super::{FailureJson, answer, explain, report, request, score};
use crate::watch;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(describe);

/// The description.
pub fn description() -> &'static Value {
    &DESCRIPTION
}

fn describe() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let one =
        |summary: &str, response: Value, parameters: Value| json!({"get": {"summary": summary, "parameters": parameters, "responses": response}});
    let name = json!([{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let none = json!([]);
    let mut paths = Map::new();
    let ask = schema::<request::FeaturesRequest>(&mut schemas);
    let answered = responses::<answer::FeaturesResponse>(&mut schemas);
    paths.insert(
        "/v1/features".to_owned(),
        json!({"post": {
            "summary": "The features of many entities, each at its moment, from one consistent state",
            "parameters": [timeout()],
            "requestBody": {"required": true, "content": {"application/json": {"schema": ask}}},
            "responses": answered,
        }}),
    );
    paths.insert("/v1/features/{name}".to_owned(), one("The features of one entity: columns are parameters of the query", answered, by_query(&name)));
    let explained = responses::<explain::Explanation>(&mut schemas);
    paths.insert("/v1/explain/{name}".to_owned(), one("The features of one entity, and what each came from", explained, by_query(&name)));
    let (ask, scored) = (schema::<score::ScoreRequest>(&mut schemas), responses::<score::ScoreResponse>(&mut schemas));
    paths.insert(
        "/v1/score".to_owned(),
        json!({"post": {
            "summary": "The predictions of a deployment for many rows, each at its moment, from one consistent state",
            "parameters": [timeout()],
            "requestBody": {"required": true, "content": {"application/json": {"schema": ask}}},
            "responses": scored,
        }}),
    );
    let reports = [
        (
            "/v1/decisions",
            "Tells what was done with rows that were scored; that is on the disk once this is answered",
            schema::<report::DecisionsRequest>(&mut schemas),
        ),
        (
            "/v1/outcomes",
            "Tells what came of rows that were scored; that is on the disk once this is answered",
            schema::<report::OutcomesRequest>(&mut schemas),
        ),
    ];
    let taken = responses::<report::Taken>(&mut schemas);
    for (path, summary, told) in reports {
        let body = json!({"required": true, "content": {"application/json": {"schema": told}}});
        paths.insert(
            path.to_owned(),
            json!({"post": {"summary": summary, "parameters": [timeout()], "requestBody": body, "responses": taken.clone()}}),
        );
    }
    let names = responses::<score::DeploymentNames>(&mut schemas);
    paths.insert("/v1/deployments".to_owned(), one("The names of deployments", names, none.clone()));
    let deployment = responses::<score::Deployment>(&mut schemas);
    paths.insert("/v1/deployments/{name}".to_owned(), one("A deployment, and how its models stand", deployment, name.clone()));
    let (push, pushed) = (schema::<request::EventsRequest>(&mut schemas), responses::<answer::Pushed>(&mut schemas));
    let source = json!([{"name": "source", "in": "path", "required": true, "schema": {"type": "string"}}]);
    paths.insert(
        "/v1/events/{source}".to_owned(),
        json!({"post": {
            "summary": "Appends events of a source to the server's own log; they are on the disk once this is answered",
            "parameters": source,
            "requestBody": {"required": true, "content": {"application/json": {"schema": push}}},
            "responses": pushed,
        }}),
    );
    let names = responses::<answer::Names>(&mut schemas);
    paths.insert("/v1/views".to_owned(), one("The names of views and services", names.clone(), none.clone()));
    paths.insert("/v1/services".to_owned(), one("The names of views and services", names, none.clone()));
    paths.insert("/v1/views/{name}".to_owned(), one("A feature view", responses::<answer::View>(&mut schemas), name.clone()));
    paths.insert("/v1/services/{name}".to_owned(), one("A feature service", responses::<answer::Service>(&mut schemas), name.clone()));
    paths.insert("/v1/status".to_owned(), one("How far the server is", responses::<answer::Status>(&mut schemas), none.clone()));
    paths.insert("/v1/overview".to_owned(), one("What there is, and how it hangs together", responses::<Overview>(&mut schemas), none.clone()));
    paths.insert(
        "/v1/signals".to_owned(),
        one("What is wrong, each cause with what follows from it", responses::<watch::Signals>(&mut schemas), none.clone()),
    );
    let page = responses::<watch::Page>(&mut schemas);
    paths.insert("/v1/watch".to_owned(), one("All that is watched: signals, what is measured, and the same over time", page, none.clone()));
    let features = responses::<watch::FeatureHistory>(&mut schemas);
    let summary = "The features of a service or view by status, over time, of a sample of what is served";
    paths.insert("/v1/watch/{name}".to_owned(), one(summary, features, name));
    let text = json!({"200": {"description": "as text", "content": {"text/plain": {"schema": {"type": "string"}}}}});
    for (path, summary) in [
        ("/metrics", "Metrics in the OpenMetrics format"),
        ("/healthz", "Whether the process lives"),
        ("/readyz", "Whether requests are to be sent here: status 503 where not"),
    ] {
        paths.insert(path.to_owned(), one(summary, text.clone(), none.clone()));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Lockstep", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    })
}

fn by_query(name: &Value) -> Value {
    let mut parameters = name.as_array().cloned().unwrap_or_default();
    let settings = ["_as_of", "_features", "_time", "_metadata", "_request_id", "_definitions"];
    parameters.extend(settings.map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})));
    parameters.push(timeout());
    parameters.push(json!({
        "name": "columns", "in": "query", "style": "form", "explode": true,
        "description": "every column that the service or view is asked with, by its name",
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    }));
    Value::Array(parameters)
}

/// How a request says how much time it has.
fn timeout() -> Value {
    json!({
        "name": "request-timeout", "in": "header",
        "description": "in how many seconds the answer is wanted, such as 0.25; what was not begun by then is not, and is answered with 504",
        "schema": {"type": "string"},
    })
}

fn schema<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn responses<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    let (good, failure) = (schema::<T>(schemas), schema::<FailureJson>(schemas));
    json!({
        "200": {"description": "the answer", "content": {"application/json": {"schema": good}}},
        "default": {"description": "what is wrong, what is known, what to do", "content": {"application/json": {"schema": failure}}},
    })
}
