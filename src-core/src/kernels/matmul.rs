//! Matrix products. Four shader files with one operation:
//!
//! - `matmul_lane.wgsl`: register tiles and subgroup broadcasts, no workgroup memory. The fastest on CPU adapters: on
//!   lavapipe it reaches several times the speed of tiles in workgroup memory (`docs/LOG.md`).
//!   Operands can be packed into panels in scratch first, which costs a pass over them and pays for all but small products.
//! - `matmul_tile.wgsl`: 8 × 8 or 4 × 4 elements per lane through workgroup memory, the classic form for GPUs.
//! - `matmul_plain.wgsl`: one element per invocation, for sizes that the others do not support.
//! - `matmul_matrix.wgsl`: matrix units, with operands in f16 and f32 sums, where a GPU has them.
//!
//! In the first three an element's sum runs over k in order in one chain of fused multiply-adds, so which one the
//! [autotuner](autotune) picks never changes a result: they are the kernels of [`Exact`](crate::gpu::Numerics).
//!
//! A product with few tiles and a long k leaves most of a GPU idle. With [`Fast`](crate::gpu::Numerics) k is split into parts (split-K),
//! each part of a tile has its own workgroup, and `matmul_sum.wgsl` adds the parts in order: the same bits every time, but not
//! those of the exact kernels.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Variant, grid};

use crate::weights::{Format, Order, Storage};

use super::mirror;
use super::pack::{self, Packing};
use super::precision::{Inputs, Precision};
use super::weight::{Weight, in_format};

pub mod autotune;
mod kernel;
mod matrix;

use kernel::Reads;
pub use kernel::{Kernel, Tile};
pub use matrix::MatrixTile;

static LANE: Shader = crate::shader!("matmul_lane");
static TILE: Shader = crate::shader!("matmul_tile");
static MATRIX: Shader = crate::shader!("matmul_matrix");
static SUM: Shader = crate::shader!("matmul_sum");
static PLAIN: Shader = crate::shader!("matmul_plain");

/// Which operand is stored transposed. All matrices are row major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `A·B` with A `[M, K]`, B `[K, N]`.
    NN,
    /// `A·Bᵀ` with A `[M, K]`, B `[N, K]`.
    NT,
    /// `Aᵀ·B` with A `[K, M]`, B `[K, N]`.
    TN,
}

impl Layout {
    const ALL: [Layout; 3] = [Layout::NN, Layout::NT, Layout::TN];

    fn word(self) -> &'static str {
        match self {
            Layout::NN => "nn",
            Layout::NT => "nt",
            Layout::TN => "tn",
        }
    }
}

/// What is added to the product.
#[derive(Clone, Copy, Debug)]
pub enum Add<'a> {
    /// `C = α·AB`.
    Nothing,
    /// `C = α·AB + C`.
    Into,
    /// `C = α·AB + β·D`, with D in another buffer than C.
    Scaled(&'a Tensor, f32),
}

impl Add<'_> {
    const WORDS: [&'static str; 3] = ["nothing", "into", "scaled"];

    fn word(&self) -> &'static str {
        match self {
            Add::Nothing => "nothing",
            Add::Into => "into",
            Add::Scaled(..) => "scaled",
        }
    }
}

/// The shape of a product, or of a batch of products.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of each sum.
    pub k: usize,
    /// Which operand is stored transposed.
    pub layout: Layout,
    /// Number of products.
    pub batch: usize,
    /// Elements from one matrix to the next in A, B and C (and D, which has C's).
    pub strides: [usize; 3],
    /// Factor applied to the product.
    pub alpha: f32,
    /// What is added to the result.
    pub add: Add<'a>,
    /// Whether C is known to be symmetric. Then tiles below the diagonal are copied from above it instead of computed.
    pub symmetric: bool,
    /// How B is stored; other than [`PLAIN`](Storage::PLAIN) only in layout NT and without a batch.
    pub stored: Storage,
    /// What A and B are rounded to, if [`rounds`](Product::rounds) agrees.
    pub inputs: Inputs,
}

impl Product<'_> {
    /// One `C = op(A)·op(B)`.
    pub fn new(layout: Layout, m: usize, n: usize, k: usize) -> Self {
        Product {
            m,
            n,
            k,
            layout,
            batch: 1,
            strides: [0; 3],
            alpha: 1.0,
            add: Add::Nothing,
            symmetric: false,
            stored: Storage::PLAIN,
            inputs: Inputs::F32,
        }
    }

    /// Whether kernels read its operands in groups of four.
    fn has_quads(&self) -> bool {
        let transposed = self.layout != Layout::TN || self.m.is_multiple_of(4);
        self.n.is_multiple_of(4) && self.k.is_multiple_of(4) && transposed && self.strides.iter().all(|stride| stride.is_multiple_of(4))
    }

    /// Whether its inputs are rounded to 16 bits: if it asks for that, is a single product of plain floats, and has sizes that
    /// can be packed. Others are computed from inputs as they are.
    pub fn rounds(&self) -> bool {
        self.inputs.precision != Precision::F32 && self.batch == 1 && self.stored == Storage::PLAIN && self.has_quads()
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    m: u32,
    n: u32,
    k: u32,
    strides: [u32; 3],
    alpha: f32,
    beta: f32,
    upper: u32,
    parts: u32,
    part: u32,
}

