//! Parameters and their gradients in GPU memory.
//!
//! In training the block matrices of one shape are in one buffer, so that the optimizer steps them together; the model sees each of
//! them as a view. Frozen parameters may be in any [`Format`], in the order that suits the adapter.

use std::collections::HashMap;

use crate::gpu::{DType, Gpu, GpuError, Memory, Recorder, Tensor};
use crate::kernels::reduce::Matrices;
use crate::kernels::weight::{Weight, product_order};
use crate::weights::{Format, Matrix, Order, OutOfRange, Storage, Values};

use super::init::initial_values;
use super::spec::Usage;
use super::{Config, Group, ParamSpec};

/// The alignment of views, in floats.
const ALIGNMENT: usize = 64;

/// The most bytes of a stack, unless one matrix is larger: an optimizer's scratch is as large as the largest stack.
const STACK_BYTES: u64 = 256 << 20;

/// One parameter.
#[derive(Debug)]
pub struct Parameter {
    /// Name, shape and group.
    pub spec: ParamSpec,
    /// The values, of the spec's shape; vectors are a matrix with a column.
    pub weight: Weight,
    /// The gradient, if the parameters are trained.
    pub grad: Option<Tensor>,
}

impl Parameter {
    /// The values as floats, of the spec's shape. Panics if they are stored otherwise: only kernels that take a [`Weight`] read
    /// those.
    pub fn value(&self) -> &Tensor {
        assert!(self.weight.storage() == Storage::PLAIN, "{} is stored as {:?}", self.spec.name, self.weight.storage());
        self.weight.words()
    }

    /// Replaces the values by `matrix`, in whatever format it is.
    fn write(&self, gpu: &Gpu, matrix: Matrix) -> Result<(), ParamError> {
        let out_of_range = |source| ParamError::Range { name: self.spec.name.clone(), source };
        self.weight.write(gpu, &matrix.in_format(self.weight.format()).map_err(out_of_range)?);
        Ok(())
    }
}

/// Block matrices of one shape in one buffer.
#[derive(Debug)]
pub struct Stack {
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub columns: usize,
    /// Elements from one matrix to the next.
    pub stride: usize,
    /// The matrices' names, in order.
    pub names: Vec<String>,
    /// `[N, stride]`.
    pub value: Tensor,
    /// `[N, stride]`.
    pub grad: Tensor,
}

/// All parameters of a model.
#[derive(Debug)]
pub struct Parameters {
    all: Vec<Parameter>,
    index: HashMap<String, usize>,
    stacks: Vec<Stack>,
}

/// Values that do not belong to a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParamError {
    /// The model has no parameter of this name.
    #[error("the model has no parameter {0}")]
    Unknown(String),
    /// The parameter has another shape.
    #[error("{name} has the shape {got:?}, and the model needs {want:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// The shape offered.
        got: Vec<usize>,
        /// The shape of the model.
        want: Vec<usize>,
    },
    /// A value is too large for the format of the model's weights.
    #[error("{name}: {source}")]
    Range {
        /// The parameter.
        name: String,
        /// The value.
        source: OutOfRange,
    },
}

impl Parameters {
    /// Zeroed parameters and gradients of `config`. Fails if a tensor exceeds the adapter's binding limit or memory
    /// runs out.
    pub fn allocate(gpu: &Gpu, config: &Config) -> Result<Self, GpuError> {
        Self::build(gpu, config, STACK_BYTES)
    }

