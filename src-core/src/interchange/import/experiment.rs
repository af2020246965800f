//! nanochat's layout since its pull request 800 (July 2026): an experiment is a folder `experiments/NAME/` with
//! `TAG/STAGE/model_NNNNNN.pt`; the older layout has `STAGE_checkpoints/TAG/`.

use std::io;
use std::path::Path;

use super::nanochat::{self, Model, folders_in};
use super::stage::Stage;
use super::{Choice, Found, ImportError, Options, shown_name};

/// Opens what is at `path`, if it is a base folder with experiments, an experiment, or a model with its stages.
pub(super) fn open(path: &Path, options: &Options) -> Result<Option<Found>, ImportError> {
    let stages = stages(path).map_err(ImportError::io(path))?;
    if !stages.is_empty() {
        if options.model_tag.is_some() {
            return Err(ImportError::NotApplicable { option: "model_tag", kind: "the folder of one model" });
        }
        return choose(path, stages, options).map(Some);
    }
    let own = models(path).map_err(ImportError::io(path))?;
    if !own.is_empty() {
        return choose(path, own, options).map(Some);
    }
    let folder = path.join("experiments");
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for experiment in folders_in(&folder).map_err(ImportError::io(&folder))? {
        let models = models(&experiment).map_err(ImportError::io(&experiment))?;
        if !models.is_empty() {
            found.push((experiment, models));
        }
    }
    if found.len() > 1 {
        let names = found.iter().map(|(experiment, _)| shown_name(experiment)).collect::<Vec<_>>().join(", ");
        return Err(ImportError::refused(&folder, format!("holds several experiments, {names}: give the folder of one of them")));
    }
    found.pop().map(|(experiment, models)| choose(&experiment, models, options)).transpose()
}

fn choose(path: &Path, mut models: Vec<Model>, options: &Options) -> Result<Found, ImportError> {
    let there: Vec<Stage> = models.iter().filter_map(|model| model.stage).collect();
    let (stage, note) = Stage::choose(path, &there, options)?;
    models.retain(|model| model.stage == Some(stage));
    Ok(nanochat::open_one(path, models, options)?.with_choice(Choice::Stage, note))
}

/// The models of an experiment with their stages, sorted by name.
fn models(experiment: &Path) -> io::Result<Vec<Model>> {
    let mut models = Vec::new();
    for folder in folders_in(experiment)? {
        models.extend(stages(&folder)?);
    }
    Ok(models)
}

/// The stages of one model.
fn stages(home: &Path) -> io::Result<Vec<Model>> {
    // In the older layout a model may be named `base`.
    if Stage::of_models(home).is_some() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for folder in folders_in(home)? {
        let stage = Stage::in_experiment(&folder);
        if stage.is_some() && nanochat::is_model(&folder) {
            found.push(Model { home: home.to_path_buf(), folder, stage });
        }
    }
    Ok(found)
}
