//! The app's side of training: it starts the child, listens to it, and remembers how each run stands.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use nc_core::checkpoint::home::Home;
use serde::{Deserialize, Serialize};

use super::history::{empty, history};
use super::order::Line;
use super::{CHILD_ARGUMENT, Order};
use crate::error::{AppError, AppResult, ErrorCode};
use crate::store::Store;
use crate::types::{AppEvent, SamplePoint, TrainEvent, TrainHistory, TrainPhase, TrainRun, TrainState, now};
use crate::worker::Tell;

/// The name that runs are kept under in the store.
const KEPT: &str = "training";

/// Samples that are remembered of each run.
const SAMPLES: usize = 200;

/// Who hears of the current run.
pub type Listener = Box<dyn Fn(TrainEvent) + Send>;

/// A run as it is remembered over restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    order: Order,
    run: TrainRun,
    /// What the model wrote, by phase.
    #[serde(default)]
    samples: Vec<(TrainPhase, SamplePoint)>,
}

struct State {
    /// Runs that are not complete, and the current one.
    runs: Vec<Kept>,
    /// Name of the run that was begun or gone on with last.
    current: Option<String>,
    /// Where the child hears: closing it asks it to stop.
    orders: Option<ChildStdin>,
    listener: Option<Listener>,
}

/// Runs one training at a time.
pub struct Trainer {
    store: Arc<Store>,
    home: Home,
    program: PathBuf,
    tell: Tell,
    state: Mutex<State>,
}

