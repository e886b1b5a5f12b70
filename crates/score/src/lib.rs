//! Models in process: what an ONNX file says, the runtimes that run it, and the pools that requests share.
//!
//! A model sees tensors of rows, and gives tensors of rows; how features become such rows, and what the outputs are called, is said by definitions and bound in `serve::scoring`.
//! The same model, file and runtime give the same bits for a row whatever rows stand beside it: in a batch of one, of a thousand, online and offline. Runtimes whose kernels do not keep
//! that by themselves are fed blocks of a fixed size.
//!
//! ```
//! use lockstep_score::{ModelFile, load, sample};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = include_bytes!("../tests/models/sklearn_forest_binary.onnx");
//! let file = ModelFile::read(bytes)?;
//! let model = load(&file, None)?;
//! let outputs = model.session()?.run(&sample(model.inputs(), 5, 0))?;
//! assert_eq!(outputs[1].shape, [5, 2]);
//! # Ok(())
//! # }
//! ```
//!
//! What this crate is not for: features, stores, networks. It knows files and tensors.

mod blocks;
mod file;
mod load;
#[cfg(feature = "onnxruntime")]
mod onnx_runtime;
mod pool;
mod proto;
mod runtime;
mod sample;
mod tensor;
mod tract;
mod trees;

pub use file::{FileError, ModelFile};
pub use load::{LoadError, Refusal, chosen, load, smoke};
pub use pool::{Counted, Figures, Pending, Pool, PoolError, PoolOptions, Teller};
pub use runtime::{Brief, Model, RunError, Runtime, Session};
pub use sample::sample;
pub use tensor::{Element, Port, Tensor, Values};
