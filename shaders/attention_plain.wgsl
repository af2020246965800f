// Attention, an invocation a row and head: short, slow, and the yardstick for the tiled kernels.
struct Shape { rows: u32, seq: u32, heads: u32, kv_heads: u32, quads: u32, window: u32, scale: f32 }
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<storage, read> d_o: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> dv: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> delta: array<f32>;

fn qk(a: u32, b: u32) -> f32 {
    var s = vec4<f32>(0.0);
    for (var c = 0u; c < shape.quads; c++) { s += q[a + c] * k[b + c]; }
    return (s.x + s.y + s.z + s.w) * shape.scale;
}
fn dov(a: u32, b: u32) -> f32 {
    var s = vec4<f32>(0.0);
    for (var c = 0u; c < shape.quads; c++) { s += d_o[a + c] * v[b + c]; }
    return s.x + s.y + s.z + s.w;
}
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) w: vec3<u32>, @builtin(num_workgroups) g: vec3<u32>, @builtin(local_invocation_index) l: u32) {
    let i = flat(w, g) * 64u + l;
    if i >= shape.rows * shape.heads { return; }
    let row = i / shape.heads; let head = i % shape.heads;
    let kv = head / (shape.heads / shape.kv_heads);
    let t = row % shape.seq; let base = row - t;
    let first = select(0u, t - min(t, shape.window), true);
    let at = i * shape.quads;
    var m = -1e30;
    for (var j = first; j <= t; j++) { m = max(m, qk(at, ((base + j) * shape.kv_heads + kv) * shape.quads)); }
    var sum = 0.0;
    for (var c = 0u; c < shape.quads; c++) { o[at + c] = vec4<f32>(0.0); }
    for (var j = first; j <= t; j++) {
        let key = ((base + j) * shape.kv_heads + kv) * shape.quads;
        let p = exp(qk(at, key) - m);
        sum += p;
        for (var c = 0u; c < shape.quads; c++) { o[at + c] += p * v[key + c]; }
    }
    for (var c = 0u; c < shape.quads; c++) { o[at + c] = o[at + c] / sum; }
    lse[i] = m + log(sum);
}
@compute @workgroup_size(64)
fn backward_q(@builtin(workgroup_id) w: vec3<u32>, @builtin(num_workgroups) g: vec3<u32>, @builtin(local_invocation_index) l: u32) {
    let i = flat(w, g) * 64u + l;
    if i >= shape.rows * shape.heads { return; }
    let row = i / shape.heads; let head = i % shape.heads;
    let kv = head / (shape.heads / shape.kv_heads);
    let t = row % shape.seq; let base = row - t;
    let first = t - min(t, shape.window);
    let at = i * shape.quads;
    var d = vec4<f32>(0.0);
    for (var c = 0u; c < shape.quads; c++) { d += d_o[at + c] * o[at + c]; dq[at + c] = vec4<f32>(0.0); }
    delta[i] = d.x + d.y + d.z + d.w;
    for (var j = first; j <= t; j++) {
        let key = ((base + j) * shape.kv_heads + kv) * shape.quads;
        let ds = exp(qk(at, key) - lse[i]) * (dov(at, key) - delta[i]) * shape.scale;
        for (var c = 0u; c < shape.quads; c++) { dq[at + c] += ds * k[key + c]; }
    }
}
@compute @workgroup_size(64)
fn backward_kv(@builtin(workgroup_id) w: vec3<u32>, @builtin(num_workgroups) g: vec3<u32>, @builtin(local_invocation_index) l: u32) {
    let i = flat(w, g) * 64u + l;
    if i >= shape.rows * shape.kv_heads { return; }
    let row = i / shape.kv_heads; let kv = i % shape.kv_heads;
    let t = row % shape.seq; let base = row - t;
    let last = min(shape.seq - 1u, t + min(shape.window, shape.seq));
    let key = i * shape.quads;
    let group = shape.heads / shape.kv_heads;
    for (var c = 0u; c < shape.quads; c++) { dk[key + c] = vec4<f32>(0.0); dv[key + c] = vec4<f32>(0.0); }
    for (var h = kv * group; h < (kv + 1u) * group; h++) {
        for (var j = t; j <= last; j++) {
            let r = (base + j) * shape.heads + h;
            let at = r * shape.quads;
            let p = exp(qk(at, key) - lse[r]);
            let ds = p * (dov(at, key) - delta[r]) * shape.scale;
            for (var c = 0u; c < shape.quads; c++) { dk[key + c] += ds * q[at + c]; dv[key + c] += p * d_o[at + c]; }
        }
    }
}
