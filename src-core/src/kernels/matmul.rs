//! Matrix products. Three shader files, one operation:
//!
//! - `matmul_lane.wgsl`: register tiles and subgroup broadcasts, no shared memory. What CPU adapters run fastest: on
//!   lavapipe it reaches several times what shared-memory tiles do (`docs/LOG.md`).
//!   Operands can be packed into panels in scratch first, which costs a pass over them and pays in all but small products.
//! - `matmul_tile.wgsl`: 8 × 8 a lane through workgroup memory, the classic form for GPUs.
//! - `matmul_plain.wgsl`: an invocation an element, for what the others cannot take.
//!
//! In all of them an element's sum runs over k in order in one chain of fused multiply-adds, so which one the
//! [autotuner](super::autotune) picks never changes a result.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Value, Values, Variant};

use super::mirror;
use super::pack::{self, Panels};

static LANE: Shader = crate::shader!("matmul_lane");
static TILE: Shader = crate::shader!("matmul_tile");
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
    /// Factor of the product.
    pub alpha: f32,
    /// What is added to it.
    pub add: Add<'a>,
    /// Whether C is known to be symmetric. Then tiles below the diagonal are copied from above instead of computed.
    pub symmetric: bool,
}

impl Product<'_> {
    /// One `C = op(A)·op(B)`.
    pub fn new(layout: Layout, m: usize, n: usize, k: usize) -> Self {
        Product { m, n, k, layout, batch: 1, strides: [0; 3], alpha: 1.0, add: Add::Nothing, symmetric: false }
    }
}

/// A kernel and its tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// `rows` rows × `quads`·4 columns a lane, a subgroup a workgroup.
    Lane {
        /// Rows that every lane holds.
        rows: u32,
        /// Groups of four columns that every lane holds.
        quads: u32,
    },
    /// The same, with both operands packed into panels first.
    Packed {
        /// Rows that every lane holds.
        rows: u32,
        /// Groups of four columns that every lane holds.
        quads: u32,
    },
    /// `side` × `side` elements a workgroup, `depth` values of k at a time.
    Tile {
        /// Rows and columns of a workgroup's tile.
        side: u32,
        /// Values of k held in workgroup memory.
        depth: u32,
    },
    /// An element an invocation.
    Plain,
}

/// (rows, quads) of `Kernel::Lane`. Drivers on CPUs load lane by lane, so what counts is loads per multiply-add, and the
/// largest tile is the fastest; but it takes twice as long to compile, so only the autotuner chooses it: it comes last.
const LANE_TILES: [(u32, u32); 5] = [(32, 2), (32, 1), (16, 2), (8, 1), (64, 2)];
/// (rows, quads) of `Kernel::Packed`.
const PACKED_TILES: [(u32, u32); 2] = [(32, 2), (64, 2)];
const TILES: [(u32, u32); 3] = [(128, 16), (64, 16), (32, 16)];

impl Kernel {
    /// The kernels that can compute a product of this shape here, the likely best first.
    pub fn candidates(capabilities: Capabilities, product: &Product<'_>) -> Vec<Kernel> {
        let quads = product.n.is_multiple_of(4) && product.k.is_multiple_of(4);
        let transposed = product.layout != Layout::TN || product.m.is_multiple_of(4);
        let strides = product.strides.iter().all(|stride| stride.is_multiple_of(4));
        if !(quads && transposed && strides) {
            return vec![Kernel::Plain];
        }
        let tiles = TILES.map(|(side, depth)| Kernel::Tile { side, depth });
        let lanes = LANE_TILES.map(|(rows, quads)| Kernel::Lane { rows, quads });
        match (capabilities.cpu, capabilities.fixed_subgroup()) {
            (true, Some(_)) => {
                let packed = PACKED_TILES.map(|(rows, quads)| Kernel::Packed { rows, quads });
                [&lanes[..], &packed].concat()
            }
            (true, None) => vec![Kernel::Plain],
            (false, Some(_)) => [&tiles[..], &lanes[2..4]].concat(),
            (false, None) => tiles.to_vec(),
        }
    }

