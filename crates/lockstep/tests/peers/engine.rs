//! Definitions and rows, given to the binary itself: applied, backfilled, and asked through its server and as training sets.

use lockstep_model::EventTime;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use serde_json::{Map, Value, json};

use crate::project::Project;
use crate::support::Server;
use crate::trained::Trained;

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
pub struct Engine {
    project: Project,
    server: Server,
    /// Services and views whose events are in no history.
    logged: &'static [&'static str],
    /// What `train` gave of the same rows.
    pub trained: Trained,
}

/// An engine over definitions and files.
pub fn serve(files: &[(String, String)]) -> Engine {
    Engine::of(Project::of(files), &[])
}

impl Engine {
    /// Of a project; `logged` are the services and views whose events are in no history.
    pub fn of(project: Project, logged: &'static [&'static str]) -> Engine {
        let server = Server::start(&project);
        Engine { project, server, logged, trained: Trained::default() }
    }

    /// The values of each output, row by row.
    pub fn ask(&self, asking: &Asking) -> Vec<Vec<Value>> {
        self.ask_by_name(asking).into_iter().map(|output| output.1).collect()
    }

    /// The same, with the outputs' names.
    pub fn ask_by_name(&self, asking: &Asking) -> Vec<(String, Vec<Value>)> {
        let moments: Vec<String> = asking.moments.iter().map(|micros| moment(*micros)).collect();
        let request = json!({"name": asking.service, "rows": asking.rows, "as_of": moments, "metadata": "none"});
        let (status, body) = self.server.post("/v1/features", &request.to_string());
        assert_eq!(status, 200, "{}: {body}\n{request}", asking.service);
        let answer: Value = serde_json::from_str(&body).unwrap();
        let values = |output: &Value| (output["name"].as_str().unwrap().to_owned(), output["values"].as_array().unwrap().clone());
        let answers = answer["features"].as_array().unwrap().iter().map(values).collect::<Vec<_>>();
        self.trained.compare(&self.project, asking, &answers, self.logged.contains(&asking.service.as_str()));
        answers
    }
}
