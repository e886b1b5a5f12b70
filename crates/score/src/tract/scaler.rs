//! The operator Scaler of ai.onnx.ml, which linear models are exported with and tract does not have.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_hir::internal::*;

use crate::proto::Attributes;

/// `(value - offset) * scale`, one of each or one for each value of a row.
#[derive(Debug, Clone)]
struct Scaler {
    offset: Arc<Tensor>,
    scale: Arc<Tensor>,
}

/// Reads the operator that a node is.
pub(super) fn scaler(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let attributes = Attributes(node);
    let row = |name: &str| Tensor::from_shape(&[1, attributes.floats(name).len()], attributes.floats(name)).map(Arc::new);
    let scaler = Scaler { offset: row("offset")?, scale: row("scale")? };
    if scaler.offset.len() == 0 || scaler.offset.shape() != scaler.scale.shape() {
        bail!("it scales by {} factors and {} offsets", scaler.scale.len(), scaler.offset.len());
    }
    Ok((expand(scaler), vec![]))
}

impl Expansion for Scaler {
    fn name(&self) -> StaticName {
        "Scaler".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        // Others are computed in other precisions.
        s.equals(&inputs[0].datum_type, f32::datum_type())?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[0].rank, 2)?;
        s.equals(&outputs[0].shape, &inputs[0].shape)?;
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let offset = model.add_const(format!("{prefix}.offset"), Arc::clone(&self.offset))?;
        let scale = model.add_const(format!("{prefix}.scale"), Arc::clone(&self.scale))?;
        let moved = model.wire_node(format!("{prefix}.moved"), math::sub(), &[inputs[0], offset])?;
        model.wire_node(format!("{prefix}.scaled"), math::mul(), &[moved[0], scale])
    }
}
