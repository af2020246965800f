//! Linear layers and their gradients, from inputs in the precision of the model.
//!
//! The residual stream, norms, attention, losses, lambdas and gradients are f32 in any precision: what is rounded are the two
//! inputs of each product, on their way into it.

use crate::gpu::{Recorder, Tensor};
use crate::kernels::matmul::{self, Add, Layout, Product, matmul};
use crate::kernels::precision::{Inputs, Precision};

use super::Model;

/// The power of two by which relu² is multiplied before it is rounded to f16. In trained models it reaches 1e5, and f16 ends at
/// 65,504; with this it may reach 1.6e7, and what is below 1.5e-5 is lost.
const RELU2_EXPONENT: i32 = -8;

impl Model {
    /// `y = x·Wᵀ`, and what `add` adds; W `[out, in]` by its name.
    pub(super) fn linear(&self, rec: &mut Recorder, x: &Tensor, name: &str, y: &Tensor, add: Add<'_>) {
        matmul::linear(rec, x, self.parameters.weight(name), y, add, self.inputs([self.exponent(name), 0]));
    }

    /// For `y = x·Wᵀ`: `dx = dy·W` (or added to dx), and `dW += dyᵀ·x`.
    pub(super) fn linear_backward(&self, rec: &mut Recorder, x: &Tensor, name: &str, dy: &Tensor, dx: &Tensor, add: Add<'_>) {
        let (w, dw) = (self.parameters.get(name), self.parameters.grad(name));
        let (out, inner) = (w.shape()[0], w.shape()[1]);
        let n = x.len() / inner;
        let of_x = Product { add, inputs: self.inputs([0; 2]), ..Product::new(Layout::NN, n, inner, out) };
        matmul(rec, dy, w, dx, of_x);
        let of_w = Product { add: Add::Into, inputs: self.inputs([0, self.exponent(name)]), ..Product::new(Layout::TN, out, inner, n) };
        matmul(rec, dy, x, dw, of_w);
    }

    /// The inputs of a product in the model's precision.
    fn inputs(&self, exponents: [i32; 2]) -> Inputs {
        Inputs { precision: self.precision, exponents }
    }

    /// The exponent of what the weight `name` is multiplied with.
    fn exponent(&self, name: &str) -> i32 {
        if self.precision == Precision::F16 && name.ends_with("mlp.c_proj.weight") { RELU2_EXPONENT } else { 0 }
    }
}
