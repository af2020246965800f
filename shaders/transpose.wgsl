// Transposes the matrices of a batch.
//
//   y_cr = x_rc
//
// An invocation turns a block of 4 × 4: four loads and four stores of whole vec4s. A workgroup turns 8 × 8 such blocks, so
// that it reads and writes whole cache lines on both sides. Rows and columns are multiples of 4.

struct Shape {
    row_quads: u32,       // rows of x / 4
    column_quads: u32,    // columns of x / 4
    x_stride: u32,        // elements / 4 between matrices
    y_stride: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;            // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;      // [columns, rows]

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = flat(workgroup, groups);
    let tiles_across = (shape.column_quads + 7u) / 8u;
    let row = 8u * (tile / tiles_across) + local / 8u;
    let column = 8u * (tile % tiles_across) + local % 8u;
    if row >= shape.row_quads || column >= shape.column_quads { return; }
    let source = workgroup.z * shape.x_stride + 4u * row * shape.column_quads + column;
    let target_at = workgroup.z * shape.y_stride + 4u * column * shape.row_quads + row;

    let turned = transpose(mat4x4<f32>(
        x[source],
        x[source + shape.column_quads],
        x[source + 2u * shape.column_quads],
        x[source + 3u * shape.column_quads],
    ));
    y[target_at] = turned[0];
    y[target_at + shape.row_quads] = turned[1];
    y[target_at + 2u * shape.row_quads] = turned[2];
    y[target_at + 3u * shape.row_quads] = turned[3];
}
