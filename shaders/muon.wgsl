// Muon's steps around the Polar-Express products, for a stack of matrices of one shape [R, C].
//
//   momentum:     g ← s·g;  m ← m + (g − m)·(1 − μ);  x = m − (m − g)·(1 − μ), written over g;  q_r = Σ_c x_rc²
//   scale:        every row to the mean row norm, then the matrix to a Frobenius norm just below 1, as one factor per row:
//                 t = √(Σ_r q_r / R),  e_r = t / max(√q_r, 1e-6),  x_rc ← e_r / (1.01·√(Σ_r e_r² q_r) + 1e-6) · x_rc
//   variance:     NorMuon, along the axis a that is kept (rows if R ≥ C, else columns), q_a = Σ x² over the other of size k:
//                 ρ = √min(R, C) / max(√Σ_a q_a, 1e-6),  u_a = ρ² q_a / k,  v_a ← v_a + (u_a − v_a)·(1 − β2)
//   update:       d_a = max(v_a, 1e-10)^−½,  g = ρ · d_a · √(k Σ_a u_a) / max(√(k Σ_a u_a d_a²), 1e-10) · x
//                 p ← p − lr·g − lr·wd·p·[g·p ≥ 0]
//
// `momentum`, `scale` and `update` use one workgroup per row. `totals` and `variance` leave the partial sums over a whole matrix
// in `parts`, with one workgroup per segment of the axis; each reader adds the few parts again, always in
// the same order. What changes from step to step is read from `numbers`, so that a recorded step can be replayed.

#include "shared/rows.wgsl"

