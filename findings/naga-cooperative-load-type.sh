#!/usr/bin/env bash
# naga 30.0.1: a cooperative matrix takes its type from the memory that it is loaded from, not from its declaration.
#
# coopLoad<coop_mat8x8<f16, A>> declares a matrix of f16. With an array<f32> one would expect a type error, or a conversion. naga
# silently validates the module and writes a matrix of f32: in MSL a simdgroup_float8x8. A kernel that forgets to convert its
# operands therefore runs, at the speed and the size of f32, and its supposed 16-bit inputs are 32-bit.
#
# Seen with naga-cli 30.0.1 (crates.io): «Validation successful», and in the MSL
#     metal::simdgroup_float8x8 a = NagaCooperativeLoad(&x[0], 8u, true);
#
# What to do: bind f16 operands as array<f16>, and let a test check the type in the translation.
# Builds naga-cli in a temporary folder: about two minutes. Exits 0 while this is so, 1 when it has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo install --quiet --root "$work" naga-cli --version =30.0.1 --locked

cat >"$work/product.wgsl" <<'WGSL'
enable f16;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(32)
fn main() {
    let a = coopLoad<coop_mat8x8<f16, A>>(&x[0], 8u);
    let b = coopLoad<coop_mat8x8<f16, B>>(&x[64], 8u);
    var c = coopLoad<coop_mat8x8<f32, C>>(&y[0], 8u);
    c = coopMultiplyAdd(a, b, c);
    coopStore(c, &y[0], 8u);
}
WGSL

"$work/bin/naga" --version
if ! "$work/bin/naga" "$work/product.wgsl"; then
    echo 'changed: validation refuses f16 matrices from f32 memory'
    exit 1
fi
"$work/bin/naga" "$work/product.wgsl" "$work/product.metal" --metal-version 2.4
grep -n 'simdgroup_[a-z]*8x8 [ab] =' "$work/product.metal"
if ! grep -q 'simdgroup_float8x8 a =' "$work/product.metal"; then
    echo 'changed: the matrix is no longer of f32'
    exit 1
fi
echo 'as described: declared f16, loaded as f32'
