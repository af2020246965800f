//! Draws the next token of every row of a batch on the GPU: only ids are read back.
//!
//! A token is drawn in these steps, all optional but the last:
//!
//! 1. Repetition penalty p (Keskar et al. 2019, CTRL, <https://arxiv.org/abs/1909.05858>): the logit l of a token that the
//!    row has seen becomes l / p if l > 0 and l · p if not.
//! 2. Temperature T: 0 takes the highest logit, of equal ones the lowest id, as torch's argmax does, and that is all. Above 0
//!    a token has the weight w = exp((l − max l) / T), which f32 represents down to e^−87; it is 0 below. The weight of −∞ is 0.
//!    Tokens are ranked by descending logit, equal ones by ascending id.
//! 3. Top-k (Fan et al. 2018, <https://arxiv.org/abs/1805.04833>) keeps the first k of the ranking.
//! 4. Top-p (Holtzman et al. 2019, <https://arxiv.org/abs/1904.09751>) keeps, of what top-k left, the shortest prefix of the
//!    ranking with at least p of its weight: at least one token.
//! 5. Min-p (Nguyen et al. 2024, <https://arxiv.org/abs/2407.01082>) keeps, of what top-p left, the tokens with w ≥ min-p:
//!    the largest weight is 1.
//! 6. Inverse transform sampling, in order of ids: the first token for which the kept ones up to it have more than u times
//!    the weight of all of them, u being the random number.
//!
//! One workgroup draws from a row, in up to 36 passes. On GPUs, where one workgroup is a small part of the machine, many
//! workgroups first scan long rows (`sample_blocks.wgsl`): what they keep of their blocks is an eighth of the row, and
//! nearly always all that later passes need.

use crate::gpu::{Capabilities, Dispatch, Recorder, Shader, Tensor, Value, Variant};

static SHADER: Shader = crate::shader!("sample");
static BLOCKS: Shader = crate::shader!("sample_blocks");

/// Quads of a block: as many as a workgroup of `sample_blocks.wgsl` has lanes.
const BLOCK: usize = 64;

/// Quads kept of each block, of levels and of their ids, and the facts about it.
const KEPT: usize = 8 + 8 + 1;

/// The shortest row that is worth a separate dispatch for its blocks.
const LONG: usize = 8192;

/// How the token of one row is drawn.
///
/// The kernel accepts any values; those that make no sense (a top-p of 0, a min-p above 1) keep one token or none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Draw {
    /// Temperature, T. 0 takes the likeliest token.
    pub temperature: f32,
    /// How many tokens to keep; 0 keeps all.
    pub top_k: u32,
    /// The share of the weight to keep; 1 keeps all.
    pub top_p: f32,
    /// The least weight to keep, relative to the largest; 0 keeps all.
    pub min_p: f32,
    /// Repetition penalty; 1 is none.
    pub penalty: f32,
    /// u in [0, 1): the random number.
    pub uniform: f32,
    /// Fills the struct up to 32 bytes.
    pub _pad: [u32; 2],
}

impl Draw {
    /// Always the likeliest token.
    pub const GREEDY: Draw = Draw { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, penalty: 1.0, uniform: 0.0, _pad: [0; 2] };

    /// 32-bit words of a draw in the tensor that [`forward`] reads.
    pub const WORDS: usize = size_of::<Draw>() / 4;
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Shape {
    vocab: u32,
    quads: u32,
    pitch: u32,
    words: u32,
    turns: u32,
    stride: u32,
    blocks: u32,
    few_turns: u32,
}

/// What processes a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One subgroup: the fastest on CPU adapters.
    Subgroup,
    /// A workgroup of 256 lanes with workgroup memory.
    Workgroup,
    /// The same, after many workgroups have scanned the row.
    Blocks,
}

impl Form {
    fn for_adapter(capabilities: Capabilities, vocab: usize) -> Self {
        match capabilities.cpu_subgroup() {
            Some(_) => Form::Subgroup,
            None if vocab < LONG => Form::Workgroup,
            None => Form::Blocks,
        }
    }

    fn scratch_len(self, vocab: usize, padded: usize) -> usize {
        padded + 4 * KEPT * self.blocks(vocab.div_ceil(4))
    }

    /// Blocks of a row of `quads`.
    fn blocks(self, quads: usize) -> usize {
        if self == Form::Blocks { quads.div_ceil(BLOCK) } else { 0 }
    }

