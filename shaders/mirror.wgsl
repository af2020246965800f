// Copies the part above the diagonal of square matrices to below it, in place.
//
//   c_ij ← c_ji for i > j
//
// One block of 4 × 4 elements per invocation; those on the diagonal are not changed.

struct Shape {
    count: u32,      // N matrices
    quads: u32,      // side / 4
    stride: u32,     // quads from one matrix to the next
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> c: array<vec4<f32>>;      // [N, stride], each matrix [side, side]

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat(workgroup, groups) * 64u + local;
    let n = shape.quads;
    let row = i / n % n;
    let column = i % n;
    if i >= shape.count * n * n || column >= row { return; }
    let start = i / (n * n) * shape.stride;
    let above = start + 4u * column * n + row;
    let below = start + 4u * row * n + column;
    let block = transpose(mat4x4<f32>(c[above], c[above + n], c[above + 2u * n], c[above + 3u * n]));
    c[below] = block[0];
    c[below + n] = block[1];
    c[below + 2u * n] = block[2];
    c[below + 3u * n] = block[3];
}
