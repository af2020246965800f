// Draws the next token of every row from its logits.
//
//   l_v = logit_v; if the row has seen v: / penalty if positive, · penalty if not        (Keskar 2019)
//   temperature 0:   the highest l_v, of equal ones the lowest v
//   else  w_v = exp((l_v − max l) / temperature), ranked by (l descending, v ascending), which is the order of w:
//     top-k   the first k of the ranking                                                  (Fan 2018)
//     top-p   the shortest prefix of what top-k left that has p of its weight or more     (Holtzman 2019)
//     min-p   of these the ones with w_v ≥ min_p, the largest w being 1                   (Nguyen 2024)
//   the token is the first v, in order of v, for which the kept ones up to it weigh more than random · all kept ones
//
// Nothing is sorted. A prefix of the ranking is identified by its last member, which is found by narrowing an interval of
// levels: a round sums, in one pass over the row, what is at or above four cuts, which leaves a fifth of the interval.
// Fourteen rounds reach a single level; equal levels are then distinguished by their ids. The interval is split by the bits of
// the levels, since the bits of floats, with negative ones inverted, have the order of the floats.
//
// One workgroup per row (`shared/sample_group.wgsl`). Sums have a fixed order. No barrier depends on a value that is computed
// here, so rounds that are not needed do nothing.
//
// Long rows have first been scanned by `sample_blocks.wgsl`, with many workgroups. What it kept of each block is processed like
// a row; if that may miss a relevant token, the whole row is processed.

#include "shared/sample_group.wgsl"
#include "shared/sample_row.wgsl"
#include "shared/sample_survey.wgsl"

// What is constant while a row is processed. For the few tokens that are kept of each block, ids are indices among them.
struct Row {
    start: u32,      // its first quad in levels
    quads: u32,
    turns: u32,      // iterations of a lane in a pass over it
    lane: u32,
    highest: f32,
    inverse: f32,    // 1 / temperature
}

// The last member of a prefix ("head") of the ranking.
struct End {
    level: f32,
    id: u32,
}

// Which tokens a sum includes: those of a head, up to a level, of at least some weight.
struct Rule {
    end: End,
    ceiling: f32,
    floor: f32,
    weighted: bool,  // whether a token counts with its weight, or as 1 and whatever it weighs
}

// Four levels of the row. Past its end there is nothing.
fn levels_at(row: Row, quad: u32) -> vec4<f32> {
    return select(vec4<f32>(LOWEST), levels[row.start + min(quad, row.quads - 1u)], quad < row.quads);
}

fn weight(row: Row, level: vec4<f32>) -> vec4<f32> { return weight_against(row.highest, row.inverse, level); }

// What each of four tokens adds to a sum.
fn measure(row: Row, rule: Rule, quad: u32) -> vec4<f32> {
    let level = levels_at(row, quad);
    let end = vec4<f32>(rule.end.level);
    let by_id = select(vec4<f32>(0.0), vec4<f32>(1.0), 4u * quad + EACH <= vec4<u32>(rule.end.id));
    let ranked = select(select(vec4<f32>(0.0), vec4<f32>(1.0), level > end), by_id, level == end);
    let counted = select(vec4<f32>(0.0), ranked, level <= vec4<f32>(rule.ceiling));
    if !rule.weighted { return counted; }
    let w = weight(row, level);
    return select(vec4<f32>(0.0), counted * w, w >= vec4<f32>(rule.floor));
}

