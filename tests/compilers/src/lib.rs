//! What the compilers of real GPU drivers make of every shader variant: `make test-compilers`, docs/COMPILERS.md.

pub mod adapter;
pub mod assembly;
pub mod directx;
pub mod dxc;
pub mod fxc;
pub mod gpus;
pub mod jobs;
pub mod markdown;
pub mod stats;
pub mod table;
pub mod targets;
pub mod translate;
pub mod vulkan;
pub mod worker;
