//! Which kernels can compute a product, and which of them is likely the fastest.

use crate::gpu::{Capabilities, Numerics, Shader, Value, Values, grid};
use crate::kernels::precision::Precision;
use crate::kernels::weight::PANEL_QUADS;
use crate::weights::{Format, Order, Storage};

use super::{LANE, Layout, MATRIX, MatrixTile, PLAIN, Product, TILE};

/// A kernel and its tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// `rows` rows × `quads`·4 columns per lane, one subgroup per workgroup.
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
    /// One tile per workgroup, through workgroup memory.
    Tile(Tile),
    /// The same, with k split into parts with separate workgroups; another kernel adds their sums. Exclusive to [`Numerics::Fast`].
    Split {
        /// The tile of every workgroup.
        tile: Tile,
        /// Parts of k, at least two.
        parts: u32,
    },
    /// By matrix units, from inputs in f16, with k in `parts` parts. Exclusive to [`Numerics::Fast`]: units may round as they like.
    Matrix {
        /// The tile of every workgroup.
        tile: MatrixTile,
        /// Parts of k.
        parts: u32,
    },
    /// One element per invocation.
    Plain,
}

/// What a workgroup of `matmul_tile.wgsl` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows and columns of the tile.
    pub side: u32,
    /// Values of k held in workgroup memory: so many that every invocation loads two groups of four of each operand.
    pub depth: u32,
    /// Rows and columns of an invocation.
    pub lane: u32,
}

/// (rows, quads) of `Kernel::Lane`. CPU drivers load lane by lane, so what matters is loads per multiply-add, and the
/// largest tile is the fastest; but it takes twice as long to compile, so only the autotuner chooses it: it comes last.
const LANE_TILES: [(u32, u32); 5] = [(32, 2), (32, 1), (16, 2), (8, 1), (64, 2)];
/// (rows, quads) of `Kernel::Packed`.
const PACKED_TILES: [(u32, u32); 2] = [(32, 2), (64, 2)];

/// In descending order of multiply-adds per load. Every workgroup has at least 64 invocations, so that none leaves half of the
/// widest subgroups idle.
pub(super) const TILES: [Tile; 3] =
    [Tile { side: 128, depth: 16, lane: 8 }, Tile { side: 64, depth: 32, lane: 4 }, Tile { side: 32, depth: 16, lane: 4 }];
/// The tiles for which k is split: those with 256 invocations.
pub(super) const SPLIT_TILES: [Tile; 2] = [TILES[0], TILES[1]];

/// Invocations that keep a GPU busy: two workgroups of 256 on each of 64 compute units. No graphics API reports their
/// number.
const ENOUGH: u32 = 2 * 64 * 256;

/// Bytes of workgroup memory that the tiles take without padding; every adapter has that much.
const LEAST_MEMORY: u32 = 16 << 10;

/// The fewest values of k in a part of a split product.
const LEAST_PART: usize = 256;

impl Tile {
    /// Invocations of its workgroup.
    fn lanes(self) -> u32 {
        (self.side / self.lane).pow(2)
    }

    fn groups(self, product: &Product<'_>) -> [u32; 3] {
        [product.m.div_ceil(self.side as usize) as u32, product.n.div_ceil(self.side as usize) as u32, product.batch as u32]
    }

    /// The number of parts of k that keeps a GPU busy twice over, if it is at least two.
    fn split(self, product: &Product<'_>) -> Option<Kernel> {
        let lanes = self.groups(product).iter().product::<u32>().saturating_mul(self.lanes());
        let wanted = (2 * ENOUGH).div_ceil(lanes).min((product.k / LEAST_PART) as u32);
        let parts = if lanes >= ENOUGH || wanted < 2 { 1 } else { product.k.div_ceil(self.part(product.k, wanted)) as u32 };
        (parts > 1).then_some(Kernel::Split { tile: self, parts })
    }

    /// Values of k in each of `parts` parts but the last, which has the remainder.
    pub(super) fn part(self, k: usize, parts: u32) -> usize {
        k.div_ceil(parts as usize).next_multiple_of(self.depth as usize)
    }

    fn values(self, capabilities: Capabilities) -> [(&'static str, Value); 4] {
        let pad = capabilities.workgroup_memory > LEAST_MEMORY;
        [("depth", self.depth.into()), ("lane", self.lane.into()), ("pad", pad.into()), ("side", self.side.into())]
    }
}

/// What a kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// A in f32, and B as it is stored.
    Stored(Storage),
    /// Both packed in 16 bits.
    Rounded(Precision),
}

impl Reads {
    pub(super) fn of(product: &Product<'_>) -> Self {
        if product.rounds() { Reads::Rounded(product.inputs.precision) } else { Reads::Stored(product.stored) }
    }
}

