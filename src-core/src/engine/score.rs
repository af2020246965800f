//! The log-probability of each next token of a given text: what perplexity is computed from.

use crate::gpu::{Gpu, Recorder};
use crate::model::{Activations, Keep, Model};

use super::EngineError;

/// Natural-log probability of each token after the first, given those before it: `ids.len() − 1` numbers.
///
/// Texts longer than the context are split into windows of `sequence_len` tokens; each begins with the last token of the
/// previous one and sees nothing before that.
///
/// # Errors
/// If a result is NaN, or the GPU fails.
pub fn score(gpu: &Gpu, model: &Model, ids: &[u32]) -> Result<Vec<f32>, EngineError> {
    let context = model.config.sequence_len;
    let mut scores = Vec::with_capacity(ids.len().saturating_sub(1));
    let mut start = 0;
    while start + 1 < ids.len() {
        let end = ids.len().min(start + context + 1);
        scores.extend(score_window(gpu, model, &ids[start..end])?);
        start = end - 1;
    }
    Ok(scores)
}

fn score_window(gpu: &Gpu, model: &Model, ids: &[u32]) -> Result<Vec<f32>, EngineError> {
    let len = ids.len() - 1;
    let acts = Activations::allocate(gpu, &model.config, 1, len, Keep::Nothing)?;
    let as_i32 = |ids: &[u32]| ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
    gpu.write(&acts.ids, &as_i32(&ids[..len]));
    gpu.write(&acts.targets, &as_i32(&ids[1..]));
    let mut rec = Recorder::new(gpu);
    model.record_evaluation(&mut rec, &acts);
    rec.finish()?.run();
    let losses: Vec<f32> = gpu.read(&acts.losses)?;
    if losses.iter().any(|loss| loss.is_nan()) {
        return Err(EngineError::NotNumbers);
    }
    Ok(losses.into_iter().map(|loss| -loss).collect())
}
