//! The device: which adapter, its buffers, its pipelines, and recorded command streams. Knows no model.
//!
//! A program opens one [`Gpu`], allocates [`Tensor`]s on it, records dispatches with a [`Recorder`], and replays the
//! resulting [`Recording`] as often as needed. Shapes are static, so all pipelines and bind groups exist before the
//! loop starts, and a step only costs the encoding.

mod adapter;
mod capabilities;
mod choices;
mod device;
mod dx12;
mod error;
mod interface;
mod memory;
mod needs;
mod numerics;
mod profile;
mod quirks;
mod readback;
mod recorder;
mod shader;
mod tensor;
mod translate;

pub use adapter::{AdapterSummary, adapters};
pub use capabilities::{Capabilities, Forced, MatrixShapes, Subgroups};
pub use device::{Gpu, Pipeline};
pub use error::GpuError;
pub use memory::{Memory, MemoryUse};
pub use needs::Needs;
pub use numerics::Numerics;
pub use profile::{Clock, KernelTime};
pub use readback::Readback;
pub use recorder::{Dispatch, Recorder, Recording, SHORT_LOOPS, Submission, grid};
pub use shader::{Shader, Value, Values, Variant};
pub use tensor::{DType, Tensor};
pub use translate::TranslationError;
