//! How a subcommand fails: one clear sentence with the next step, and an exit code.

use std::error::Error;
use std::fmt;

use crate::data::DataError;
use crate::engine::{ChatError, EngineError};
use crate::gpu::GpuError;
use crate::train::TrainError;

/// A failure as the user sees it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Input, files or surroundings that the user can mend: exit code 2.
    pub fn input(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// A device that does not do what it should: exit code 1.
    pub fn device(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The process's exit code: 2, or 1 where the program or the device failed.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Library errors reach the user as their own sentence, followed by what caused them where that adds something.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let code = if is_internal(&error) { 1 } else { 2 };
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self { message, code }
    }
}

/// The device's failure behind one of the engine's.
fn engine_gpu<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a GpuError> {
    let engine = match error.downcast_ref::<ChatError>() {
        Some(ChatError::Engine(engine)) => Some(engine),
        _ => error.downcast_ref::<EngineError>(),
    };
    match engine {
        Some(EngineError::Gpu(gpu)) => Some(gpu),
        _ => None,
    }
}

/// Whether the program or the device failed, rather than something that the user can mend.
fn is_internal(error: &(dyn Error + 'static)) -> bool {
    // An error that speaks through another (`#[error(transparent)]`) hides it from `source`.
    let gpu = match error.downcast_ref::<TrainError>() {
        Some(TrainError::Gpu(gpu)) => Some(gpu),
        Some(TrainError::Data(DataError::Panicked | DataError::Stopped)) => return true,
        _ => engine_gpu(error).or_else(|| error.downcast_ref::<GpuError>()),
    };
    matches!(gpu, Some(GpuError::Lost { .. } | GpuError::Refused { .. })) || error.source().is_some_and(is_internal)
}
