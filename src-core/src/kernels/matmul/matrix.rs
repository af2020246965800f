//! `matmul_matrix.wgsl`: products of f16 operands by matrix units, with f32 sums. A kernel of [`Fast`](crate::gpu::Numerics).
//!
//! Both operands are stored with k along their rows, whatever the layout of the product is: `A` as `[M, K]`, `B` as `[N, K]`, padded with
//! zeros to [`padded`](MatrixTile::padded) sizes. Two f16 are a word, the first in its low half.

use crate::gpu::{Capabilities, Dispatch, Recorder, Values, Variant};

use super::{Add, MATRIX, Operand, PARTIAL, Product, Shape, added};

/// K is padded to a multiple of this, the most values of k that pass through workgroup memory at once.
const DEPTH: u32 = 32;
/// Values of k that a row has more there.
const PAD: u32 = 8;

/// What a workgroup computes: `down` × `across` units, each of `rows` × `columns` matrices of `side` × `side`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixTile {
    side: u32,
    rows: u32,
    columns: u32,
    down: u32,
    across: u32,
    /// Values of k that pass through workgroup memory at once.
    depth: u32,
    /// Invocations.
    lanes: u32,
    /// The most units that a subgroup may have to compute: more than one if the driver may pick larger subgroups.
    held: u32,
}

impl MatrixTile {
    /// The tiles that such an adapter may use, the likely fastest first: none without matrix units. On CPU adapters these kernels are
    /// slow and take long to compile; they have one small tile, for tests.
    pub fn all(capabilities: Capabilities) -> Vec<Self> {
        let Some(subgroups) = capabilities.subgroups.filter(|_| capabilities.f16) else {
            return Vec::new();
        };
        let held = subgroups.most / subgroups.least;
        let tile = |side, [rows, columns]: [u32; 2], [down, across]: [u32; 2]| {
            let lanes = down * across * subgroups.least;
            Self { side, rows, columns, down, across, depth: DEPTH, lanes, held }
        };
        let of_side = |side| match side {
            _ if capabilities.cpu => vec![Self { depth: 16, ..tile(side, [2, 2], [2, 2]) }],
            16 => vec![tile(16, [2, 4], [4, 2]), tile(16, [4, 4], [2, 2]), tile(16, [2, 2], [2, 2])],
            _ => vec![tile(8, [4, 8], [4, 2]), tile(8, [4, 4], [2, 2])],
        };
        capabilities.matrices.sides().flat_map(of_side).filter(|tile| tile.fits(capabilities)).collect()
    }

    fn fits(self, capabilities: Capabilities) -> bool {
        let Self { side, rows, columns, down, across, depth, lanes, held } = self;
        let at_once = lanes * 8 / (depth * side);
        let operands = (down * rows + across * columns) * side * (depth + PAD) * 2;
        let stage = down * across * side * side * 4;
        // More sums than this in a lane of the larger subgroups would spill.
        let registers = held * rows * columns <= 16 * (16 / side).pow(2);
        registers
            && held <= down
            && (1..=rows.min(columns) * down.min(across)).contains(&at_once)
            && lanes <= capabilities.invocations
            && operands + stage <= capabilities.workgroup_memory
    }

    /// Invocations of its workgroup.
    pub fn lanes(self) -> u32 {
        self.lanes
    }

    /// Rows and columns of C.
    pub fn size(self) -> [usize; 2] {
        let Self { side, rows, columns, down, across, .. } = self;
        [(down * rows * side) as usize, (across * columns * side) as usize]
    }

    /// To what the rows of an operand, 0 for A and 1 for B, and k are padded.
    pub(super) fn multiples(self, operand: usize) -> [usize; 2] {
        [self.size()[operand], DEPTH as usize]
    }

    /// Rows of A, rows of B and values of k that a product of `m` × `n` × `k` needs of its operands, zeros included.
    pub fn padded(self, [m, n, k]: [usize; 3]) -> [usize; 3] {
        let [rows, columns] = self.size();
        [m.next_multiple_of(rows), n.next_multiple_of(columns), k.next_multiple_of(DEPTH as usize)]
    }

    /// Values of k in each of `parts` parts but the last, which has the remainder.
    pub fn part(self, k: usize, parts: u32) -> usize {
        k.div_ceil(parts as usize).next_multiple_of(DEPTH as usize)
    }