    /// The choice without measurements: the first that gives every core work, else the one with the most workgroups.
    /// Whether packing pays only a measurement can tell.
    pub fn default_for(capabilities: Capabilities, product: &Product<'_>) -> Kernel {
        let mut candidates = Self::candidates(capabilities, product);
        candidates.retain(|kernel| !matches!(kernel, Kernel::Packed { .. }));
        let wanted = if capabilities.cpu { 4 } else { 256 };
        let groups = |kernel: &Kernel| kernel.groups(capabilities, product).iter().product::<u32>();
        let first = candidates.iter().copied().find(|kernel| groups(kernel) >= wanted);
        first.or(candidates.iter().rev().copied().max_by_key(groups)).unwrap_or(Kernel::Plain)
    }

    fn groups(self, capabilities: Capabilities, product: &Product<'_>) -> [u32; 3] {
        let tiles = |size: usize, tile: u32| size.div_ceil(tile as usize) as u32;
        let batch = product.batch as u32;
        match self {
            Kernel::Lane { rows, quads } | Kernel::Packed { rows, quads } => {
                [tiles(product.m, rows), tiles(product.n, capabilities.fixed_subgroup().unwrap_or(1) * quads * 4), batch]
            }
            Kernel::Tile { side, .. } => [tiles(product.m, side), tiles(product.n, side), batch],
            Kernel::Plain => [tiles(product.m * product.n, 64), 1, batch],
        }
    }

    fn shader(self) -> &'static Shader {
        match self {
            Kernel::Lane { .. } | Kernel::Packed { .. } => &LANE,
            Kernel::Tile { .. } => &TILE,
            Kernel::Plain => &PLAIN,
        }
    }

    fn values(self, layout: Layout, add: &'static str) -> Values {
        let layout = if matches!(self, Kernel::Packed { .. }) { "packed" } else { layout.word() };
        let mut values: Values = vec![("add", add.into()), ("layout", layout.into())];
        match self {
            Kernel::Lane { rows, quads } | Kernel::Packed { rows, quads } => {
                values.extend([("quads", Value::Int(quads)), ("rows", Value::Int(rows))])
            }
            Kernel::Tile { side, depth } => values.extend([("depth", Value::Int(depth)), ("side", Value::Int(side))]),
            Kernel::Plain => {}
        }
        values
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
}

/// Records a product with the kernel that measured best on this adapter, or the likely best where none was measured.
pub fn matmul(rec: &mut Recorder, a: &Tensor, b: &Tensor, c: &Tensor, product: Product<'_>) {
    let kernel = super::autotune::choose(rec.gpu(), &product);
    matmul_with(rec, a, b, c, product, kernel);
}

/// Records a product with a given kernel.
pub fn matmul_with(rec: &mut Recorder, a: &Tensor, b: &Tensor, c: &Tensor, product: Product<'_>, kernel: Kernel) {
    let Product { m, n, k, batch, strides, .. } = product;
    let holds = |tensor: &Tensor, size: usize, stride: usize| tensor.len() >= stride * (batch - 1) + size;
    assert!(
        holds(a, m * k, strides[0]) && holds(b, k * n, strides[1]) && holds(c, m * n, strides[2]),
        "{product:?} of {:?} and {:?} into {:?}",
        a.shape(),
        b.shape(),
        c.shape()
    );
    let turns = if kernel == Kernel::Plain { k } else { k / 4 };
    if !rec.allows_turns(turns, || format!("a product over {k} elements")) {
        return;
    }
    let Some(panels) = panels(rec.gpu().capabilities(), &product, kernel) else {
        record(rec, Operand::Given(a), Operand::Given(b), c, product, kernel);
        return;
    };
    for (slot, (operand, of)) in [a, b].into_iter().zip(panels).enumerate() {
        pack::forward(rec, operand, of, slot);
    }
    let [left, right] = panels.map(Panels::matrix_len);
    let [a, b] = [0, 1].map(|slot| Operand::Packed(slot, panels[slot].packed_len()));
    record(rec, a, b, c, Product { strides: [left, right, strides[2]], ..product }, kernel);
}

