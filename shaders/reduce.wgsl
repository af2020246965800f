// Sums over one axis of a stack of matrices, of the elements or their squares. The order of every sum is fixed.
//
//   rows:      y_nr = Σ_c f(x_nrc)
//   columns:   y_nsc = Σ_{r in segment s} f(x_nrc)        f(x) = x² or x
//
// `rows` uses one workgroup per row, `columns` one invocation per four columns of a segment; if a matrix has several
// segments, a second call adds their partial sums.

#include "shared/rows.wgsl"

struct Shape {
    count: u32,      // N matrices
    rows: u32,       // R
    quads: u32,      // C / 4
    stride: u32,     // quads from one matrix to the next
    segment: u32,    // rows of a segment
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [N, stride], each matrix [R, C]
@group(0) @binding(2) var<storage, read_write> by_row: array<f32>;         // [N, R]
@group(0) @binding(3) var<storage, read_write> by_column: array<vec4<f32>>;  // [N, segments, C]

fn term(v: vec4<f32>) -> vec4<f32> {
    return {% if square %}v * v{% else %}v{% endif %};
}

@compute @workgroup_size(ROW_LANES)
fn rows({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.count * shape.rows { return; }
    let start = row / shape.rows * shape.stride + row % shape.rows * shape.quads;

    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        sum += term(x[start + c]);
    }
    let total = row_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane.index == 0u { by_row[row] = total; }
}

@compute @workgroup_size(64)
fn columns(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat(workgroup, groups) * 64u + local;
    let segments = (shape.rows + shape.segment - 1u) / shape.segment;
    if i >= shape.count * segments * shape.quads { return; }
    let segment = i / shape.quads % segments;
    let start = i / (shape.quads * segments) * shape.stride + i % shape.quads;

    var sum = vec4<f32>(0.0);
    let end = min((segment + 1u) * shape.segment, shape.rows);
    for (var r = segment * shape.segment; r < end; r++) {
        sum += term(x[start + r * shape.quads]);
    }
    by_column[i] = sum;
}
