//! From sources to the store: rows are read, admitted, folded and committed.

pub mod admission;
pub mod kafka;
pub mod offline;
pub mod out;
pub mod pipeline;
pub mod push;
pub mod source;
