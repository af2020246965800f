//! An adapter checked and measured: every kernel beside its twin, the roof that memory and arithmetic set, and kernels and
//! whole steps as shares of it. What `nc-core bench device` runs.

pub mod clock;
pub mod document;
pub mod files;
pub mod markdown;
pub mod peak;
pub mod steps;
pub mod work;

mod cases;
mod device;

pub use device::{DeviceBench, Options};