    /// Zeroed parameters of `config` without gradients, for inference: tables and the matrices of products in `format`, everything
    /// else in f32.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn frozen(gpu: &Gpu, config: &Config, format: Format) -> Result<Self, GpuError> {
        Self::frozen_as(gpu, config, &|spec| spec.format(format))
    }

    /// The same with a format of its own for each parameter, which suits it: see [`ParamSpec::format`].
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn frozen_as(gpu: &Gpu, config: &Config, format: &dyn Fn(&ParamSpec) -> Format) -> Result<Self, GpuError> {
        let specs = config.param_specs();
        let mut weights: HashMap<&str, Weight> = HashMap::new();
        for spec in &specs {
            if !weights.contains_key(spec.name.as_str()) {
                for (spec, weight) in frozen_weights(gpu, &specs, spec, format)? {
                    weights.insert(&spec.name, weight);
                }
            }
        }
        let weight = |spec: &ParamSpec| weights[spec.name.as_str()].clone();
        let all = specs.iter().map(|spec| Parameter { spec: spec.clone(), weight: weight(spec), grad: None }).collect();
        Ok(Self { all, index: index(&specs), stacks: Vec::new() })
    }

    fn build(gpu: &Gpu, config: &Config, stack_bytes: u64) -> Result<Self, GpuError> {
        let specs = config.param_specs();
        let both = |label: &str, shape: &[usize]| -> Result<_, GpuError> {
            let value = gpu.zeros(label, shape, DType::F32, Memory::Weights)?;
            Ok((value, gpu.zeros(label, shape, DType::F32, Memory::Gradients)?))
        };
        let mut tensors: HashMap<&str, (Tensor, Tensor)> = HashMap::new();
        let mut stacks = Vec::new();
        for (of, names) in stacks_of(&specs, gpu.binding_limit().min(stack_bytes)) {
            let Matrices { count, rows, columns, stride } = of;
            let (value, grad) = both(names[0], &[count, stride])?;
            for (i, name) in names.iter().enumerate() {
                let view = |stack: &Tensor| stack.view(i * stride, &[rows, columns]);
                tensors.insert(name, (view(&value), view(&grad)));
            }
            let names = names.iter().map(|name| name.to_string()).collect();
            stacks.push(Stack { rows, columns, stride, names, value, grad });
        }
        let mut all = Vec::with_capacity(specs.len());
        for spec in &specs {
            let (value, grad) = match tensors.remove(spec.name.as_str()) {
                Some(views) => views,
                None => both(&spec.name, &spec.shape)?,
            };
            all.push(Parameter { spec: spec.clone(), weight: Weight::plain(&value), grad: Some(grad) });
        }
        Ok(Self { all, index: index(&specs), stacks })
    }

    /// The values of parameter `name`, as floats. Panics if the model has none, since names come from the program itself, or if it
    /// is stored otherwise.
    pub fn get(&self, name: &str) -> &Tensor {
        self.find(name).value()
    }

    /// The table or matrix `name`, in any format. Panics if the model has none.
    pub fn weight(&self, name: &str) -> &Weight {
        &self.find(name).weight
    }

    /// The gradient of parameter `name`. Panics if the model has none, or is frozen.
    pub fn grad(&self, name: &str) -> &Tensor {
        self.find(name).grad.as_ref().unwrap_or_else(|| panic!("{name} is frozen"))
    }

    fn find(&self, name: &str) -> &Parameter {
        self.index.get(name).map(|&i| &self.all[i]).unwrap_or_else(|| panic!("no parameter {name}"))
    }

    /// All parameters, in the order of [`Config::param_specs`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.all.iter()
    }

    /// The stacks of block matrices, if they are trained.
    pub fn stacks(&self) -> &[Stack] {
        &self.stacks
    }

    /// Records zeroing all gradients.
    pub fn clear_grads(&self, rec: &mut Recorder) {
        let alone =
            self.all.iter().filter(|parameter| parameter.spec.group != Group::Matrix).filter_map(|parameter| parameter.grad.as_ref());
        for grad in self.stacks.iter().map(|stack| &stack.grad).chain(alone) {
            rec.clear(grad);
        }
    }

    /// Draws initial values for all parameters.
    pub fn initialise(&self, gpu: &Gpu, config: &Config, seed: u64) {
        for parameter in &self.all {
            let [rows, columns] = [parameter.weight.rows(), parameter.weight.columns()];
            let values = Values::F32(initial_values(config, &parameter.spec, seed));
            parameter.write(gpu, Matrix { rows, columns, values }).expect("initial values are small");
        }
    }

    /// Replaces the values of parameter `name`, which must have the shape `shape`.
    ///
    /// # Errors
    /// If there is no such parameter, it has another shape, or a value is out of the range of its format.
    pub fn upload(&self, gpu: &Gpu, name: &str, shape: &[usize], values: &[f32]) -> Result<(), ParamError> {
        let parameter = self.known(name)?;
        let want = &parameter.spec.shape;
        if shape != want || values.len() != parameter.spec.len() {
            return Err(ParamError::Shape { name: name.to_owned(), got: shape.to_vec(), want: want.clone() });
        }
        let (rows, columns) = (parameter.weight.rows(), parameter.weight.columns());
        parameter.write(gpu, Matrix { rows, columns, values: Values::F32(values.to_vec()) })
    }

    /// The same with values in any format; those in the parameter's own are stored as they are.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn upload_matrix(&self, gpu: &Gpu, name: &str, matrix: Matrix) -> Result<(), ParamError> {
        let parameter = self.known(name)?;
        let (got, want) = ([matrix.rows, matrix.columns], [parameter.weight.rows(), parameter.weight.columns()]);
        if got != want {
            return Err(ParamError::Shape { name: name.to_owned(), got: got.to_vec(), want: want.to_vec() });
        }
        parameter.write(gpu, matrix)
    }

    fn known(&self, name: &str) -> Result<&Parameter, ParamError> {
        self.index.get(name).map(|&i| &self.all[i]).ok_or_else(|| ParamError::Unknown(name.to_owned()))
    }
}

