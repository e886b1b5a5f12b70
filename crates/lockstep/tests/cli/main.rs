//! The built binary, run as people run it: what it prints, on which stream, and how it exits.
//!
//! Transcripts are compared with `golden/NAME.txt`; `LOCKSTEP_BLESS=1` writes what is said, to be read in the diff.

mod audit;
mod errors;
mod flights;
mod formats;
mod journey;
mod json;
mod ledgers;
mod models;
mod next_event;
mod plans;
mod predictions;
mod pushes;
mod releases;
mod snapshots;
mod support;
mod tests;
mod training;
mod training_applied;