impl Kernel {
    /// The kernels of `numerics` that can compute a product of this shape on this adapter, the likely fastest first.
    pub fn candidates(capabilities: Capabilities, product: &Product<'_>, numerics: Numerics) -> Vec<Kernel> {
        if let Order::Panels(_) = product.stored.order {
            let lanes = LANE_TILES.map(|(rows, quads)| Kernel::Lane { rows, quads });
            let packed = PACKED_TILES.map(|(rows, quads)| Kernel::Packed { rows, quads });
            return lanes.into_iter().chain(packed).filter(|kernel| kernel.reads_panels()).collect();
        }
        if !product.has_quads() {
            return vec![Kernel::Plain];
        }
        let lanes = LANE_TILES.map(|(rows, quads)| Kernel::Lane { rows, quads });
        if !capabilities.cpu {
            let tiles = TILES.map(Kernel::Tile).into_iter();
            if numerics == Numerics::Exact {
                return tiles.collect();
            }
            let splits = SPLIT_TILES.iter().filter_map(|tile| tile.split(product));
            return Self::by_matrix_units(capabilities, product).into_iter().chain(tiles).chain(splits).collect();
        }
        match capabilities.cpu_subgroup() {
            Some(_) if product.stored == Storage::PLAIN => {
                let packed = PACKED_TILES.map(|(rows, quads)| Kernel::Packed { rows, quads });
                if product.rounds() { packed.to_vec() } else { [&lanes[..], &packed].concat() }
            }
            _ => vec![Kernel::Plain],
        }
    }

    /// The kernels for matrix units, which take f16 only; k is split where a tile would leave most of a GPU idle.
    fn by_matrix_units(capabilities: Capabilities, product: &Product<'_>) -> Vec<Kernel> {
        let rounds = product.rounds() && product.inputs.precision == Precision::F16;
        let tiles = MatrixTile::all(capabilities).into_iter().filter(|_| rounds);
        let parts_of = |tile: MatrixTile| {
            let lanes = tile.groups(product, 1).iter().product::<u32>().saturating_mul(tile.lanes());
            let wanted = ENOUGH.div_ceil(lanes.max(1)).min((product.k / LEAST_PART) as u32).max(1);
            product.k.div_ceil(tile.part(product.k, wanted)) as u32
        };
        tiles.map(|tile| Kernel::Matrix { tile, parts: parts_of(tile) }).collect()
    }

    /// Parts of k with sums of their own.
    pub(super) fn parts(self) -> u32 {
        match self {
            Kernel::Split { parts, .. } | Kernel::Matrix { parts, .. } => parts,
            Kernel::Lane { .. } | Kernel::Packed { .. } | Kernel::Tile(_) | Kernel::Plain => 1,
        }
    }

    /// Whether its tile has the width of the panels of a weight.
    fn reads_panels(self) -> bool {
        matches!(self, Kernel::Lane { quads: PANEL_QUADS, .. } | Kernel::Packed { quads: PANEL_QUADS, .. })
    }

    /// How B may be stored other than plainly.
    pub(super) fn storages(self, capabilities: Capabilities) -> Vec<Storage> {
        let stored = |formats: &[Format], order| formats.iter().map(|&format| Storage { format, order }).collect();
        match self {
            Kernel::Lane { .. } | Kernel::Packed { .. } if self.reads_panels() => {
                stored(&Format::ALL, Order::Panels((4 * PANEL_QUADS * capabilities.cpu_subgroup().unwrap_or(1)) as usize))
            }
            Kernel::Lane { .. } | Kernel::Packed { .. } | Kernel::Matrix { .. } => Vec::new(),
            Kernel::Tile(_) | Kernel::Split { .. } | Kernel::Plain => stored(&Format::ALL[1..], Order::Rows),
        }
    }

    /// The choice without measurements. On GPUs the first for matrix units that gives the GPU enough to do, else the one with the
    /// most workgroups; without matrix units the first tile with enough workgroups, else a split one, else the tile
    /// with the most workgroups. On CPUs the first kernel that gives every core work, else the one with the most workgroups;
    /// whether packing pays can only be measured.
    pub fn default_for(capabilities: Capabilities, product: &Product<'_>, numerics: Numerics) -> Kernel {
        let mut candidates = Self::candidates(capabilities, product, numerics);
        let groups = |kernel: &Kernel| kernel.groups(capabilities, product).iter().product::<u32>();
        if capabilities.cpu {
            candidates.retain(|kernel| product.rounds() || !matches!(kernel, Kernel::Packed { .. }));
            let first = candidates.iter().copied().find(|kernel| groups(kernel) >= 4);
            return first.or(candidates.iter().rev().copied().max_by_key(groups)).unwrap_or(Kernel::Plain);
        }
        let lanes_of = |kernel: &Kernel| match kernel {
            Kernel::Tile(tile) => tile.lanes(),
            Kernel::Matrix { tile, .. } => tile.lanes(),
            _ => 0,
        };
        let enough = |kernel: &Kernel| groups(kernel).saturating_mul(lanes_of(kernel)) >= ENOUGH;
        let by_units: Vec<Kernel> = candidates.iter().copied().filter(|kernel| matches!(kernel, Kernel::Matrix { .. })).collect();
        if let Some(kernel) = by_units.iter().copied().find(enough).or(by_units.into_iter().rev().max_by_key(groups)) {
            return kernel;
        }
        let split = |kernel: &Kernel| matches!(kernel, Kernel::Split { .. });
        let tiles = candidates.iter().copied().filter(|kernel| matches!(kernel, Kernel::Tile(_)));
        candidates
            .iter()
            .copied()
            .find(enough)
            .or(candidates.iter().rev().copied().find(split))
            .or(tiles.rev().max_by_key(groups))
            .unwrap_or(Kernel::Plain)
    }

