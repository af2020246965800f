// The first step of drawing a token: the row's highest level, from every logit or from what `sample_blocks.wgsl` found;
// then whether the few tokens that are kept of each block suffice.

struct Top {
    highest: f32,
    token: u32,      // its first token; NONE where a logit is NaN or all are −∞
    bound: f32,      // the few tokens kept of each block are all those above it
}

// The maximum of all lanes' highest levels, and its first token.
fn top_of(most: f32, first: u32, bound: f32, nan: bool, lane: u32) -> Top {
    // Zeros of either sign are equal; a NaN is above all.
    let key = select(key_of(select(most, 0.0, most == 0.0)), NONE, nan);
    let top = NONE - group_min(NONE - key, lane);
    let highest = level_of(top);
    let token = group_min(select(NONE, first, most == highest), lane);
{% if blocks %}
    let missing = level_of(NONE - group_min(NONE - key_of(bound), lane));
{% else %}
    let missing = bound;
{% endif %}
    return Top(highest, select(token, NONE, top == NONE || top <= LOWEST_KEY), missing);
}

fn ranked(draw: Draw) -> bool { return draw.top_k > 0u && draw.top_k < shape.vocab; }

{% if blocks %}
// Finds the highest level from the facts about the blocks.
fn survey(index: u32, lane: u32, draw: Draw, fed: i32) -> Top {
    let facts = index * shape.stride + shape.pitch + 16u * shape.blocks;
    let turns = (shape.blocks + LANES - 1u) / LANES;
    var most = LOWEST;
    var first = NONE;
    var bound = LOWEST;
    var nan = false;
    for (var turn = 0u; turn < turns; turn++) {
        let fact = levels[facts + min(lane * turns + turn, shape.blocks - 1u)];
        nan = nan || fact.y < 0.0;
        if fact.x > most { first = u32(max(fact.y, 0.0)); }
        most = max(most, fact.x);
        bound = max(bound, fact.z);
    }
    return top_of(most, first, bound, nan, lane);
}

// The weight of all tokens.
fn weigh_blocks(row: Row, index: u32) -> f32 {
    let facts = index * shape.stride + shape.pitch + 16u * shape.blocks;
    let turns = (shape.blocks + LANES - 1u) / LANES;
    var own = 0.0;
    for (var turn = 0u; turn < turns; turn++) {
        let block = row.lane * turns + turn;
        let fact = levels[facts + min(block, shape.blocks - 1u)];
        own += select(0.0, fact.w * weight(row, vec4<f32>(fact.x)).x, block < shape.blocks);
    }
    return group_sum(vec4<f32>(own, 0.0, 0.0, 0.0), row.lane).x;
}

// Whether the few tokens kept of each block suffice: they include all tokens above `bound`.
fn suffices(few: Row, draw: Draw, bound: f32, goal: f32) -> bool {
    var own = vec4<f32>(0.0);
    for (var turn = 0u; turn < few.turns; turn++) {
{% for s in range(step) %}
        {
            let level = levels_at(few, (turn * {{ step }}u + {{ s }}u) * LANES + few.lane);
            let above = level > vec4<f32>(bound);
            let w = select(vec4<f32>(0.0), weight(few, level), above);
            let one = select(vec4<f32>(0.0), vec4<f32>(1.0), above);
            own += vec4<f32>((one.x + one.y) + (one.z + one.w), (w.x + w.y) + (w.z + w.w), 0.0, 0.0);
        }
{% endfor %}
    }
    let sums = group_sum(own, few.lane);
    // The first of the ranking, which weighs 1, is kept whatever the goal.
    let light = (weight(few, vec4<f32>(bound)).x < draw.min_p);
    let by_weight = select(light, sums.y >= max(goal * 1.00001, 1.0), draw.top_p < 1.0);
    return select(by_weight, sums.x >= f32(draw.top_k), ranked(draw));
}
{% else %}
// Finds the highest level, and unless nothing else is needed, stores every level.
fn survey(index: u32, lane: u32, draw: Draw, fed: i32) -> Top {
    let drawn = draw.temperature > 0.0;
    var best = vec4<f32>(LOWEST);
    var best_quad = vec4<u32>(0u);
    var largest = vec4<u32>(0u);
    for (var turn = 0u; turn < shape.turns; turn++) {
{% for s in range(step) %}
        {
            let quad = (turn * {{ step }}u + {{ s }}u) * LANES + lane;
            if quad < shape.quads {
                let l = penalised(index, quad, draw, fed);
                largest = max(largest, l.largest);
                if drawn { levels[index * shape.stride + quad] = l.levels; }
                let better = l.levels > best;
                best = select(best, l.levels, better);
                best_quad = select(best_quad, vec4<u32>(quad), better);
            }
        }
{% endfor %}
    }
    let most = max(max(best.x, best.y), max(best.z, best.w));
    let ids = select(vec4<u32>(NONE), 4u * best_quad + EACH, best == vec4<f32>(most));
    let nan = max(max(largest.x, largest.y), max(largest.z, largest.w)) > 0x7f800000u;
    return top_of(most, min(min(ids.x, ids.y), min(ids.z, ids.w)), LOWEST, nan, lane);
}
{% endif %}