/// How `kernel` wants A and Bᵀ packed, if it does.
fn panels(capabilities: Capabilities, product: &Product<'_>, kernel: Kernel) -> Option<[Panels; 2]> {
    let Kernel::Packed { rows, quads } = kernel else {
        return None;
    };
    let Product { m, n, k, layout, batch, strides, .. } = *product;
    let panels = |rows, stride, k_first, panel: u32| Panels { count: batch, rows, k, stride, k_first, panel: panel as usize };
    Some([
        panels(m, strides[0], layout == Layout::TN, rows),
        panels(n, strides[1], layout != Layout::NT, capabilities.fixed_subgroup().unwrap_or(1) * quads * 4),
    ])
}

/// Elements of the recorder's scratch slots that hold the packed operands of `product` under `kernel`.
pub(crate) fn scratch_len(capabilities: Capabilities, product: &Product<'_>, kernel: Kernel) -> [usize; 2] {
    panels(capabilities, product, kernel).map_or([0; 2], |panels| panels.map(Panels::packed_len))
}

/// An operand as the kernel reads it.
enum Operand<'a> {
    /// As it was given.
    Given(&'a Tensor),
    /// In a scratch slot of the recorder, with its number of elements.
    Packed(usize, usize),
}

fn record(rec: &mut Recorder, a: Operand<'_>, b: Operand<'_>, c: &Tensor, product: Product<'_>, kernel: Kernel) {
    let Product { m, n, k, layout, batch, strides, alpha, add, symmetric } = product;
    let unit = if kernel == Kernel::Plain { 1 } else { 4 };
    let (mut bind, mut scratch) = (vec![(3, c)], Vec::new());
    for (number, operand) in [(1, a), (2, b)] {
        match operand {
            Operand::Given(tensor) => bind.push((number, tensor)),
            Operand::Packed(slot, len) => scratch.push((number, slot, len)),
        }
    }
    let mut beta = 0.0;
    if let Add::Scaled(d, factor) = add {
        assert!(d.len() >= strides[2] * (batch - 1) + m * n, "{product:?} adds {:?}", d.shape());
        bind.push((4, d));
        beta = factor;
    }
    let call = Dispatch {
        shader: kernel.shader(),
        entry: "forward",
        values: &kernel.values(layout, add.word()),
        params: Shape {
            m: m as u32,
            n: (n / unit) as u32,
            k: k as u32,
            strides: strides.map(|stride| (stride / unit) as u32),
            alpha,
            beta,
            upper: u32::from(symmetric),
        },
        bind: &bind,
        groups: kernel.groups(rec.gpu().capabilities(), &product),
    };
    rec.dispatch_with_scratch(call, &scratch);
    if symmetric && kernel != Kernel::Plain {
        assert_eq!(m, n, "a symmetric matrix is square");
        mirror::forward(rec, c, batch, n, strides[2]);
    }
}