fn index(specs: &[ParamSpec]) -> HashMap<String, usize> {
    specs.iter().enumerate().map(|(i, spec)| (spec.name.clone(), i)).collect()
}

/// Memory for `spec`, and for those that are read together with it: queries, keys and values are projected by one product, if
/// their matrices are contiguous.
fn frozen_weights<'s>(
    gpu: &Gpu,
    specs: &'s [ParamSpec],
    spec: &'s ParamSpec,
    format: &dyn Fn(&ParamSpec) -> Format,
) -> Result<Vec<(&'s ParamSpec, Weight)>, GpuError> {
    let storage = |spec: &ParamSpec| {
        let order = match spec.usage() {
            Usage::Product => product_order(gpu.capabilities(), spec.shape[0], spec.shape[1]),
            Usage::Table | Usage::Values => Order::Rows,
        };
        Storage { format: format(spec), order }
    };
    let of = storage(spec);
    if let Some(layer) = spec.name.strip_suffix("attn.c_q.weight") {
        let names = ["c_q", "c_k", "c_v"].map(|part| format!("{layer}attn.{part}.weight"));
        let parts: Vec<&ParamSpec> = specs.iter().filter(|spec| names.contains(&spec.name)).collect();
        let shapes: Vec<[usize; 2]> = parts.iter().map(|part| of.shape(part.shape[0], part.shape[1])).collect();
        let whole = |part: &&ParamSpec, [units, words]: &[usize; 2]| {
            let panels = if let Order::Panels(panel) = of.order { part.shape[0].is_multiple_of(panel) } else { true };
            panels && (units * words).is_multiple_of(ALIGNMENT) && storage(part) == of
        };
        let units: usize = shapes.iter().map(|[units, _]| units).sum();
        let bindable = (units * shapes[0][1]) as u64 * DType::F32.bytes() <= gpu.binding_limit();
        if bindable && parts.iter().zip(&shapes).all(|(part, shape)| whole(part, shape)) {
            let all = gpu.zeros(&spec.name, &[units, shapes[0][1]], Weight::dtype(of.format), Memory::Weights)?;
            let mut start = 0;
            let view = |(part, shape): (&'s ParamSpec, &[usize; 2])| {
                let words = all.view(start, shape);
                start += shape[0] * shape[1];
                (part, Weight::in_words(words, of, part.shape[0], part.shape[1]))
            };
            return Ok(parts.into_iter().zip(&shapes).map(view).collect());
        }
    }
    let (rows, columns) = (spec.shape[0], spec.len() / spec.shape[0]);
    if of == Storage::PLAIN {
        return Ok(vec![(spec, Weight::plain(&gpu.zeros(&spec.name, &spec.shape, DType::F32, Memory::Weights)?))]);
    }
    Ok(vec![(spec, Weight::zeros(gpu, &spec.name, of, rows, columns)?)])
}

