//! The residual stream: the buffers that hold it in each layer.
//!
//! With lambdas every layer begins with a mix of the stream and x0, the stream before the first layer. The backward pass
//! needs both inputs of each mix, so in training every layer has its own buffer. Without lambdas layers only add to
//! the stream; their norms save all that the backward pass needs, and one buffer suffices for all layers.

use crate::gpu::{GpuError, Recorder, Tensor};
use crate::kernels::{backout, residual};

use super::{Config, Keep, Model};

/// Buffers of the stream, some of which may be the same.
pub(super) struct Stream {
    /// L + 1 of `[N, C]`: x0, and the stream in each layer.
    at: Vec<Tensor>,
    /// `[N, C]`: the stream after the middle layer, if a share of it is subtracted at the end.
    middle: Option<Tensor>,
}

impl Stream {
    /// A stream that begins in `x0`; `buffer` allocates more.
    pub fn allocate(config: &Config, x0: Tensor, keep: Keep, buffer: impl Fn(&str) -> Result<Tensor, GpuError>) -> Result<Self, GpuError> {
        let parts = &config.architecture;
        let more = || buffer("residual stream");
        let middle = || parts.backout.then(|| buffer("residual stream, middle")).transpose();
        if !parts.lambdas {
            return Ok(Self { at: vec![x0; config.n_layer + 1], middle: middle()? });
        }
        let mut at = vec![x0];
        match keep {
            Keep::ForBackward => {
                for _ in 0..config.n_layer {
                    at.push(more()?);
                }
                Ok(Self { middle: parts.backout.then(|| at[config.middle_layer() + 1].clone()), at })
            }
            Keep::Nothing => {
                let (pair, middle) = ([more()?, more()?], middle()?);
                for i in 0..config.n_layer {
                    let own = middle.as_ref().filter(|_| i == config.middle_layer());
                    at.push(own.unwrap_or(&pair[i % 2]).clone());
                }
                Ok(Self { at, middle })
            }
        }
    }

    /// The stream before the first layer.
    pub fn x0(&self) -> &Tensor {
        &self.at[0]
    }

    /// The stream before layer `i`.
    pub fn before(&self, i: usize) -> &Tensor {
        &self.at[i]
    }

    /// The same buffers for other rows: `part` selects the rows of a tensor.
    pub fn map(&self, part: impl Fn(&Tensor) -> Tensor) -> Self {
        Self { at: self.at.iter().map(&part).collect(), middle: self.middle.as_ref().map(&part) }
    }

    /// The stream after the middle layer, if it is kept.
    pub fn middle(&self) -> Option<&Tensor> {
        self.middle.as_ref()
    }
}

impl Model {
    /// Records the beginning of layer `i`, `x = resid_lambdas[i]·x + x0_lambdas[i]·x0` if the model has lambdas, and returns the
    /// stream that the layer adds to, `[N, C]`.
    pub(super) fn record_mix<'a>(&self, rec: &mut Recorder, stream: &'a Stream, i: usize) -> &'a Tensor {
        let (before, x) = (&stream.at[i], &stream.at[i + 1]);
        if self.config.architecture.lambdas {
            let [resid_lambdas, x0_lambdas] = ["resid_lambdas", "x0_lambdas"].map(|name| self.parameters.get(name));
            residual::forward(rec, i, residual::Inputs { x: before, x0: stream.x0(), resid_lambdas, x0_lambdas }, x);
        }
        x
    }

    /// Records the end of layer `i`: the middle one's stream is copied if later layers add to the same buffer.
    pub(super) fn record_keep(&self, rec: &mut Recorder, stream: &Stream, i: usize) {
        let shared = !self.config.architecture.lambdas && i == self.config.middle_layer();
        if let Some(middle) = stream.middle().filter(|_| shared) {
            rec.copy(&stream.at[i + 1], middle);
        }
    }

    /// Records `out = x − backout_lambda · x_mid`, and returns what the final norm reads, `[N, C]`: `out`, or the stream itself
    /// without backout.
    pub(super) fn record_backout<'a>(&self, rec: &mut Recorder, stream: &'a Stream, out: &'a Tensor) -> &'a Tensor {
        let x = &stream.at[self.config.n_layer];
        let Some(middle) = stream.middle() else { return x };
        backout::forward(rec, x, middle, self.parameters.get("backout_lambda"), out);
        out
    }
}