    fn lanes(self, capabilities: Capabilities) -> u32 {
        match self {
            Form::Subgroup => capabilities.fixed_subgroup().unwrap_or(1),
            Form::Workgroup | Form::Blocks => 256,
        }
    }

    /// Quads that a lane handles per loop iteration: more if there are few lanes, so that the iterations stay few, too.
    fn step(self, capabilities: Capabilities) -> u32 {
        4.max(32 / self.lanes(capabilities))
    }

    fn values(self, capabilities: Capabilities) -> [(&'static str, Value); 4] {
        [
            ("shared", Value::Flag(self != Form::Subgroup)),
            ("blocks", Value::Flag(self == Form::Blocks)),
            ("step", Value::Int(self.step(capabilities))),
            ("rounds", Value::Int(ROUNDS)),
        ]
    }
}

/// Rounds that shrink an interval of 2³² levels to one level, each to a fifth, rounded up.
const ROUNDS: u32 = 14;

/// Passes over a row with every option on: one for the maximum, for top-k and top-p each the rounds and two for equal
/// levels, one for the weight that top-k left, two to draw.
const PASSES: usize = 1 + 2 * (ROUNDS as usize + 2) + 1 + 2;

/// Iterations of a lane in a pass over a row.
fn turns(quads: usize, form: Form, capabilities: Capabilities) -> usize {
    quads.div_ceil((form.lanes(capabilities) * form.step(capabilities)) as usize)
}

/// `tokens[b]` = the token drawn from row b of `logits` by draw b, or −1 if the row, after the penalty, contains a NaN, or if
/// nothing can be drawn: all logits are −∞, or min-p leaves none.
///
/// - `logits` `[B, padded V]`: the first `vocab` of each row are used. The padded V is a multiple of 4.
/// - `draws` `[B · 8]` u32: the bytes of B [`Draw`]s.
/// - `seen` `[B, ceil(V / 32)]` u32: bit v % 32 of word v / 32 is set if token v occurs in the row.
/// - `tokens` `[B]` i32: before, the row's last input token, which is first marked as seen (a negative one marks
///   nothing); after, the drawn token, which is not marked until it is an input.
/// - `weights` `[B, scratch_len]`: scratch, whose rows have [`scratch_len`] elements.
///
/// The same input gives the same tokens every time. Weights are f32: if u, or the threshold of top-p or min-p, is within
/// about 1e-5 of a boundary between tokens, the neighbour may be drawn.
pub fn forward(rec: &mut Recorder, vocab: usize, logits: &Tensor, draws: &Tensor, seen: &Tensor, tokens: &Tensor, weights: &Tensor) {
    let form = Form::for_adapter(rec.gpu().capabilities(), vocab);
    forward_as(rec, form, vocab, [logits, draws, seen, tokens, weights]);
}

/// Elements of scratch that [`forward`] needs for each row of `padded` logits, of which `vocab` are used.
pub fn scratch_len(capabilities: Capabilities, vocab: usize, padded: usize) -> usize {
    Form::for_adapter(capabilities, vocab).scratch_len(vocab, padded)
}

fn forward_as(rec: &mut Recorder, form: Form, vocab: usize, [logits, draws, seen, tokens, weights]: [&Tensor; 5]) {
    let rows = tokens.len();
    let padded = logits.len() / rows;
    assert!(
        vocab > 0
            && vocab <= padded
            && padded * rows == logits.len()
            && padded.is_multiple_of(4)
            && rows <= 65_535
            && draws.len() == rows * Draw::WORDS
            && seen.len() == rows * vocab.div_ceil(32)
            && weights.len() == rows * form.scratch_len(vocab, padded),
        "{vocab} of {:?} with {:?}, {:?}, {:?} and {:?}",
        logits.shape(),
        draws.shape(),
        seen.shape(),
        tokens.shape(),
        weights.shape(),
    );
    let capabilities = rec.gpu().capabilities();
    let quads = vocab.div_ceil(4);
    let blocks = form.blocks(quads);
    let turns = turns(quads, form, capabilities);
    // Loops over rounds, parts and blocks take up to 500 iterations in addition to the passes.
    if !rec.allows_turns(PASSES * turns + 500, || format!("drawing from {vocab} tokens")) {
        return;
    }
    let shape = Shape {
        vocab: vocab as u32,
        quads: quads as u32,
        pitch: (padded / 4) as u32,
        words: vocab.div_ceil(32) as u32,
        turns: turns as u32,
        stride: (form.scratch_len(vocab, padded) / 4) as u32,
        blocks: blocks as u32,
        few_turns: self::turns(8 * blocks, form, capabilities) as u32,
    };
    let levels = (5, weights);
    if form == Form::Blocks {
        rec.dispatch(Dispatch {
            shader: &BLOCKS,
            entry: "forward",
            values: &BLOCKS_VALUES,
            params: shape,
            bind: &[(1, logits), (2, draws), (3, seen), (4, tokens), levels],
            groups: [blocks as u32, rows as u32, 1],
        });
    }
    let all = [(1, logits), (2, draws), (3, seen), (4, tokens), levels];
    rec.dispatch(Dispatch {
        shader: &SHADER,
        entry: "forward",
        values: &form.values(capabilities),
        params: shape,
        // Blocks have read the logits.
        bind: if form == Form::Blocks { &all[1..] } else { &all },
        groups: [rows as u32, 1, 1],
    });
}

/// The template values of `sample_blocks.wgsl`.
const BLOCKS_VALUES: [(&str, Value); 1] = [("lanes", Value::Int(BLOCK as u32))];

/// Every specialisation of the shaders that such an adapter may use.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let forms = [1, LONG].map(|vocab| Form::for_adapter(capabilities, vocab));
    let mut variants: Vec<Variant> =
        forms.iter().map(|form| Variant { shader: &SHADER, entry: "forward", values: form.values(capabilities).to_vec() }).collect();
    if forms[1] == Form::Blocks {
        variants.push(Variant { shader: &BLOCKS, entry: "forward", values: BLOCKS_VALUES.to_vec() });
    }
    variants.dedup_by_key(|variant| variant.key());
    variants
}

