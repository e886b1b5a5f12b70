//! A schema registry for tests: a server of its own that speaks the documented REST interface over a real port.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// A registry on the loopback interface, there until the process ends.
#[derive(Debug, Clone)]
pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    ids: BTreeMap<u32, Value>,
    subjects: HashMap<(String, u32), Value>,
    /// What every request must say.
    authorization: Option<String>,
    condition: Condition,
    asked: Vec<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// It answers.
    #[default]
    Well,
    /// It hangs up on everybody.
    Away,
    /// It answers so.
    Answers(u16),
    /// It is something else.
    NoRegistry,
}

impl Registry {
    /// Starts one without schemas.
    pub fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let registry = Registry { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let state = Arc::clone(&registry.state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || drop(serve(&stream, &state)));
            }
        });
        registry
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives it a schema.
    pub fn put(&self, id: u32, schema: &str) {
        self.lock().ids.insert(id, json!({"schema": schema}));
    }

    /// Gives it a schema that uses others, each as (name, subject, version), or one of another kind than Avro.
    pub fn put_whole(&self, id: u32, answer: Value) {
        self.lock().ids.insert(id, answer);
    }

    /// Gives it a version of a subject.
    pub fn put_subject(&self, subject: &str, version: u32, answer: Value) {
        self.lock().subjects.insert((subject.to_owned(), version), answer);
    }

    /// Has it answer only those who say this.
    pub fn protect(&self, authorization: &str) {
        self.lock().authorization = Some(authorization.to_owned());
    }

    /// Changes how it is.
    pub fn set(&self, condition: Condition) {
        self.lock().condition = condition;
    }

    /// The paths that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers one request.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(()) };
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let (status, body) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        state.asked.push(path.clone());
        let Some(answer) = state.answer(&path, &headers) else { return Ok(()) };
        answer
    };
    let mut stream = stream;
    let kind = "application/vnd.schemaregistry.v1+json";
    write!(stream, "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
    stream.flush()
}

impl State {
    /// `None` where it hangs up.
    fn answer(&self, path: &str, headers: &[String]) -> Option<(u16, String)> {
        match self.condition {
            Condition::Well => {}
            Condition::Away => return None,
            Condition::Answers(status) => return Some((status, json!({"error_code": 50_001, "message": "not now"}).to_string())),
            Condition::NoRegistry => return Some((404, "<html>not found</html>".to_owned())),
        }
        let said = headers.iter().filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if self.authorization.is_some() && said.map(|(_, value)| value) != self.authorization.as_deref() {
            return Some((401, json!({"error_code": 401, "message": "Unauthorized"}).to_string()));
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        Some(match parts.as_slice() {
            ["schemas", "ids", id] => match id.parse().ok().and_then(|id: u32| self.ids.get(&id)) {
                Some(answer) => (200, answer.to_string()),
                None => (404, json!({"error_code": 40_403, "message": "Schema not found"}).to_string()),
            },
            ["subjects", subject, "versions", version] => {
                let version = version.parse().unwrap_or_default();
                match self.subjects.get(&((*subject).to_owned(), version)) {
                    Some(answer) => (200, answer.to_string()),
                    None => (404, json!({"error_code": 40_401, "message": "Subject not found"}).to_string()),
                }
            }
            _ => (404, json!({"error_code": 404, "message": "HTTP 404 Not Found"}).to_string()),
        })
    }
}
