// Matrix product, one element per invocation: for matrices that are too small or have the wrong sizes for tiles.
//
//   C = α·op(A)·op(B) (+ C, or + β·D)     NN: A [M, K], B [K, N]   NT: B [N, K]   TN: A [K, M]
//
// Any M, N and K. Sums run over k in order, as in the tiled kernels.

#include "shared/weights.wgsl"

{% set narrow = narrow is defined and narrow %}     {# both operands were packed in 16 bits, along k #}

struct Shape {
    m: u32,
    n: u32,
    k: u32,
    a_stride: u32,        // elements between matrices of a batch
    b_stride: u32,
    c_stride: u32,
    alpha: f32,
    beta: f32,
    upper: u32,           // this and the fields after it are for the tiled kernels
    parts: u32,
    part: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<{% if narrow %}{{ load }}{% else %}f32{% endif %}>;
@group(0) @binding(2) var<storage, read> b: array<{% if format == "f32" %}f32{% else %}{{ load }}{% endif %}>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;      // [M, N]
{% if add == "scaled" %}
@group(0) @binding(4) var<storage, read> d: array<f32>;            // [M, N]
{% endif %}

// Element `i` of the left side of sum `row`.
{% if narrow %}
{{ rows_of_weights("a", "(shape.k / 4u)") }}
fn left(start: u32, row: u32, i: u32) -> f32 {
    return a_quad(a_row(row), i / 4u)[i % 4u];
}
{% else %}
fn left(start: u32, row: u32, i: u32) -> f32 {
    return a[start + {% if layout == "tn" %}i * shape.m + row{% else %}row * shape.k + i{% endif %}];
}
{% endif %}

// Element `i` of the right side of sum `column`.
{% if format == "f32" %}
fn right(start: u32, column: u32, i: u32) -> f32 {
    return b[start + {% if layout == "nt" %}column * shape.k + i{% else %}i * shape.n + column{% endif %}];
}
{% else %}
{{ rows_of_weights("b", "(shape.k / 4u)") }}
fn right(start: u32, column: u32, i: u32) -> f32 {
    return b_quad(b_row(column), i / 4u)[i % 4u];
}
{% endif %}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let element = flat(workgroup, groups) * 64u + local;
    if element >= shape.m * shape.n { return; }
    let row = element / shape.n;
    let column = element % shape.n;
    let a_start = workgroup.z * shape.a_stride;
    let b_start = workgroup.z * shape.b_stride;

    var sum = 0.0;
    for (var k = 0u; k < shape.k; k++) {
        let x = left(a_start, row, k);
        let y = right(b_start, column, k);
        sum = fma(x, y, sum);
    }
    let at = workgroup.z * shape.c_stride + element;
    c[at] = {% if add == "into" %}fma(shape.alpha, sum, c[at]){% elif add == "scaled" %}fma(shape.alpha, sum, shape.beta * d[at]){% else %}shape.alpha * sum{% endif %};
}
