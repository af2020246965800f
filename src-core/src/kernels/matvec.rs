//! A matrix times a few vectors: where decoding spends its time. Each weight is used once, so the speed is bound by memory
//! bandwidth. Two shader files, one operation:
//!
//! - `matvec_lane.wgsl`: four or eight rows of the matrix per lane, no workgroup memory; for CPU adapters.
//! - `matvec_row.wgsl`: lanes along the rows of the matrix, so that loads are coalesced; for GPUs.
//!
//! In both the bits of a result do not depend on how many vectors there are. The matrix may be in any format of
//! [`weights`](crate::weights).

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Value, Values, Variant, grid};
use crate::weights::{Format, Order, Storage};

use super::weight::{PANEL_QUADS, Weight};

static LANE: Shader = crate::shader!("matvec_lane");
static ROW: Shader = crate::shader!("matvec_row");

/// The most vectors per pass over the matrix: with more, [`matmul`](super::matmul) is the better kernel.
pub const MOST_ROWS: usize = 8;

/// Lanes per workgroup of the row form: a whole subgroup on every GPU, and two or more on most.
const LANES: u32 = 64;

/// The epilogue of the product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// `y = W·x`.
    Store,
    /// `y = y + W·x`.
    Into,
    /// `y = max(W·x, 0)²`.
    Relu2,
    /// `y = cap · tanh(W·x / cap)`, for a positive cap.
    Softcap(f32),
}

impl Finish {
    const WORDS: [&'static str; 4] = ["store", "into", "relu2", "softcap"];

    fn word(self) -> &'static str {
        match self {
            Finish::Store => "store",
            Finish::Into => "into",
            Finish::Relu2 => "relu2",
            Finish::Softcap(_) => "softcap",
        }
    }

    /// Whether there is a kernel for this with a norm, or without one: those that the model needs.
    fn goes_with(word: &str, norm: bool) -> bool {
        match word {
            "into" => !norm,
            "relu2" | "softcap" => norm,
            _ => true,
        }
    }

    fn cap(self) -> f32 {
        if let Finish::Softcap(cap) = self { cap } else { 1.0 }
    }
}

/// The norm that is applied to a vector first.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Added to the mean square.
    pub eps: f32,
    /// `[M]`; receives the factor of each vector.
    pub scale: &'a Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    m: u32,
    n_quads: u32,
    k_quads: u32,
    cap: f32,
    eps: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Lane,
    Row,
}

impl Kernel {
    /// The form for a matrix that is stored like this. Panels are for lanes.
    fn for_matrix(capabilities: Capabilities, storage: Storage) -> Self {
        let rows_for_lanes = storage == Storage::PLAIN && capabilities.cpu_subgroup().is_some();
        if matches!(storage.order, Order::Panels(_)) || rows_for_lanes { Kernel::Lane } else { Kernel::Row }
    }

    /// Every form that runs at all, whether it is fast or not, with the storages that it reads.
    fn possible(capabilities: Capabilities) -> Vec<(Self, Storage)> {
        let rows = |format| (Kernel::Row, Storage { format, order: Order::Rows });
        let mut possible: Vec<_> = Format::ALL.map(rows).into();
        if let Some(lanes) = capabilities.fixed_subgroup() {
            let order = Order::Panels((4 * PANEL_QUADS * lanes) as usize);
            possible.push((Kernel::Lane, Storage::PLAIN));
            possible.extend(Format::ALL.map(|format| (Kernel::Lane, Storage { format, order })));
        }
        possible
    }

    fn shader(self) -> &'static Shader {
        match self {
            Kernel::Lane => &LANE,
            Kernel::Row => &ROW,
        }
    }

    fn values(self, storage: Storage, rows: u32, norm: bool, finish: &'static str) -> Values {
        let mut values: Values =
            vec![("finish", finish.into()), ("format", storage.format.word().into()), ("norm", norm.into()), ("rows", Value::Int(rows))];
        match self {
            Kernel::Row => values.push(("lanes", LANES.into())),
            Kernel::Lane => values.extend([("panels", (storage != Storage::PLAIN).into()), ("quads", lane_quads(storage).into())]),
        }
        values
    }

    fn groups(self, capabilities: Capabilities, storage: Storage, m: usize, n: usize, rows: u32) -> [u32; 3] {
        let blocks = m.div_ceil(rows as usize) as u32;
        match self {
            Kernel::Lane => {
                let quads = lane_quads(storage) * capabilities.fixed_subgroup().unwrap_or(1);
                [blocks, (n / 4).div_ceil(quads as usize) as u32, 1]
            }
            Kernel::Row => {
                let [x, y, _] = grid(n / 4);
                [x, y, blocks]
            }
        }
    }
}

