//! What tests of several crates need, and nothing that ships.

pub mod avro;
pub mod definitions;
pub mod disk;
mod effort;
pub mod kafka;
pub mod onnx;
pub mod registry;
#[cfg(target_os = "linux")]
pub mod syncfs;

pub use effort::effort;
