//! Failures of subcommands: one clear sentence with the next step, and an exit code.

use std::error::Error;
use std::fmt;

use super::advice;
use crate::data::DataError;
use crate::gpu::GpuError;

/// A failure as the user sees it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Input, files or an environment that the user can fix: exit code 2.
    pub fn input(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// A device that fails: exit code 1.
    pub fn device(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The process's exit code: 2, or 1 if the program or the device failed.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Library errors are shown as their own sentence, followed by their causes if those add something, and by the
/// option or command that helps.
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
        advice::add(&mut message, &error);
        Self { message, code }
    }
}

/// Whether the program or the device failed, rather than something that the user can fix.
fn is_internal(error: &(dyn Error + 'static)) -> bool {
    let error = advice::speaker(error);
    matches!(error.downcast_ref::<GpuError>(), Some(GpuError::Lost { .. } | GpuError::Refused { .. }))
        || matches!(error.downcast_ref::<DataError>(), Some(DataError::Panicked | DataError::Stopped))
        || error.source().is_some_and(is_internal)
}