/// Block matrices in stacks of at most `most` bytes, with the names of each stack's matrices.
fn stacks_of(specs: &[ParamSpec], most: u64) -> Vec<(Matrices, Vec<&str>)> {
    let mut stacks = Vec::new();
    for (shape, names) in by_shape(specs) {
        let (rows, columns) = (shape[0], shape[1]);
        let stride = (rows * columns).next_multiple_of(ALIGNMENT);
        let most = (most / (stride as u64 * DType::F32.bytes())).max(1) as usize;
        stacks.extend(names.chunks(most).map(|names| (Matrices { count: names.len(), rows, columns, stride }, names.to_vec())));
    }
    stacks
}

/// Block matrices by shape: shapes in order of first appearance, names in order.
fn by_shape(specs: &[ParamSpec]) -> Vec<(&[usize], Vec<&str>)> {
    let mut shapes: Vec<(&[usize], Vec<&str>)> = Vec::new();
    for spec in specs.iter().filter(|spec| spec.group == Group::Matrix) {
        match shapes.iter_mut().find(|(shape, _)| *shape == spec.shape) {
            Some((_, names)) => names.push(&spec.name),
            None => shapes.push((&spec.shape, vec![&spec.name])),
        }
    }
    shapes
}

/// A model has a tensor that the adapter cannot bind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at depth {depth}, {tensor} needs {bytes} bytes, but {adapter} binds at most {limit} bytes at a time; {}", what_fits(*.largest_depth))]
pub struct DoesNotFit {
    /// The requested depth.
    pub depth: usize,
    /// The model's largest tensor.
    pub tensor: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The adapter's limit in bytes.
    pub limit: u64,
    /// The adapter's name.
    pub adapter: String,
    /// The largest depth with the same options that fits.
    pub largest_depth: Option<usize>,
}

fn what_fits(largest_depth: Option<usize>) -> String {
    match largest_depth {
        Some(depth) => format!("the largest depth that fits is {depth}"),
        None => "no depth fits".to_owned(),
    }
}

/// Checks that every parameter of `config` fits a binding of `limit` bytes on `adapter`. `config` was derived from a depth with
/// `aspect_ratio` and `head_dim`; the largest depth that fits is searched with the same options.
pub fn check_fits(config: &Config, aspect_ratio: usize, head_dim: usize, limit: u64, adapter: &str) -> Result<(), DoesNotFit> {
    let Some(largest) = config.largest_param().filter(|spec| bytes(spec) > limit) else {
        return Ok(());
    };
    Err(DoesNotFit {
        depth: config.n_layer,
        bytes: bytes(&largest),
        tensor: largest.name,
        limit,
        adapter: adapter.to_owned(),
        largest_depth: largest_depth_that_fits(limit, config, aspect_ratio, head_dim),
    })
}

/// The largest depth whose parameters each fit `limit` bytes, with the vocabulary and context of `config`.
pub fn largest_depth_that_fits(limit: u64, config: &Config, aspect_ratio: usize, head_dim: usize) -> Option<usize> {
    let fits = |depth: usize| {
        let Config { sequence_len, vocab_size, window_pattern, architecture, .. } = config;
        let config =
            Config::from_depth_with(architecture.clone(), depth, aspect_ratio, head_dim, *sequence_len, *vocab_size, window_pattern);
        config.ok().and_then(|config| config.largest_param()).is_some_and(|largest| bytes(&largest) <= limit)
    };
    // Tensors grow with the depth, so all depths up to some limit fit.
    (1..).take_while(|&depth| fits(depth)).last()
}

