// Matrix product through workgroup memory: the form for GPUs. Formula and bindings: `shared/matmul.wgsl`.
//
// A workgroup of {{ (side // 8) * (side // 8) }} invocations computes {{ side }} × {{ side }} elements of one matrix of a batch, each invocation 8 × 8 of
// them. Both operands pass through workgroup memory {{ depth }} values of k at a time, stored so that four neighbours in m or n are
// one vec4; an operand that is contiguous in k is turned in registers, a 4 × 4 block per invocation. What lies past an
// edge is loaded as zero and not stored.

#include "shared/matmul.wgsl"

const SIDE_QUADS = {{ side // 4 }}u;
const BLOCKS = {{ (side // 4) * (depth // 4) }}u;     // 4 × 4 blocks of an operand's tile
const LANES = {{ (side // 8) * (side // 8) }}u;

var<workgroup> a_tile: array<vec4<f32>, {{ depth * side // 4 }}>;        // [depth, side] of op(A)ᵀ
var<workgroup> b_tile: array<vec4<f32>, {{ depth * side // 4 }}>;        // [depth, side] of op(B)

// Four rows of `quads` vec4s each, from row `row` and quad `quad` on, zero past the edge.
{% for name in ["a", "b"] %}
fn block_{{ name }}(start: u32, row: u32, rows: u32, quad: u32, quads: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    if quad < quads {
{% for i in range(4) %}
        if row + {{ i }}u < rows { block[{{ i }}] = {{ name }}[start + (row + {{ i }}u) * quads + quad]; }
{% endfor %}
    }
    return block;
}
{% endfor %}

@compute @workgroup_size({{ (side // 8) * (side // 8) }})
fn forward(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if shape.upper == 1u && tile.y < tile.x { return; }
    let row = tile.x * SIDE_QUADS;           // in quads
    let column = tile.y * SIDE_QUADS;
    let a_start = tile.z * shape.a_stride;
    let b_start = tile.z * shape.b_stride;
    // This invocation's rows and columns: quad `y` and the one half a tile further, likewise `x`.
    let x = local % {{ side // 8 }}u;
    let y = local / {{ side // 8 }}u;
{% for r in range(8) %}{% for q in range(2) %}
    var sum{{ r }}_{{ q }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}

    for (var k = 0u; k < shape.k; k += {{ depth }}u) {
        for (var i = local; i < BLOCKS; i += LANES) {
{% if layout == "tn" %}
            let quad_a = i % SIDE_QUADS;
            let depth_a = 4u * (i / SIDE_QUADS);
            let block_a = block_a(a_start, k + depth_a, shape.k, row + quad_a, shape.m / 4u);
{% else %}
            let quad_a = i / {{ depth // 4 }}u;
            let depth_a = 4u * (i % {{ depth // 4 }}u);
            let block_a = transpose(block_a(a_start, 4u * (row + quad_a), shape.m, (k + depth_a) / 4u, shape.k / 4u));
{% endif %}
{% if layout == "nt" %}
            let quad_b = i / {{ depth // 4 }}u;
            let depth_b = 4u * (i % {{ depth // 4 }}u);
            let block_b = transpose(block_b(b_start, 4u * (column + quad_b), 4u * shape.n_quads, (k + depth_b) / 4u, shape.k / 4u));
{% else %}
            let quad_b = i % SIDE_QUADS;
            let depth_b = 4u * (i / SIDE_QUADS);
            let block_b = block_b(b_start, k + depth_b, shape.k, column + quad_b, shape.n_quads);
{% endif %}
{% for j in range(4) %}
            a_tile[(depth_a + {{ j }}u) * SIDE_QUADS + quad_a] = block_a[{{ j }}];
            b_tile[(depth_b + {{ j }}u) * SIDE_QUADS + quad_b] = block_b[{{ j }}];
{% endfor %}
        }
        workgroupBarrier();
        for (var kk = 0u; kk < {{ depth }}u; kk++) {
            let at = kk * SIDE_QUADS;
            let a0 = a_tile[at + y];
            let a1 = a_tile[at + y + SIDE_QUADS / 2u];
            let b0 = b_tile[at + x];
            let b1 = b_tile[at + x + SIDE_QUADS / 2u];
{% for r in range(8) %}{% for q in range(2) %}
            sum{{ r }}_{{ q }} = fma(vec4<f32>(a{{ r // 4 }}[{{ r % 4 }}]), b{{ q }}, sum{{ r }}_{{ q }});
{% endfor %}{% endfor %}
        }
        workgroupBarrier();
    }

{% for r in range(8) %}{% for q in range(2) %}
    store(tile.z, 4u * (row + y + {{ r // 4 }}u * SIDE_QUADS / 2u) + {{ r % 4 }}u, column + x + {{ q }}u * SIDE_QUADS / 2u, sum{{ r }}_{{ q }});
{% endfor %}{% endfor %}
}