impl Shape {
    /// For the shaders that count n and strides in groups of `unit` elements.
    fn new(product: &Product<'_>, unit: usize) -> Self {
        let &Product { m, n, k, strides, alpha, add, symmetric, inputs, .. } = product;
        let alpha = if product.rounds() { alpha * inputs.undo() } else { alpha };
        Self {
            m: m as u32,
            n: (n / unit) as u32,
            k: k as u32,
            strides: strides.map(|stride| (stride / unit) as u32),
            alpha,
            beta: if let Add::Scaled(_, beta) = add { beta } else { 0.0 },
            upper: symmetric.into(),
            parts: 1,
            part: k as u32,
        }
    }
}

/// Records a product with the kernel of the recorder's [`Numerics`](crate::gpu::Numerics) that was measured as fastest on this
/// adapter, or with the default one if none was measured.
pub fn matmul(rec: &mut Recorder, a: &Tensor, b: &Tensor, c: &Tensor, product: Product<'_>) {
    let kernel = autotune::choose(rec.gpu(), &product, rec.numerics());
    matmul_with(rec, a, b, c, product, kernel);
}

/// `y = x·Wᵀ` (and what `add` adds) from such `inputs`: `x` is `[M, columns]`, `y` `[M, rows]` of the weight `w`.
pub fn linear(rec: &mut Recorder, x: &Tensor, w: &Weight, y: &Tensor, add: Add<'_>, inputs: Inputs) {
    let (n, k) = (w.rows(), w.columns());
    matmul(rec, x, w.words(), y, Product { add, stored: w.storage(), inputs, ..Product::new(Layout::NT, x.len() / k, n, k) });
}

/// Records a product with a given kernel.
pub fn matmul_with(rec: &mut Recorder, a: &Tensor, b: &Tensor, c: &Tensor, product: Product<'_>, kernel: Kernel) {
    let Product { m, n, k, batch, strides, stored, .. } = product;
    let holds = |tensor: &Tensor, size: usize, stride: usize| tensor.len() >= stride * (batch - 1) + size;
    let of_b = stored.shape(n, k).into_iter().product();
    assert!(
        holds(a, m * k, strides[0]) && holds(b, of_b, strides[1]) && holds(c, m * n, strides[2]),
        "{product:?} of {:?} and {:?} into {:?}",
        a.shape(),
        b.shape(),
        c.shape()
    );
    if !rec.allows_turns(kernel.turns(k), || format!("a product over {k} elements")) {
        return;
    }
    let mut operands = [Operand::Given(a), Operand::Given(b)];
    let mut packed = product;
    for (slot, (operand, packing)) in [a, b].into_iter().zip(packings(rec.gpu().capabilities(), &product, kernel)).enumerate() {
        if let Some(packing) = packing {
            pack::forward(rec, operand, packing, slot);
            operands[slot] = Operand::Scratch(slot, packing.words());
            packed.strides[slot] = packing.matrix_len();
        }
    }
    let parts = kernel.parts();
    let into = if parts > 1 { Operand::Scratch(PARTS_SLOT, parts as usize * batch * m * n) } else { Operand::Given(c) };
    match kernel {
        Kernel::Matrix { tile, .. } => matrix::record(rec, operands, into, packed, tile, parts),
        _ => record(rec, operands, into, packed, kernel),
    }
    if parts > 1 {
        add_parts(rec, c, product, parts);
    }
    if product.symmetric && kernel != Kernel::Plain {
        assert_eq!(m, n, "a symmetric matrix is square");
        mirror::forward(rec, c, batch, n, strides[2]);
    }
}

/// How `kernel` needs A and Bᵀ packed, if it does: in its panels, unless a weight is in them already, or in 16 bits.
fn packings(capabilities: Capabilities, product: &Product<'_>, kernel: Kernel) -> [Option<Packing>; 2] {
    let Product { m, n, k, layout, batch, strides, inputs, .. } = *product;
    let panels = match kernel {
        Kernel::Packed { rows, quads } => Some([rows, capabilities.cpu_subgroup().unwrap_or(1) * quads * 4]),
        _ => None,
    };
    let tile = if let Kernel::Matrix { tile, .. } = kernel { Some(tile) } else { None };
    let rounds = product.rounds();
    let packing = |operand: usize, rows: usize, k_first: bool| {
        let panel = panels.map(|panels| panels[operand] as usize);
        let multiples = tile.map_or([panel.unwrap_or(1), 4], |tile| tile.multiples(operand));
        (rounds || panel.is_some()).then_some(Packing {
            count: batch,
            rows,
            k,
            stride: strides[operand],
            k_first,
            order: panel.map_or(Order::Rows, Order::Panels),
            multiples,
            precision: if rounds { inputs.precision } else { Precision::F32 },
            exponent: if rounds { inputs.exponents[operand] } else { 0 },
        })
    };
    let b = packing(1, n, layout != Layout::NT).filter(|_| product.stored.order == Order::Rows);
    [packing(0, m, layout == Layout::TN), b]
}

