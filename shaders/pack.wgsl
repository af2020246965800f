// Packs an operand of a matrix product into panels, in the order in which `matmul_lane.wgsl` reads it.
//
//   y[p, k / 4, r] = (x_(pR+r, k), …, x_(pR+r, k+3))      panels p of R rows; k in groups of four
//
// `rows_first` reads x [rows, K], `k_first` its transpose [K, rows]. Panels are padded with zeros past the last row.
// An invocation moves 4 rows × 4 k: four loads and four stores of whole vec4s. A workgroup moves 8 × 8 such blocks, so
// that it reads and writes whole cache lines on both sides. K and R are multiples of 4, and so is `rows` of `k_first`.

struct Shape {
    rows: u32,
    k_quads: u32,         // K / 4
    panel: u32,           // R
    panels: u32,
    x_stride: u32,        // elements / 4 between matrices
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;      // [panels, K / 4, R]

struct Block {
    row: u32,
    k: u32,               // in quads
    inside: bool,
}

fn block(workgroup: vec3<u32>, groups: vec3<u32>, local: u32) -> Block {
    let tile = flat(workgroup, groups);
    let tiles_across = (shape.k_quads + 7u) / 8u;
    let row = 32u * (tile / tiles_across) + 4u * (local % 8u);
    let k = 8u * (tile % tiles_across) + local / 8u;
    return Block(row, k, row < shape.panels * shape.panel && k < shape.k_quads);
}

fn store(matrix: u32, block: Block, rows: mat4x4<f32>) {
    let panel = matrix * shape.panels + block.row / shape.panel;
    let at = (panel * shape.k_quads + block.k) * shape.panel + block.row % shape.panel;
    y[at] = rows[0];
    y[at + 1u] = rows[1];
    y[at + 2u] = rows[2];
    y[at + 3u] = rows[3];
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
{% for i in range(4) %}
    if block.row + {{ i }}u < shape.rows { rows[{{ i }}] = x[start + (block.row + {{ i }}u) * shape.k_quads]; }
{% endfor %}
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
    if block.row < shape.rows {
        rows = transpose(mat4x4<f32>(x[start], x[start + row_quads], x[start + 2u * row_quads], x[start + 3u * row_quads]));
    }
    store(workgroup.z, block, rows);
}
