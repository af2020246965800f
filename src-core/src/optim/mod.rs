//! The optimizer: AdamW for tables and scalars, Muon for the matrices of the blocks, and the schedules they follow.
//! Works on the parameters that it is given.

pub mod groups;
pub mod horizon;
pub mod optimizer;
pub mod schedule;
pub mod twin;

pub use groups::{AdamwRule, OptimizerConfig};
pub use horizon::{Horizon, HorizonOptions};
pub use optimizer::{Optimizer, StateTensor};
pub use schedule::{Schedule, StepValues};
