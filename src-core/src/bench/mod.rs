//! Checks and measures an adapter, for `nc-core bench device`: every kernel against its twin, the roofline, and kernels and
//! whole steps as shares of it.

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