// The sum of a block: {{ step }} quads from `quad` on.
fn block(row: Row, rule: Rule, quad: u32) -> f32 {
    var sum = vec4<f32>(0.0);
{% for s in range(step) %}
    sum += measure(row, rule, quad + {{ s }}u);
{% endfor %}
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// A lane's share of a row in order of ids.
struct Segment {
    sum: f32,
    last: u32,       // the last block that adds something, or NONE
}

fn segment(row: Row, rule: Rule, turns: u32) -> Segment {
    var own = Segment(0.0, NONE);
    for (var turn = 0u; turn < turns; turn++) {
        let quad = (row.lane * row.turns + turn) * {{ step }}u;
        let sum = block(row, rule, quad);
        own.sum += sum;
        if sum > 0.0 { own.last = quad; }
    }
    return own;
}

// The first id at which the sum over the row in order of ids exceeds share · (the whole sum) + rest; if rounding
// leaves none, the last that adds something; NONE if none does, or without iterations.
fn find(row: Row, rule: Rule, share: f32, rest: f32, turns: u32) -> u32 {
    let own = segment(row, rule, turns);
    let total = group_sum(vec4<f32>(own.sum, 0.0, 0.0, 0.0), row.lane).x;
    let before = group_before(own.sum, row.lane);
    // Lanes after the one with the result report their first id, which is higher.
    let left = max(share * total + rest - before, 0.0);
    let mine = own.sum > left;

    var at = own.last;
    var sum = 0.0;
    if mine {
        for (var turn = 0u; turn < turns; turn++) {
            at = (row.lane * row.turns + turn) * {{ step }}u;
            let more = block(row, rule, at);
            if sum + more > left { break; }
            sum += more;
        }
    }
    var candidate = NONE;
    if at != NONE {
        let bar = select(HIGHEST, left, mine);
        var id = 0u;
        for (var quad = at; quad < at + {{ step }}u; quad++) {
            let m = measure(row, rule, quad);
{% for c in range(4) %}
            if m[{{ c }}] > 0.0 && sum <= bar {
                id = 4u * quad + {{ c }}u;
                sum += m[{{ c }}];
            }
{% endfor %}
        }
        // Fallbacks are in descending order after everything else.
        candidate = select(NONE - 1u - id, id, mine);
    }
    let chosen = group_min(candidate, row.lane);
    return select(chosen, NONE - 1u - chosen, chosen >= 0x80000000u && chosen != NONE);
}

// The last member of the shortest head of the ranking, inside the head `outer`, whose sum reaches `goal`.
fn head(row: Row, outer: End, goal: f32, weighted: bool) -> End {
    // The sum at `low` and above reaches the goal; the sum at `high` and above is `above` and does not.
    var low = key_of(outer.level);
    var high = key_of(row.highest) + 1u;
    var above = 0.0;
    var exact = false;
    for (var round = 0u; round < {{ rounds }}u; round++) {
        let span = high - low;
        let cuts = low + span / 5u * CUTS + span % 5u * CUTS / 5u;
        let bars = vec4<f32>(level_of(cuts.x), level_of(cuts.y), level_of(cuts.z), level_of(cuts.w));
        let open = span > 1u && !exact;
        var sums = vec4<f32>(0.0);
        if open {
            for (var turn = 0u; turn < row.turns; turn++) {
{% for s in range(step) %}
                {
                    let level = levels_at(row, (turn * {{ step }}u + {{ s }}u) * LANES + row.lane);
                    var m = vec4<f32>(1.0);
                    if weighted { m = weight(row, level); }
{% for c in range(4) %}
                    sums += select(vec4<f32>(0.0), vec4<f32>(m[{{ c }}]), vec4<f32>(level[{{ c }}]) >= bars);
{% endfor %}
                }
{% endfor %}
            }
        }
        let reached = group_sum(sums, row.lane);
        if open {
{% for c in [3, 2, 1, 0] %}
            if reached[{{ c }}] < goal { high = cuts[{{ c }}]; above = reached[{{ c }}]; }
{% endfor %}
{% for c in range(4) %}
            if reached[{{ c }}] >= goal { low = cuts[{{ c }}]; exact = reached[{{ c }}] == goal; }
{% endfor %}
        }
    }
    // Of the tokens at that level the first ones up to the goal. Reaching it means exceeding the next lower float.
    let level = level_of(low);
    let all = End(level, select(NONE, outer.id, level == outer.level));
    let rest = bitcast<f32>(max(bitcast<i32>(goal - above), 1) - 1);
    let last = find(row, Rule(all, level, 0.0, weighted), 0.0, rest, select(row.turns, 0u, exact));
    return End(level, select(last, all.id, last == NONE));
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin({{ "local_invocation_index" if shared else "subgroup_invocation_id" }}) lane: u32,
) {
    let index = workgroup.x;
    let draw = draws[index];
    let fed = tokens[index];
    let top = survey(index, lane, draw, fed);
    var token = top.token;

    if draw.temperature > 0.0 {
        settle();
        let inverse = inverse_of(draw);
        var row = Row(index * shape.stride, shape.quads, shape.turns, lane, top.highest, inverse);
{% if blocks %}
        let all = weigh_blocks(row, index);
        let few = Row(row.start + shape.pitch, 8u * shape.blocks, shape.few_turns, lane, top.highest, inverse);
        let by_few = suffices(few, draw, top.bound, draw.top_p * all);
        if by_few { row = few; }
{% endif %}
        var end = End(LOWEST, NONE);
        if ranked(draw) {
            end = head(row, end, f32(draw.top_k), false);
        }
        if draw.top_p < 1.0 {
            let turns = {% if blocks %}select(0u, row.turns, ranked(draw)){% else %}row.turns{% endif %};
            let own = segment(row, Rule(end, top.highest, 0.0, true), turns).sum;
            var total = group_sum(vec4<f32>(own, 0.0, 0.0, 0.0), lane).x;
{% if blocks %}
            total = select(all, total, ranked(draw));
{% endif %}
            end = head(row, end, draw.top_p * total, true);
        }
        let drawn = find(row, Rule(end, top.highest, draw.min_p, true), draw.random, 0.0, row.turns);
        token = select(drawn, NONE, top.token == NONE);
{% if blocks %}
        if by_few && token != NONE {
            token = u32(levels[few.start + 8u * shape.blocks + token / 4u][token % 4u]);
        }
{% endif %}
    }

    if lane == 0u {
        if fed >= 0 && u32(fed) < shape.vocab {
            seen[index * shape.words + u32(fed) / 32u] |= 1u << (u32(fed) % 32u);
        }
        tokens[index] = bitcast<i32>(token);
    }
}