/// Groups of four rows of the matrix that a lane holds.
fn lane_quads(storage: Storage) -> u32 {
    if storage == Storage::PLAIN { 1 } else { PANEL_QUADS }
}

/// `y = finish(W·x)`, or with `norm` `finish(W·norm(x))`, for each of the M vectors in `x` `[M, K]`; `w` is `[N, K]`, `y`
/// `[M, N]`. K and N are multiples of 4. `Into` is for products without a norm, `Relu2` and `Softcap` for those with one.
pub fn forward(rec: &mut Recorder, x: &Tensor, norm: Option<Norm<'_>>, w: &Weight, y: &Tensor, finish: Finish) {
    forward_with(rec, Kernel::for_matrix(rec.gpu().capabilities(), w.storage()), x, norm, w, y, finish);
}

fn forward_with(rec: &mut Recorder, kernel: Kernel, x: &Tensor, norm: Option<Norm<'_>>, w: &Weight, y: &Tensor, finish: Finish) {
    let (n, k, storage) = (w.rows(), w.columns(), w.storage());
    let m = x.len() / k;
    let fits = x.len() == m * k && y.len() == m * n && n.is_multiple_of(4) && k.is_multiple_of(4) && finish.cap() > 0.0;
    assert!(fits && norm.is_none_or(|norm| norm.scale.len() == m), "{w:?} times {:?} into {:?}", x.shape(), y.shape());
    assert!(Finish::goes_with(finish.word(), norm.is_some()), "{finish:?} with {norm:?}");
    let rows = m.next_power_of_two().min(MOST_ROWS) as u32;
    let capabilities = rec.gpu().capabilities();
    let mut bind = vec![(1, x), (2, w.words()), (3, y)];
    bind.extend(norm.map(|norm| (4, norm.scale)));
    rec.dispatch(Dispatch {
        shader: kernel.shader(),
        entry: "forward",
        values: &kernel.values(storage, rows, norm.is_some(), finish.word()),
        params: Shape {
            m: m as u32,
            n_quads: (n / 4) as u32,
            k_quads: (k / 4) as u32,
            cap: finish.cap(),
            eps: norm.map_or(0.0, |norm| norm.eps),
        },
        bind: &bind,
        groups: kernel.groups(capabilities, storage, m, n, rows),
    });
}

/// Every specialisation of the two shaders that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let mut variants = Vec::new();
    for (kernel, storage) in Kernel::possible(capabilities) {
        for rows in [1, 2, 4, 8] {
            let all = Finish::WORDS.into_iter().flat_map(|finish| [(finish, false), (finish, true)]);
            for (finish, norm) in all.filter(|&(finish, norm)| Finish::goes_with(finish, norm)) {
                variants.push(Variant { shader: kernel.shader(), entry: "forward", values: kernel.values(storage, rows, norm, finish) });
            }
        }
    }
    variants
}

/// The same on the CPU in f64.
pub mod twin {
    use super::Finish;
    use crate::kernels::matmul::{Layout, twin::matmul};
    use crate::kernels::{cross_entropy, norm};

