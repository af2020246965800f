// Peak throughput of the matrix units for {{ side }} × {{ side }} tiles, with f16 inputs and f32 sums.
//
//   c_i = a·b + c_i, repeatedly, for {{ chains }} independent sums per subgroup
//
// The subgroups of a workgroup all do the same work and write the same values to the same place. The driver decides how
// many there are, so each workgroup records its number, from which the work is counted.

struct Shape {
    turns: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> tiles: array<f16>;                // two tiles, a and b
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;           // [workgroups, chains, side, side]
@group(0) @binding(3) var<storage, read_write> subgroups: array<u32>;      // [workgroups]

@compute @workgroup_size({{ lanes }})
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_subgroups) count: u32,
) {
    let stride = {{ side }}u;
    let second = {{ side * side }}u;
    let a = coopLoadT<coop_mat{{ side }}x{{ side }}<f16, A>>(&tiles[0], stride);
    let b = coopLoadT<coop_mat{{ side }}x{{ side }}<f16, B>>(&tiles[second], stride);
{% for i in range(chains) %}
    let at{{ i }} = (workgroup.x * {{ chains }}u + {{ i }}u) * {{ side * side }}u;
    var c{{ i }} = coopLoadT<coop_mat{{ side }}x{{ side }}<f32, C>>(&sums[at{{ i }}], stride);
{% endfor %}
    for (var turn = 0u; turn < shape.turns; turn++) {
{% for i in range(chains) %}
        c{{ i }} = coopMultiplyAdd(a, b, c{{ i }});
{% endfor %}
    }
{% for i in range(chains) %}
    coopStoreT(c{{ i }}, &sums[at{{ i }}], stride);
{% endfor %}
    if local == 0u { subgroups[workgroup.x] = count; }
}
