//! What the pages may ask for: thin functions, each of which checks what it is handed.

pub mod app;
pub mod conversations;
pub mod messages;
pub mod models;
pub mod training;

use std::sync::Once;

use tauri::ipc::Invoke;
use tauri::{Runtime, State};

use crate::desktop::Desktop;

/// Commands that may wait at a time: for a person in front of a dialog, for a model that is loaded or imported.
const THREADS: usize = 32;

/// Has commands run on threads of our own number. By default there are as many as processors, and on a small machine one
/// open dialog and one model on its way would leave nobody to stop an answer.
pub fn use_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).thread_name("commands").enable_all().build();
        // Where the system has not that many to give, there are the default ones.
        if let Ok(runtime) = runtime {
            tauri::async_runtime::set(runtime.handle().clone());
            // It ends with the process.
            std::mem::forget(runtime);
        }
    });
}

/// The app, as commands are handed it.
pub type App<'a> = State<'a, Desktop>;

/// Answers what the pages ask. Which of them may ask is said in `capabilities/`.
pub fn handler<R: Runtime>() -> impl Fn(Invoke<R>) -> bool + Send + Sync + 'static {
    tauri::generate_handler![
        app::app_start,
        app::app_events,
        app::app_close,
        app::settings_get,
        app::settings_set,
        app::limits,
        app::about,
        app::licences,
        conversations::conversations_list,
        conversations::conversations_search,
        conversations::conversation_create,
        conversations::conversation_get,
        conversations::conversation_rename,
        conversations::conversation_pin,
        conversations::conversation_settings,
        conversations::conversation_delete,
        conversations::conversation_undelete,
        conversations::conversation_export,
        conversations::conversations_import,
        messages::message_send,
        messages::message_regenerate,
        messages::message_edit,
        messages::message_choose,
        messages::message_attach,
        messages::message_stop,
        models::models_list,
        models::model_load,
        models::model_unload,
        models::model_format_set,
        models::model_delete,
        models::model_pick,
        models::model_inspect,
        models::model_import,
        models::import_cancel,
        models::model_install_shipped,
        models::shipped_model,
        models::gpus_list,
        models::gpu_choose,
        training::train_pick_data,
        training::train_plan,
        training::train_start,
        training::train_watch,
        training::train_pause,
        training::train_resume,
        training::train_stop,
        training::train_runs,
        training::train_history,
    ]
}
