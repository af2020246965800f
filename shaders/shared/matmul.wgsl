// What the tiled matrix products share: the formula, the bindings, and the epilogue.
//
//   C = α·op(A)·op(B) (+ C, or + β·D)     NN: A [M, K], B [K, N]   NT: B [N, K]   TN: A [K, M]
//
// K is a multiple of 4, and so are N, and M for TN. An element's sum runs over k in order, in one chain of multiply-adds,
// so that every kernel and every tile size gives the same bits. The exception are products that split k: each part is a
// separate chain, and `matmul_sum.wgsl` adds the parts in order.

#include "shared/weights.wgsl"

{% set narrow = narrow is defined and narrow %}     {# both operands were packed in 16 bits, along k #}
{% set load_a = load if narrow else "vec4<f32>" %}
{% set wide_a = int64 and packed %}

struct Shape {
    m: u32,
    n_quads: u32,         // N / 4
    k: u32,
    a_stride: u32,        // elements / 4 between matrices of a batch
    b_stride: u32,
    c_stride: u32,
    alpha: f32,
    beta: f32,
    upper: u32,           // 1 to leave out tiles below the diagonal
    parts: u32,           // workgroups that share an element's sum
    part: u32,            // values of k in each of them; the last has the remainder
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<{{ "u64" if wide_a else load_a }}>;
@group(0) @binding(2) var<storage, read> b: array<{{ "u64" if wide else load }}>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;      // [M, N]
{% if add == "scaled" %}
@group(0) @binding(4) var<storage, read> d: array<vec4<f32>>;            // [M, N]
{% endif %}

// Writes four columns of a row of matrix `z`, unless they lie past an edge.
fn store(z: u32, row: u32, quad: u32, sum: vec4<f32>) {
    if row < shape.m && quad < shape.n_quads {
        let at = z * shape.c_stride + row * shape.n_quads + quad;
{% if add == "into" %}
        c[at] = fma(vec4<f32>(shape.alpha), sum, c[at]);
{% elif add == "scaled" %}
        c[at] = fma(vec4<f32>(shape.alpha), sum, shape.beta * d[at]);
{% elif add == "partial" %}
        c[at] = sum;
{% else %}
        c[at] = shape.alpha * sum;
{% endif %}
    }
}