    /// Iterations of all loops of an invocation together, for sums of length `k`.
    pub fn turns(self, k: usize) -> usize {
        let staged = self.held * self.rows * self.columns * self.side * self.side;
        k.div_ceil(self.depth as usize) + staged as usize
    }

    /// Workgroups, for k in `parts` parts.
    pub fn groups(self, product: &Product<'_>, parts: u32) -> [u32; 3] {
        let [rows, columns] = self.size();
        [product.m.div_ceil(rows) as u32, product.n.div_ceil(columns) as u32, product.batch as u32 * parts]
    }

    pub(super) fn values(self, capabilities: Capabilities, add: &'static str) -> Values {
        let Self { side, rows, columns, down, across, depth, lanes, held } = self;
        vec![
            ("across", across.into()),
            ("add", add.into()),
            ("columns", columns.into()),
            ("depth", depth.into()),
            ("down", down.into()),
            ("f16", true.into()),
            ("held", held.into()),
            ("lanes", lanes.into()),
            ("matrices", true.into()),
            // Metal loads matrices from pointers to single elements only.
            ("quads", (capabilities.backend != wgpu::Backend::Metal).into()),
            ("rows", rows.into()),
            ("side", side.into()),
        ]
    }
}

/// Records `C = α·A·Bᵀ` and what the product adds, or with several `parts` the bare sums of every part, `[batch, parts, M, N]`. `a` and `b` are
/// words; `product.strides` of A and B count their f16. The layout of the product has no meaning here.
pub(super) fn record(rec: &mut Recorder, [a, b]: [Operand<'_>; 2], c: Operand<'_>, product: Product<'_>, tile: MatrixTile, parts: u32) {
    let [m, n, k] = tile.padded([product.m, product.n, product.k]);
    assert!(product.n.is_multiple_of(4), "{product:?}: columns come in groups of four");
    let holds = |operand: &Operand<'_>, rows: usize, stride: usize| {
        let words = match operand {
            Operand::Given(tensor) => tensor.len(),
            Operand::Scratch(_, len) => *len,
        };
        2 * words >= stride * (product.batch - 1) + rows * k && stride.is_multiple_of(8)
    };
    assert!(holds(&a, m, product.strides[0]) && holds(&b, n, product.strides[1]), "{product:?} in tiles of {:?}", tile.size());
    let (mut bind, mut scratch) = (Vec::new(), Vec::new());
    for (number, operand) in [(1, a), (2, b), (3, c)] {
        match operand {
            Operand::Given(tensor) => bind.push((number, tensor)),
            Operand::Scratch(slot, len) => scratch.push((number, slot, len)),
        }
    }
    let mut shape = Shape { k: k as u32, part: k as u32, ..Shape::new(&product, 1) };
    let mut word = product.add.word();
    if parts > 1 {
        word = PARTIAL;
        shape.strides[2] = (product.m * product.n) as u32;
        (shape.parts, shape.part) = (parts, tile.part(product.k, parts) as u32);
    } else {
        bind.extend(added(&product));
    }
    let values = tile.values(rec.gpu().capabilities(), word);
    let groups = tile.groups(&product, parts);
    rec.dispatch_with_scratch(
        Dispatch { shader: &MATRIX, entry: "forward", values: &values, params: shape, bind: &bind, groups },
        &scratch,
    );
}

