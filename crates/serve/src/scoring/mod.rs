//! Scoring: from features to a model's inputs, and from its outputs to predictions.
//!
//! A model of the definitions and a file become a [`Bound`], which every path runs by: `check` and `apply` make one to see whether they fit, a server and batch scoring to run it. So features
//! become tensors in one place only, and a row is scored alike wherever it is asked for.

pub mod bind;
pub mod pinned;
mod predictions;
mod tensors;
pub mod training;

pub use bind::Bound;
pub use tensors::Inputs;
pub use training::Training;
