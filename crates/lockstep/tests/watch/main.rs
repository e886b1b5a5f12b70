//! What is watched, by the binary itself: failures that happen, and what is told of them, by which way and when.

#[path = "../serve/browser.rs"]
#[allow(dead_code, reason = "shared with the tests of servers")]
mod browser;
#[path = "../owner/support.rs"]
#[allow(dead_code, reason = "shared with the tests of owners")]
mod project;
#[path = "../serve/support.rs"]
#[allow(dead_code, reason = "shared with the tests of servers")]
mod support;

mod alerts;
mod doctor;
mod kept;
mod loops;
mod page;
mod replay;
mod signals;
mod skew;
mod watched;