/// Every specialisation that such an adapter may use.
pub(super) fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let words = Add::WORDS.into_iter().chain([PARTIAL]);
    let tiles = MatrixTile::all(capabilities);
    let variant = |(tile, add): (&MatrixTile, _)| Variant { shader: &MATRIX, entry: "forward", values: tile.values(capabilities, add) };
    words.flat_map(|add| tiles.iter().map(move |tile| (tile, add))).map(variant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DType, MatrixShapes, Memory, Subgroups, Tensor};
    use crate::kernels::matmul::{Layout, twin};
    use crate::kernels::testing::{Bench, random, wide};
    use half::f16;
    use proptest::prelude::*;

    /// `rows` rows of `k` numbers for each of `batch` matrices: in f16, padded and as words, and as the twin takes them.
    fn operand(bench: &Bench, seed: u64, batch: usize, [rows, k]: [usize; 2], [all_rows, all_k]: [usize; 2]) -> (Tensor, Vec<f64>) {
        let rounded: Vec<f16> = random(seed, batch * rows * k, 1.0).into_iter().map(f16::from_f32).collect();
        let mut halves = vec![f16::ZERO; batch * all_rows * all_k];
        for (row, values) in rounded.chunks_exact(k).enumerate() {
            let at = (row / rows * all_rows + row % rows) * all_k;
            halves[at..at + k].copy_from_slice(values);
        }
        let words: &[u32] = bytemuck::cast_slice(&halves);
        let tensor = bench.gpu().upload("test", &[words.len()], DType::U32, Memory::Workspace, words).unwrap();
        (tensor, wide(&rounded.iter().map(|value| value.to_f32()).collect::<Vec<_>>()))
    }

    /// The adapter's tiles, and those as if its subgroups could have half or twice their size. None where it has no matrix units.
    fn tiles(bench: &Bench) -> Vec<MatrixTile> {
        let capabilities = bench.gpu().capabilities();
        let mut tiles = MatrixTile::all(capabilities);
        if let Some(Subgroups { least, most }) = capabilities.subgroups.filter(|sizes| sizes.least == sizes.most) {
            let others = [(least / 2, most), (least, 2 * most)];
            let as_if = others.map(|(least, most)| Capabilities { subgroups: Some(Subgroups { least, most }), ..capabilities });
            tiles.extend(as_if.into_iter().flat_map(MatrixTile::all));
        }
        if tiles.is_empty() {
            eprintln!("left out: {} has no matrix units, or none that wgpu offers", bench.gpu().info().name);
        }
        tiles
    }

    /// Every tile agrees with the twin and gives the same bits each time; only the order of the f32 sums differs.
    fn check([m, n, k, batch]: [usize; 4], mode: usize, parts: u32, seed: u64) {
        let bench = Bench::new();
        for tile in tiles(&bench) {
            let [all_m, all_n, all_k] = tile.padded([m, n, k]);
            let parts = if tile.part(k, parts) * (parts as usize - 1) < k { parts } else { 1 };
            let (a, wide_a) = operand(&bench, seed, batch, [m, k], [all_m, all_k]);
            let (b, wide_b) = operand(&bench, seed ^ 1, batch, [n, k], [all_n, all_k]);
            let (alpha, beta) = (if mode == 0 { 1.0 } else { 0.75 }, -0.5);
            let strides = [all_m * all_k, all_n * all_k, m * n + 8];
            let len = if parts > 1 { batch * parts as usize * m * n } else { batch * strides[2] };
            let [before, d] = [random(seed ^ 2, len, 1.0), random(seed ^ 3, len, 1.0)];
            let td = bench.tensor(&[len], &d);
            let add = [Add::Nothing, Add::Nothing, Add::Into, Add::Scaled(&td, beta)][mode];
            let product = Product { alpha, add, batch, strides, ..Product::new(Layout::NT, m, n, k) };
            let mut want = wide(&before);
            for i in 0..batch {
                let [a, b] = [(&wide_a, m), (&wide_b, n)].map(|(values, rows)| &values[i * rows * k..][..rows * k]);
                if parts > 1 {
                    for part in 0..parts as usize {
                        let from = part * tile.part(k, parts);
                        let to = (from + tile.part(k, parts)).min(k);
                        let [a, b] = [a, b].map(|rows| rows.chunks_exact(k).flat_map(|row| &row[from..to]).copied().collect::<Vec<_>>());
                        let sums = twin::matmul(Layout::NT, m, n, to - from, &a, &b);
                        want[(i * parts as usize + part) * m * n..][..m * n].copy_from_slice(&sums);
                    }
                    continue;
                }
                for (j, value) in twin::matmul(Layout::NT, m, n, k, a, b).into_iter().enumerate() {
                    let at = i * strides[2] + j;
                    let added = [0.0, 0.0, want[at], f64::from(beta) * f64::from(d[at])][mode];
                    want[at] = f64::from(alpha) * value + added;
                }
            }
            let run = || {
                let c = bench.tensor(&[len], &before);
                bench.run(|rec| record(rec, [Operand::Given(&a), Operand::Given(&b)], Operand::Given(&c), product, tile, parts));
                c
            };
            let first = run();
            bench.close(&first, &want, BAR);
            assert!(bench.values(&first) == bench.values(&run()), "{tile:?} gives other bits each time");
        }
    }

    /// Matrix units may truncate where others round.
    const BAR: f64 = 4e-6;

    proptest! {
        #![proptest_config(Bench::cases(12))]

        #[test]
        fn matmul_matrix_equals_its_twin(
            m in 1usize..200, n in 1usize..50, k in 1usize..150, batch in 1usize..3, mode in 0usize..4, parts in 1u32..3, seed: u64,
        ) {
            check([m, 4 * n, k, batch], mode, parts, seed);
        }
    }

    #[test]
    fn matmul_matrix_holds_at_the_edges_of_tiles() {
        for size in [4, 28, 32, 36, 64, 124, 128, 132] {
            check([size, 64, 32, 1], 0, 1, size as u64);
            check([64, size, 36, 2], 1, 1, size as u64);
            check([1, size, 4, 1], 2, 1, size as u64);
            check([size - 1, 128, size, 1], 3, 1, size as u64);
            check([33, 4, 16 * size, 2], 0, 3, size as u64);
        }
    }

    /// Tiles below the diagonal of a symmetric product are left out, and no others.
    #[test]
    fn matmul_matrix_leaves_out_what_a_symmetric_product_copies() {
        let bench = Bench::new();
        let (side, k) = (260, 40);
        for tile in tiles(&bench) {
            let [rows, columns] = tile.size();
            let [m, n, all_k] = tile.padded([side, side, k]);
            let (x, wide_x) = operand(&bench, 5, 1, [side, k], [m.max(n), all_k]);
            let product = Product { symmetric: true, ..Product::new(Layout::NT, side, side, k) };
            let c = bench.tensor(&[side, side], &vec![2.0; side * side]);
            bench.run(|rec| record(rec, [Operand::Given(&x), Operand::Given(&x)], Operand::Given(&c), product, tile, 1));
            let mut want = twin::matmul(Layout::NT, side, side, k, &wide_x, &wide_x);
            for (at, value) in want.iter_mut().enumerate() {
                let (row, column) = (at / side / rows * rows, at % side / columns * columns);
                if column + columns <= row {
                    *value = 2.0;
                }
            }
            bench.close(&c, &want, BAR);
        }
    }

    fn with(least: u32, most: u32, side: u32) -> Capabilities {
        Capabilities {
            f16: true,
            invocations: 1024,
            matrices: MatrixShapes { eight: side == 8, sixteen: side == 16 },
            subgroups: Some(Subgroups { least, most }),
            workgroup_memory: 32 << 10,
            ..Capabilities::LEAST
        }
    }

    /// To SPIR-V and MSL; what they need of an adapter is what was asked of it.
    #[test]
    fn every_tile_translates_and_keeps_the_limits() {
        for (least, most, side) in [(32, 32, 16), (32, 64, 16), (64, 64, 16), (16, 16, 16), (32, 32, 8), (4, 8, 8), (8, 8, 8)] {
            for backend in [wgpu::Backend::Vulkan, wgpu::Backend::Metal] {
                let capabilities = Capabilities { backend, ..with(least, most, side) };
                let variants = variants(capabilities);
                assert!(!variants.is_empty(), "no tile for {capabilities:?}");
                for variant in variants {
                    variant.translate(capabilities).unwrap_or_else(|error| panic!("{error}"));
                    let needs = variant.needs(capabilities).unwrap();
                    assert!(needs.invocations <= capabilities.invocations && needs.workgroup_bytes <= capabilities.workgroup_memory);
                }
            }
        }
    }

    #[test]
    fn tiles_are_offered_where_they_fit() {
        let sizes = |capabilities| MatrixTile::all(capabilities).into_iter().map(|tile| (tile.size(), tile.lanes)).collect::<Vec<_>>();
        assert_eq!(sizes(with(32, 32, 16)), [([128, 128], 256), ([128, 128], 128), ([64, 64], 128)]);
        assert_eq!(sizes(with(32, 64, 16)), [([128, 128], 256), ([64, 64], 128)]);
        assert_eq!(sizes(with(32, 32, 8)), [([128, 128], 256), ([64, 64], 128)]);
        assert_eq!(sizes(with(8, 8, 8)), [([128, 128], 64), ([64, 64], 32)]);
        // Too many sums in a lane, too little workgroup memory, and nothing to compute with.
        assert_eq!(sizes(with(4, 128, 16)), []);
        assert_eq!(sizes(Capabilities { workgroup_memory: 16 << 10, ..with(32, 32, 16) }), [([64, 64], 128)]);
        for lacking in
            [Capabilities { f16: false, ..with(32, 32, 16) }, Capabilities { subgroups: None, ..with(32, 32, 16) }, with(32, 32, 4)]
        {
            assert_eq!(MatrixTile::all(lacking), []);
        }
    }
}
