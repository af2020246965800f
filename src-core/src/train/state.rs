//! What a checkpoint keeps beside tensors, so that a resumed run goes on to the bit.

use serde::{Deserialize, Serialize};

use crate::data::loader::LoaderState;

/// The state of a pretraining run between two steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TrainState {
    /// Rows of a batch: sums over another number of rows round differently.
    pub device_batch_size: usize,
    /// Exponential average of the loss, biased.
    pub smooth_loss: f64,
    /// Lowest validation bits per byte, once there is one.
    pub min_val_bpb: Option<f64>,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Where the data loader stands.
    pub loader: LoaderState,
}
