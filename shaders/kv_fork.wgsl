// Copies the first row of a KV cache to all others: sequences with a common prefix compute it once.
//
//   cache_r[s] = cache_0[s] for r ≥ 1 and the slots s < min(tokens that the first row holds, ring)
//
// Slots are filled from the first on, and all of them once the ring has wrapped round. The number of tokens comes from a
// cursor and not from the recording, so that one recording serves forks of any length; workgroups past the last filled
// slot end at once. A workgroup copies 1024 quads of a row, 16 per invocation, coalesced.

struct Shape {
    slot: u32,       // quads of a slot, K · D / 4
    ring: u32,       // slots of a row
    rows: u32,
}

struct Cursor {
    position: u32,   // tokens that the first row holds
    count: u32,
    row: u32,
    before: u32,
}

{# Copies bits, so all that matters is how many. #}
{% set load = "vec4<f32>" if wide else "vec2<u32>" %}
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> cache: array<{{ load }}>;    // [rows, ring, K, D]
@group(0) @binding(2) var<storage, read> cursors: array<Cursor>;           // [1]

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let filled = min(cursors[0].position, shape.ring) * shape.slot;
    let start = flat(workgroup, groups) * 1024u + local;
    for (var i = 0u; i < 16u; i++) {
        let quad = start + 64u * i;
        if quad >= filled { return; }
        let x = cache[quad];
        for (var row = 1u; row < shape.rows; row++) {
            cache[row * shape.ring * shape.slot + quad] = x;
        }
    }
}
