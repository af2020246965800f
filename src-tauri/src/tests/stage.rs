//! The app with a window that is not drawn.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nc_core::checkpoint::home::Home;
use serde_json::Value;
use tauri::ipc::{CallbackFn, InvokeBody};
use tauri::test::{INVOKE_KEY, MockRuntime, get_ipc_response, mock_builder};
use tauri::webview::InvokeRequest;
use tauri::{App, Manager, WebviewWindow, WebviewWindowBuilder};

use crate::commands;
use crate::desktop::{Desktop, Surroundings, data_folder};
use crate::dialogs::{Dialogs, Kind};
use crate::store::Store;

/// A person who chooses what the test says.
#[derive(Clone, Default)]
pub struct Person {
    /// What is chosen next; none closes the dialog.
    pub choice: Arc<Mutex<Option<PathBuf>>>,
}

impl Dialogs for Person {
    fn open(&self, _kind: Kind) -> Option<PathBuf> {
        self.choice.lock().unwrap().clone()
    }
    fn open_folder(&self) -> Option<PathBuf> {
        self.choice.lock().unwrap().clone()
    }
    fn save(&self, name: &str, _kind: Kind) -> Option<PathBuf> {
        self.choice.lock().unwrap().as_ref().map(|folder| folder.join(name))
    }
}

/// The app.
pub struct Stage {
    pub folder: tempfile::TempDir,
    pub app: App<MockRuntime>,
    pub window: WebviewWindow<MockRuntime>,
    pub person: Person,
}

impl Stage {
    pub fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    pub fn in_folder(folder: tempfile::TempDir) -> Self {
        let person = Person::default();
        Self { person: person.clone(), ..Self::with_dialogs(folder, Box::new(person)) }
    }

    pub fn with_dialogs(folder: tempfile::TempDir, dialogs: Box<dyn Dialogs>) -> Self {
        commands::use_threads();
        let app = mock_builder().invoke_handler(commands::handler()).build(crate::context()).unwrap();
        let desktop = Desktop::open(Surroundings {
            home: Home::at(folder.path()),
            store: Store::opening(data_folder(&Home::at(folder.path()))).unwrap(),
            resources: None,
            program: "/bin/false".into(),
            dialogs,
            quit: Box::new(|| {}),
        });
        app.manage(desktop.unwrap());
        let window = WebviewWindowBuilder::new(&app, "main", Default::default()).build().unwrap();
        Self { folder, app, window, person: Person::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn desktop(&self) -> tauri::State<'_, Desktop> {
        self.app.state::<Desktop>()
    }

    /// Calls a command as the page does.
    pub fn call(&self, command: &str, arguments: Value) -> Result<Value, Value> {
        call(&self.window, "tauri://localhost", command, arguments)
    }
}

/// Calls a command as a page at `url` in `window` does.
pub fn call(window: &WebviewWindow<MockRuntime>, url: &str, command: &str, arguments: Value) -> Result<Value, Value> {
    let request = InvokeRequest {
        cmd: command.into(),
        callback: CallbackFn(0),
        error: CallbackFn(1),
        url: url.parse().unwrap(),
        body: InvokeBody::Json(arguments),
        headers: Default::default(),
        invoke_key: INVOKE_KEY.to_string(),
    };
    get_ipc_response(window, request).map(|body| body.deserialize().unwrap())
}
