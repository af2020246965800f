//! What a checkpoint stores in addition to tensors, so that a run resumes exactly.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::event::Event;
use super::loss_scale::LossScale;
use crate::checkpoint::{self, Checkpoint, CheckpointError, Run};

/// Decay of the smoothed loss.
const SMOOTHING: f64 = 0.9;

/// The state of a run between two steps; `L` is that of the stage's loader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TrainState<L> {
    /// Rows per batch: sums over another number of rows round differently.
    pub device_batch_size: usize,
    /// The smoothed loss.
    pub smooth_loss: SmoothLoss,
    /// Lowest validation bits per byte, once there is one.
    pub min_val_bpb: Option<f64>,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// The data loader's state after the last step.
    pub loader: L,
    /// In the fast numerics class: the chosen kernels, since others would round differently.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernels: BTreeMap<String, String>,
    /// In f16: the loss scale of the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// Exponential moving average of the loss, biased towards its initial 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SmoothLoss(f64);

impl SmoothLoss {
    /// Adds a step's loss.
    pub fn add(&mut self, loss: f64) {
        self.0 = SMOOTHING * self.0 + (1.0 - SMOOTHING) * loss;
    }

    /// The average after `steps` steps, with bias correction; none before the first.
    pub fn after(&self, steps: u64) -> Option<f64> {
        (steps > 0).then(|| self.0 / (1.0 - SMOOTHING.powf(steps as f64)))
    }
}

/// A checkpoint to resume from.
pub(super) struct Saved<L> {
    pub checkpoint: Checkpoint,
    pub state: TrainState<L>,
}

impl<L: DeserializeOwned> Saved<L> {
    /// The newest intact one of `run`; none if there never was one. Reports newer ones that are damaged.
    pub fn newest(run: &Run, tell: &mut dyn FnMut(Event)) -> Result<Option<Self>, TrainError> {
        let (checkpoint, rejected) = match checkpoint::load_latest_good(run) {
            Ok(found) => found,
            Err(CheckpointError::Empty { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !rejected.is_empty() {
            tell(Event::Rejected { reasons: rejected.iter().map(ToString::to_string).collect() });
        }
        let state = serde_json::from_str(checkpoint.state.get())
            .map_err(|error| TrainError::State { step: checkpoint.step, reason: error.to_string() })?;
        Ok(Some(Self { checkpoint, state }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smooth_loss_of_equal_losses_is_that_loss() {
        let mut loss = SmoothLoss::default();
        assert_eq!(loss.after(0), None);
        for steps in 1..50 {
            loss.add(2.5);
            assert!((loss.after(steps).unwrap() - 2.5).abs() < 1e-12, "{steps}");
        }
    }
}
