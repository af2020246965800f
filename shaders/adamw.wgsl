// AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101): decoupled weight decay, then Adam.
//
//   g ← s·g                          s undoes the loss scale
//   p ← p·(1 − lr·wd)
//   m ← m + (g − m)·(1 − β1)         v ← v + (g² − v)·(1 − β2)
//   p ← p − lr/(1 − β1^t) · m / (sqrt(v/(1 − β2^t)) + eps)
//
// One element per invocation; an element is four floats if the tensor's length allows, else one. What changes from
// step to step is read from `numbers`, so that a recorded step can be replayed.

struct Shape {
    len: u32,        // elements
    slot: u32,       // of numbers: (1 − lr·wd, lr/(1 − β1^t), 1/(1 − β2^t), s)
    rest1: f32,      // 1 − β1
    rest2: f32,      // 1 − β2
    eps: f32,
}

alias Element = {% if wide %}vec4<f32>{% else %}f32{% endif %};

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> param: array<Element>;        // [len]  p
@group(0) @binding(2) var<storage, read> grad: array<Element>;               // [len]  g
@group(0) @binding(3) var<storage, read_write> exp_avg: array<Element>;      // [len]  m
@group(0) @binding(4) var<storage, read_write> exp_avg_sq: array<Element>;   // [len]  v
@group(0) @binding(5) var<storage, read> numbers: array<vec4<f32>>;          // [slots]
@group(0) @binding(6) var<storage, read> halt: array<u32>;                   // not 0: a gradient is not finite, nothing changes

@compute @workgroup_size(128)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat(workgroup, groups) * 128u + local;
    if i >= shape.len || halt[0] != 0u { return; }
    let now = numbers[shape.slot];

    let g = grad[i] * now.w;
    let m = exp_avg[i] + (g - exp_avg[i]) * shape.rest1;
    let v = exp_avg_sq[i] + (g * g - exp_avg_sq[i]) * shape.rest2;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    param[i] = param[i] * now.x - now.y * m / (sqrt(v * now.z) + shape.eps);
}
