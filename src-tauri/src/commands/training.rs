//! Training.

use tauri::ipc::Channel;

use super::App;
use super::models::check_name;
use crate::dialogs::Kind;
use crate::error::{AppError, AppResult};
use crate::limits::{LIMITS, MODEL_NAME_CHARS};
use crate::train::{self, Order};
use crate::types::{Budget, PickedFile, TrainData, TrainEvent, TrainHistory, TrainPlan, TrainRequest, TrainRun};

/// Files of text to train on.
const TEXT: Kind = ("Text", &["txt", "jsonl", "ndjson", "parquet", "gz", "zst"]);

/// Files of a request at most.
const MOST_FILES: usize = 1000;

/// What the name of the base model's run may be at most, for the fine-tuned one's to be a name too.
const NAME_CHARS: usize = MODEL_NAME_CHARS - "-chat".len();

/// Asks the person for text to train on.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_pick_data(app: App<'_>, folder: bool) -> AppResult<Option<PickedFile>> {
    let picked = if folder { app.dialogs.open_folder() } else { app.dialogs.open(TEXT) };
    picked.map(|path| app.files.add(&path)).transpose()
}

/// What a request would make, and whether it can.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_plan(app: App<'_>, request: TrainRequest) -> AppResult<TrainPlan> {
    let order = order(&app, &request)?;
    let mut plan = train::plan(&app.gpus.open()?, app.gpus.memory(), &order)?;
    let taken = order.names().iter().find_map(|name| nc_core::checkpoint::Run::check_vacant(&app.home, name).err());
    plan.problem = plan.problem.or(taken.map(AppError::from));
    Ok(plan)
}

/// Starts a run.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_start(app: App<'_>, request: TrainRequest) -> AppResult<TrainRun> {
    let order = order(&app, &request)?;
    app.trainer.start(order)
}

/// Hears of the current run: first all that happened so far, then what happens.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_watch(app: App<'_>, channel: Channel<TrainEvent>) -> Option<TrainRun> {
    app.trainer.watch(Box::new(move |event| drop(channel.send(event))))
}

/// Has the run finish its step and wait.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_pause(app: App<'_>) -> AppResult<TrainRun> {
    app.trainer.pause()
}

/// Goes on with a run.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_resume(app: App<'_>, name: Option<String>) -> AppResult<TrainRun> {
    app.trainer.resume(name.as_deref())
}

/// Has the run finish its step and end.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_stop(app: App<'_>) -> AppResult<TrainRun> {
    app.trainer.stop()
}

/// Runs that can be gone on with.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_runs(app: App<'_>) -> Vec<TrainRun> {
    app.trainer.runs()
}

/// The curves of a model.
#[tauri::command(async, rename_all = "snake_case")]
pub fn train_history(app: App<'_>, name: String) -> AppResult<TrainHistory> {
    check_name(&name)?;
    Ok(app.trainer.history(&name))
}

/// A request, checked, with its tokens turned into files.
fn order(app: &App<'_>, request: &TrainRequest) -> AppResult<Order> {
    check_name(&request.name)?;
    if request.name.len() > NAME_CHARS {
        return Err(AppError::bad_input(format!("The name has more than {NAME_CHARS} characters.")));
    }
    let limits = &LIMITS.train;
    limits.depth.check("The depth", request.depth as f64)?;
    limits.context.check("The context", request.context as f64)?;
    limits.seed.check("The seed", request.seed as f64)?;
    match request.budget {
        Budget::Steps { steps } => limits.steps.check("The number of steps", steps as f64)?,
        Budget::Tokens { tokens } => limits.tokens.check("The number of tokens", tokens as f64)?,
        Budget::Minutes { minutes } => limits.minutes.check("The time", minutes)?,
    }
    let missing = || AppError::not_found("The files that come with the app are missing; install it again, or choose your own text.");
    let data = match &request.data {
        TrainData::Shipped {} => vec![app.assets.corpus().ok_or_else(missing)?],
        TrainData::Picked { tokens } if tokens.is_empty() || tokens.len() > MOST_FILES => {
            return Err(AppError::bad_input(format!("Choose between 1 and {MOST_FILES} files to train on.")));
        }
        TrainData::Picked { tokens } => tokens.iter().map(|token| app.files.path(token)).collect::<Result<_, _>>()?,
    };
    let conversations = if request.chat { Some(app.assets.conversations().ok_or_else(missing)?) } else { None };
    Ok(Order {
        home: app.home.root().to_owned(),
        gpu: app.gpus.argument(),
        name: request.name.clone(),
        depth: request.depth,
        context: request.context,
        data,
        conversations,
        budget: request.budget,
        seed: request.seed,
    })
}
