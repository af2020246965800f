//! The log-probability of each next token of a given text: what perplexity is computed from.

use crate::gpu::Gpu;
use crate::model::Model;

use super::EngineError;
use super::scorer::{Scorer, Sequence};

/// Natural-log probability of each token after the first, given those before it: `ids.len() − 1` numbers.
///
/// Texts longer than the context are split into windows of `sequence_len` tokens; each begins with the last token of the
/// previous one and sees nothing before that.
///
/// # Errors
/// If a token is not in the vocabulary, a result is NaN, or the GPU fails.
pub fn score(gpu: &Gpu, model: &Model, ids: &[u32]) -> Result<Vec<f32>, EngineError> {
    let context = model.config.sequence_len;
    let windows: Vec<Vec<Sequence<'_>>> = (0..ids.len().saturating_sub(1))
        .step_by(context)
        .map(|start| vec![Sequence::new(&ids[start..ids.len().min(start + context + 1)], 1)])
        .collect();
    let scored = Scorer::new(gpu, model).score(&windows)?;
    Ok(scored.iter().flatten().flat_map(|window| &window.losses).map(|loss| -loss).collect())
}
