// Whether a tensor holds an infinity or a NaN.
//
//   found[slot] = 1 if any x_i is not finite; else it stays
//
// By the bits: compilers with fast math assume that neither exists. An invocation looks at up to {{ turns }} elements; an element is
// four floats if the tensor's length allows, else one. Whichever invocations find something, the result is the same.

struct Shape {
    len: u32,        // elements
    slot: u32,
}

alias Element = {% if wide %}vec4<f32>{% else %}f32{% endif %};
alias Bits = {% if wide %}vec4<u32>{% else %}u32{% endif %};

const EXPONENT = Bits(0x7f800000u);

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<Element>;                      // [len]
@group(0) @binding(2) var<storage, read_write> found: array<atomic<u32>>;        // [slots]

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = flat(workgroup, groups) * {{ 64 * turns }}u + local;
    var any_found = false;
    for (var turn = 0u; turn < {{ turns }}u; turn++) {
        let i = first + 64u * turn;
        if i < shape.len {
            let is_full = (bitcast<Bits>(x[i]) & EXPONENT) == EXPONENT;
            any_found = any_found || {% if wide %}any(is_full){% else %}is_full{% endif %};
        }
    }
    if any_found { atomicStore(&found[shape.slot], 1u); }
}
