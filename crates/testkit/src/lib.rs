//! What tests of several crates need, and nothing that ships.

#[cfg(target_os = "linux")]
pub mod syncfs;