struct Shape {
    count: u32,      // N matrices
    rows: u32,       // R
    quads: u32,      // C / 4
    stride: u32,     // quads from one matrix to the next
    slot: u32,       // of numbers: (1 − μ, s, lr, lr·wd)
    kept: u32,       // length of the axis a
    summed: u32,     // k
    state: u32,      // floats from one matrix's v to the next
    axis: u32,       // length of the axis that `totals` sums over: R or kept
    norm: f32,       // √min(R, C)
    rest2: f32,      // 1 − β2
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> numbers: array<vec4<f32>>;          // [slots]
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;          // [N, stride]  g, then x
@group(0) @binding(3) var<storage, read_write> buffer: array<vec4<f32>>;     // [N, stride]  m
@group(0) @binding(4) var<storage, read_write> row_squares: array<f32>;      // [N, R]  q
@group(0) @binding(5) var<storage, read> squares: array<f32>;                // [N, R] or [N, kept]  q
@group(0) @binding(6) var<storage, read_write> parts: array<vec2<f32>>;      // [N, segments]
@group(0) @binding(7) var<storage, read> sums: array<vec2<f32>>;             // the same, to read
@group(0) @binding(8) var<storage, read_write> second: array<f32>;           // [N, state]  v
@group(0) @binding(9) var<storage, read> direction: array<vec4<f32>>;        // [N, stride]  x
@group(0) @binding(10) var<storage, read> moment: array<f32>;                // v, to read
@group(0) @binding(11) var<storage, read> moment4: array<vec4<f32>>;         // v, to read
@group(0) @binding(12) var<storage, read_write> param: array<vec4<f32>>;     // [N, stride]  p
@group(0) @binding(13) var<storage, read> spread: array<vec2<f32>>;          // [N, segments]  of `variance`
@group(0) @binding(14) var<storage, read> halt: array<u32>;                  // not 0: a gradient is not finite, and m, v and p stay

// Elements of the axis that a workgroup sums.
const SEGMENT = {{ segment }}u;

fn segments(axis: u32) -> u32 {
    return (axis + SEGMENT - 1u) / SEGMENT;
}

// The sums of a matrix that `totals` left in parts.
fn whole(matrix: u32, axis: u32) -> vec2<f32> {
    let count = segments(axis);
    var sum = vec2<f32>(0.0);
    for (var i = 0u; i < count; i++) { sum += sums[matrix * count + i]; }
    return sum;
}

@compute @workgroup_size(ROW_LANES)
fn momentum({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.count * shape.rows || halt[0] != 0u { return; }
    let start = row / shape.rows * shape.stride + row % shape.rows * shape.quads;
    let now = numbers[shape.slot];

    var sum = vec4<f32>(0.0);
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        let g = x[start + c] * now.y;
        let m = buffer[start + c] + (g - buffer[start + c]) * now.x;
        let nesterov = m - (m - g) * now.x;
        buffer[start + c] = m;
        x[start + c] = nesterov;
        sum += nesterov * nesterov;
    }
    let total = row_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane.index == 0u { row_squares[row] = total; }
}

// The sum of q over a segment of the axis, and how many of its elements are not zero: Σ q / max(q, 1e-12).
@compute @workgroup_size(ROW_LANES)
fn totals({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let part = row_index(lane);
    let count = segments(shape.axis);
    if part >= shape.count * count { return; }
    let start = part / count * shape.axis;
    let first = part % count * SEGMENT;
    let end = min(first + SEGMENT, shape.axis);

    var sum = vec2<f32>(0.0);
    for (var a = first + lane.index; a < end; a += ROW_LANES) {
        let q = squares[start + a];
        sum += vec2<f32>(q, q / max(q, 1e-12));
    }
    let total = row_sum4(vec4<f32>(sum, 0.0, 0.0), lane);
    if lane.index == 0u { parts[part] = total.xy; }
}

@compute @workgroup_size(ROW_LANES)
fn scale({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.count * shape.rows { return; }
    let start = row / shape.rows * shape.stride + row % shape.rows * shape.quads;
    let sum = whole(row / shape.rows, shape.rows);
    // e_r² q_r is t² for a row that is not zero.
    let t = sqrt(sum.x / f32(shape.rows));
    let f = t / (max(sqrt(squares[row]), 1e-6) * (1.01 * t * sqrt(sum.y) + 1e-6));
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        x[start + c] *= f;
    }
}

@compute @workgroup_size(ROW_LANES)
fn variance({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let part = row_index(lane);
    let count = segments(shape.kept);
    if part >= shape.count * count || halt[0] != 0u { return; }
    let matrix = part / count;
    let start = matrix * shape.kept;
    let state = matrix * shape.state;
    let first = part % count * SEGMENT;
    let end = min(first + SEGMENT, shape.kept);
    let rho = shape.norm / max(sqrt(whole(matrix, shape.kept).x), 1e-6);

    var sum = 0.0;
    for (var a = first + lane.index; a < end; a += ROW_LANES) {
        let square = rho * rho * squares[start + a];
        let v = second[state + a] + (square / f32(shape.summed) - second[state + a]) * shape.rest2;
        second[state + a] = v;
        sum += square / max(v, 1e-10);
    }
    let total = row_sum(sum, lane);
    if lane.index == 0u { parts[part] = vec2<f32>(total, 0.0); }
}

@compute @workgroup_size(ROW_LANES)
fn update({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.count * shape.rows || halt[0] != 0u { return; }
    let matrix = row / shape.rows;
    let start = matrix * shape.stride + row % shape.rows * shape.quads;
    let now = numbers[shape.slot];

    let total = whole(matrix, shape.kept).x;
    let rho = shape.norm / max(sqrt(total), 1e-6);
    let count = segments(shape.kept);
    var after = 0.0;
    for (var i = 0u; i < count; i++) { after += spread[matrix * count + i].x; }
    let ratio = rho * rho * sqrt(total) / max(sqrt(after), 1e-10);
    {% if by_row %}
    let f = ratio / sqrt(max(moment[matrix * shape.state + row % shape.rows], 1e-10));
    {% else %}
    let across = matrix * shape.state / 4u;
    {% endif %}
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        {% if not by_row %}
        let f = ratio / sqrt(max(moment4[across + c], vec4<f32>(1e-10)));
        {% endif %}
        let g = direction[start + c] * f;
        let p = param[start + c];
        let decay = select(vec4<f32>(0.0), p, g * p >= vec4<f32>(0.0));
        param[start + c] = p - now.z * g - now.w * decay;
    }
}