    /// `x` is `[m, k]`, `w` `[n, k]`, `y` `[m, n]` the previous content; `eps` is that of a norm, if there is one. Returns the
    /// new y.
    pub fn forward([m, n, k]: [usize; 3], x: &[f64], eps: Option<f64>, w: &[f64], y: &[f64], finish: Finish) -> Vec<f64> {
        let normed = eps.map(|eps| norm::twin::forward(x, m, eps).0);
        let product = matmul(Layout::NT, m, n, k, normed.as_deref().unwrap_or(x), w);
        let finish = |(sum, before): (f64, &f64)| match finish {
            Finish::Store => sum,
            Finish::Into => before + sum,
            Finish::Relu2 => sum.max(0.0).powi(2),
            Finish::Softcap(cap) => cross_entropy::twin::softcap(sum, f64::from(cap)),
        };
        product.into_iter().zip(y).map(finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::norm;
    use crate::kernels::testing::{Bench, random, wide};
    use crate::weights::Matrix;
    use proptest::prelude::*;

    /// Every epilogue, with and without a norm, as far as there are kernels.
    const FORMS: [(Finish, bool); 5] =
        [(Finish::Store, false), (Finish::Store, true), (Finish::Into, false), (Finish::Relu2, true), (Finish::Softcap(2.5), true)];

    fn check([m, n, k]: [usize; 3], formats: &[Format], (finish, norm): (Finish, bool), seed: u64) {
        let (bench, eps) = (Bench::new(), norm.then_some(1e-6f32));
        let [x, w, before] = [(0, m * k), (1, n * k), (2, m * n)].map(|(i, len)| random(seed.wrapping_add(i), len, 1.0));
        let (_, scale_want) = norm::twin::forward(&wide(&x), m, eps.unwrap_or(0.0).into());
        let run = |kernel, w: &Weight, x: &[f32], before: &[f32]| {
            let m = x.len() / k;
            let (x, y, scale) = (bench.tensor(&[m, k], x), bench.tensor(&[m, n], before), bench.empty(&[m]));
            let norm = eps.map(|eps| Norm { eps, scale: &scale });
            bench.run(|rec| forward_with(rec, kernel, &x, norm, w, &y, finish));
            (y, scale)
        };
        for (kernel, storage) in Kernel::possible(bench.gpu().capabilities()) {
            if !formats.contains(&storage.format) || storage.format.for_rows_of(k) != storage.format {
                continue;
            }
            let matrix = Matrix::new(w.clone(), n, k, storage.format).unwrap();
            let want = twin::forward([m, n, k], &wide(&x), eps.map(f64::from), &wide(&matrix.to_f32()), &wide(&before), finish);
            let w = Weight::holding(bench.gpu(), "test", &matrix, storage.order).unwrap();
            let (y, scale) = run(kernel, &w, &x, &before);
            bench.close(&y, &want, 2e-6 * (k as f64).sqrt());
            if eps.is_some() {
                bench.close(&scale, &scale_want, 1e-6);
            }
            // Each vector alone gives the same bits.
            let whole = bench.values(&y);
            for row in 0..m {
                let (alone, _) = run(kernel, &w, &x[row * k..][..k], &before[row * n..][..n]);
                assert!(bench.values(&alone) == whole[row * n..][..n], "{kernel:?} of {storage:?}, row {row} of {m}");
            }
        }
    }

    proptest! {
        #![proptest_config(Bench::cases(24))]

        #[test]
        fn products_equal_their_twin(
            m in 1usize..12, n in 1usize..40, k in 1usize..80, format in 0usize..5, form in 0usize..5, seed: u64,
        ) {
            let format = Format::ALL[format];
            let k = if format.has_blocks() { 32 * k.div_ceil(8) } else { 4 * k };
            check([m, 4 * n, k], &[format], FORMS[form], seed);
        }
    }

    #[test]
    fn logits_that_are_no_numbers_stay_none() {
        let bench = Bench::new();
        let mut w = vec![0.5; 8 * 4];
        w[4 * 5] = f32::NAN;
        let (x, w) = (bench.tensor(&[1, 4], &[1.0; 4]), Weight::plain(&bench.tensor(&[8, 4], &w)));
        for (kernel, _) in Kernel::possible(bench.gpu().capabilities()).into_iter().filter(|(_, storage)| *storage == Storage::PLAIN) {
            let (y, scale) = (bench.empty(&[1, 8]), bench.empty(&[1]));
            let norm = Some(Norm { eps: 1e-6, scale: &scale });
            bench.run(|rec| forward_with(rec, kernel, &x, norm, &w, &y, Finish::Softcap(15.0)));
            let nan: Vec<usize> = bench.values(&y).iter().enumerate().filter(|(_, value)| value.is_nan()).map(|(at, _)| at).collect();
            assert_eq!(nan, [5], "{kernel:?}");
        }
    }

    #[test]
    fn shapes_at_the_edges_of_tiles() {
        for (m, n, k) in [(1, 4, 4), (1, 32, 32), (2, 36, 28), (8, 28, 36), (9, 32, 256), (1, 68, 32), (3, 1024, 260)] {
            for form in FORMS {
                check([m, n, k], &[Format::F32], form, 3);
            }
            // The epilogue does not depend on the format.
            check([m, n, k], &Format::ALL, (Finish::Store, true), 3);
        }
    }
}
