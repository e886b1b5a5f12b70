//! The server as callers see it: the binary itself, at a port of its own, over gRPC and HTTP.

#[path = "../owner/support.rs"]
#[allow(dead_code, reason = "shared with the tests of owners")]
mod project;

mod ages;
mod answers;
mod browser;
mod exploring;
mod feature_log;
mod from_log;
mod hostile;
mod http;
mod life;
mod loops;
mod next_event;
mod page;
mod predictions;
mod publishing;
mod push;
mod readme;
mod refusals;
mod releases;
mod restarted;
mod scored_rows;
mod scoring;
mod secure;
mod stall;
mod stuck;
mod support;
mod versions;
