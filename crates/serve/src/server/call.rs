//! A request from when it is taken up until it is answered: counted, and told of where it failed or took long.

use std::sync::Arc;
use std::time::Duration;

use lockstep_client::proto::{GetFeaturesRequest, PushEventsRequest, ScoreRequest};
use tonic::Code;

use super::failure::Failure;
use super::guard::Rate;
use crate::metrics::{self, Metrics, Protocol, code_name};
use crate::wire;

/// Failures a second that are told of at most, and as many refusals; metrics count them all.
const TOLD_PER_SECOND: u32 = 20;
/// Of what a caller calls a request.
const REQUEST_ID_CHARS: usize = 64;

/// What is told of a request beside how it ended. Never what is in its rows, which is not for a log.
pub trait Asked: Send + Sync {
    /// The service, view or source.
    fn name(&self) -> &str;
    /// What its caller calls it.
    fn request_id(&self) -> &str;
    /// How many rows it has.
    fn rows(&self) -> usize;
}

impl Asked for GetFeaturesRequest {
    fn name(&self) -> &str {
        &self.name
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn rows(&self) -> usize {
        let values = self.columns.iter().filter_map(|column| column.values.as_ref());
        values.map(wire::rows).max().unwrap_or(self.rows as usize)
    }
}

impl Asked for ScoreRequest {
    fn name(&self) -> &str {
        &self.deployment
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn rows(&self) -> usize {
        let values = self.columns.iter().filter_map(|column| column.values.as_ref());
        values.map(wire::rows).max().unwrap_or(self.rows as usize)
    }
}

impl Asked for PushEventsRequest {
    fn name(&self) -> &str {
        &self.source
    }

    fn request_id(&self) -> &str {
        ""
    }

    fn rows(&self) -> usize {
        let values = self.columns.iter().filter_map(|column| column.values.as_ref());
        values.map(wire::rows).max().unwrap_or_default()
    }
}

/// Tells of requests that failed, or were slow.
#[derive(Debug)]
pub struct RequestLog {
    slow: Option<Duration>,
    /// Apart, so that callers who ask for nonsense do not hide what somebody has to look at.
    ours: Rate,
    theirs: Rate,
}

impl RequestLog {
    /// With how long a request takes that is slow; none is where absent.
    pub fn new(slow: Option<Duration>) -> RequestLog {
        RequestLog { slow, ours: Rate::new(Some(TOLD_PER_SECOND)), theirs: Rate::new(Some(TOLD_PER_SECOND)) }
    }
}

/// A request that is being answered. Where nobody waits for its end it counts as cancelled.
pub struct Call<'a> {
    counted: metrics::Call<'a>,
    log: &'a RequestLog,
    asked: Option<Arc<dyn Asked>>,
    failure: Option<Failure>,
    ended: bool,
}

impl<'a> Call<'a> {
    /// A request that begins.
    pub fn begin(metrics: &'a Metrics, log: &'a RequestLog, protocol: Protocol) -> Call<'a> {
        Call { counted: metrics.begin(protocol), log, asked: None, failure: None, ended: false }
    }

    /// What it asks.
    pub fn asks(&mut self, asked: Arc<dyn Asked>) {
        self.asked = Some(asked);
    }

    /// It ended with this.
    pub fn ended<T>(mut self, outcome: &Result<T, Failure>) {
        self.ended = true;
        self.failure = outcome.as_ref().err().cloned();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let code = if self.ended { self.failure.as_ref().map_or(Code::Ok, |failure| failure.code) } else { Code::Cancelled };
        self.counted.ends_with(code);
        let took = self.counted.elapsed();
        let is_slow = self.log.slow.is_some_and(|slow| took >= slow);
        let rate = match &self.failure {
            Some(failure) if !failure.is_ours() => &self.log.theirs,
            Some(_) => &self.log.ours,
            None if is_slow => &self.log.ours,
            None => return,
        };
        if rate.take().is_ok() {
            self.tell(code, took);
        }
    }
}

impl Call<'_> {
    fn tell(&self, code: Code, took: Duration) {
        let (name, request_id, rows) = self.asked.as_ref().map_or(("", "", 0), |asked| (asked.name(), asked.request_id(), asked.rows()));
        // As long as callers like otherwise.
        let short = |text: &str| text.chars().take(REQUEST_ID_CHARS).collect::<String>();
        let (name, request_id) = (short(name), short(request_id));
        let (protocol, code, micros) = (self.counted.protocol().name(), code_name(code), took.as_micros() as u64);
        match &self.failure {
            Some(failure) if failure.is_ours() => {
                tracing::warn!(target: "lockstep::request", protocol, request_id, name, rows, code, micros, why = failure.message, "a request failed");
            }
            // What is wrong with it was told to its caller, and may say what is in its rows.
            Some(_) => tracing::info!(target: "lockstep::request", protocol, request_id, name, rows, code, micros, "a request was refused"),
            None => tracing::warn!(target: "lockstep::request", protocol, request_id, name, rows, code, micros, "a request was slow"),
        }
    }
}
