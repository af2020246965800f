//! Models from elsewhere: nc-core's readers, with a person who may change their mind.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nc_core::checkpoint::home::Home;
use nc_core::interchange::import::{self, Found, ImportError, Options};
use nc_core::train::{RunConfig, Training};

use super::fit;
use super::memory::{self, Own};
use crate::error::{AppError, AppResult, ErrorCode};
use crate::types::{ImportEvent, ImportPlan};

/// How often progress is told.
const TOLD: Duration = Duration::from_millis(50);

/// Runs one import at a time, and lets it be cancelled.
#[derive(Default)]
pub struct Importer {
    cancel: Mutex<Option<Arc<AtomicBool>>>,
}

/// What an import of `path` would make. Checks all that can be checked without reading weights.
pub fn inspect(path: &Path, gpu_memory: Option<u64>) -> AppResult<ImportPlan> {
    let found = import::open(path, &Options::default())?;
    let model = found.model();
    let own = Own::of(model, &found.specs());
    let weights = memory::choose(model, own, gpu_memory);
    let memory_bytes = memory::inference_memory(model, own, weights);
    Ok(ImportPlan {
        name: found.name().to_owned(),
        format: found.provenance().map_or_else(|| "a run of nc-core".to_owned(), |provenance| provenance.kind.to_string()),
        parameters: model.param_counts().total as u64,
        depth: model.n_layer as u64,
        context: model.sequence_len as u64,
        vocab_size: model.vocab_size as u64,
        file_bytes: own.bytes,
        precision: own.format,
        weights,
        formats: memory::formats(model, own, gpu_memory),
        memory_bytes,
        fit: fit(memory_bytes, gpu_memory),
        warnings: found.notes().to_vec(),
    })
}

/// What unwinds from the middle of writing when the person has cancelled it.
struct Cancelled;

impl Importer {
    /// Imports `path` as the run `name`, whole or not at all. `progress` hears how it gets on.
    pub fn run(&self, home: &Home, path: &Path, name: &str, progress: &mut dyn FnMut(ImportEvent)) -> AppResult<()> {
        let running = self.begin()?;
        let found = import::open(path, &Options::default())?;
        let config = config(&found)?;
        let mut told = Instant::now().checked_sub(TOLD).unwrap_or_else(Instant::now);
        let mut tell = |now: import::Progress| {
            if running.cancel.load(Ordering::Relaxed) {
                // The writer asks nobody whether to go on; on the way out it removes what it has begun.
                resume_unwind(Box::new(Cancelled));
            }
            if told.elapsed() >= TOLD || now.done == now.total {
                told = Instant::now();
                progress(ImportEvent::Progress { stage: "weights".into(), done: now.done, total: now.total });
            }
        };
        match catch_unwind(AssertUnwindSafe(|| found.write(home, name, &config, &mut tell))) {
            Ok(written) => Ok(written.map(drop)?),
            Err(cause) if cause.is::<Cancelled>() => Err(AppError::new(ErrorCode::Cancelled, "The import was cancelled.")),
            Err(_) => Err(AppError::new(ErrorCode::Internal, "The import failed unexpectedly.")),
        }
    }

    /// Ends the import in progress, if there is one.
    pub fn cancel(&self) {
        if let Some(cancel) = self.cancel.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_ref() {
            cancel.store(true, Ordering::Relaxed);
        }
    }

    fn begin(&self) -> AppResult<Running<'_>> {
        let mut cancel = self.cancel.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if cancel.is_some() {
            return Err(AppError::busy("Another model is being imported; wait until it is done, or cancel it."));
        }
        let flag = Arc::new(AtomicBool::new(false));
        *cancel = Some(flag.clone());
        Ok(Running { importer: self, cancel: flag })
    }
}

/// The `config.json` of the run.
fn config(found: &Found) -> AppResult<serde_json::Value> {
    if let Some(own) = found.own_config() {
        return Ok(own.clone());
    }
    let provenance = found.provenance().cloned().ok_or_else(|| AppError::bad_input("The file says nothing of itself."))?;
    let config = RunConfig { model: found.model().clone(), training: Training::Imported(provenance), from: None };
    serde_json::to_value(config).map_err(|error| AppError::because(ErrorCode::Internal, "The model cannot be described.", &error))
}

impl From<ImportError> for AppError {
    fn from(error: ImportError) -> Self {
        let code = match &error {
            ImportError::Unknown { .. } => ErrorCode::Unsupported,
            _ => ErrorCode::BadInput,
        };
        AppError::because(code, error.to_string(), &error)
    }
}

/// An import in progress, until it is dropped.
struct Running<'a> {
    importer: &'a Importer,
    cancel: Arc<AtomicBool>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.importer.cancel.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }
}
