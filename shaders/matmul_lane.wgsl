// Matrix product with register tiles and no shared memory: the form that CPU adapters run fastest.
//
//   C = α·op(A)·op(B) (+ C, or + β·D)     NN: A [M, K], B [K, N]   NT: B [N, K]   TN: A [K, M]
//
// A workgroup is one subgroup and computes {{ rows }} rows × {{ subgroup * quads * 4 }} columns of one matrix of a batch: every lane holds
// all {{ rows }} rows of {{ quads }} groups of four columns. What a row needs of A is loaded once per subgroup, spread over its
// lanes, and handed round by broadcast; so each value that a lane loads feeds many multiply-adds. Sums run over k in
// order, one chain per element, whatever the tile: every tile size gives the same bits.
//
// K is a multiple of 4, and so are N, and M for TN. Rows and columns past the edge are computed from clamped loads
// and not stored.

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
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;      // [M, N]
{% if add == "scaled" %}
@group(0) @binding(4) var<storage, read> d: array<vec4<f32>>;            // [M, N]
{% endif %}

{% set tn = layout == "tn" %}
{% set nt = layout == "nt" %}
{% set a_loads = (rows + subgroup - 1) // subgroup %}

@compute @workgroup_size({{ subgroup }})
fn forward(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = tile.x * {{ rows }}u;
    if shape.upper == 1u && (tile.y + 1u) * {{ subgroup * quads * 4 }}u <= row { return; }
    let column = tile.y * {{ subgroup * quads }}u + lane;     // in quads; the next of this lane is {{ subgroup }} further
    let last = shape.n_quads - 1u;
{% for q in range(quads) %}
    let column{{ q }} = min(column + {{ q * subgroup }}u, last);
{% endfor %}
    let a_start = tile.z * shape.a_stride;
    let b_start = tile.z * shape.b_stride;
    let k_quads = shape.k / 4u;

    // Where this lane's share of A begins, and how far it moves for four further k.
{% for i in range(a_loads) %}
{% if tn %}
    // share {{ i }} of the 4 × {{ rows // 4 }} quads: k = share / {{ rows // 4 }}, rows from 4 · (share % {{ rows // 4 }})
    let share{{ i }} = min(lane + {{ i * subgroup }}u, {{ rows - 1 }}u);
    var a{{ i }}_at = a_start + (share{{ i }} / {{ rows // 4 }}u) * (shape.m / 4u)
        + min(row / 4u + share{{ i }} % {{ rows // 4 }}u, shape.m / 4u - 1u);
{% else %}
    var a{{ i }}_at = a_start + min(row + min(lane + {{ i * subgroup }}u, {{ rows - 1 }}u), shape.m - 1u) * k_quads;
{% endif %}
{% endfor %}
{% if nt %}
{% for q in range(quads) %}{% for j in range(4) %}
    var b{{ q }}_{{ j }}_at = b_start + (4u * column{{ q }} + {{ j }}u) * k_quads;
{% endfor %}{% endfor %}
{% else %}
    var b_at = b_start;
{% endif %}

{% for r in range(rows) %}{% for q in range(quads) %}
    var sum{{ r }}_{{ q }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}

    for (var k = 0u; k < k_quads; k++) {
{% for i in range(a_loads) %}
        let a{{ i }} = a[a{{ i }}_at];
        a{{ i }}_at += {% if tn %}shape.m{% else %}1u{% endif %};
{% endfor %}
{% if nt %}
{% for q in range(quads) %}
{% for j in range(4) %}
        let w{{ q }}_{{ j }} = b[b{{ q }}_{{ j }}_at];
        b{{ q }}_{{ j }}_at += 1u;
{% endfor %}
{% for kk in range(4) %}
        let b{{ kk }}_{{ q }} = vec4<f32>(w{{ q }}_0[{{ kk }}], w{{ q }}_1[{{ kk }}], w{{ q }}_2[{{ kk }}], w{{ q }}_3[{{ kk }}]);
{% endfor %}
{% endfor %}
{% else %}
{% for kk in range(4) %}{% for q in range(quads) %}
        let b{{ kk }}_{{ q }} = b[b_at + {{ kk }}u * shape.n_quads + column{{ q }}];
{% endfor %}{% endfor %}
        b_at += 4u * shape.n_quads;
{% endif %}
{% if tn %}
{% for kk in range(4) %}{% for g in range(rows // 4) %}
{% set s = kk * (rows // 4) + g %}
        let a_{{ kk }}_{{ g }} = subgroupBroadcast(a{{ s // subgroup }}, {{ s % subgroup }}u);
{% for j in range(4) %}{% for q in range(quads) %}
        sum{{ 4 * g + j }}_{{ q }} = fma(vec4<f32>(a_{{ kk }}_{{ g }}[{{ j }}]), b{{ kk }}_{{ q }}, sum{{ 4 * g + j }}_{{ q }});
{% endfor %}{% endfor %}
{% endfor %}{% endfor %}
{% else %}
{% for r in range(rows) %}
        let row{{ r }} = subgroupBroadcast(a{{ r // subgroup }}, {{ r % subgroup }}u);
{% for kk in range(4) %}{% for q in range(quads) %}
        sum{{ r }}_{{ q }} = fma(vec4<f32>(row{{ r }}[{{ kk }}]), b{{ kk }}_{{ q }}, sum{{ r }}_{{ q }});
{% endfor %}{% endfor %}
{% endfor %}
{% endif %}
    }

    let c_start = tile.z * shape.c_stride;
{% for r in range(rows) %}
    if row + {{ r }}u < shape.m {
{% for q in range(quads) %}
        if column + {{ q * subgroup }}u <= last {
            let at = c_start + (row + {{ r }}u) * shape.n_quads + column + {{ q * subgroup }}u;
            c[at] = {% if add == "into" %}fma(vec4<f32>(shape.alpha), sum{{ r }}_{{ q }}, c[at]){% elif add == "scaled" %}fma(vec4<f32>(shape.alpha), sum{{ r }}_{{ q }}, shape.beta * d[at]){% else %}shape.alpha * sum{{ r }}_{{ q }}{% endif %};
        }
{% endfor %}
    }
{% endfor %}
}
