//! A running server.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lockstep_client::proto::{GetFeaturesResponse, ReadState};
use lockstep_client::{Answer, Client, Request};
use tokio::runtime::Runtime;

use crate::project::{Ended, Project};

/// When everything that `init` brings has happened.
pub const AT: &str = "2024-03-08T12:00:00Z";
/// The same in µs.
pub const AT_MICROS: i64 = 1_709_899_200_000_000;

/// How long a server may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A server of a project, which is killed when this is dropped.
pub struct Server {
    child: Option<Child>,
    pub address: String,
    /// What it says on standard error after it was ready.
    said: Option<thread::JoinHandle<String>>,
}

impl Server {
    /// Starts one and waits until it is ready.
    pub fn start(project: &Project) -> Server {
        Server::start_with(project, &[])
    }

    /// As [`Self::start`], with more arguments.
    pub fn start_with(project: &Project, args: &[&str]) -> Server {
        Server::given(project, args, &[])
    }

    /// As [`Self::start_with`], with variables of the environment.
    pub fn given(project: &Project, args: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut command = project.command(&["serve"]);
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.args(args).envs(variables.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (teller, told) = mpsc::channel();
        let said = thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 && teller.send(std::mem::take(&mut line)).is_ok() {}
            lines.read_to_string(&mut line).unwrap();
            line
        });
        let mut address = None;
        loop {
            let line = told.recv_timeout(READY_WITHIN).expect("a server that becomes ready");
            if let Some(at) = line.strip_prefix("listening on ") {
                address = Some(at.split(": ").next().unwrap().to_owned());
            }
            if line.starts_with("ready") {
                break;
            }
        }
        drop(told);
        Server { child: Some(child), address: address.expect("an address before it is ready"), said: Some(said) }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) -> Ended {
        self.signal("TERM");
        let status = self.child.take().unwrap().wait().unwrap();
        let err = self.said.take().unwrap().join().unwrap();
        Ended { status: status.code(), out: String::new(), err }
    }

    pub fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Most memory that it had so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A GET, and what came of it.
    pub fn get(&self, path: &str) -> (u16, String) {
        read(agent().get(format!("{}{path}", self.url())).call())
    }

    /// A POST of JSON, and what came of it.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        read(agent().post(format!("{}{path}", self.url())).header("content-type", "application/json").send(body))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An HTTP client for which 404 is an answer like others.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30))).build().into()
}

pub fn read(answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    let mut answered = answered.unwrap();
    (answered.status().as_u16(), answered.body_mut().read_to_string().unwrap())
}

/// A client that waits.
pub struct Caller {
    pub runtime: Runtime,
    pub client: Client,
}

impl Caller {
    pub fn new(server: &Server) -> Caller {
        Caller::at(&server.url()).unwrap()
    }

    /// Where somebody is.
    pub fn at(url: &str) -> Option<Caller> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect(url)).ok()?;
        Some(Caller { runtime, client })
    }

    pub fn ask(&self, request: Request) -> Result<Answer, tonic::Status> {
        self.runtime.block_on(self.client.get_features(request))
    }

    /// The code and the message of what must fail.
    #[track_caller]
    pub fn refused(&self, request: Request) -> (tonic::Code, String) {
        let status = self.ask(request).unwrap_err();
        (status.code(), status.message().to_owned())
    }
}

/// An answer without what depends on when it was given.
pub fn timeless(Answer(mut response): Answer) -> GetFeaturesResponse {
    response.features.iter_mut().for_each(|feature| feature.stale.clear());
    let reads = response.reads.into_iter().map(|read| ReadState { lag_micros: None, ..read }).collect();
    GetFeaturesResponse { moment_micros: None, reads, ..response }
}
