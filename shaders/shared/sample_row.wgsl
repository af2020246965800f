// What both shaders that draw a token share: the bindings, levels and weights.
//
// If a row is processed in blocks (`sample_blocks.wgsl`), its levels are followed by 32 of each block in order of ids, all those above
// a bound, then LOWEST; by their ids; and by a quad of facts about each block: its highest level, the first id at that level (−1 if
// a logit is NaN), the bound, and the weight of its tokens relative to its highest. All are floats; ids are below 2²⁴.

struct Shape {
    vocab: u32,      // V
    quads: u32,      // ceil(V / 4)
    pitch: u32,      // padded V / 4
    words: u32,      // ceil(V / 32)
    turns: u32,      // iterations of a lane in a pass over a row
    stride: u32,     // quads of a row in `levels`
    blocks: u32,     // blocks of 64 quads, or 0
    few_turns: u32,  // iterations of a lane in a pass over what is kept of the blocks
}

struct Draw {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    penalty: f32,
    random: f32,     // in [0, 1)
    pad_0: u32,
    pad_1: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> logits: array<vec4<f32>>;         // [B, padded V]
@group(0) @binding(2) var<storage, read> draws: array<Draw>;               // [B]
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;           // [B, words]  one bit per token
@group(0) @binding(4) var<storage, read_write> tokens: array<i32>;         // [B]  in: the last token; out: the drawn one
@group(0) @binding(5) var<storage, read_write> levels: array<vec4<f32>>;   // [B, stride]  l; LOWEST for −∞ and padding

const LOWEST = -3.40282347e38;
const LOWEST_KEY = 0x00800000u;
const HIGHEST = 3.40282347e38;
const NONE = 0xffffffffu;
const EACH = vec4<u32>(0u, 1u, 2u, 3u);
const CUTS = vec4<u32>(1u, 2u, 3u, 4u);

// An integer with the same order as the float, and back.
fn key_of(level: f32) -> u32 {
    let bits = bitcast<u32>(level);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn level_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}


// What a row has left to draw from: levels with the repetition penalty, LOWEST for −∞ and padding.
struct Penalised {
    levels: vec4<f32>,
    largest: vec4<u32>,    // the logits' bits without the sign, where NaN is above infinity
}

fn penalised(index: u32, quad: u32, draw: Draw, fed: i32) -> Penalised {
    var l = logits[index * shape.pitch + quad];
    let inside = 4u * quad + EACH < vec4<u32>(shape.vocab);
    // This tests the bits of the logit as it was stored: fast math assumes that no float is NaN or infinite.
    let largest = select(vec4<u32>(0u), bitcast<vec4<u32>>(l) & vec4<u32>(0x7fffffffu), inside);
    if draw.penalty != 1.0 {
        let now = select(0u, 1u << (u32(fed) % 32u), fed >= 0 && u32(fed) / 32u == quad / 8u);
        let marks = (seen[index * shape.words + quad / 8u] | now) >> (quad % 8u * 4u);
        let worse = select(l * draw.penalty, l / draw.penalty, l > vec4<f32>(0.0));
        l = select(l, worse, (vec4<u32>(marks) >> EACH & vec4<u32>(1u)) == vec4<u32>(1u));
    }
    l = select(l, vec4<f32>(LOWEST), bitcast<vec4<u32>>(l) == vec4<u32>(0xff800000u));
    return Penalised(select(vec4<f32>(LOWEST), l, inside), largest);
}

// 1 / temperature.
fn inverse_of(draw: Draw) -> f32 { return 1.0 / clamp(draw.temperature, 1e-30, 1e30); }

// exp((l − highest) / temperature). Results that f32 cannot represent are 0, which drivers' exp does not guarantee.
fn weight_against(highest: f32, inverse: f32, level: vec4<f32>) -> vec4<f32> {
    let x = (level - highest) * inverse;
    let w = select(vec4<f32>(0.0), exp(x), x > vec4<f32>(-87.0));
    return select(w, vec4<f32>(1.0), level == vec4<f32>(highest));
}
