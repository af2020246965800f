//! The optimizer: AdamW for tables and scalars, Muon for the matrices of the blocks, and the schedules they follow.
//! Works on parameters that it is handed.

pub mod horizon;
pub mod schedule;

pub use horizon::{Horizon, HorizonOptions};
pub use schedule::{Schedule, StepValues};
