//! Every kernel against the twin, and their bits against each other.

use super::kernel::{SPLIT_TILES, TILES};
use super::*;
use crate::gpu::{MatrixShapes, Numerics, Subgroups};
use crate::kernels::testing::{Bench, random, relative_error, wide};
use crate::weights::{Format, Matrix};
use proptest::prelude::*;

fn kernels(product: &Product<'_>, capabilities: Capabilities) -> Vec<Kernel> {
    let mut all = Kernel::candidates(capabilities, product, Numerics::Exact);
    all.extend(Kernel::candidates(Capabilities { cpu: false, ..capabilities }, product, Numerics::Exact));
    all.push(Kernel::Plain);
    all
}

/// The tiles with k split into 2 and 3 parts, if it is long enough.
fn splits(product: &Product<'_>) -> Vec<Kernel> {
    let parts = |tile: Tile| [2, 3].into_iter().filter(move |&parts| tile.part(product.k, parts) * (parts as usize - 1) < product.k);
    SPLIT_TILES.into_iter().flat_map(|tile| parts(tile).map(move |parts| Kernel::Split { tile, parts })).collect()
}

/// The exact kernels agree with the twin and give the same bits; the split ones agree with the twin and are reproducible.
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
    let product = Product { m, n, k, layout, batch, strides, alpha, add, symmetric: false, stored: Storage::PLAIN, inputs: Inputs::F32 };
    let bits_of = |kernel: Kernel| {
        let c = bench.tensor(&[sizes[2]], &before);
        bench.run(|rec| matmul_with(rec, &ta, &tb, &c, product, kernel));
        bench.close(&c, &want, 2e-6);
        bench.values(&c)
    };
    let exact = kernels(&product, bench.gpu().capabilities());
    let first = bits_of(exact[0]);
    for &kernel in &exact[1..] {
        assert!(bits_of(kernel) == first, "{kernel:?} gives other bits than {:?}", exact[0]);
    }
    if exact[0] != Kernel::Plain {
        for kernel in splits(&product) {
            assert!(bits_of(kernel) == bits_of(kernel), "{kernel:?} gives other bits each time");
        }
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

/// A symmetric product has the same bits as without the shortcut.
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

/// A sum of parts is the sum of the chains of its parts, in order: those of products over a part of k.
#[test]
fn a_split_product_adds_the_parts_in_order() {
    let bench = Bench::new();
    let (m, n, k) = (40, 36, 200);
    let [a, b] = [1, 2].map(|seed| random(seed, m.max(n) * k, 1.0));
    let product = Product::new(Layout::TN, m, n, k);
    for kernel in splits(&product) {
        let Kernel::Split { tile, parts } = kernel else { unreachable!() };
        let part = tile.part(k, parts);
        let mut want = vec![0.0; m * n];
        for begin in (0..k).step_by(part) {
            let k = part.min(k - begin);
            let [a, b] = [(&a, m), (&b, n)].map(|(data, width)| bench.tensor(&[k, width], &data[begin * width..][..k * width]));
            let c = bench.empty(&[m, n]);
            bench.run(|rec| matmul_with(rec, &a, &b, &c, Product::new(Layout::TN, m, n, k), Kernel::Plain));
            want.iter_mut().zip(bench.values(&c)).for_each(|(sum, part)| *sum += part);
        }
        let [a, b] = [(&a, m), (&b, n)].map(|(data, width)| bench.tensor(&[k, width], &data[..k * width]));
        let c = bench.empty(&[m, n]);
        bench.run(|rec| matmul_with(rec, &a, &b, &c, product, kernel));
        assert!(bench.values(&c) == want, "{kernel:?}");
    }
}

/// Products with a weight have the bits of those with the floats that it stands for, in every kernel.
fn check_weight(m: usize, n: usize, k: usize, format: Format, seed: u64) {
    let bench = Bench::new();
    // What is added does not depend on the format: each is tried with one.
    let into = matches!(format, Format::Bf16 | Format::Q4);
    let capabilities = bench.gpu().capabilities();
    let [x, w, before] = [(0, m * k), (1, n * k), (2, m * n)].map(|(i, len)| random(seed.wrapping_add(i), len, 1.0));
    let matrix = Matrix::new(w, n, k, format).unwrap();
    let (tx, plain) = (bench.tensor(&[m, k], &x), bench.tensor(&[n, k], &matrix.to_f32()));
    let product = Product { add: if into { Add::Into } else { Add::Nothing }, ..Product::new(Layout::NT, m, n, k) };
    let run = |b: &Tensor, product: Product<'_>, kernel: Kernel| {
        let y = bench.tensor(&[m, n], &before);
        bench.run(|rec| matmul_with(rec, &tx, b, &y, product, kernel));
        bench.values(&y)
    };
    let want = run(&plain, product, Kernel::Plain);
    for kernel in Kernel::all(capabilities) {
        for stored in kernel.storages(capabilities).into_iter().filter(|stored| stored.format == matrix.format()) {
            let weight = Weight::holding(bench.gpu(), "test", &matrix, stored.order).unwrap();
            let got = run(weight.words(), Product { stored, ..product }, kernel);
            match kernel {
                Kernel::Split { .. } => assert!(relative_error(&got, &wide(&want)) < 2e-6, "{kernel:?} of {stored:?}"),
                _ => assert!(got == want, "{kernel:?} of {stored:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(Bench::cases(16))]

    #[test]
    fn products_with_weights_have_the_bits_of_their_floats(
        m in 1usize..80, n in 1usize..40, blocks in 1usize..6, format in 0usize..5, seed: u64,
    ) {
        check_weight(m, 4 * n, 32 * blocks, Format::ALL[format], seed);
    }
}

#[test]
fn products_with_weights_hold_at_the_edges_of_panels() {
    for (m, n, k) in [(1, 4, 32), (33, 64, 32), (16, 68, 64), (65, 132, 96), (64, 128, 1056)] {
        for format in Format::ALL {
            check_weight(m, n, k, format, 5);
        }
    }
}

/// Products from rounded inputs have the bits of those from floats of the same values, in every kernel and layout.
fn check_rounded(layout: Layout, [m, n, k]: [usize; 3], inputs: Inputs, into: bool, seed: u64) {
    let bench = Bench::new();
    let capabilities = bench.gpu().capabilities();
    let [a, b, before] = [(0, m * k), (1, n * k), (2, m * n)].map(|(i, len)| random(seed.wrapping_add(i), len, 300.0));
    let add = if into { Add::Into } else { Add::Nothing };
    let product = Product { alpha: 0.75, add, inputs, ..Product::new(layout, m, n, k) };
    assert!(product.rounds());
    let run = |a: &[f32], b: &[f32], product: Product<'_>, kernel: Kernel| {
        let (a, b, c) = (bench.tensor(&[m * k], a), bench.tensor(&[n * k], b), bench.tensor(&[m, n], &before));
        bench.run(|rec| matmul_with(rec, &a, &b, &c, product, kernel));
        bench.values(&c)
    };
    let rounded = |values: &[f32], exponent: i32| -> Vec<f32> {
        values.iter().map(|&value| pack::twin::rounded(value.into(), inputs.precision, exponent) as f32).collect()
    };
    let plain = Product { alpha: 0.75 * inputs.undo(), inputs: Inputs::F32, ..product };
    let want = run(&rounded(&a, inputs.exponents[0]), &rounded(&b, inputs.exponents[1]), plain, Kernel::Plain);
    let mut kernels = Kernel::candidates(capabilities, &product, Numerics::Exact);
    kernels.extend(Kernel::candidates(Capabilities { cpu: false, ..capabilities }, &product, Numerics::Exact));
    kernels.push(Kernel::Plain);
    for kernel in kernels {
        assert!(run(&a, &b, product, kernel) == want, "{kernel:?} of {product:?}");
    }
    let fast = Kernel::candidates(Capabilities { cpu: false, ..capabilities }, &product, Numerics::Fast);
    for kernel in fast.into_iter().chain(splits(&product)) {
        let got = run(&a, &b, product, kernel);
        // Matrix units may truncate where others round.
        assert!(relative_error(&got, &wide(&want)) < 4e-6, "{kernel:?} of {product:?}");
        assert!(got == run(&a, &b, product, kernel), "{kernel:?} gives other bits each time");
    }
}

proptest! {
    #![proptest_config(Bench::cases(24))]

    #[test]
    fn products_from_rounded_inputs_have_the_bits_of_rounded_floats(
        layout in 0usize..3, m in 1usize..40, n in 1usize..40, k in 1usize..60, precision in 1usize..3, exponents in (-9i32..5, -9i32..5),
        into: bool, seed: u64,
    ) {
        let m = if Layout::ALL[layout] == Layout::TN { 4 * m } else { m };
        let inputs = Inputs { precision: Precision::ALL[precision], exponents: exponents.into() };
        check_rounded(Layout::ALL[layout], [m, 4 * n, 4 * k], inputs, into, seed);
    }
}

#[test]
fn products_from_rounded_inputs_hold_at_the_edges_of_tiles() {
    for (m, n, k) in [(4, 4, 4), (32, 64, 64), (64, 132, 32), (128, 128, 16), (132, 68, 20)] {
        for layout in Layout::ALL {
            check_rounded(layout, [m, n, k], Inputs::rounded(Precision::F16), false, 3);
        }
    }
}

/// What cannot be packed is computed from inputs as they are.
#[test]
fn products_that_cannot_be_packed_are_not_rounded() {
    let bench = Bench::new();
    let (m, n, k) = (3, 5, 7);
    let [a, b] = [(1, m), (2, n)].map(|(seed, rows)| random(seed, rows * k, 1.0));
    let want = twin::matmul(Layout::NT, m, n, k, &wide(&a), &wide(&b));
    let (ta, tb, c) = (bench.tensor(&[m, k], &a), bench.tensor(&[n, k], &b), bench.empty(&[m, n]));
    let product = Product { inputs: Inputs { precision: Precision::F16, exponents: [-8, 3] }, ..Product::new(Layout::NT, m, n, k) };
    bench.run(|rec| matmul(rec, &ta, &tb, &c, product));
    bench.close(&c, &want, 2e-6);
}

/// One dimension of a grid has at most 65,535 workgroups of 64 invocations.
#[test]
fn matmul_plain_reaches_past_the_limit_of_a_grid() {
    let bench = Bench::new();
    let (m, n, k) = (2051_usize, 2053, 2);
    assert!((m * n).div_ceil(64) > 65_535);
    let [a, b] = [(1, m), (2, n)].map(|(seed, rows)| random(seed, rows * k, 1.0));
    let want = twin::matmul(Layout::NT, m, n, k, &wide(&a), &wide(&b));
    let [a, b] = [(&a, m), (&b, n)].map(|(data, rows)| bench.tensor(&[rows, k], data));
    let c = bench.empty(&[m, n]);
    bench.run(|rec| matmul(rec, &a, &b, &c, Product::new(Layout::NT, m, n, k)));
    bench.close(&c, &want, 2e-6);
}

const GPU: Capabilities = Capabilities { subgroups: Some(Subgroups { least: 32, most: 32 }), ..Capabilities::LEAST };

#[test]
fn only_fast_numerics_split_sums_and_only_where_a_gpu_lacks_tiles() {
    let is_split = |kernel: &Kernel| matches!(kernel, Kernel::Split { .. });
    let head = Product::new(Layout::NN, 128, 768, 65_536);
    let square = Product::new(Layout::NN, 8192, 8192, 8192);
    let short = Product::new(Layout::NN, 64, 64, 256);
    for product in [head, square, short] {
        for capabilities in [GPU, Capabilities::LEAST, Capabilities { cpu: true, ..GPU }] {
            assert!(!Kernel::candidates(capabilities, &product, Numerics::Exact).iter().any(is_split));
            assert!(!is_split(&Kernel::default_for(capabilities, &product, Numerics::Exact)));
        }
        assert!(!Kernel::candidates(Capabilities { cpu: true, ..GPU }, &product, Numerics::Fast).iter().any(is_split));
    }
    assert!(is_split(&Kernel::default_for(GPU, &head, Numerics::Fast)));
    for product in [square, short] {
        assert!(!Kernel::candidates(GPU, &product, Numerics::Fast).iter().any(is_split));
    }
    for kernel in Kernel::candidates(GPU, &head, Numerics::Fast) {
        if let Kernel::Split { tile, parts } = kernel {
            assert!(tile.part(head.k, parts) * (parts as usize - 1) < head.k, "{kernel:?} has an empty part");
        }
    }
}

#[test]
fn only_fast_products_from_f16_use_matrix_units() {
    let matrices = MatrixShapes { eight: false, sixteen: true };
    let gpu = Capabilities { f16: true, matrices, workgroup_memory: 32 << 10, ..GPU };
    let product = |m, n, k, precision| Product { inputs: Inputs::rounded(precision), ..Product::new(Layout::TN, m, n, k) };
    let uses = |kernel: &Kernel| matches!(kernel, Kernel::Matrix { .. });
    for precision in Precision::ALL {
        for numerics in [Numerics::Exact, Numerics::Fast] {
            let product = product(8192, 4096, 1024, precision);
            let wanted = precision == Precision::F16 && numerics == Numerics::Fast;
            assert_eq!(Kernel::candidates(gpu, &product, numerics).iter().any(uses), wanted, "{precision} {numerics:?}");
            assert_eq!(uses(&Kernel::default_for(gpu, &product, numerics)), wanted, "{precision} {numerics:?}");
        }
    }
    let parts = |m, n, k| Kernel::default_for(gpu, &product(m, n, k, Precision::F16), Numerics::Fast).parts();
    assert_eq!(parts(8192, 4096, 1024), 1);
    // A few tiles: k is split, and no part is empty.
    let split = parts(128, 768, 65_536);
    assert!(split > 1, "{split}");
    for tile in MatrixTile::all(gpu) {
        for (k, wanted) in [(65_536_usize, 17), (1000, 3), (64, 2)] {
            let parts = k.div_ceil(tile.part(k, wanted));
            assert!(tile.part(k, wanted) * (parts - 1) < k, "{tile:?} has an empty part");
        }
    }
}

#[test]
fn the_choice_without_measurements_gives_a_gpu_enough_to_do() {
    let choice = |m, n| Kernel::default_for(GPU, &Product::new(Layout::NT, m, n, 1024), Numerics::Exact);
    let [large, middle, small] = [TILES[0], TILES[1], TILES[2]].map(Kernel::Tile);
    assert_eq!(choice(8192, 4096), large);
    assert_eq!(choice(2048, 1024), large);
    assert_eq!(choice(1024, 768), middle);
    assert_eq!(choice(128, 768), small);
    assert_eq!(choice(16, 4096), small);
}