    pub(super) fn groups(self, capabilities: Capabilities, product: &Product<'_>) -> [u32; 3] {
        let tiles = |size: usize, tile: u32| size.div_ceil(tile as usize) as u32;
        let batch = product.batch as u32;
        match self {
            Kernel::Lane { rows, quads } | Kernel::Packed { rows, quads } => {
                [tiles(product.m, rows), tiles(product.n, capabilities.cpu_subgroup().unwrap_or(1) * quads * 4), batch]
            }
            Kernel::Tile(tile) => tile.groups(product),
            Kernel::Split { tile, parts } => {
                let [x, y, z] = tile.groups(product);
                [x, y, z * parts]
            }
            Kernel::Matrix { tile, parts } => tile.groups(product, parts),
            Kernel::Plain => {
                let [x, y, _] = grid((product.m * product.n).div_ceil(64));
                [x, y, batch]
            }
        }
    }

    /// Iterations of all loops of an invocation together, for sums of length `k`.
    pub(crate) fn turns(self, k: usize) -> usize {
        let of = |tile: Tile, k: usize| k.div_ceil(tile.depth as usize) * (tile.depth as usize + 1);
        match self {
            Kernel::Lane { .. } | Kernel::Packed { .. } => k / 4,
            Kernel::Tile(tile) => of(tile, k),
            Kernel::Split { tile, parts } => of(tile, tile.part(k, parts)),
            Kernel::Matrix { tile, parts } => tile.turns(tile.part(k, parts)),
            Kernel::Plain => k,
        }
    }

    pub(super) fn shader(self) -> &'static Shader {
        match self {
            Kernel::Lane { .. } | Kernel::Packed { .. } => &LANE,
            Kernel::Tile(_) | Kernel::Split { .. } => &TILE,
            Kernel::Matrix { .. } => &MATRIX,
            Kernel::Plain => &PLAIN,
        }
    }

    /// Precisions other than f32 to which it takes both operands rounded.
    pub(super) fn precisions(self) -> &'static [Precision] {
        match self {
            Kernel::Lane { .. } => &[],
            Kernel::Matrix { .. } => &[Precision::F16],
            Kernel::Packed { .. } | Kernel::Tile(_) | Kernel::Split { .. } | Kernel::Plain => &[Precision::F16, Precision::Bf16],
        }
    }

    pub(super) fn values(self, capabilities: Capabilities, layout: Layout, add: &'static str, reads: Reads) -> Values {
        if let Kernel::Matrix { tile, .. } = self {
            return tile.values(capabilities, add);
        }
        let (format, layout) = match reads {
            Reads::Stored(stored) => (stored.format, layout),
            // Packed along k, whatever they were.
            Reads::Rounded(precision) => (precision.format(), Layout::NT),
        };
        let layout = if matches!(self, Kernel::Packed { .. }) { "packed" } else { layout.word() };
        let mut values: Values = vec![("add", add.into()), ("format", format.word().into()), ("layout", layout.into())];
        if let Reads::Rounded(_) = reads {
            values.push(("narrow", true.into()));
        }
        match self {
            Kernel::Lane { rows, quads } | Kernel::Packed { rows, quads } => {
                let panels = matches!(reads, Reads::Stored(Storage { order: Order::Panels(_), .. }));
                values.extend([("panels", panels.into()), ("quads", Value::Int(quads)), ("rows", Value::Int(rows))])
            }
            Kernel::Tile(tile) | Kernel::Split { tile, .. } => values.extend(tile.values(capabilities)),
            Kernel::Matrix { .. } | Kernel::Plain => {}
        }
        values
    }

    /// Every kernel that such an adapter may use, except for the number of parts, and for matrix units.
    pub(super) fn all(capabilities: Capabilities) -> Vec<Kernel> {
        let lanes = LANE_TILES.map(|(rows, quads)| Kernel::Lane { rows, quads });
        let packed = PACKED_TILES.map(|(rows, quads)| Kernel::Packed { rows, quads });
        let splits = SPLIT_TILES.map(|tile| Kernel::Split { tile, parts: 2 });
        let subgroups = lanes.into_iter().chain(packed).filter(|_| capabilities.cpu_subgroup().is_some());
        subgroups.chain(TILES.map(Kernel::Tile)).chain(splits).chain([Kernel::Plain]).collect()
    }
}