fn bytes(spec: &ParamSpec) -> u64 {
    spec.len() as u64 * DType::F32.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::Bench;
    use crate::model::Architecture;

    fn config() -> Config {
        Config {
            sequence_len: 64,
            vocab_size: 100,
            n_layer: 3,
            n_head: 4,
            n_kv_head: 2,
            n_embd: 64,
            window_pattern: "SL".into(),
            architecture: Architecture::CURRENT,
        }
    }

    #[test]
    fn what_is_uploaded_by_name_is_read_back_and_nothing_else_changes() {
        let bench = Bench::new();
        let gpu = bench.gpu();
        // Two 64 × 64 matrices per stack, so that shapes are split over several.
        let parameters = Parameters::build(gpu, &config(), 2 * 64 * 64 * 4).unwrap();
        assert!(parameters.stacks().iter().all(|stack| stack.names.len() <= 2 || stack.rows * stack.columns < 64 * 64));
        assert_eq!(parameters.stacks().iter().map(|stack| stack.names.len()).sum::<usize>(), 3 * 6 + 2);
        let values = |i: usize, len: usize| -> Vec<f32> { (0..len).map(|j| (i * 7919 + j) as f32).collect() };
        for (i, parameter) in parameters.iter().enumerate() {
            let spec = &parameter.spec;
            parameters.upload(gpu, &spec.name, &spec.shape, &values(i, spec.len())).unwrap();
        }
        for (i, spec) in config().param_specs().iter().enumerate() {
            assert_eq!(bench.values(parameters.get(&spec.name)), values(i, spec.len()), "{}", spec.name);
            assert_eq!(parameters.get(&spec.name).shape(), spec.shape);
        }
        for stack in parameters.stacks() {
            let whole = bench.values(&stack.value);
            for (name, values) in stack.names.iter().zip(whole.chunks_exact(stack.stride)) {
                assert_eq!(bench.values(parameters.get(name)), values[..stack.rows * stack.columns]);
            }
        }
    }

    #[test]
    fn clearing_reaches_every_gradient() {
        let bench = Bench::new();
        let parameters = Parameters::allocate(bench.gpu(), &config()).unwrap();
        for parameter in parameters.iter() {
            bench.gpu().write(parameters.grad(&parameter.spec.name), &vec![1.0f32; parameter.spec.len()]);
        }
        bench.run(|rec| parameters.clear_grads(rec));
        for parameter in parameters.iter() {
            let grad = bench.values(parameters.grad(&parameter.spec.name));
            assert!(grad.iter().all(|&g| g == 0.0), "{}", parameter.spec.name);
        }
    }

    #[test]
    fn values_of_another_name_or_shape_are_refused() {
        let bench = Bench::new();
        let parameters = Parameters::frozen(bench.gpu(), &config(), Format::F32).unwrap();
        let upload = |name: &str, shape: &[usize]| {
            let values = vec![0.0; shape.iter().product()];
            parameters.upload(bench.gpu(), name, shape, &values).unwrap_err().to_string()
        };
        assert_eq!(upload("lm_tail.weight", &[1]), "the model has no parameter lm_tail.weight");
        assert_eq!(upload("resid_lambdas", &[4]), "resid_lambdas has the shape [4], and the model needs [3]");
        assert_eq!(upload("lm_head.weight", &[64, 128]), "lm_head.weight has the shape [64, 128], and the model needs [128, 64]");
    }

    #[test]
    fn a_model_past_the_binding_limit_is_refused_with_the_depth_that_fits() {
        let config = |depth| Config::from_depth(depth, 64, 128, 2048, 32768, "SSSL").unwrap();
        let limit = 128 << 20;
        // 32768 · 1024 floats are 128 MiB, and depth 16 is the deepest with 1024 channels.
        assert_eq!(largest_depth_that_fits(limit, &config(20), 64, 128), Some(16));
        assert_eq!(largest_depth_that_fits(1 << 20, &config(20), 64, 128), None);

        check_fits(&config(16), 64, 128, limit, "llvmpipe").unwrap();
        let error = check_fits(&config(17), 64, 128, limit, "llvmpipe").unwrap_err();
        let sentence = "at depth 17, transformer.wte.weight needs 150994944 bytes, but llvmpipe binds at most 134217728 bytes at a time; \
                        the largest depth that fits is 16";
        assert_eq!(error.to_string(), sentence);
    }
}
