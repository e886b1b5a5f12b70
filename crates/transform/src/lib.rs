//! From SQL text to values: definitions are checked and compiled here, events are folded into state here, and state becomes values here.
//!
//! Pure: no I/O, no clock, no spawning. The only crate with arithmetic on feature values, and the only one that imports DataFusion's planner.

pub mod aggregate;
pub mod calendar;
pub mod catalog;
pub mod changes;
pub mod compile;
pub mod definition;
pub mod distribution;
pub mod drift;
pub mod eval;
pub mod functions;
pub mod next_event;
pub mod oracle;
pub mod point_in_time;
pub mod profile;
pub mod service;
pub mod tiles;
pub mod transformation;
