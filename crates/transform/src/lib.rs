//! SQL text to a checked transformation, and from rows to state to values. Pure: no I/O, no clock, no spawning.

pub mod aggregate;
