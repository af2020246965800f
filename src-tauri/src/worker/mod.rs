//! The thread that owns the model: it loads, answers, and lets go. Commands hand it jobs and return at once.
//!
//! An engine borrows its model, so the model lives on this thread's stack: a job that needs another model ends the loop
//! in which the present one lives, and begins the next. A panic in the engine ends the answer, not the app.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

use nc_core::checkpoint::home::Home;
use nc_core::engine::{Chat, Engine};

use crate::error::{AppError, AppResult, ErrorCode};
use crate::models::{Gpus, Loaded};
use crate::store::{Begun, Store};
use crate::types::{AnswerEvent, AppEvent, Id, LoadState, Loading};

mod answer;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod tests;

/// Who hears of an answer. False when nobody does any more.
pub type Listener = Box<dyn Fn(AnswerEvent) + Send>;

/// Who hears of the app.
pub type Tell = Arc<dyn Fn(AppEvent) + Send + Sync>;

/// What the thread is asked to do.
enum Job {
    Load { model: String, reply: Sender<AppResult<LoadState>> },
    Unload { reply: Sender<()> },
    Answer { begun: Box<Begun>, model: String, cancel: Arc<AtomicBool> },
}

/// What everybody may know of the thread.
#[derive(Default)]
struct Status {
    load: LoadState,
    active: Option<Active>,
}

/// The answer that is being written.
struct Active {
    /// Its message; none before it is stored.
    message: Option<Id>,
    cancel: Arc<AtomicBool>,
    listener: Option<Listener>,
}

/// What the thread works with.
struct Shared {
    store: Arc<Store>,
    home: Home,
    gpus: Arc<Gpus>,
    tell: Tell,
    status: Mutex<Status>,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Tells whoever listens to the answer.
    fn say(&self, event: AnswerEvent) {
        if let Some(listener) = self.status().active.as_ref().and_then(|active| active.listener.as_ref()) {
            listener(event);
        }
    }

    /// Tells everybody how loading stands.
    fn set_load(&self, load: LoadState) {
        self.status().load = load.clone();
        (self.tell)(AppEvent::LoadState { state: load });
    }
}

/// The handle of the thread.
pub struct Worker {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
}

