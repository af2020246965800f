//! How a command fails: a code that the pages may act on, a sentence for the person, and a detail to copy into a report.
//! None of the three ever holds what people wrote.

use std::error::Error;
use std::fmt;

use nc_core::checkpoint::{CheckpointError, RunError};
use nc_core::engine::{ChatError, EngineError};
use nc_core::gpu::GpuError;
use nc_core::train::TrainError;
use serde::{Deserialize, Serialize};

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// An argument is out of its range.
    BadInput,
    /// What was named is not there.
    NotFound,
    /// Something else has to end first.
    Busy,
    /// There is no model to answer with.
    NoModel,
    /// There is no GPU, or its driver failed.
    NoGpu,
    /// The GPU has not enough memory.
    OutOfMemory,
    /// A file is damaged.
    Damaged,
    /// The system refused to read or write.
    Io,
    /// The person stopped it.
    Cancelled,
    /// This build or this system cannot do it.
    Unsupported,
    /// A fault of the program.
    Internal,
}

/// A failure as the pages show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppError {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// A whole sentence.
    pub message: String,
    /// What caused it, for a report; may be empty.
    pub detail: String,
}

/// What a command gives.
pub type AppResult<T> = Result<T, AppError>;

impl AppError {
    /// A failure with nothing more to say.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: String::new() }
    }

    /// A failure and the error behind it, with all that caused that.
    pub fn because(code: ErrorCode, message: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        Self { code, message: message.into(), detail: chain(error) }
    }

    /// An argument is out of its range.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadInput, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// Something else has to end first.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Busy, message)
    }

    /// An error of nc-core: its own sentence, under `code`.
    fn of(code: ErrorCode, error: &(dyn Error + 'static)) -> Self {
        let message = error.to_string();
        let detail = chain(error);
        Self { code, detail: if detail == message { String::new() } else { detail }, message }
    }
}

/// An error and all its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        source = cause.source();
    }
    words
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for AppError {}

impl From<rusqlite::Error> for AppError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly, SystemIoFailure};
        // SQLite's own words name tables and columns, never what is in them.
        let (code, message) = match error.sqlite_error_code() {
            Some(DiskFull) => (ErrorCode::Io, "The disk is full: free some space, then try again."),
            Some(ReadOnly | SystemIoFailure) => (ErrorCode::Io, "The conversations cannot be written to disk."),
            Some(DatabaseCorrupt | NotADatabase) => {
                (ErrorCode::Damaged, "The database of conversations is damaged; restart nanochat to repair it.")
            }
            _ => (ErrorCode::Internal, "The database of conversations refused a request."),
        };
        Self::because(code, message, &error)
    }
}

impl From<std::io::Error> for AppError {
    fn from(error: std::io::Error) -> Self {
        Self::because(ErrorCode::Io, "A file could not be read or written.", &error)
    }
}

impl From<GpuError> for AppError {
    fn from(error: GpuError) -> Self {
        let code = if error.is_out_of_memory() {
            ErrorCode::OutOfMemory
        } else if matches!(error, GpuError::Refused { .. }) {
            ErrorCode::Internal
        } else {
            ErrorCode::NoGpu
        };
        Self::of(code, &error)
    }
}

impl From<EngineError> for AppError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Gpu(gpu) => gpu.into(),
            EngineError::NotNumbers => Self::of(ErrorCode::Damaged, &error),
            error => Self::of(ErrorCode::BadInput, &error),
        }
    }
}

impl From<ChatError> for AppError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Engine(engine) => engine.into(),
            ChatError::Conversation(conversation) => Self::of(ErrorCode::BadInput, &conversation),
        }
    }
}

impl From<RunError> for AppError {
    fn from(error: RunError) -> Self {
        let code = match &error {
            RunError::Missing { .. } => ErrorCode::NotFound,
            RunError::Busy { .. } => ErrorCode::Busy,
            RunError::BadName { .. } | RunError::Exists { .. } => ErrorCode::BadInput,
            RunError::Damaged { .. } => ErrorCode::Damaged,
            _ => ErrorCode::Io,
        };
        Self::of(code, &error)
    }
}

impl From<CheckpointError> for AppError {
    fn from(error: CheckpointError) -> Self {
        let code = match &error {
            CheckpointError::Empty { .. } | CheckpointError::NoSuchStep { .. } => ErrorCode::NotFound,
            CheckpointError::Rejected(_) | CheckpointError::NoneGood { .. } => ErrorCode::Damaged,
            _ => ErrorCode::Io,
        };
        Self::of(code, &error)
    }
}

impl From<TrainError> for AppError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Gpu(gpu) => gpu.into(),
            TrainError::Run(run) => run.into(),
            TrainError::Checkpoint(checkpoint) => checkpoint.into(),
            error @ (TrainError::Tensors(_) | TrainError::OtherModel(_) | TrainError::RunConfig { .. } | TrainError::State { .. }) => {
                Self::of(ErrorCode::Damaged, &error)
            }
            error @ TrainError::Metrics(_) => Self::of(ErrorCode::Io, &error),
            error => Self::of(ErrorCode::BadInput, &error),
        }
    }
}

/// Errors that carry their whole meaning in their sentence.
macro_rules! plain {
    ($($error:ty => $code:ident),+ $(,)?) => {
        $(impl From<$error> for AppError {
            fn from(error: $error) -> Self {
                Self::of(ErrorCode::$code, &error)
            }
        })+
    };
}

plain! {
    nc_core::tokenizer::ConversationError => BadInput,
    nc_core::tokenizer::TokenizerError => Damaged,
    nc_core::data::DataError => BadInput,
    nc_core::data::ConversationFileError => BadInput,
    nc_core::model::ConfigError => BadInput,
    nc_core::checkpoint::home::NoHome => Io,
}
