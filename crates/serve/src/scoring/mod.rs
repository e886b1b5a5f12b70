//! Scoring: from features to a model's inputs, and from its outputs to predictions.
//!
//! A model of the definitions and a file become a [`Bound`], which every path runs by: `check` and `apply` make one to see whether they fit, a server and batch scoring to run it. So features
//! become tensors in one place only, and a row is scored alike wherever it is asked for.
//!
//! [`Models`] loads what is deployed into pools that are warm, [`Deployments`] are those of one set of definitions, and [`score`] takes rows through them: features, tensors, sessions,
//! predictions; and what stands in where that fails. [`Scorer`] does so as a call.

pub mod bind;
mod deployed;
mod loaded;
mod logged;
mod nested;
pub mod pinned;
pub mod places;
pub mod policy;
mod predictions;
mod ranked;
mod score;
mod scorer;
mod screen;
mod shadowed;
mod tensors;
#[cfg(test)]
mod tests;
pub mod training;

pub use bind::Bound;
pub use deployed::{Deployed, Deployments, Given, ModelLayer, Models, Of, Ranking, Stage};
pub use loaded::{Loaded, Trouble};
pub use policy::{Decided, Draw, Policy};
pub use ranked::Ranked;
pub use score::{Looked, Lookups, MIXED, Ran, Scored, StepLooked, Way, Why, score};
pub use scorer::{FromState, Scorer, score_at};
pub use shadowed::{Shadowed, shadowed};
pub use tensors::Inputs;
pub use training::Training;