/// The same on the CPU in f64.
pub mod twin {
    use super::Draw;

    /// The tokens that `draw` keeps, by id, with their weights. Empty if nothing can be drawn, `None` for a NaN.
    /// `logits` and `seen` are `[V]`. Logits after the penalty are rounded to f32, so that the same ones are equal as in the kernel.
    pub fn kept(logits: &[f32], draw: &Draw, seen: &[bool]) -> Option<Vec<(u32, f64)>> {
        let penalised = |(&l, &seen): (&f32, &bool)| match (seen, l > 0.0) {
            (true, true) => l / draw.penalty,
            (true, false) => l * draw.penalty,
            (false, _) => l,
        };
        let levels: Vec<f64> = logits.iter().zip(seen).map(penalised).map(f64::from).collect();
        if levels.iter().any(|l| l.is_nan()) {
            return None;
        }
        let highest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if highest == f64::NEG_INFINITY {
            return Some(vec![]);
        }
        let weight = |l: f64| if l == highest { 1.0 } else { ((l - highest) / f64::from(draw.temperature)).exp() };
        let mut ranking: Vec<usize> = (0..levels.len()).collect();
        // Stable, so that equal ones stay in order of ids.
        ranking.sort_by(|&a, &b| levels[b].partial_cmp(&levels[a]).unwrap_or(std::cmp::Ordering::Equal));
        if draw.temperature <= 0.0 {
            return Some(vec![(ranking[0] as u32, 1.0)]);
        }
        if draw.top_k > 0 {
            ranking.truncate(draw.top_k as usize);
        }
        if draw.top_p < 1.0 {
            let goal = f64::from(draw.top_p) * ranking.iter().map(|&v| weight(levels[v])).sum::<f64>();
            let mut sum = 0.0;
            let before_goal = ranking.iter().take_while(|&&v| {
                let short = sum < goal;
                sum += weight(levels[v]);
                short
            });
            let head = before_goal.count().max(1);
            ranking.truncate(head);
        }
        let mut kept: Vec<(u32, f64)> = ranking.into_iter().map(|v| (v as u32, weight(levels[v]))).collect();
        kept.retain(|&(_, w)| w > 0.0 && w >= f64::from(draw.min_p));
        kept.sort_by_key(|&(id, _)| id);
        Some(kept)
    }

    /// The token drawn, or `None` if a logit is NaN or nothing can be drawn.
    pub fn sample(logits: &[f32], draw: &Draw, seen: &[bool]) -> Option<u32> {
        let kept = kept(logits, draw, seen)?;
        let mut left = f64::from(draw.uniform) * kept.iter().map(|(_, w)| w).sum::<f64>();
        let drawn = kept.iter().find(|(_, w)| {
            left -= w;
            left < 0.0
        });
        drawn.or(kept.last()).map(|&(id, _)| id)
    }
}

#[cfg(test)]
mod tests;
