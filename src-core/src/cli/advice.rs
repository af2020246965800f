//! Adds options to the errors of the library, which knows no command line: the message gets the option as it is typed,
//! and ends with the option or command that helps.

use std::error::Error;

use crate::bench::files::FilesError;
use crate::checkpoint::RunError;
use crate::data::DataError;
use crate::data::download::DownloadError;
use crate::data::synth::SynthError;
use crate::data::synth::endpoint::EndpointError;
use crate::engine::{ChatError, EngineError};
use crate::eval::core::CoreError;
use crate::gpu::GpuError;
use crate::interchange::export::ExportError;
use crate::interchange::import::ImportError;
use crate::interchange::import::hub::HubError;
use crate::model::params::DoesNotFit;
use crate::tasks::TaskError;
use crate::tokenizer::{ConversationError, LARGEST_VOCABULARY, TokenizerError};
use crate::tools::python::PythonError;
use crate::train::TrainError;

/// For files that are in another place.
const ELSEWHERE: &str = ", or give --data with a folder that holds it";

/// Puts options into `message`, the text of `error` and its causes, and adds what to do.
pub fn add(message: &mut String, error: &(dyn Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        let error = speaker(error);
        if let Some(typed) = typed(error) {
            *message = message.replacen(&error.to_string(), &typed, 1);
        }
        if let Some(advice) = advice(error) {
            message.push_str(&advice);
        }
        next = error.source();
    }
}

/// The error that a message comes from: a transparent error (`#[error(transparent)]`) hides the inner one from `source`.
pub fn speaker<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let inner: Option<&'a (dyn Error + 'static)> = if let Some(error) = error.downcast_ref::<TrainError>() {
        match error {
            TrainError::Config(inner) => Some(inner),
            TrainError::Gpu(inner) => Some(inner),
            TrainError::Data(inner) => Some(inner),
            TrainError::Task(inner) => Some(inner),
            TrainError::Tokenizer(inner) => Some(inner),
            TrainError::Run(inner) => Some(inner),
            TrainError::Checkpoint(inner) => Some(inner),
            TrainError::Tensors(inner) => Some(inner),
            TrainError::Metrics(inner) => Some(inner),
            TrainError::TooDeep(inner) => Some(inner),
            _ => None,
        }
    } else if let Some(error) = error.downcast_ref::<ChatError>() {
        match error {
            ChatError::Engine(inner) => Some(inner),
            ChatError::Conversation(inner) => Some(inner),
        }
    } else if let Some(CoreError::Engine(inner)) = error.downcast_ref() {
        Some(inner)
    } else if let Some(EngineError::Gpu(inner)) = error.downcast_ref() {
        Some(inner)
    } else if let Some(error) = error.downcast_ref::<TaskError>() {
        match error {
            TaskError::Data(inner) => Some(inner),
            TaskError::Conversations(inner) => Some(inner),
            _ => None,
        }
    } else if let Some(error) = error.downcast_ref::<ImportError>() {
        match error {
            ImportError::Mismatch(inner) => Some(inner),
            ImportError::Torch(inner) => Some(inner),
            ImportError::Tokenizer(inner) => Some(inner),
            ImportError::Run(inner) => Some(inner),
            ImportError::Checkpoint(inner) => Some(inner),
            ImportError::Tensors(inner) => Some(inner),
            _ => None,
        }
    } else if let Some(ExportError::Mismatch(inner)) = error.downcast_ref() {
        Some(inner)
    } else if let Some(TokenizerError::Documents(inner)) = error.downcast_ref() {
        Some(inner.as_ref())
    } else if let Some(DataError::Conversations(inner)) = error.downcast_ref() {
        Some(inner.as_ref())
    } else if let Some(EndpointError::Synth(inner)) = error.downcast_ref() {
        Some(inner)
    } else if let Some(ConversationError::Tokenizer(inner)) = error.downcast_ref() {
        Some(inner)
    } else {
        None
    };
    inner.map_or(error, speaker)
}

/// The message of an error about an option, with the option as it is typed.
fn typed(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(TrainError::Indivisible { total, batch, seq }) = error.downcast_ref() {
        let tokens = *batch as u128 * *seq as u128;
        return Some(format!(
            "--total-batch-size {total} is not a multiple of --device-batch-size {batch} × --max-seq-len {seq} = {tokens} tokens; use a multiple of that"
        ));
    }
    let option = if let Some(TrainError::BadOption { option, .. }) = error.downcast_ref() {
        option
    } else if let Some(EngineError::BadOption { option, .. }) = error.downcast_ref() {
        option
    } else if let Some(EngineError::TopK { .. }) = error.downcast_ref() {
        "top_k"
    } else if let Some(ImportError::NotApplicable { option, .. }) = error.downcast_ref() {
        option
    } else {
        return None;
    };
    // Each of these messages begins with the field's name.
    error.to_string().strip_prefix(option).map(|rest| format!("--{}{rest}", option.replace('_', "-")))
}

