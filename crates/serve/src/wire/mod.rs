//! Arrow arrays to and from the columns of the wire, without loss.

pub mod encode;
mod read;
#[cfg(test)]
mod tests;
mod types;
mod write;

pub use read::{array, rows};
pub use types::wire_type;
pub use write::values;
