//! Detects what a path contains.

use std::fs;
use std::path::Path;

use super::shards::Shards;
use super::{Found, ImportError, Options, experiment, hugging_face, json, nanochat, own_run};

/// Finds the model at `path` and checks it, except for the values of its weights. Writes nothing.
///
/// # Errors
/// If there is no model, nc-core cannot run it, a file is damaged, the tokenizer belongs to another model, or an
/// option does not apply.
pub fn open(path: &Path, options: &Options) -> Result<Found, ImportError> {
    let data = fs::metadata(path).map_err(ImportError::io(path))?;
    if data.is_file() {
        return match nanochat::step_of(path) {
            Some(step) => nanochat::open_file(path, step, options),
            None => Err(unknown(path, "it is a file of another name; give the folder that it is in")),
        };
    }
    if !data.is_dir() {
        return Err(unknown(path, "it is neither a folder nor a plain file"));
    }
    let config = path.join(hugging_face::CONFIG_FILE);
    let has_config = config.symlink_metadata().is_ok();
    if has_config && path.join("checkpoints").is_dir() {
        return own_run::open(path, options);
    }
    if has_config && (Shards::are_in(path) || !nanochat::is_model(path)) {
        let found: hugging_face::ModelType = json::read(&config)?;
        return match found.model_type.as_deref() {
            Some("nanochat" | "nc-core") if !Shards::are_in(path) => {
                Err(ImportError::refused(path, "has a config.json, but neither model.safetensors nor an index of several"))
            }
            Some("nanochat") => hugging_face::open(path, options),
            Some("nc-core") => hugging_face::open_exported(path, options),
            Some(other) => {
                Err(ImportError::refused(&config, format!("is of the model type {other:?}; nc-core imports the type \"nanochat\"")))
            }
            None => Err(ImportError::refused(&config, "has no model_type, and there is no checkpoints/ beside it")),
        };
    }
    if nanochat::is_model(path) {
        nanochat::open_model(path, options)
    } else if nanochat::is_base(path) {
        nanochat::open_base(path, options)
    } else if let Some(found) = experiment::open(path, options)? {
        Ok(found)
    } else if nanochat::is_stage(path) {
        nanochat::open_stage(path, options)
    } else {
        Err(unknown(path, &contents(path)?))
    }
}

fn unknown(path: &Path, found: &str) -> ImportError {
    ImportError::Unknown { path: path.to_path_buf(), found: found.to_owned() }
}

/// The contents of a folder, as text.
fn contents(folder: &Path) -> Result<String, ImportError> {
    const SHOWN: usize = 5;
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(ImportError::io(folder))? {
        names.push(entry.map_err(ImportError::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(match names.len() {
        0 => "it is empty".to_owned(),
        count if count <= SHOWN => format!("there is {}", names.join(", ")),
        count => format!("there are {} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    })
}
