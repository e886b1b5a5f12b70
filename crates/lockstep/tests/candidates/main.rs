//! Services of candidates as callers see them: by the binary itself, over gRPC and HTTP, while events come in.

#[path = "../owner/support.rs"]
#[allow(dead_code, reason = "shared with the tests of owners")]
mod project;
#[path = "../serve/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the server")]
mod support;

mod answers;
mod chains;
mod logged;
mod published;
mod ranked;
mod shop;
