// What `sample.wgsl` needs from every logit of a long row, computed once by many workgroups: levels with the repetition penalty, and
// from each block of 256 tokens the highest, 32 at most, in order of ids, with the facts that `shared/sample_row.wgsl` lists.
//
// One workgroup per block, one quad of tokens per lane. Tokens above a bound are kept. The bound is searched between the lowest and the
// highest level in three rounds of four cuts, so somewhat fewer than 32 may be kept: that only makes it less likely that they suffice.

#include "shared/rows.wgsl"
#include "shared/sample_row.wgsl"

const KEPT = 32u;

// Per lane, then per eight lanes: highest level, first id of that level, lowest level other than LOWEST.
var<workgroup> of_lanes: array<array<vec3<f32>, 8>, 8>;
var<workgroup> of_eights: array<vec3<f32>, 8>;
var<workgroup> kept: array<array<u32, 8>, 8>;      // tokens of each lane that are kept
var<workgroup> kept_of_eights: array<u32, 8>;

// The combination of two parts of a block, the first part having the lower ids.
fn both(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    return vec3<f32>(select(a.xy, b.xy, b.x > a.x), min(a.z, b.z));
}

fn count(which: vec4<bool>) -> u32 {
    let ones = select(vec4<u32>(0u), vec4<u32>(1u), which);
    return (ones.x + ones.y) + (ones.z + ones.w);
}

@compute @workgroup_size(ROW_LANES)
fn forward({{ lane_arguments() }}) {
    let lane = {{ lane_of_arguments() }};
    let index = lane.workgroup.y;
    let block = lane.workgroup.x;
    let quad = block * ROW_LANES + lane.index;
    let draw = draws[index];
    let row = index * shape.stride;
    var mine = Penalised(vec4<f32>(LOWEST), vec4<u32>(0u));
    if quad < shape.quads {
        mine = penalised(index, quad, draw, tokens[index]);
        levels[row + quad] = mine.levels;
    }
    let l = mine.levels;
    let some = l > vec4<f32>(LOWEST);

    let id = f32(4u * quad);
    let lowest = select(vec4<f32>(HIGHEST), l, some);
    var own = vec3<f32>(l.x, id, min(min(lowest.x, lowest.y), min(lowest.z, lowest.w)));
{% for c in range(1, 4) %}
    own = both(own, vec3<f32>(l[{{ c }}], id + {{ c }}.0, own.z));
{% endfor %}
    let eight = lane.index / 8u;
    let of_eight = lane.index % 8u;
    of_lanes[eight][of_eight] = own;
    workgroupBarrier();
    if lane.index < 8u {
        var part = of_lanes[lane.index][0];
{% for i in range(1, 8) %}
        part = both(part, of_lanes[lane.index][{{ i }}]);
{% endfor %}
        of_eights[lane.index] = part;
    }
    workgroupBarrier();
    var top = of_eights[0];
{% for i in range(1, 8) %}
    top = both(top, of_eights[{{ i }}]);
{% endfor %}

    let w = weight_against(top.x, inverse_of(draw), l);
    let largest = max(max(mine.largest.x, mine.largest.y), max(mine.largest.z, mine.largest.w));
    let nan = select(0.0, 1.0, largest > 0x7f800000u);
    let sums = row_sum4(vec4<f32>((w.x + w.y) + (w.z + w.w), nan, f32(count(some)), 0.0), lane);

    var low = top.z;
    var high = top.x;
    for (var round = 0u; round < 3u; round++) {
        // Divided first, so that no difference is infinite. If the highest is infinite, there is no middle.
        let step = select(high / 5.0 - low / 5.0, 0.0, bitcast<u32>(top.x) == 0x7f800000u);
        let cuts = low + step * vec4<f32>(CUTS);
        var above = vec4<f32>(0.0);
{% for c in range(4) %}
        above += select(vec4<f32>(0.0), vec4<f32>(1.0), vec4<f32>(l[{{ c }}]) > cuts);
{% endfor %}
        let reached = row_sum4(above, lane);
{% for c in [3, 2, 1, 0] %}
        if reached[{{ c }}] <= f32(KEPT) { high = cuts[{{ c }}]; }
{% endfor %}
{% for c in range(4) %}
        if reached[{{ c }}] > f32(KEPT) { low = cuts[{{ c }}]; }
{% endfor %}
    }
    let bound = select(high, LOWEST, sums.z <= f32(KEPT));

    let keep = l > vec4<f32>(bound);
    kept[eight][of_eight] = count(keep);
    workgroupBarrier();
    if lane.index < 8u {
        var part = 0u;
{% for i in range(8) %}
        part += kept[lane.index][{{ i }}];
{% endfor %}
        kept_of_eights[lane.index] = part;
    }
    workgroupBarrier();
    var place = 0u;
    var all = 0u;
{% for i in range(8) %}
    place += select(0u, kept_of_eights[{{ i }}], {{ i }}u < eight) + select(0u, kept[eight][{{ i }}], {{ i }}u < of_eight);
    all += kept_of_eights[{{ i }}];
{% endfor %}
    let few = row + shape.pitch + 8u * block;
    let ids = few + 8u * shape.blocks;
{% for c in range(4) %}
    if keep[{{ c }}] && place < KEPT {
        levels[few + place / 4u][place % 4u] = l[{{ c }}];
        levels[ids + place / 4u][place % 4u] = id + {{ c }}.0;
        place += 1u;
    }
{% endfor %}
    if lane.index < KEPT && lane.index >= all { levels[few + lane.index / 4u][lane.index % 4u] = LOWEST; }
    if lane.index == 0u {
        levels[row + shape.pitch + 16u * shape.blocks + block] = vec4<f32>(top.x, select(top.y, -1.0, sums.y > 0.0), bound, sums.x);
    }
}
