//! What is watched of a server, and what is told of it: signals, each with its cause.
//!
//! ```text
//! live, metrics, sampled answers, replay ─► Reading ─► shares of a window ─► findings ─► signals, grouped by cause
//!     (measure, skew)                      (reading)       (shares)          (judge)         (tracker)
//! ```
//!
//! From a reading on there is no clock, no store and no thread: a watch is a function of the readings that it was given, so that a day of it is tested in a moment. A finding is
//! what is beyond a limit now. A signal is a finding that has lasted, and goes once all has been well for a while. Where one finding explains another (they lie on one way from
//! source to view to service to deployment, and it began no later) the second is told as its consequence, and never before it.
//!
//! What it is not for: no answer depends on it, and nothing is decided by it but whether a server is ready, where that is declared.

mod history;
mod hot;
mod judge;
pub mod kept;
mod limits;
mod measure;
pub mod page;
pub mod reading;
mod shares;
pub mod signal;
mod skew;
mod tracker;
mod watcher;

#[cfg(test)]
mod tests;

pub use history::Past;
pub use hot::Came;
pub use judge::{Finding, judge};
pub use limits::Limits;
pub use measure::{Stored, of_server};
pub use page::{FeatureHistory, History, Page, Signals};
pub use reading::Reading;
pub use signal::{Kind, Of, Severity, Signal, Subject, Unit};
pub use skew::Skew;
pub use tracker::Watch;
pub use watcher::{Looked, Watcher};
