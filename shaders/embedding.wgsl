// Rows of a table, by token.
//
//   y_n = table_id(n)          dL/dtable_v += Σ_{n: id(n) = v} s_n · dL/dy_n
//
// s is 1, or one number per head: the gate of a value embedding.
//
// Forward: one workgroup per row. Backward: the rows are sorted by token, so every row of the table has one writer, which
// adds in the order of n; no atomics, the same bits every time. A workgroup handles one token and every `chunks`-th
// piece of its channels. On a GPU every piece has its own workgroup, so that a frequent token keeps more than a few lanes
// busy; a CPU adapter gets as few workgroups as possible.

#include "shared/rows.wgsl"
#include "shared/weights.wgsl"

struct Shape {
    rows: u32,       // N forward, V backward
    quads: u32,      // C / 4
    chunks: u32,
    heads: u32,      // K
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> ids: array<i32>;                  // [N]
@group(0) @binding(2) var<storage, read> table: array<{{ load }}>;          // [V, C]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;        // [N, C]

@group(0) @binding(4) var<storage, read> order: array<u32>;                // [N]  rows, sorted by token, then by n
@group(0) @binding(5) var<storage, read> starts: array<u32>;               // [V + 1]  where a token's rows start in order
@group(0) @binding(6) var<storage, read> dy: array<vec4<f32>>;             // [N, C]
@group(0) @binding(7) var<storage, read_write> d_table: array<vec4<f32>>;  // [V, C]
@group(0) @binding(8) var<storage, read> scale: array<f32>;                // [N, K]  s

{{ rows_of_weights("table", "shape.quads") }}

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let row = row_index(lane);
    if row >= shape.rows { return; }
    let start = row * shape.quads;
    let source = table_row(u32(ids[row]));
    for (var c = lane.index; c < shape.quads; c += ROW_LANES) {
        y[start + c] = table_quad(source, c);
    }
}

// A quad of the i-th row in order, times its scale.
fn term(i: u32, c: u32, head: u32) -> vec4<f32> {
    let n = order[i];
{% if scaled %}
    return scale[n * shape.heads + head] * dy[n * shape.quads + c];
{% else %}
    return dy[n * shape.quads + c];
{% endif %}
}

// Rows that are summed separately before they are added to the total, so that rounding errors accumulate less.
const BLOCK = 1024u;

@compute @workgroup_size(ROW_LANES)
fn backward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let unit = row_index(lane);
    let v = unit / shape.chunks;
    if v >= shape.rows { return; }
    let first = starts[v];
    let end = starts[v + 1u];
    if first == end { return; }

    let chunk = unit % shape.chunks;
    for (var c = chunk * ROW_LANES + lane.index; c < shape.quads; c += shape.chunks * ROW_LANES) {
        let head = c * shape.heads / shape.quads;
        var total = vec4<f32>(0.0);
        var i = first;
        while i < end {
            let stop = min(i + BLOCK, end);
            var sum = vec4<f32>(0.0);
            for (; i + 8u <= stop; i += 8u) {
{% for j in range(8) %}
                let t{{ j }} = term(i + {{ j }}u, c, head);
{% endfor %}
                sum = sum + t0 + t1 + t2 + t3 + t4 + t5 + t6 + t7;
            }
            for (; i < stop; i++) {
                sum += term(i, c, head);
            }
            total += sum;
        }
        d_table[v * shape.quads + c] += total;
    }
}