/// Leave to begin an answer: there is only one at a time.
pub struct Turn<'a> {
    worker: &'a Worker,
    cancel: Arc<AtomicBool>,
    used: bool,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: Arc<Store>, home: Home, gpus: Arc<Gpus>, tell: Tell) -> AppResult<Self> {
        let shared = Arc::new(Shared { store, home, gpus, tell, status: Mutex::default() });
        let (jobs, queue) = mpsc::channel();
        let own = shared.clone();
        std::thread::Builder::new().name("engine".into()).spawn(move || work(&own, &queue))?;
        Ok(Self { shared, jobs })
    }

    /// How loading stands.
    pub fn load_state(&self) -> LoadState {
        self.shared.status().load.clone()
    }

    /// The message that is being written.
    pub fn answering(&self) -> Option<Id> {
        self.shared.status().active.as_ref().and_then(|active| active.message)
    }

    /// Loads a model, and waits until that is done.
    pub fn load(&self, model: &str) -> AppResult<LoadState> {
        self.refuse_while_answering()?;
        let (reply, answer) = mpsc::channel();
        self.send(Job::Load { model: model.to_owned(), reply })?;
        answer.recv().map_err(|_| gone())?
    }

    /// Takes the model from the GPU, and waits until that is done.
    pub fn unload(&self) -> AppResult<()> {
        self.refuse_while_answering()?;
        let (reply, answer) = mpsc::channel();
        self.send(Job::Unload { reply })?;
        answer.recv().map_err(|_| gone())
    }

    /// Reserves the thread for an answer, so that nothing is stored which it has no time for.
    pub fn reserve(&self) -> AppResult<Turn<'_>> {
        let mut status = self.shared.status();
        if status.active.is_some() {
            return Err(busy());
        }
        let cancel = Arc::new(AtomicBool::new(false));
        status.active = Some(Active { message: None, cancel: cancel.clone(), listener: None });
        Ok(Turn { worker: self, cancel, used: false })
    }

    /// Ends the answer `message` before its next token.
    pub fn stop(&self, message: Id) {
        if let Some(active) = self.shared.status().active.as_ref().filter(|active| active.message == Some(message)) {
            active.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Ends whatever is being written.
    pub fn stop_all(&self) {
        if let Some(active) = self.shared.status().active.as_ref() {
            active.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Hands the answer `message` to another listener, and gives the message as it stands: what the listener hears comes
    /// after it, nothing twice and nothing left out.
    pub fn attach(&self, message: Id, listener: Listener) -> AppResult<crate::types::Message> {
        // While this is held no event is sent, and each is stored before it is sent; but one may be stored and not yet
        // sent. The writer stores and sends under this lock too.
        let mut status = self.shared.status();
        let active = status.active.as_mut().filter(|active| active.message == Some(message));
        let active = active.ok_or_else(|| AppError::not_found("This answer is not being written any more."))?;
        let (_, stored) = self.shared.store.message(message)?;
        active.listener = Some(listener);
        Ok(stored)
    }

    /// Refuses what cannot be done while an answer is being written.
    pub fn refuse_while_answering(&self) -> AppResult<()> {
        if self.shared.status().active.is_some() { Err(busy()) } else { Ok(()) }
    }

    fn send(&self, job: Job) -> AppResult<()> {
        self.jobs.send(job).map_err(|_| gone())
    }
}

impl Turn<'_> {
    /// Has an answer that is stored written.
    pub fn answer(mut self, begun: Begun, model: &str, listener: Listener) -> AppResult<()> {
        if let Some(active) = self.worker.shared.status().active.as_mut() {
            active.message = Some(begun.started.assistant.id);
            active.listener = Some(listener);
        }
        self.used = true;
        self.worker.send(Job::Answer { begun: Box::new(begun), model: model.to_owned(), cancel: self.cancel.clone() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.worker.shared.status().active = None;
        }
    }
}

fn busy() -> AppError {
    AppError::busy("An answer is being written; stop it, or wait until it is done.")
}

fn gone() -> AppError {
    AppError::new(ErrorCode::Internal, "The engine's thread has ended; restart nanochat.")
}

/// The thread: with no model, then with one, until the app ends.
fn work(shared: &Shared, queue: &Receiver<Job>) {
    let mut next = queue.recv().ok();
    while let Some(job) = next {
        next = match job {
            Job::Unload { reply } => {
                shared.set_load(LoadState::default());
                let _ = reply.send(());
                queue.recv().ok()
            }
            Job::Load { ref model, .. } | Job::Answer { ref model, .. } => {
                let model = model.clone();
                with_model(shared, queue, &model, job)
            }
        };
    }
}

/// Loads a model and does the jobs that it is good for, `first` before all. Gives the job that needs something else.
fn with_model(shared: &Shared, queue: &Receiver<Job>, model: &str, first: Job) -> Option<Job> {
    if matches!(first, Job::Answer { .. }) {
        shared.say(AnswerEvent::Loading { model: model.to_owned() });
    }
    let loading = LoadState { state: Loading::Begun, model: Some(model.to_owned()), ..LoadState::default() };
    shared.set_load(loading);
    let loaded = guarded(|| {
        let choice = shared.store.format_choice(model)?;
        Loaded::open(&shared.home, &shared.gpus.open()?, model, shared.gpus.memory(), choice)
    });
    let chat = loaded.as_ref().map_err(Clone::clone).and_then(|loaded| {
        let engine = guarded(|| Engine::new(&loaded.gpu, &loaded.model, &loaded.tokenizer).map_err(AppError::from))?;
        Chat::new(engine).map(|chat| (loaded, chat)).map_err(AppError::from)
    });
    match chat {
        Ok((loaded, chat)) => {
            shared.set_load(LoadState {
                state: Loading::Loaded,
                model: Some(loaded.name.clone()),
                gpu: Some(loaded.gpu.info().name.clone()),
                weights: Some(loaded.format),
                memory_bytes: loaded.memory_bytes,
                load_ms: Some(loaded.load_ms),
                error: None,
            });
            serve(shared, queue, loaded, chat, first)
        }
        Err(error) => {
            shared.set_load(LoadState {
                state: Loading::Failed,
                model: Some(model.to_owned()),
                error: Some(error.clone()),
                ..LoadState::default()
            });
            match first {
                Job::Load { reply, .. } => drop(reply.send(Err(error))),
                Job::Answer { begun, model, .. } => answer::fail(shared, &begun, &model, error),
                Job::Unload { reply } => drop(reply.send(())),
            }
            queue.recv().ok()
        }
    }
}

/// Does jobs with the model that is loaded. Gives the first that needs something else.
fn serve(shared: &Shared, queue: &Receiver<Job>, loaded: &Loaded, mut chat: Chat<'_>, first: Job) -> Option<Job> {
    let mut job = first;
    loop {
        match job {
            Job::Load { ref model, ref reply } if *model == loaded.name => drop(reply.send(Ok(shared.status().load.clone()))),
            Job::Answer { ref begun, ref model, ref cancel } if *model == loaded.name => {
                let outcome = guarded(|| answer::write(shared, &mut chat, loaded, begun, cancel));
                if let Err(error) = outcome {
                    answer::fail(shared, begun, model, error.clone());
                    if matches!(error.code, ErrorCode::NoGpu | ErrorCode::Internal) {
                        // What the GPU holds now is anybody's guess: the next job loads the model anew.
                        shared.set_load(LoadState {
                            state: Loading::Failed,
                            model: Some(model.clone()),
                            error: Some(error),
                            ..LoadState::default()
                        });
                        return queue.recv().ok();
                    }
                }
            }
            other => return Some(other),
        }
        job = queue.recv().ok()?;
    }
}

/// Runs something that must not take the thread with it.
fn guarded<T>(run: impl FnOnce() -> AppResult<T>) -> AppResult<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        // Without the panic's words, which may hold what was being read.
        Err(AppError::new(ErrorCode::Internal, "The engine failed unexpectedly. Try again; if it happens again, restart nanochat."))
    })
}
