//! Rows of several requests as one batch, and taken apart again.

use crate::{Port, RunError, Tensor};

/// Refuses what a model with these inputs does not take: whatever it is run with may stand beside the rows of others.
///
/// # Errors
/// Where tensors are not as the inputs say.
pub fn check(tensors: &[Tensor], inputs: &[Port]) -> Result<(), RunError> {
    if tensors.len() != inputs.len() {
        return Err(RunError::Inputs(format!("{} inputs came · the model takes {}", tensors.len(), inputs.len())));
    }
    let count = rows(tensors);
    for (tensor, port) in tensors.iter().zip(inputs) {
        let rows = tensor.fits(port).map_err(RunError::Inputs)?;
        if rows != count {
            return Err(RunError::Inputs(format!("input `{}` has {rows} rows · another has {count}", port.name)));
        }
    }
    Ok(())
}

/// How many rows tensors have.
pub fn rows(tensors: &[Tensor]) -> usize {
    tensors.first().map_or(0, Tensor::rows)
}

/// Whether rows of both can stand in one batch.
pub fn fit(one: &[Tensor], other: &[Tensor]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.shape.get(1..) == other.shape.get(1..))
}

/// Rows in blocks of at most so many.
pub fn blocks(tensors: Vec<Tensor>, most: usize) -> Vec<Vec<Tensor>> {
    let count = rows(&tensors);
    if count <= most {
        return vec![tensors];
    }
    (0..count).step_by(most).map(|first| cut(&tensors, first, most.min(count - first))).collect()
}

/// Some consecutive rows.
pub fn cut(tensors: &[Tensor], first: usize, count: usize) -> Vec<Tensor> {
    tensors.iter().map(|tensor| tensor.slice(first..first + count)).collect()
}

/// The rows of all, one after the other; [`fit`] holds of any two.
pub fn joined(parts: &[&[Tensor]]) -> Vec<Tensor> {
    let Some((first, others)) = parts.split_first() else { return Vec::new() };
    let mut joined = first.to_vec();
    for part in others {
        for (tensor, more) in joined.iter_mut().zip(*part) {
            tensor.values.extend(&more.values, 0..more.values.len());
            if let Some(rows) = tensor.shape.first_mut() {
                *rows += more.rows();
            }
        }
    }
    joined
}
