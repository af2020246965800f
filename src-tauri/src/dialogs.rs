//! The dialogs by which a person chooses files. They are the system's own: the pages have no part in them.

use std::path::PathBuf;
use std::sync::mpsc;

use rfd::AsyncFileDialog;
use tauri::{AppHandle, Manager, Runtime};

/// Kinds of files that a dialog shows: a name and the endings.
pub type Kind = (&'static str, &'static [&'static str]);

/// How the person is asked for files. Each waits for the answer; none means that the dialog was closed.
pub trait Dialogs: Send + Sync {
    /// A file to open.
    fn open(&self, kind: Kind) -> Option<PathBuf>;
    /// A folder to open.
    fn open_folder(&self) -> Option<PathBuf>;
    /// A file to write, with a name to begin with.
    fn save(&self, name: &str, kind: Kind) -> Option<PathBuf>;
}

/// The system's dialogs over the app's window.
pub struct System<R: Runtime> {
    /// The app.
    pub app: AppHandle<R>,
}

impl<R: Runtime> System<R> {
    /// Shows a dialog from the main thread, where some systems insist on it, and waits elsewhere.
    fn show<F>(&self, show: impl FnOnce(AsyncFileDialog) -> F + Send + 'static) -> Option<PathBuf>
    where
        F: Future<Output = Option<rfd::FileHandle>> + Send + 'static,
    {
        let (answered, answer) = mpsc::channel();
        let window = self.app.get_webview_window("main");
        let on_main = move || {
            let mut dialog = AsyncFileDialog::new();
            if let Some(window) = &window {
                dialog = dialog.set_parent(window);
            }
            let future = show(dialog);
            tauri::async_runtime::spawn(async move {
                let _ = answered.send(future.await.map(|file| file.path().to_owned()));
            });
        };
        self.app.run_on_main_thread(on_main).ok()?;
        answer.recv().ok().flatten()
    }
}

impl<R: Runtime> Dialogs for System<R> {
    fn open(&self, (name, endings): Kind) -> Option<PathBuf> {
        self.show(move |dialog| dialog.add_filter(name, endings).pick_file())
    }

    fn open_folder(&self) -> Option<PathBuf> {
        self.show(|dialog| dialog.pick_folder())
    }

    fn save(&self, file: &str, (name, endings): Kind) -> Option<PathBuf> {
        let file = file.to_owned();
        self.show(move |dialog| dialog.add_filter(name, endings).set_file_name(file).save_file())
    }
}
