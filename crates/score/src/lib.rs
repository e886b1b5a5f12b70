//! Models in process: what an ONNX file says, the runtimes that run it, and the pools that requests share.
//!
//! A model sees tensors of rows, and gives tensors of rows; how features become such rows, and what the outputs are called, is said by definitions and bound in `serve::scoring`.
//! The same model, file and runtime give the same bits for a row whatever rows stand beside it: in a batch of one, of a thousand, online and offline. Runtimes whose kernels do not keep
//! that by themselves are fed blocks of a fixed size.
//!
//! What this crate is not for: features, stores, networks. It knows Arrow and files.

mod runtime;
mod tensor;

pub use runtime::{Model, RunError, Runtime, Session};
pub use tensor::{Element, Port, Tensor, Values};