/// The scratch slot that holds partial sums: after those of operands.
const PARTS_SLOT: usize = 2;

/// A matrix as the kernel reads it.
enum Operand<'a> {
    /// As it was given.
    Given(&'a Tensor),
    /// In a scratch slot of the recorder, with its number of elements.
    Scratch(usize, usize),
}

/// Records the product itself into `c`, which takes the bare sums of every part if `kernel` splits k.
fn record(rec: &mut Recorder, [a, b]: [Operand<'_>; 2], c: Operand<'_>, product: Product<'_>, kernel: Kernel) {
    let unit = if kernel == Kernel::Plain { 1 } else { 4 };
    let (mut bind, mut scratch) = (Vec::new(), Vec::new());
    for (number, operand) in [(1, a), (2, b), (3, c)] {
        match operand {
            Operand::Given(tensor) => bind.push((number, tensor)),
            Operand::Scratch(slot, len) => scratch.push((number, slot, len)),
        }
    }
    let mut shape = Shape::new(&product, unit);
    let mut word = product.add.word();
    if let Kernel::Split { tile, parts } = kernel {
        word = PARTIAL;
        shape.strides[2] = (product.m * product.n / unit) as u32;
        (shape.parts, shape.part) = (parts, tile.part(product.k, parts) as u32);
    } else {
        bind.extend(added(&product));
    }
    let call = Dispatch {
        shader: kernel.shader(),
        entry: "forward",
        values: &kernel.values(rec.gpu().capabilities(), product.layout, word, Reads::of(&product)),
        params: shape,
        bind: &bind,
        groups: kernel.groups(rec.gpu().capabilities(), &product),
    };
    rec.dispatch_with_scratch(call, &scratch);
}

/// What a kernel that splits k does with its sums, in place of an [`Add`].
const PARTIAL: &str = "partial";

/// `C = α·(sum of the parts in scratch)`, and what is added to it.
fn add_parts(rec: &mut Recorder, c: &Tensor, product: Product<'_>, parts: u32) {
    let mut bind = vec![(3, c)];
    bind.extend(added(&product));
    let [x, y, _] = grid((product.m * product.n / 4).div_ceil(64));
    let call = Dispatch {
        shader: &SUM,
        entry: "forward",
        values: &[("add", product.add.word().into()), in_format(Format::F32)],
        params: Shape { parts, ..Shape::new(&product, 4) },
        bind: &bind,
        groups: [x, y, product.batch as u32],
    };
    rec.dispatch_with_scratch(call, &[(1, PARTS_SLOT, parts as usize * product.batch * product.m * product.n)]);
}

/// The binding of D, where the product has one.
fn added<'a>(product: &Product<'a>) -> Option<(u32, &'a Tensor)> {
    let Add::Scaled(d, _) = product.add else {
        return None;
    };
    assert!(d.len() >= product.strides[2] * (product.batch - 1) + product.m * product.n, "{product:?} adds {:?}", d.shape());
    Some((4, d))
}

/// Every specialisation of the five shaders that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let mut variants = Add::WORDS
        .map(|add| Variant { shader: &SUM, entry: "forward", values: vec![("add", add.into()), in_format(Format::F32)] })
        .to_vec();
    variants.extend(matrix::variants(capabilities));
    for kernel in Kernel::all(capabilities) {
        let layouts = if matches!(kernel, Kernel::Packed { .. }) { &[Layout::NT][..] } else { &Layout::ALL };
        let plain = layouts.iter().map(|&layout| (layout, Reads::Stored(Storage::PLAIN)));
        let stored = kernel.storages(capabilities).into_iter().map(|stored| (Layout::NT, Reads::Stored(stored)));
        let rounded = kernel.precisions().iter().map(|&precision| (Layout::NT, Reads::Rounded(precision)));
        for (layout, reads) in plain.chain(stored).chain(rounded) {
            let adds = match kernel {
                Kernel::Split { .. } => &[PARTIAL][..],
                // What products with weights and with rounded inputs do not need.
                _ if reads == Reads::Stored(Storage::PLAIN) => &Add::WORDS,
                _ => &Add::WORDS[..2],
            };
            for &add in adds {
                variants.push(Variant {
                    shader: kernel.shader(),
                    entry: "forward",
                    values: kernel.values(capabilities, layout, add, reads),
                });
            }
        }
    }
    variants
}

/// The same on the CPU in f64.
pub mod twin {
    use super::Layout;

    /// `op(A)·op(B)` of one matrix, `[m, n]`.
    pub fn matmul(layout: Layout, m: usize, n: usize, k: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
        let mut c = Vec::with_capacity(m * n);
        for row in 0..m {
            for column in 0..n {
                let term = |i: usize| {
                    let x = if layout == Layout::TN { a[i * m + row] } else { a[row * k + i] };
                    let y = if layout == Layout::NT { b[column * k + i] } else { b[i * n + column] };
                    x * y
                };
                c.push((0..k).map(term).sum());
            }
        }
        c
    }
}

#[cfg(test)]
mod tests;
