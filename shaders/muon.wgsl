// Muon's steps around the Polar-Express products, for a stack of matrices of one shape [R, C].
//
//   momentum:     g ← s·g;  m ← m + (g − m)·(1 − μ);  x = m − (m − g)·(1 − μ), written over g;  q_r = Σ_c x_rc²
//   equilibrate:  every row to the mean row norm, then the matrix to a Frobenius norm just below 1, as one factor a row:
//                 e_r = t / max(√q_r, 1e-6),  t = √(Σ_r q_r / R),   f_r = e_r / (1.01·√(Σ_r e_r² q_r) + 1e-6)
//   scale:        x_rc ← f_r · x_rc
//   variance:     NorMuon, along the axis a that is kept (rows if R ≥ C, else columns), q_a = Σ x² over the other of size k:
//                 ρ = √min(R, C) / max(√Σ_a q_a, 1e-6),  u_a = ρ² q_a / k,  v_a ← v_a + (u_a − v_a)·(1 − β2),
//                 d_a = max(v_a, 1e-10)^−½,  f_a = ρ · d_a · √(k Σ_a u_a) / max(√(k Σ_a u_a d_a²), 1e-10)
//   update:       g = f_a · x;  p ← p − lr·g − lr·wd·p·[g·p ≥ 0]
//
// `momentum`, `scale` and `update` run one workgroup a row, `equilibrate` and `variance` one a matrix. What changes from
// step to step is read from `numbers`, so that a recorded step can be replayed.

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
    norm: f32,       // √min(R, C)
    rest2: f32,      // 1 − β2
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> numbers: array<vec4<f32>>;          // [slots]
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;          // [N, stride]  g, then x
@group(0) @binding(3) var<storage, read_write> buffer: array<vec4<f32>>;     // [N, stride]  m
@group(0) @binding(4) var<storage, read_write> row_squares: array<f32>;      // [N, R]  q
@group(0) @binding(5) var<storage, read> squares: array<f32>;                // [N, R] or [N, kept]  q
@group(0) @binding(6) var<storage, read_write> factors: array<f32>;          // [N, R] or [N, kept]  f
@group(0) @binding(7) var<storage, read> factor: array<f32>;                 // the same, to read
@group(0) @binding(8) var<storage, read_write> second: array<f32>;           // [N, state]  v
@group(0) @binding(9) var<storage, read> direction: array<vec4<f32>>;        // [N, stride]  x
@group(0) @binding(10) var<storage, read> factor4: array<vec4<f32>>;         // [N, C]  f
@group(0) @binding(11) var<storage, read_write> param: array<vec4<f32>>;     // [N, stride]  p

@compute @workgroup_size(ROW_LANES)
fn momentum(lane: Lane) {
    let row = row_index(lane);
    if row >= shape.count * shape.rows { return; }
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

@compute @workgroup_size(ROW_LANES)
fn equilibrate(lane: Lane) {
    let matrix = row_index(lane);
    if matrix >= shape.count { return; }
    let start = matrix * shape.rows;

    var sum = 0.0;
    for (var r = lane.index; r < shape.rows; r += ROW_LANES) {
        sum += squares[start + r];
    }
    let mean_norm = sqrt(row_sum(sum, lane) / f32(shape.rows));

    sum = 0.0;
    for (var r = lane.index; r < shape.rows; r += ROW_LANES) {
        let level = mean_norm / max(sqrt(squares[start + r]), 1e-6);
        sum += level * level * squares[start + r];
    }
    let whole = 1.0 / (1.01 * sqrt(row_sum(sum, lane)) + 1e-6);

    for (var r = lane.index; r < shape.rows; r += ROW_LANES) {
        factors[start + r] = whole * mean_norm / max(sqrt(squares[start + r]), 1e-6);
    }
}

@compute @workgroup_size(ROW_LANES)
fn scale(lane: Lane) {
    let row = row_index(lane);
    if row >= shape.count * shape.rows { return; }
    let start = row / shape.rows * shape.stride + row % shape.rows * shape.quads;
    let f = factor[row];
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        x[start + c] *= f;
    }
}

@compute @workgroup_size(ROW_LANES)
fn variance(lane: Lane) {
    let matrix = row_index(lane);
    if matrix >= shape.count { return; }
    let start = matrix * shape.kept;
    let state = matrix * shape.state;
    let size = f32(shape.summed);

    var sum = 0.0;
    for (var a = lane.index; a < shape.kept; a += ROW_LANES) {
        sum += squares[start + a];
    }
    let total = row_sum(sum, lane);
    let rho = shape.norm / max(sqrt(total), 1e-6);

    sum = 0.0;
    for (var a = lane.index; a < shape.kept; a += ROW_LANES) {
        let square = rho * rho * squares[start + a];
        let v = second[state + a] + (square / size - second[state + a]) * shape.rest2;
        second[state + a] = v;
        sum += square / max(v, 1e-10);
    }
    let after = sqrt(row_sum(sum, lane));
    let ratio = rho * rho * sqrt(total) / max(after, 1e-10);

    for (var a = lane.index; a < shape.kept; a += ROW_LANES) {
        factors[start + a] = ratio / sqrt(max(second[state + a], 1e-10));
    }
}

@compute @workgroup_size(ROW_LANES)
fn update(lane: Lane) {
    let row = row_index(lane);
    if row >= shape.count * shape.rows { return; }
    let start = row / shape.rows * shape.stride + row % shape.rows * shape.quads;
    let now = numbers[shape.slot];
    {% if by_row %}
    let f = factor[row];
    {% else %}
    let across = row / shape.rows * shape.quads;
    {% endif %}
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        {% if not by_row %}
        let f = factor4[across + c];
        {% endif %}
        let g = direction[start + c] * f;
        let p = param[start + c];
        let decay = select(vec4<f32>(0.0), p, g * p >= vec4<f32>(0.0));
        param[start + c] = p - now.z * g - now.w * decay;
    }
}
