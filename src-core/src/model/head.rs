//! The final projection with softcap and cross-entropy, fused and in row chunks: the (tokens × vocabulary) logits
//! never exist all at once.

use crate::gpu::{Recorder, Tensor};
use crate::kernels::cross_entropy::{self, Chunk};
use crate::kernels::matmul::Add;

use super::{Activations, Config, Model};

const LM_HEAD: &str = "lm_head.weight"; // [V, C]

/// The chunks of a batch, first row first.
fn chunks(config: &Config, acts: &Activations) -> impl Iterator<Item = Chunk> {
    let (tokens, rows, vocab, cap) = (acts.tokens(), acts.logits.shape()[0], config.vocab_size, config.architecture.softcap);
    (0..tokens).step_by(rows).map(move |first| Chunk { first, rows: rows.min(tokens - first), vocab, cap })
}

/// The rows of `tensor` `[N, C]` that belong to `chunk`.
fn rows_of(tensor: &Tensor, chunk: Chunk) -> Tensor {
    let channels = tensor.shape()[1];
    tensor.view(chunk.first * channels, &[chunk.rows, channels])
}

impl Model {
    /// Raw logits of `chunk` into the chunk buffer.
    fn record_raw_logits(&self, rec: &mut Recorder, acts: &Activations, chunk: Chunk) {
        let x = rows_of(&acts.output, chunk); // [R, C]
        let logits = acts.logits.view(0, &[chunk.rows, self.config.padded_vocab()]);
        self.linear(rec, &x, LM_HEAD, &logits, Add::Nothing); // [R, V]
    }

    /// The loss of every token, without gradients.
    pub(super) fn record_losses(&self, rec: &mut Recorder, acts: &Activations) {
        for chunk in chunks(&self.config, acts) {
            self.record_raw_logits(rec, acts, chunk);
            cross_entropy::forward(rec, chunk, &acts.logits, &acts.targets, &acts.losses);
        }
    }

    /// The loss of every token, the gradient of the final norm's output into `d_output` `[N, C]`, and that of lm_head.
    pub(super) fn record_losses_and_gradients(&self, rec: &mut Recorder, acts: &Activations, weight: &Tensor, d_output: &Tensor) {
        for chunk in chunks(&self.config, acts) {
            self.record_raw_logits(rec, acts, chunk);
            cross_entropy::backward(rec, chunk, &acts.logits, &acts.targets, &acts.losses, weight); // [R, V]
            self.linear_backward(rec, &rows_of(&acts.output, chunk), LM_HEAD, &acts.logits, &rows_of(d_output, chunk), Add::Nothing); // [R, C]
        }
    }

    /// The softcapped logits of the `rows` tokens from `first` on, at the start of the chunk buffer: `[rows, padded V]`.
    /// Panics if they do not fit in one chunk.
    pub fn record_logits(&self, rec: &mut Recorder, acts: &Activations, first: usize, rows: usize) -> Tensor {
        assert!(rows <= acts.logits.shape()[0] && first + rows <= acts.tokens());
        let chunk = Chunk { first, rows, vocab: self.config.vocab_size, cap: self.config.architecture.softcap };
        self.record_raw_logits(rec, acts, chunk);
        cross_entropy::softcap(rec, chunk, &acts.logits);
        acts.logits.view(0, &[rows, self.config.padded_vocab()])
    }

    /// Rows of logits that fit in one chunk.
    pub fn logits_rows(&self, acts: &Activations) -> usize {
        acts.logits.shape()[0]
    }
}