/// The rest of an error's message, with its punctuation.
fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    let of = [
        error.downcast_ref().and_then(run),
        error.downcast_ref().and_then(training),
        error.downcast_ref().map(fit),
        error.downcast_ref().and_then(device),
        error.downcast_ref().and_then(data),
        error.downcast_ref().and_then(task),
        error.downcast_ref().and_then(core),
        error.downcast_ref().and_then(tokenizer),
        error.downcast_ref().and_then(download),
        error.downcast_ref().and_then(synth),
        error.downcast_ref().and_then(endpoint),
        error.downcast_ref().and_then(import),
        error.downcast_ref().and_then(hub),
        error.downcast_ref().and_then(export),
        error.downcast_ref().map(bench),
        error.downcast_ref().and_then(python),
    ];
    of.into_iter().flatten().next()
}

fn run(error: &RunError) -> Option<String> {
    match error {
        RunError::Exists { name, .. } => Some(format!(", or resume it with `nc-core train --resume --run {name}`")),
        RunError::Missing { any: false, .. } => Some(", `nc-core train` makes the first".to_owned()),
        _ => None,
    }
}

fn training(error: &TrainError) -> Option<String> {
    match error {
        TrainError::RowTooLong { longest, .. } => Some(format!(": use --max-seq-len {longest}")),
        TrainError::NoMoments { .. } => Some(" with --no-load-optimizer".to_owned()),
        TrainError::Imported { run } => Some(format!(": `nc-core train --from {run}`")),
        TrainError::Diverged { .. } => {
            Some(" (--matrix-lr, --embedding-lr and --unembedding-lr are the rates, --from RUN begins with a checkpoint)".to_owned())
        }
        _ => None,
    }
}

fn fit(error: &DoesNotFit) -> String {
    match error.largest_depth {
        Some(depth) => format!(": use --depth {depth}"),
        None => ": use a smaller vocabulary or --aspect-ratio".to_owned(),
    }
}

fn device(error: &GpuError) -> Option<String> {
    match error {
        GpuError::UnknownAdapter { .. } => Some(" (see `nc-core info`)".to_owned()),
        GpuError::OutOfMemory { .. } => Some(" (--device-batch-size, --depth)".to_owned()),
        GpuError::Lost { .. } => Some(" with --resume".to_owned()),
        _ => None,
    }
}

fn data(error: &DataError) -> Option<String> {
    match error {
        DataError::NotFound { .. } => Some(" (`nc-core data download` fetches one)".to_owned()),
        DataError::NoUsableFiles { hint, .. } if hint.is_empty() => Some(" (`nc-core data download` fetches some)".to_owned()),
        DataError::LargeWindow { .. } => Some(", without --long or --ultra, or unpack it with `zstd -d --long=31`".to_owned()),
        DataError::NothingToLearn { .. } => Some(" with --max-seq-len".to_owned()),
        _ => None,
    }
}

fn task(error: &TaskError) -> Option<String> {
    match error {
        TaskError::NotInFolder { .. } => Some(", or leave --data out to fetch it".to_owned()),
        TaskError::Offline { .. } => Some(format!("; run once without --offline{ELSEWHERE}")),
        TaskError::Damaged { .. } => Some("; run once without --offline".to_owned()),
        TaskError::Listing { .. } => Some(ELSEWHERE.to_owned()),
        TaskError::NotOnHub { .. } => Some(" and give --data".to_owned()),
        _ => None,
    }
}

fn core(error: &CoreError) -> Option<String> {
    match error {
        CoreError::MissingTasks { missing, of, .. } if missing.len() < *of => Some("; evaluate the others with --available".to_owned()),
        CoreError::Unreadable { room, .. } => Some(format!(": --crop {room}")),
        _ => None,
    }
}

fn tokenizer(error: &TokenizerError) -> Option<String> {
    match error {
        TokenizerError::Missing { .. } => Some("; run `nc-core tokenizer train` first".to_owned()),
        TokenizerError::VocabularyBeyondReach { .. } => Some(format!(": use --vocab-size {LARGEST_VOCABULARY} or less")),
        TokenizerError::VocabularyTooLarge { possible, .. } => Some(format!(": use --vocab-size {possible} or less, or more text")),
        _ => None,
    }
}

