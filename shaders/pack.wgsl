// Packs an operand of a matrix product: in the order in which a kernel reads it, and in 16 bits if the product is to be computed
// from such inputs.
//
//   order panels:   y[p, k / 4, r] = s·(x_(pR+r, k), …, x_(pR+r, k+3))      panels p of R rows; k in groups of four
//   order rows:     y[r, k / 4]    = s·(x_(r, k), …, x_(r, k+3))
//
// `rows_first` reads x [rows, K], `k_first` its transpose [K, rows]. Rows and k are padded with zeros. s is a power of two.
// An invocation moves 4 rows × 4 k: four loads and four stores. A workgroup moves 8 × 8 such blocks, so that it reads
// and writes whole cache lines on both sides. K is a multiple of 4, and so are R of panels and `rows` of `k_first`.

{% set narrow = format != "f32" %}
{% if narrow %}
#include "shared/narrow.wgsl"
{% endif %}

struct Shape {
    rows: u32,
    k_quads: u32,         // K / 4
    panel: u32,           // R; 1 in order rows
    panels: u32,
    x_stride: u32,        // elements / 4 between matrices
    y_quads: u32,         // K / 4 with its padding
    scale: f32,           // s
}

alias Quad = {% if narrow %}vec2<u32>{% else %}vec4<f32>{% endif %};

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<Quad>;

struct Block {
    row: u32,
    k: u32,               // in quads
    inside: bool,
}

fn block(workgroup: vec3<u32>, groups: vec3<u32>, local: u32) -> Block {
    let tile = flat(workgroup, groups);
    let tiles_across = (shape.y_quads + 7u) / 8u;
    // Neighbouring lanes write neighbouring places.
    let along = local % 8u;
    let across = local / 8u;
    let row = 32u * (tile / tiles_across) + 4u * {% if order == "rows" %}across{% else %}along{% endif %};
    let k = 8u * (tile % tiles_across) + {% if order == "rows" %}along{% else %}across{% endif %};
    return Block(row, k, row < shape.panels * shape.panel && k < shape.y_quads);
}

fn quad(values: vec4<f32>) -> Quad {
{% if narrow %}
    let scaled = shape.scale * values;
    return vec2<u32>(narrow2(scaled.xy), narrow2(scaled.zw));
{% else %}
    return values;
{% endif %}
}

fn store(matrix: u32, block: Block, rows: mat4x4<f32>) {
    let panel = matrix * shape.panels + block.row / shape.panel;
    let at = (panel * shape.y_quads + block.k) * shape.panel + block.row % shape.panel;
{% for i in range(4) %}
{% if order == "rows" %}
    if block.row + {{ i }}u < shape.panels { y[at + {{ i }}u * shape.y_quads] = quad(rows[{{ i }}]); }
{% else %}
    y[at + {{ i }}u] = quad(rows[{{ i }}]);
{% endif %}
{% endfor %}
}

@compute @workgroup_size(64)
fn rows_first(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = block(workgroup, groups, local);
    if !block.inside { return; }
    let start = workgroup.z * shape.x_stride + block.k;
    var rows = mat4x4<f32>();
    if block.k < shape.k_quads {
{% for i in range(4) %}
        if block.row + {{ i }}u < shape.rows { rows[{{ i }}] = x[start + (block.row + {{ i }}u) * shape.k_quads]; }
{% endfor %}
    }
    store(workgroup.z, block, rows);
}

@compute @workgroup_size(64)
fn k_first(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = block(workgroup, groups, local);
    if !block.inside { return; }
    let row_quads = shape.rows / 4u;
    let start = workgroup.z * shape.x_stride + 4u * block.k * row_quads + block.row / 4u;
    var rows = mat4x4<f32>();
    if block.row < shape.rows && block.k < shape.k_quads {
        rows = transpose(mat4x4<f32>(x[start], x[start + row_quads], x[start + 2u * row_quads], x[start + 3u * row_quads]));
    }
    store(workgroup.z, block, rows);
}
