// Matrix product by matrix units, with f16 operands and f32 sums: the form for GPUs that have them.
//
//   C = α·A·Bᵀ (+ C, or + β·D)     A [M', K'], B [N', K'], C and D [M, N]
//
// M' and N' are M and N rounded up to the tile, K' is K rounded up to 32; A and B are zero beyond M, N and K, so that no load
// needs a check. Nothing is stored past an edge of C.
//
// A workgroup computes {{ down * rows * side }} × {{ across * columns * side }} elements of one matrix of a batch, as {{ down }} × {{ across }} units of
// {{ rows }} × {{ columns }} matrices of {{ side }} × {{ side }}. A subgroup holds the sums of one unit; of up to {{ held }} in the same columns, if the driver picks
// larger subgroups than it might, and so fewer. Both operands pass through workgroup memory as they are stored, {{ depth }} values of k at
// a time. While these are multiplied, the next ones are loaded into registers.
//
// With `add` partial, k is split: a workgroup stores the bare sums over one part of it, and `matmul_sum.wgsl` adds the parts.
{% set matrix = "coop_mat" ~ side ~ "x" ~ side %}
{% set m_tile = down * rows * side %}
{% set n_tile = across * columns * side %}
{% set loads = depth // 8 %}                            {# loads of 16 bytes in a row's share of the tile #}
{% set at_once = lanes // (loads * side) %}             {# matrices that the workgroup loads at a time #}
{# Of each operand: name, matrices of a unit, matrices of the tile. #}
{% set operands = [("a", rows, down * rows), ("b", columns, across * columns)] %}

struct Shape {
    m: u32,
    n: u32,
    k: u32,               // K'
    a_stride: u32,        // elements between matrices of a batch
    b_stride: u32,
    c_stride: u32,
    alpha: f32,
    beta: f32,
    upper: u32,           // 1 to leave out tiles below the diagonal
    parts: u32,           // workgroups that share an element's sum
    part: u32,            // values of k in each of them, a multiple of {{ depth }}; the last has the remainder
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<vec4<u32>>;              // eight f16 each
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
{% if add == "scaled" %}
@group(0) @binding(4) var<storage, read> d: array<f32>;
{% endif %}

// The tile of an operand: [load, unit, matrix, row, k], or [unit, load, matrix, row, k] where a unit takes several loads. Nested
// like this, all indices in the loop are constants or the same in every turn: the bounds check of any other costs instructions.
// A row has 16 bytes more than it needs, so that rows lie in different banks.
{% if quads %}
// Elements are in groups of four, by which drivers know that they are aligned.
{% endif %}
{% set group = 4 if quads else 1 %}
{% set row_len = (depth + 8) // group %}
{% for name, per_unit, all in operands %}
{% set inner = [at_once, per_unit]|min %}
{% set outer = [at_once, per_unit]|max %}
alias Matrix_{{ name }} = array<array<{{ "vec4<f16>" if quads else "f16" }}, {{ row_len }}>, {{ side }}>;
var<workgroup> {{ name }}_tile: array<array<array<Matrix_{{ name }}, {{ inner }}>, {{ outer // inner }}>, {{ all // outer }}>;
{% endfor %}
// A matrix of sums per subgroup, on its way to where it cannot be stored as a whole.
var<workgroup> stage: array<array<f32, {{ side * side }}>, {{ down * across }}>;

// The four values of two words. Compilers see that the conversions cancel.
fn halves(words: vec2<u32>) -> vec4<f16> {
    return vec4<f16>(vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)));
}

{# Loads an operand's next values, and stores them where matrices are loaded from. #}
{% macro load() %}
{% for name, per_unit, all in operands %}{% for t in range(all // at_once) %}
        let {{ name }}{{ t }}_next = {{ name }}[{{ name }}_at + {{ t * at_once * side }}u * stride];
{% endfor %}{% endfor %}
{% endmacro %}
{% macro store() %}
{% for name, per_unit, all in operands %}{% for t in range(all // at_once) %}
{% if at_once >= per_unit %}
{% set place = "[" ~ t ~ "][load_matrix / " ~ per_unit ~ "u][load_matrix % " ~ per_unit ~ "u]" %}
{% else %}
{% set place = "[" ~ (t * at_once // per_unit) ~ "][" ~ (t % (per_unit // at_once)) ~ "][load_matrix]" %}
{% endif %}
{% for half in ["xy", "zw"] %}{% set h = loop.index0 %}
{% if quads %}
        {{ name }}_tile{{ place }}[load_row][2u * load_k + {{ h }}u] = halves({{ name }}{{ t }}_next.{{ half }});
{% else %}
        let {{ name }}{{ t }}_{{ half }} = halves({{ name }}{{ t }}_next.{{ half }});
{% for e in range(4) %}
        {{ name }}_tile{{ place }}[load_row][8u * load_k + {{ 4 * h + e }}u] = {{ name }}{{ t }}_{{ half }}[{{ e }}];
{% endfor %}
{% endif %}
{% endfor %}{% endfor %}{% endfor %}
{% endmacro %}
{# Where matrix `i` of a unit starts, and its stride. #}
{% macro place(name, per_unit, unit, i, k) %}
{% if at_once >= per_unit %}
{% set units = at_once // per_unit %}
&{{ name }}_tile[({{ unit }}) / {{ units }}u][({{ unit }}) % {{ units }}u][{{ i }}][0][{{ k // group }}], {{ row_len }}u
{%- else %}
&{{ name }}_tile[{{ unit }}][{{ i // at_once }}][{{ i % at_once }}][0][{{ k // group }}], {{ row_len }}u
{%- endif %}
{% endmacro %}
{# Starts a block for unit `u`, which small subgroups have not. A loop: naga takes no matrices in an `if` that depends on
   the subgroup's size. #}
{% macro of_unit(u) %}
{% if u %}
    for (var unit = {{ u + 1 }}u * step; unit <= {{ down }}u; unit = {{ down + 1 }}u) {
{% else %}
    {
{% endif %}
{% endmacro %}

@compute @workgroup_size({{ lanes }})
fn forward(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) subgroup_lanes: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = tile.x * {{ m_tile }}u;
    let column = tile.y * {{ n_tile }}u;
    if (shape.upper == 1u) & (column + {{ n_tile }}u <= row) { return; }
{% if add == "partial" %}
    let batch = tile.z / shape.parts;
    let begin = (tile.z % shape.parts) * shape.part;
    let end = min(begin + shape.part, shape.k);
{% else %}
    let batch = tile.z;
    let begin = 0u;
    let end = shape.k;
{% endif %}
    // This subgroup's units: `y`, `y` + `step`, … in column `x`.
    let x = subgroup % {{ across }}u;
    let y = subgroup / {{ across }}u;
    let step = {{ lanes // across }}u / subgroup_lanes;
{% for u in range(held) %}{% for i in range(rows) %}{% for j in range(columns) %}
    var sum{{ u }}_{{ i }}_{{ j }}: {{ matrix }}<f32, C>;
{% endfor %}{% endfor %}{% endfor %}

    // What it loads: eight k of a row of every {{ at_once }}th matrix.
    let load_k = local % {{ loads }}u;
    let load_row = local / {{ loads }}u % {{ side }}u;
    let load_matrix = local / {{ loads * side }}u;
    let stride = shape.k / 8u;
    let load_line = load_matrix * {{ side }}u + load_row;
    var a_at = (batch * shape.a_stride + begin) / 8u + (row + load_line) * stride + load_k;
    var b_at = (batch * shape.b_stride + begin) / 8u + (column + load_line) * stride + load_k;
    {
{{ load() }}
{{ store() }}
    }
    for (var k = begin; k < end; k += {{ depth }}u) {
        workgroupBarrier();
        // The last turn loads its own values again.
        let next = select(0u, {{ loads }}u, k + {{ depth }}u < end);
        a_at += next;
        b_at += next;
{{ load() }}
{% for kk in range(0, depth, side) %}
        {
{% for j in range(columns) %}
        let b{{ j }} = coopLoad<{{ matrix }}<f16, B>>({{ place("b", columns, "x", j, kk) }});
{% endfor %}
{% for u in range(held) %}
        {{ of_unit(u) }}
{% for i in range(rows) %}
        let a{{ i }} = coopLoadT<{{ matrix }}<f16, A>>({{ place("a", rows, "y + " ~ u ~ "u * step", i, kk) }});
{% for j in range(columns) %}
        sum{{ u }}_{{ i }}_{{ j }} = coopMultiplyAdd(a{{ i }}, b{{ j }}, sum{{ u }}_{{ i }}_{{ j }});
{% endfor %}{% endfor %}
        }
{% endfor %}
        }
{% endfor %}
        workgroupBarrier();
{{ store() }}
    }

    let n = shape.n;
    let first = tile.z * shape.c_stride;
    let unit_row = row + y * {{ rows * side }}u;
    let unit_column = column + x * {{ columns * side }}u;
{% if add in ["nothing", "partial"] %}
    if (row + {{ m_tile }}u <= shape.m) & (column + {{ n_tile }}u <= n){% if add == "nothing" %} & (shape.alpha == 1.0){% endif %} {
{% for u in range(held) %}
        {{ of_unit(u) }}
{% for i in range(rows) %}{% for j in range(columns) %}
        let row{{ i }}_{{ j }} = unit_row + {{ u * rows * side }}u * step + {{ i * side }}u;
        let at{{ i }}_{{ j }} = first + row{{ i }}_{{ j }} * n + unit_column + {{ j * side }}u;
        coopStoreT(sum{{ u }}_{{ i }}_{{ j }}, &c[at{{ i }}_{{ j }}], n);
{% endfor %}{% endfor %}
        }
{% endfor %}
        return;
    }
{% endif %}
{% for u in range(held) %}
    {{ of_unit(u) }}
{% for i in range(rows) %}{% for j in range(columns) %}
    coopStoreT(sum{{ u }}_{{ i }}_{{ j }}, &stage[subgroup][0], {{ side }}u);
    workgroupBarrier();
    for (var i = lane; i < {{ side * side }}u; i += subgroup_lanes) {
        let m = unit_row + {{ u * rows * side }}u * step + {{ i * side }}u;
        finish(subgroup, i, first, m, unit_column + {{ j * side }}u);
    }
    workgroupBarrier();
{% endfor %}{% endfor %}
    }
{% endfor %}
}

// Stores element `i` of the staged matrix whose first element is at `row` and `column` of the matrix at `first`, unless it lies
// past an edge.
fn finish(subgroup: u32, i: u32, first: u32, row: u32, column: u32) {
    let m = row + i / {{ side }}u;
    let n = column + i % {{ side }}u;
    if m < shape.m && n < shape.n {
        let sum = stage[subgroup][i];
        let at = first + m * shape.n + n;
{% if add == "into" %}
        c[at] = fma(shape.alpha, sum, c[at]);
{% elif add == "scaled" %}
        c[at] = fma(shape.alpha, sum, shape.beta * d[at]);
{% elif add == "partial" %}
        c[at] = sum;
{% else %}
        c[at] = shape.alpha * sum;
{% endif %}
    }
}
