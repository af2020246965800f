//! All that the commands work with, put together once.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use nc_core::checkpoint::home::Home;
use tauri::ipc::Channel;

use crate::dialogs::Dialogs;
use crate::error::{AppError, AppResult};
use crate::files::Files;
use crate::models::{Assets, Gpus, Importer, sweep};
use crate::store::{Opening, Store};
use crate::train::Trainer;
use crate::types::{AppEvent, Recovered};
use crate::worker::{Tell, Worker};

/// The app behind its window.
pub struct Desktop {
    /// Where models and conversations live.
    pub home: Home,
    /// The conversations.
    pub store: Arc<Store>,
    /// What was wrong with the database at this start.
    pub recovered: Option<Recovered>,
    /// The GPUs.
    pub gpus: Arc<Gpus>,
    /// The thread that owns the model.
    pub worker: Worker,
    /// Training.
    pub trainer: Arc<Trainer>,
    /// Imports of models.
    pub importer: Importer,
    /// Files that the person chose.
    pub files: Files,
    /// What comes with the app.
    pub assets: Assets,
    /// How the person is asked for files.
    pub dialogs: Box<dyn Dialogs>,
    /// Ends the app.
    pub quit: Box<dyn Fn() + Send + Sync>,
    /// Whether the window was to be closed, and the page was told.
    pub closing: AtomicBool,
    events: Arc<Events>,
}

/// Why there is no [`Desktop`]: the window shows it instead.
pub struct NotStarted(pub AppError);

/// What [`Desktop::open`] needs from its surroundings.
pub struct Surroundings {
    /// Where models and conversations live.
    pub home: Home,
    /// The conversations there.
    pub store: Opening,
    /// The folder of the installed app's resources.
    pub resources: Option<PathBuf>,
    /// What is started to train.
    pub program: PathBuf,
    /// How the person is asked for files.
    pub dialogs: Box<dyn Dialogs>,
    /// Ends the app.
    pub quit: Box<dyn Fn() + Send + Sync>,
}

/// Hands events to the page, once it listens.
#[derive(Default)]
struct Events {
    channel: Mutex<Option<Channel<AppEvent>>>,
}

impl Events {
    fn tell(&self, event: AppEvent) {
        if let Some(channel) = self.channel.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_ref() {
            // A page that is gone hears nothing, and asks for everything when it is back.
            let _ = channel.send(event);
        }
    }
}

/// The folder of conversations and settings below the home folder.
pub fn data_folder(home: &Home) -> PathBuf {
    home.root().join("desktop")
}

impl Desktop {
    /// Waits for the conversations and starts the threads.
    pub fn open(surroundings: Surroundings) -> AppResult<Self> {
        let Surroundings { home, store, resources, program, dialogs, quit } = surroundings;
        let (store, recovered) = store.wait()?;
        let store = Arc::new(store);
        sweep(&home);
        let gpus = Arc::new(Gpus::new(store.settings()?.gpu));
        let events = Arc::new(Events::default());
        let heard = events.clone();
        let tell: Tell = Arc::new(move |event| heard.tell(event));
        let worker = Worker::start(store.clone(), home.clone(), gpus.clone(), tell.clone())?;
        let trainer = Trainer::new(store.clone(), home.clone(), program, tell.clone())?;
        // Asking the drivers takes a moment, for which the window need not wait.
        let asked = gpus.clone();
        std::thread::Builder::new().name("gpus".into()).spawn(move || {
            asked.list();
            tell(AppEvent::ModelsChanged);
        })?;
        Ok(Self {
            home,
            store,
            recovered,
            gpus,
            worker,
            trainer,
            importer: Importer::default(),
            files: Files::default(),
            assets: Assets::locate(resources),
            dialogs,
            quit,
            closing: AtomicBool::new(false),
            events,
        })
    }

    /// Tells the page something.
    pub fn tell(&self, event: AppEvent) {
        self.events.tell(event);
    }

    /// Whom the page listens with from now on.
    pub fn listen(&self, channel: Channel<AppEvent>) {
        *self.events.channel.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(channel);
    }

    /// Hands dropped files to the page.
    pub fn dropped(&self, paths: &[PathBuf]) {
        let files = paths.iter().filter_map(|path: &PathBuf| self.files.add(path).ok()).collect();
        self.tell(AppEvent::Dropped { files });
    }

    /// What is to be done before the process ends. Training finishes its step by itself.
    pub fn close(&self) {
        self.worker.stop_all();
        let _ = self.trainer.pause();
        let _ = self.store.purge().and_then(|_| self.store.settle());
    }

    /// The folder of conversations and settings.
    pub fn data_folder(&self) -> PathBuf {
        data_folder(&self.home)
    }
}

/// Writes a file whole or not at all.
pub fn write_file(path: &Path, text: &str) -> AppResult<u64> {
    use std::io::Write;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(text.len() as u64)
}
