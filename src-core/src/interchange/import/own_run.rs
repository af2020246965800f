//! A run of nc-core from elsewhere: its folder has everything, so it is copied, and every hash is checked.

use std::path::Path;

use serde_json::Value;

use super::spelling::{FILES, Spelling};
use super::{Found, ImportError, Options, Weights, run_name};
use crate::checkpoint::{self, Checkpoint, Run, STATE_FILE};
use crate::files::plain::read_at_most;
use crate::model::Config;
use crate::tokenizer::{LARGEST_FILE, Tokenizer};

/// The longest `state.json` that is copied, in bytes: four times the size with a thousand waiting documents of web text. Resuming
/// a run also accepts longer ones.
const LONGEST_STATE: u64 = 24 << 20;

/// A run and its checkpoint, open.
pub(super) struct OwnRun {
    run: Run,
    pub checkpoint: Checkpoint,
    /// `tokenizer.json`, unchanged: its hash is in the checkpoint.
    pub tokenizer_json: Option<String>,
}

impl OwnRun {
    pub fn config(&self) -> &Value {
        self.run.config()
    }

    pub fn step(&self) -> u64 {
        self.checkpoint.step
    }
}

/// Opens a run's folder: the checkpoint of `--step`, or the newest intact one.
pub(super) fn open(folder: &Path, options: &Options) -> Result<Found, ImportError> {
    const KIND: &str = "a run of nc-core";
    let unused = [("source", options.source.is_some()), ("model_tag", options.model_tag.is_some())];
    if let Some((option, _)) = unused.into_iter().find(|(_, given)| *given) {
        return Err(ImportError::NotApplicable { option, kind: KIND });
    }
    let run = Run::at(folder)?;
    let path = folder.join("config.json");
    let model = run.config().get("model").cloned().unwrap_or_default();
    let model: Config =
        serde_json::from_value(model).map_err(|error| ImportError::refused(&path, format!("describes no model: {error}")))?;
    model.validate().map_err(|source| ImportError::Config { path, source })?;

    check_states(&run)?;
    let mut notes = Vec::new();
    let checkpoint = match options.step {
        Some(_) => checkpoint::load(&run, options.step)?,
        None => {
            let (checkpoint, rejected) = checkpoint::load_latest_good(&run)?;
            notes.extend(rejected.iter().map(|rejected| format!("{rejected}; an older one was taken")));
            checkpoint
        }
    };
    let specs = model.param_specs();
    let shapes: Vec<(&str, &[usize])> = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect();
    checkpoint.model.expect(&shapes)?;

    let own = folder.join(FILES[1]);
    let stored = if own.exists() {
        let bytes = read_at_most(&own, LARGEST_FILE).map_err(ImportError::io(&own))?;
        Some(String::from_utf8(bytes).map_err(|_| ImportError::refused(&own, "is not text"))?)
    } else {
        None
    };
    let (tokenizer, tokenizer_json) = match (stored, &options.tokenizer) {
        (Some(json), None) => (Some(Tokenizer::from_json(&json)?), Some(json)),
        (Some(json), Some(given)) => {
            let tokenizer = Tokenizer::from_json(&json)?;
            if Spelling::open(given)?.tokenizer.hash() != tokenizer.hash() {
                let why = "the run has a tokenizer of its own, and this is another".to_owned();
                return Err(ImportError::OtherTokenizer { tokenizer: given.clone(), why });
            }
            (Some(tokenizer), Some(json))
        }
        (None, Some(given)) => {
            let spelling = Spelling::open(given)?;
            spelling.fit(&model)?;
            let json = spelling.tokenizer.to_json();
            (Some(spelling.tokenizer), Some(json))
        }
        (None, None) => (None, None),
    };
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab_size() != model.vocab_size
    {
        let why = format!("it has {} ids and the model {}", tokenizer.vocab_size(), model.vocab_size);
        return Err(ImportError::OtherTokenizer { tokenizer: own, why });
    }
    let name = run_name::name_after(folder);
    Ok(Found {
        model,
        tokenizer,
        name,
        notes,
        choices: Vec::new(),
        weights: Weights::Own(Box::new(OwnRun { run, checkpoint, tokenizer_json })),
    })
}

/// Checks that no `state.json` needs more memory than everything else. Other errors are detected later.
fn check_states(run: &Run) -> Result<(), ImportError> {
    for step in run.steps().map_err(ImportError::io(&run.checkpoints_path()))? {
        let path = run.checkpoint_path(step).join(STATE_FILE);
        if path.metadata().is_ok_and(|data| data.len() > LONGEST_STATE) {
            let problem = format!(
                "is longer than the {LONGEST_STATE} bytes of a state that are copied; train this run further where it is, or export its weights"
            );
            return Err(ImportError::refused(&path, problem));
        }
    }
    Ok(())
}
