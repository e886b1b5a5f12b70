//! Our executor of tree ensembles.
//!
//! It takes graphs of the operators TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble with what exporters put around them, and nothing else: other graphs are for other runtimes.
//! Scores are equal to ONNX Runtime's with one thread: sums in the order of the trees and in the same precision, the same formulas behind them. Rows are independent since each is
//! summed by itself, however many are taken through a tree at once.

mod around;
mod described;
mod ensemble;
mod finish;
mod layout;
mod lower;
mod number;
mod steps;
mod v3;
mod v5;
mod walk;

use std::sync::Arc;

use crate::blocks::check;
use crate::load::Refusal;
use crate::{Brief, Model, ModelFile, Port, RunError, Runtime, Session, Tensor, sample};
use steps::Steps;

/// A graph of trees.
#[derive(Debug)]
struct Trees {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    steps: Arc<Steps>,
}

/// Compiles a file's trees.
pub(crate) fn load(file: &ModelFile) -> Result<Arc<dyn Model>, Refusal> {
    let steps = Steps::new(file)?;
    let rows = sample(file.inputs(), 1, 3);
    let given = steps.run(&rows).map_err(|reason| Refusal::new(Runtime::Trees, reason))?;
    let outputs = crate::load::settle(file.outputs(), &given).map_err(|reason| Refusal::new(Runtime::Trees, reason))?;
    Ok(Arc::new(Trees { inputs: file.inputs().to_vec(), outputs, steps: Arc::new(steps) }))
}

impl Model for Trees {
    fn runtime(&self) -> Runtime {
        Runtime::Trees
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        Ok(Box::new(Run { inputs: self.inputs.clone(), steps: Arc::clone(&self.steps) }))
    }

    fn brief(&self) -> Option<&dyn Brief> {
        Some(self)
    }
}

impl Brief for Trees {
    fn steps(&self, inputs: &[Tensor]) -> usize {
        self.steps.count(inputs)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        run(&self.inputs, &self.steps, inputs)
    }
}

struct Run {
    inputs: Vec<Port>,
    steps: Arc<Steps>,
}

impl Session for Run {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        run(&self.inputs, &self.steps, inputs)
    }
}

fn run(ports: &[Port], steps: &Steps, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
    check(ports, inputs)?;
    steps.run(inputs).map_err(|reason| RunError::Failed { runtime: Runtime::Trees, reason })
}