impl Trainer {
    /// A trainer that remembers earlier runs. `program` is what is started with [`CHILD_ARGUMENT`].
    pub fn new(store: Arc<Store>, home: Home, program: PathBuf, tell: Tell) -> AppResult<Arc<Self>> {
        let mut runs: Vec<Kept> = store.value(KEPT)?.unwrap_or_default();
        runs.retain(|kept| kept.run.state != TrainState::Finished);
        for kept in runs.iter_mut().filter(|kept| kept.run.state.is_live()) {
            // The app ended meanwhile, and its child finished its step.
            kept.run.state = TrainState::Paused;
        }
        let state = State { runs, current: None, orders: None, listener: None };
        Ok(Arc::new(Self { store, home, program, tell, state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The run in progress, or the one that ended last since the app started.
    pub fn current(&self) -> Option<TrainRun> {
        let state = self.lock();
        let current = state.current.as_ref()?;
        state.runs.iter().find(|kept| kept.run.name == *current).map(|kept| kept.run.clone())
    }

    /// The run in progress.
    pub fn live(&self) -> Option<TrainRun> {
        self.current().filter(|run| run.state.is_live())
    }

    /// Names of the models that are being made.
    pub fn in_progress(&self) -> Vec<String> {
        let state = self.lock();
        state.runs.iter().filter(|kept| kept.run.state.is_live()).flat_map(|kept| kept.order.names()).collect()
    }

    /// All runs that can be gone on with, and the current one.
    pub fn runs(&self) -> Vec<TrainRun> {
        self.lock().runs.iter().rev().map(|kept| kept.run.clone()).collect()
    }

    /// Starts a new run.
    pub fn start(self: &Arc<Self>, order: Order) -> AppResult<TrainRun> {
        for name in order.names() {
            nc_core::checkpoint::Run::check_vacant(&self.home, &name)?;
        }
        let run = TrainRun {
            name: order.name.clone(),
            state: TrainState::Starting,
            phase: TrainPhase::Preparing,
            step: 0,
            steps: None,
            progress: 0.0,
            eta_seconds: None,
            started_at: now(),
            error: None,
            chat_model: None,
        };
        self.launch(Kept { order, run, samples: Vec::new() })
    }

    /// Resumes a run: the current one, or that of this name.
    pub fn resume(self: &Arc<Self>, name: Option<&str>) -> AppResult<TrainRun> {
        let kept = {
            let state = self.lock();
            let name = name.or(state.current.as_deref()).ok_or_else(|| AppError::not_found("There is no run to resume."))?;
            state.runs.iter().find(|kept| kept.run.name == name).cloned()
        };
        let mut kept = kept.ok_or_else(|| AppError::not_found("There is no run of this name to resume."))?;
        if kept.run.state == TrainState::Finished {
            return Err(AppError::bad_input("This run is complete."));
        }
        kept.run = TrainRun { state: TrainState::Starting, phase: TrainPhase::Preparing, error: None, eta_seconds: None, ..kept.run };
        self.launch(kept)
    }

    /// Asks the run to finish its step, save and end, to be gone on with.
    pub fn pause(&self) -> AppResult<TrainRun> {
        self.ask(TrainState::Pausing)
    }

    /// Asks the run to finish its step, save and end.
    pub fn stop(&self) -> AppResult<TrainRun> {
        self.ask(TrainState::Stopping)
    }

    fn ask(&self, asked: TrainState) -> AppResult<TrainRun> {
        let mut state = self.lock();
        let none = || AppError::not_found("Nothing is being trained.");
        let name = state.current.clone().ok_or_else(none)?;
        let kept = state.runs.iter_mut().find(|kept| kept.run.name == name).ok_or_else(none)?;
        kept.run.state = match (kept.run.state, asked) {
            (live, asked) if live.is_live() => asked,
            // One that waits needs nobody to finish anything.
            (TrainState::Paused | TrainState::Crashed | TrainState::Failed, TrainState::Stopping) => TrainState::Stopped,
            _ => return Err(none()),
        };
        let run = kept.run.clone();
        state.orders = None;
        self.save(&state);
        drop(state);
        self.changed(&run);
        Ok(run)
    }

    /// Hands the events of the current run to a listener, which first hears all that happened so far.
    pub fn watch(&self, listener: Listener) -> Option<TrainRun> {
        // Events wait meanwhile, so that none is missed; a step that is in the file already may come twice.
        let mut state = self.lock();
        let kept = state.current.as_ref().and_then(|current| state.runs.iter().find(|kept| kept.run.name == *current));
        let run = kept.map(|kept| kept.run.clone());
        if let Some(kept) = kept {
            listener(TrainEvent::History { history: self.history_of(kept) });
        }
        state.listener = Some(listener);
        run
    }

    /// The curves of any model.
    pub fn history(&self, name: &str) -> TrainHistory {
        match self.lock().runs.iter().find(|kept| kept.run.name == name) {
            Some(kept) => self.history_of(kept),
            None => {
                let described = nc_core::checkpoint::Run::open(&self.home, name).ok();
                let tuned = described.is_some_and(|run| run.config().get("stage").is_some_and(|stage| stage == "sft"));
                let phase = if tuned { TrainPhase::FineTuning } else { TrainPhase::Pretraining };
                history(&self.home, name, &[(name.to_owned(), phase)])
            }
        }
    }

    fn history_of(&self, kept: &Kept) -> TrainHistory {
        let mut runs = vec![(kept.order.name.clone(), TrainPhase::Pretraining)];
        runs.extend(kept.order.chat_name().map(|name| (name, TrainPhase::FineTuning)));
        let mut history = history(&self.home, &kept.order.name, &runs);
        for (phase, sample) in &kept.samples {
            if !history.phases.iter().any(|history| history.phase == *phase) {
                history.phases.push(empty(*phase));
            }
            let phases = history.phases.iter_mut().filter(|history| history.phase == *phase);
            phases.for_each(|history| history.samples.push(sample.clone()));
        }
        history
    }

    fn launch(self: &Arc<Self>, kept: Kept) -> AppResult<TrainRun> {
        let mut state = self.lock();
        if state.runs.iter().any(|kept| kept.run.state.is_live()) {
            return Err(AppError::busy("A model is being trained already; pause or stop that run first."));
        }
        let mut child = Command::new(&self.program)
            .arg(CHILD_ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| AppError::because(ErrorCode::Internal, "The program that trains could not be started.", &error))?;
        let mut orders = child.stdin.take();
        let mut order = serde_json::to_vec(&kept.order).unwrap_or_default();
        order.push(b'\n');
        if let Some(orders) = &mut orders {
            // A child that has ended already says why below.
            let _ = orders.write_all(&order).and_then(|()| orders.flush());
        }
        let run = kept.run.clone();
        state.runs.retain(|other| other.run.name != run.name);
        state.runs.push(kept);
        state.current = Some(run.name.clone());
        state.orders = orders;
        self.save(&state);
        drop(state);
        let own = self.clone();
        std::thread::Builder::new().name("training".into()).spawn(move || own.listen(child))?;
        self.changed(&run);
        Ok(run)
    }

    /// Listens to the child until it ends, and finds out why.
    fn listen(&self, mut child: Child) {
        let mut last = None;
        let lines = child.stdout.take().map(BufReader::new);
        for line in lines.into_iter().flat_map(|lines| lines.lines().map_while(Result::ok)) {
            match serde_json::from_str(&line) {
                Ok(Line::Event { event }) => self.heard(event),
                Ok(Line::Phase { phase }) => self.update(|run| {
                    *run = TrainRun { phase, step: 0, steps: None, progress: 0.0, eta_seconds: None, ..run.clone() };
                    if run.state == TrainState::Starting {
                        run.state = TrainState::Running;
                    }
                }),
                Ok(end) => last = Some(end),
                // Drivers print what they like.
                Err(_) => {}
            }
        }
        let status = child.wait();
        self.update(|run| {
            let asked = run.state;
            run.eta_seconds = None;
            match last {
                Some(Line::End { complete: true }) => run.state = TrainState::Finished,
                Some(Line::End { .. }) if asked == TrainState::Stopping => run.state = TrainState::Stopped,
                Some(Line::End { .. }) => run.state = TrainState::Paused,
                Some(Line::Failed { error }) => (run.state, run.error) = (TrainState::Failed, Some(error)),
                _ => {
                    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    let message = "Training ended unexpectedly. It can be resumed from its last checkpoint.";
                    run.state = TrainState::Crashed;
                    run.error = Some(AppError { detail: how, ..AppError::new(ErrorCode::Internal, message) });
                }
            }
        });
        self.lock().orders = None;
        (self.tell)(AppEvent::ModelsChanged);
    }

    fn heard(&self, event: TrainEvent) {
        let mut state = self.lock();
        let current = state.current.clone();
        if let Some(kept) = state.runs.iter_mut().find(|kept| Some(&kept.run.name) == current.as_ref()) {
            match &event {
                TrainEvent::Started { step, steps, .. } => (kept.run.step, kept.run.steps) = (*step, *steps),
                TrainEvent::Step { point, progress, eta_seconds, .. } => {
                    (kept.run.step, kept.run.progress) = (point.step + 1, *progress);
                    kept.run.eta_seconds = Some(*eta_seconds).filter(|seconds| seconds.is_finite());
                }
                TrainEvent::Sample { phase, step, text } if kept.samples.len() < SAMPLES => {
                    kept.samples.push((*phase, SamplePoint { step: *step, text: text.clone() }));
                }
                TrainEvent::Saved { phase: TrainPhase::FineTuning, .. } => kept.run.chat_model = kept.order.chat_name(),
                _ => {}
            }
        }
        let saved = matches!(event, TrainEvent::Saved { .. });
        if saved {
            self.save(&state);
        }
        if let Some(listener) = &state.listener {
            listener(event);
        }
        drop(state);
        if saved {
            (self.tell)(AppEvent::ModelsChanged);
        }
    }

    /// Changes how the current run stands, and tells everybody.
    fn update(&self, change: impl FnOnce(&mut TrainRun)) {
        let mut state = self.lock();
        let current = state.current.clone();
        let Some(kept) = state.runs.iter_mut().find(|kept| Some(&kept.run.name) == current.as_ref()) else { return };
        change(&mut kept.run);
        let run = kept.run.clone();
        self.save(&state);
        drop(state);
        self.changed(&run);
    }

    fn changed(&self, run: &TrainRun) {
        if let Some(listener) = &self.lock().listener {
            listener(TrainEvent::Run { run: run.clone() });
        }
        (self.tell)(AppEvent::Training { run: run.clone() });
    }

    /// Remembers the runs. What cannot be written is not worth ending a run for.
    fn save(&self, state: &State) {
        let _ = self.store.set_value(KEPT, &state.runs);
    }

    /// Forgets the runs that made a model which is being deleted.
    pub fn forget(&self, model: &str) {
        let mut state = self.lock();
        state.runs.retain(|kept| kept.run.state.is_live() || !kept.order.names().iter().any(|name| name == model));
        self.save(&state);
    }
}