fn download(error: &DownloadError) -> Option<String> {
    match error {
        DownloadError::Locked { .. } => Some(", or choose another folder with --out".to_owned()),
        DownloadError::Different { .. } => Some(" (--base-url)".to_owned()),
        _ => None,
    }
}

fn synth(error: &SynthError) -> Option<String> {
    match error {
        SynthError::Present { .. } | SynthError::Busy { .. } => Some(", or choose another file with --out".to_owned()),
        _ => None,
    }
}

fn endpoint(error: &EndpointError) -> Option<String> {
    let advice = match error {
        EndpointError::Address(_) => " with --endpoint",
        EndpointError::Secret(_) => " with --key-env or --key-file",
        EndpointError::NoKey { .. } | EndpointError::KeyNeeded { .. } => ", with --key-env or --key-file",
        EndpointError::KeyFile(_) => "; name another with --key-file",
        EndpointError::Nonsense { .. } => " with --model",
        EndpointError::Refused { status: 300..=399, .. } => " with --endpoint",
        EndpointError::Refused { status: 400 | 422, .. } => " (--model)",
        EndpointError::Refused { status: 401..=403, .. } => return None,
        EndpointError::Refused { .. } => " (--endpoint, --model)",
        _ => return None,
    };
    Some(advice.to_owned())
}

fn import(error: &ImportError) -> Option<String> {
    match error {
        ImportError::Exists { .. } => Some(" with --name".to_owned()),
        _ => None,
    }
}

fn hub(error: &HubError) -> Option<String> {
    match error {
        HubError::Offline { .. } => Some("; run once without --offline".to_owned()),
        _ => None,
    }
}

fn export(error: &ExportError) -> Option<String> {
    match error {
        ExportError::NotClassic | ExportError::Windows { .. } => Some(": use --format safetensors".to_owned()),
        ExportError::NoTokenizer { .. } => Some(": --tokenizer FILE".to_owned()),
        ExportError::TooLarge { .. } => Some(": use --dtype bf16 or f32".to_owned()),
        _ => None,
    }
}

fn bench(error: &FilesError) -> String {
    match error {
        FilesError::Exists { .. } => ": add --force to replace it, or choose another folder with --to".to_owned(),
        FilesError::Refused { .. } => "; choose another with --to".to_owned(),
    }
}

fn python(error: &PythonError) -> Option<String> {
    match error {
        PythonError::Missing { .. } | PythonError::Unsuitable { .. } => Some("; `nc-core data download python` fetches one".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Failure;

    fn said(error: impl Error + 'static) -> String {
        Failure::from(error).to_string()
    }

    #[test]
    fn sentences_end_with_what_to_type() {
        let full = || GpuError::OutOfMemory { label: "a".into(), bytes: 2, in_use: 1 };
        let expected = "out of GPU memory: a needs 2 bytes and 1 bytes are in use; use a smaller batch or a smaller model (--device-batch-size, --depth)";
        assert_eq!(said(full()), expected);
        // However many transparent errors are nested.
        assert_eq!(said(ChatError::Engine(EngineError::Gpu(full()))), expected);
        assert_eq!(said(TrainError::Gpu(full())), expected);
        let missing = TokenizerError::Documents(Box::new(DataError::NotFound { path: "a.txt".into() }));
        assert!(said(missing).ends_with("or a folder of them (`nc-core data download` fetches one)"));
        let busy = DownloadError::Locked { folder: "a".into(), pid: None };
        let busy = TaskError::Download { task: "gsm8k", source: busy };
        assert_eq!(
            said(busy),
            "gsm8k could not be fetched: another download is writing to a; wait for it, or choose another folder with --out"
        );
    }

    #[test]
    fn options_are_spelled_as_they_are_typed() {
        let bad = TrainError::BadOption { option: "device_batch_size", value: "0".into(), must: "at least 1" };
        assert_eq!(said(bad), "--device-batch-size is 0; it must be at least 1");
        let top_k = ChatError::Engine(EngineError::TopK { top_k: 9, vocab_size: 5 });
        assert_eq!(said(top_k), "--top-k is 9; it must be at most the 5 tokens of the vocabulary; 0 draws from all");
        let unused = ImportError::NotApplicable { option: "model_tag", kind: "a run of nc-core" };
        assert_eq!(said(unused), "--model-tag does not apply to a run of nc-core");
        let indivisible = said(TrainError::Indivisible { total: 100, batch: 3, seq: 32 });
        assert!(indivisible.starts_with("--total-batch-size 100 is not a multiple of --device-batch-size 3 × --max-seq-len 32 = 96"));
    }
}
