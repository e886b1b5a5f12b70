//! Definitions and rows, given to the binary itself: applied, backfilled, and asked through its server.

use lockstep_model::EventTime;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use serde_json::{Map, Value, json};

use crate::project::Project;
use crate::support::Server;

/// A service or a view, and the rows to ask it for, each as of its moment.
#[derive(Debug)]
pub struct Asking {
    pub service: String,
    pub rows: Vec<Map<String, Value>>,
    pub moments: Vec<i64>,
}

/// A moment, µs, as it is written.
pub fn moment(micros: i64) -> String {
    EventTime(micros).to_string()
}

/// A moment as it was written, µs.
pub fn micros(text: &str) -> Option<i64> {
    EventTime::parse(text).ok().map(EventTime::micros)
}

/// What is wrong with definitions.
pub fn refusal(sql: &str) -> Option<String> {
    let files = [SourceFile::new("case.sql", sql)];
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    match Definitions::parse(&files) {
        Err(errors) => Some(first_line(errors[0].to_string())),
        Ok(definitions) => Catalog::compile(definitions).err().map(|errors| first_line(errors[0].to_string())),
    }
}

/// A server over definitions and files, whose history is in.
pub fn serve(files: &[(String, String)]) -> (Project, Server) {
    let project = Project::of(files);
    let server = Server::start(&project);
    (project, server)
}

/// The values of each output, row by row.
pub fn ask(server: &Server, asking: &Asking) -> Vec<Vec<Value>> {
    ask_by_name(server, asking).into_iter().map(|output| output.1).collect()
}

/// The same, with the outputs' names.
pub fn ask_by_name(server: &Server, asking: &Asking) -> Vec<(String, Vec<Value>)> {
    let moments: Vec<String> = asking.moments.iter().map(|micros| moment(*micros)).collect();
    let request = json!({"name": asking.service, "rows": asking.rows, "as_of": moments, "metadata": "none"});
    let (status, body) = server.post("/v1/features", &request.to_string());
    assert_eq!(status, 200, "{}: {body}\n{request}", asking.service);
    let answer: Value = serde_json::from_str(&body).unwrap();
    let values = |output: &Value| (output["name"].as_str().unwrap().to_owned(), output["values"].as_array().unwrap().clone());
    answer["features"].as_array().unwrap().iter().map(values).collect()
}
