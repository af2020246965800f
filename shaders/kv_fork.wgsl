// Copies rows of a KV cache to the rows after them: sequences with a common prefix compute it once.
//
//   cache_r[s] = cache_f[s] for the rows f < r <= f + count and the slots s < min(position, ring), f being a cursor's row
//
// Slots are filled from the first on, and all of them once the ring has wrapped round. What is copied where comes from
// cursors and not from the recording, so that one recording serves forks of any length; workgroups past the last filled
// slot end at once. A workgroup copies 1024 quads of a row, 16 per invocation, coalesced; z counts cursors.

#include "shared/cursor.wgsl"

struct Shape {
    slot: u32,       // quads of a slot, K · D / 4
    ring: u32,       // slots of a row
    rows: u32,
}

{# Copies bits, so all that matters is how many. #}
{% set load = "vec4<f32>" if wide else "vec2<u32>" %}
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> cache: array<{{ load }}>;    // [rows, ring, K, D]
// [copies]: of a row, how many of its tokens are copied, and to how many rows.
@group(0) @binding(2) var<storage, read> cursors: array<Cursor>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let cursor = cursors[workgroup.z];
    let filled = min(cursor.position, shape.ring) * shape.slot;
    let pitch = shape.ring * shape.slot;
    let end = min(cursor.row + 1u + cursor.count, shape.rows);
    let start = flat(workgroup, groups) * 1024u + local;
    for (var i = 0u; i < 16u; i++) {
        let quad = start + 64u * i;
        if quad >= filled { return; }
        let x = cache[cursor.row * pitch + quad];
        for (var row = cursor.row + 1u; row < end; row++) {
            cache[row * pitch + quad] = x;
        }
    }
}
