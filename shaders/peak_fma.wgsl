// Peak throughput of fused multiply-adds: an upper bound for matrix products.
//
//   x = x · factor + addend, repeatedly, in {{ quads }} × 4 independent chains per invocation
//
// Every chain starts from a different value and goes into the result, so that none can be optimised away. Values converge to
// addend / (1 − factor).

const QUADS = {{ quads }}u;

struct Shape {
    turns: u32,      // each with four multiply-adds per chain
    factor: f32,
    addend: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;     // one per invocation

@compute @workgroup_size({{ lanes }})
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat(workgroup, groups) * {{ lanes }}u + local;
    let factor = vec4<{{ type }}>({{ type }}(shape.factor));
    let addend = vec4<{{ type }}>({{ type }}(shape.addend));
    let first = vec4<f32>(f32(index & 255u)) + vec4<f32>(0.0, 0.25, 0.5, 0.75);
{% for i in range(quads) %}
    var x{{ i }} = vec4<{{ type }}>(first + {{ i }}.0);
{% endfor %}
    for (var turn = 0u; turn < shape.turns; turn++) {
{% for step in range(4) %}
{% for i in range(quads) %}
        x{{ i }} = fma(x{{ i }}, factor, addend);
{% endfor %}
{% endfor %}
    }
    var sum = vec4<f32>(0.0);
{% for i in range(quads) %}
    sum += vec4<f32>(x{{ i }});
{% endfor %}
    sums[index] = sum;
}
