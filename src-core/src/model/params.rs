//! Parameters and their gradients in GPU memory.
//!
//! Muon works on all matrices of one shape at once, so these lie in one stacked buffer, and so do their gradients; a
//! layer's matrix is a view of the stack. A stack that would exceed what the adapter binds at a time is split. All
//! other parameters have a buffer each.

use std::collections::HashMap;

use crate::gpu::{DType, Gpu, GpuError, Memory, Tensor};

use super::{Config, Group, ParamSpec};

/// Elements by which a matrix of a stack is padded, so that each starts on a 256-byte border, as views must.
const STACK_MULTIPLE: usize = 64;

/// Matrices of one shape, in one buffer.
pub struct Stack {
    /// Names of the matrices, in order.
    pub names: Vec<String>,
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub cols: usize,
    /// Elements from one matrix to the next: rows · cols, rounded up to a multiple of 64. The padding stays zero.
    pub stride: usize,
    /// The matrices, `[n, stride]`.
    pub weights: Tensor,
    /// Their gradients, `[n, stride]`.
    pub gradients: Tensor,
}

/// All parameters of a model, and their gradients.
pub struct Parameters {
    specs: Vec<ParamSpec>,
    weights: HashMap<String, Tensor>,
    gradients: HashMap<String, Tensor>,
    stacks: Vec<Stack>,
    gradient_buffers: Vec<Tensor>,
}

impl Parameters {
    /// Allocates zeroed parameters without gradients, for a model that is only run. See [`allocate`](Self::allocate).
    pub fn allocate_weights(gpu: &Gpu, config: &Config) -> Result<Self, GpuError> {
        Self::with_gradients(gpu, config, false)
    }

    /// Allocates zeroed parameters and gradients. Fails with [`GpuError::TooLarge`] when a parameter exceeds what the
    /// adapter binds at a time.
    pub fn allocate(gpu: &Gpu, config: &Config) -> Result<Self, GpuError> {
        Self::with_gradients(gpu, config, true)
    }

    fn with_gradients(gpu: &Gpu, config: &Config, trainable: bool) -> Result<Self, GpuError> {
        let specs = config.param_specs();
        let (mut weights, mut gradients, mut gradient_buffers) = (HashMap::new(), HashMap::new(), Vec::new());
        for spec in specs.iter().filter(|spec| spec.group != Group::Matrix) {
            weights.insert(spec.name.clone(), gpu.zeros(&spec.name, &spec.shape, DType::F32, Memory::Weights)?);
            let gradient = gpu.zeros(&spec.name, &spec.shape, DType::F32, Memory::Gradients)?;
            gradient_buffers.push(gradient.clone());
            gradients.insert(spec.name.clone(), gradient);
        }
        let mut stacks = Vec::new();
        for (shape, names) in matrices_by_shape(&specs) {
            let (rows, cols) = (shape[0], shape[1]);
            let stride = (rows * cols).next_multiple_of(STACK_MULTIPLE);
            let most = (gpu.binding_limit() as usize / (4 * stride)).max(1);
            for names in names.chunks(most) {
                let label = format!("{} {rows}×{cols} matrices", names.len());
                let allocate = |kind| gpu.zeros(&label, &[names.len(), stride], DType::F32, kind);
                let stack = Stack {
                    names: names.to_vec(),
                    rows,
                    cols,
                    stride,
                    weights: allocate(Memory::Weights)?,
                    gradients: allocate(Memory::Gradients)?,
                };
                for (i, name) in names.iter().enumerate() {
                    weights.insert(name.clone(), stack.weights.view(i * stride, &shape));
                    gradients.insert(name.clone(), stack.gradients.view(i * stride, &shape));
                }
                gradient_buffers.push(stack.gradients.clone());
                stacks.push(stack);
            }
        }
        Ok(Self { specs, weights, gradients, stacks, gradient_buffers })
    }

    /// The parameters' names and shapes, in their fixed order.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// A parameter. Panics on a name that the configuration does not have.
    pub fn get(&self, name: &str) -> &Tensor {
        self.weights.get(name).unwrap_or_else(|| panic!("there is no parameter {name}"))
    }

    /// A parameter's gradient. Panics on a name that the configuration does not have.
    pub fn grad(&self, name: &str) -> &Tensor {
        self.gradients.get(name).unwrap_or_else(|| panic!("there is no parameter {name}"))
    }

    /// The matrices that Muon optimises.
    pub fn stacks(&self) -> &[Stack] {
        &self.stacks
    }

    /// Every buffer that holds gradients, once.
    pub fn gradient_buffers(&self) -> &[Tensor] {
        &self.gradient_buffers
    }
}

/// Names of the matrices by shape, shapes in ascending order.
fn matrices_by_shape(specs: &[ParamSpec]) -> std::collections::BTreeMap<Vec<usize>, Vec<String>> {
    let mut shapes = std::collections::BTreeMap::<Vec<usize>, Vec<String>>::new();
    for spec in specs.iter().filter(|spec| spec.group == Group::Matrix) {
        shapes.entry(spec.shape.clone()).or_default().push(spec.name.clone());
    }
    shapes
}
