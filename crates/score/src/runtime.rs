//! What runs a model.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Port, Tensor};

/// The runtimes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Our executor of tree ensembles.
    Trees,
    /// tract: linear models, small nets.
    Tract,
    /// ONNX Runtime, loaded as a library.
    OnnxRuntime,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runtime::Trees => "trees",
            Runtime::Tract => "tract",
            Runtime::OnnxRuntime => "onnxruntime",
        })
    }
}

/// A model that was read and prepared for a runtime. It is shared; what runs it is a session of its own for each thread.
pub trait Model: Send + Sync + fmt::Debug {
    /// What runs it.
    fn runtime(&self) -> Runtime;

    /// What goes in, in the file's order. Weights are no inputs.
    fn inputs(&self) -> &[Port];

    /// What comes out, in the file's order.
    fn outputs(&self) -> &[Port];

    /// A session that may be used by one thread at a time.
    fn session(&self) -> Result<Box<dyn Session>, RunError>;

    /// How rows are run by whoever asks, where a run cannot hang; `None` where it may, or nobody knows.
    fn brief(&self) -> Option<&dyn Brief> {
        None
    }
}

/// Runs that end after a number of steps that is known before they begin, so that nobody has to watch them, and any thread can make them.
pub trait Brief: Send + Sync {
    /// How many steps these rows take at the most, of some nanoseconds each.
    fn steps(&self, inputs: &[Tensor]) -> usize;

    /// As [`Session::run`], and the same bits.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError>;
}

/// What runs a model's rows, in one thread at a time.
pub trait Session: Send {
    /// Runs rows: one tensor an input, in the file's order, all of as many rows. One tensor an output comes back, of as many rows.
    ///
    /// A row's values do not depend, in any bit, on the rows beside it.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError>;
}

/// Why rows could not be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The inputs are not what the model takes.
    #[error("{0}")]
    Inputs(String),
    /// The runtime failed.
    #[error("{runtime} failed: {reason}")]
    Failed {
        /// Which one.
        runtime: Runtime,
        /// What it said.
        reason: String,
    },
}

/// What is done, or that it panicked: what a file says may be more than a runtime expects.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", said.unwrap_or("without a word").lines().next().unwrap_or_default()))
    })
}