/// Every specialisation of the three shaders that such an adapter can ask for.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let lanes = LANE_TILES.map(|(rows, quads)| Kernel::Lane { rows, quads });
    let tiles = TILES.map(|(side, depth)| Kernel::Tile { side, depth });
    let packed = PACKED_TILES.map(|(rows, quads)| Kernel::Packed { rows, quads });
    let mut variants = Vec::new();
    for kernel in lanes.into_iter().chain(packed).filter(|_| capabilities.fixed_subgroup().is_some()).chain(tiles).chain([Kernel::Plain]) {
        let layouts = if matches!(kernel, Kernel::Packed { .. }) { &[Layout::NT][..] } else { &Layout::ALL };
        for &layout in layouts {
            for add in Add::WORDS {
                let values = kernel.values(layout, add);
                variants.push(Variant { shader: kernel.shader(), entry: "forward", values });
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
mod tests {
    use super::*;
    use crate::kernels::testing::{Bench, random, wide};
    use proptest::prelude::*;

    fn kernels(product: &Product<'_>, capabilities: Capabilities) -> Vec<Kernel> {
        let mut all = Kernel::candidates(capabilities, product);
        all.extend(Kernel::candidates(Capabilities { cpu: false, ..capabilities }, product));
        all.push(Kernel::Plain);
        all
    }

    fn check(layout: Layout, [m, n, k, batch]: [usize; 4], mode: usize, seed: u64) {
        let bench = Bench::new();
        let strides = [m * k + 4, k * n, m * n + 8];
        let sizes = strides.map(|stride| stride * batch);
        let [a, b, d] = [0, 1, 2].map(|i| random(seed.wrapping_add(i as u64), sizes[i], 1.0));
        let (alpha, beta) = (0.75, -0.5);
        let before = random(seed ^ 7, sizes[2], 1.0);

        let mut want = wide(&before);
        for i in 0..batch {
            let product = twin::matmul(layout, m, n, k, &wide(&a[i * strides[0]..][..m * k]), &wide(&b[i * strides[1]..][..k * n]));
            for (j, value) in product.into_iter().enumerate() {
                let at = i * strides[2] + j;
                let added = [0.0, want[at], f64::from(beta) * f64::from(d[at])][mode];
                want[at] = f64::from(alpha) * value + added;
            }
        }
        let [ta, tb, td] = [(&a, 0), (&b, 1), (&d, 2)].map(|(data, i)| bench.tensor(&[sizes[i]], data));
        let add = [Add::Nothing, Add::Into, Add::Scaled(&td, beta)][mode];
        let product = Product { m, n, k, layout, batch, strides, alpha, add, symmetric: false };
        let mut first: Option<Vec<f32>> = None;
        for kernel in kernels(&product, bench.gpu().capabilities()) {
            let c = bench.tensor(&[sizes[2]], &before);
            bench.run(|rec| matmul_with(rec, &ta, &tb, &c, product, kernel));
            bench.close(&c, &want, 2e-6);
            let bits = bench.values(&c);
            assert!(first.get_or_insert_with(|| bits.clone()) == &bits, "{kernel:?} gives other bits");
        }
    }

    proptest! {
        #![proptest_config(Bench::cases(32))]

        #[test]
        fn matmul_equals_its_twin_and_every_kernel_gives_the_same_bits(
            layout in 0usize..3, m in 1usize..150, n in 1usize..150, k in 1usize..100, batch in 1usize..3,
            quads: bool, mode in 0usize..3, seed: u64,
        ) {
            let round = |size: usize| if quads { size.next_multiple_of(4) } else { size };
            check(Layout::ALL[layout], [round(m), round(n), round(k), batch], mode, seed);
        }
    }

    #[test]
    fn matmul_holds_at_the_edges_of_tiles() {
        for size in [4, 28, 32, 36, 60, 64, 68, 128, 132] {
            for layout in Layout::ALL {
                check(layout, [size, 64, 16, 1], 0, size as u64);
                check(layout, [64, size, 20, 2], 1, size as u64);
                check(layout, [32, 4, size, 1], 2, size as u64);
            }
        }
    }

    /// A symmetric product has the bits that it has without the short cut.
    #[test]
    fn matmul_of_a_symmetric_product_skips_tiles_and_keeps_the_bits() {
        let bench = Bench::new();
        for (side, k, batch) in [(4, 8, 1), (36, 20, 3), (128, 16, 2), (260, 12, 2)] {
            for layout in [Layout::NT, Layout::TN] {
                let x = bench.tensor(&[batch, side * k], &random(side as u64, batch * side * k, 1.0));
                let strides = [side * k, side * k, side * side];
                let gram = bench.empty(&[batch, side * side]);
                let full = Product { batch, strides, ..Product::new(layout, side, side, k) };
                bench.run(|rec| matmul_with(rec, &x, &x, &gram, full, Kernel::Plain));
                let squared = bench.empty(&[batch, side * side]);
                let add = Add::Scaled(&gram, 0.5);
                let square = Product { batch, strides: [side * side; 3], add, ..Product::new(Layout::NN, side, side, side) };
                bench.run(|rec| matmul_with(rec, &gram, &gram, &squared, square, Kernel::Plain));

                for kernel in kernels(&full, bench.gpu().capabilities()) {
                    for (operand, product, want) in [(&x, full, &gram), (&gram, square, &squared)] {
                        let c = bench.empty(&[batch, side * side]);
                        let product = Product { symmetric: true, ..product };
                        bench.run(|rec| matmul_with(rec, operand, operand, &c, product, kernel));
                        assert!(bench.values(&c) == bench.values(want), "{kernel:?} of {product:?}");
                    }
                }
            }
        }
    }
}
