//! nanochat's desktop app: chat with models that were trained or imported here, with no network at all.
//!
//! The pages in `ui/` draw; everything else happens here. They may call the commands of `commands`, each granted by
//! name, and nothing else: no file, no address, no other plugin.

mod commands;
mod desktop;
mod dialogs;
mod error;
mod files;
mod limits;
mod lock;
mod models;
mod sandbox;
mod store;
mod train;
mod transcript;
mod types;
mod window;
mod worker;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use nc_core::checkpoint::home::Home;
use tauri::{Context, Manager, RunEvent, Runtime};

use desktop::{Desktop, NotStarted, Surroundings, data_folder};
use error::{AppError, AppResult, ErrorCode};
use lock::Instance;
use store::{Opening, Store};

/// Runs the program: the app, or with `train::CHILD_ARGUMENT` the process that trains.
pub fn run() -> ExitCode {
    // Without the fault's words: they may hold what was being read.
    std::panic::set_hook(Box::new(|fault| match fault.location() {
        Some(place) => eprintln!("nanochat: a fault at {place}"),
        None => eprintln!("nanochat: a fault"),
    }));
    prepare_environment();
    if !cfg!(feature = "e2e")
        && let Err(refused) = sandbox::enter()
    {
        return fail(&refused);
    }
    if std::env::args().nth(1).as_deref() == Some(train::CHILD_ARGUMENT) {
        return train::child_main();
    }
    match start() {
        Ok(code) => code,
        Err(error) => fail(error.as_ref()),
    }
}

/// Says on stderr why there is no window.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("nanochat: {error}");
    ExitCode::from(2)
}

/// What libraries take from the environment, before there is any other thread.
fn prepare_environment() {
    let missing = |names: &[&str]| names.iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty()));
    let mut wanted = Vec::new();
    // Mesa's device-select layer looks for a desktop to choose a GPU by; we choose by ourselves.
    if missing(&["NODEVICE_SELECT"]) {
        wanted.push(("NODEVICE_SELECT", "1"));
    }
    // Without a locale WebKit calls the language "C", which no date or number can be written in.
    if cfg!(target_os = "linux") && missing(&["LC_ALL", "LC_MESSAGES", "LANG"]) {
        wanted.push(("LANG", "en_US.UTF-8"));
    }
    for (name, value) in wanted {
        // SAFETY: nothing else runs yet.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The configuration and the pages, as they were built in.
fn context<R: Runtime>() -> Context<R> {
    tauri::generate_context!()
}

/// The folder of models and conversations, and that nobody else uses it. None if another instance does.
fn place() -> AppResult<Option<(Home, Instance)>> {
    let home = Home::locate()?;
    let folder = data_folder(&home);
    let refused = |error: std::io::Error| {
        let message = format!(
            "nanochat cannot keep anything in {}. Make that folder writable, or name another one by the variable NC_HOME.",
            folder.display()
        );
        AppError::because(ErrorCode::Io, message, &error)
    };
    let instance = Instance::take(&folder).map_err(refused)?;
    Ok(instance.map(|instance| (home, instance)))
}

/// Starts all that works behind the window.
fn begin(app: &tauri::App, home: Home, instance: Instance, store: Opening) -> AppResult<()> {
    let handle = app.handle().clone();
    let surroundings = Surroundings {
        home,
        store,
        resources: app.path().resource_dir().ok(),
        program: std::env::current_exe()?,
        dialogs: Box::new(dialogs::System { app: handle.clone() }),
        quit: Box::new(move || handle.exit(0)),
    };
    app.manage(Desktop::open(surroundings)?);
    let handle = app.handle().clone();
    instance.watch(move || window::show(&handle))?;
    app.manage(instance);
    Ok(())
}

fn start() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let place = match place() {
        Ok(Some(place)) => Ok(place),
        Ok(None) => {
            eprintln!("nanochat is running already; its window is being shown.");
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => Err(error),
    };
    commands::use_threads();
    let builder = tauri::Builder::default()
        .invoke_handler(commands::handler())
        .setup(move |app| {
            let opening = place.and_then(|(home, instance)| Ok((Store::opening(data_folder(&home))?, home, instance)));
            // Checking a large database takes as long as the web view takes to start.
            let window = window::make(app)?;
            // The window opens all the same: who starts the app from a menu sees no stderr.
            if let Err(error) = opening.and_then(|(store, home, instance)| begin(app, home, instance, store)) {
                eprintln!("nanochat: {error}");
                app.manage(NotStarted(error));
            }
            Ok(window::open(&window)?)
        })
        .on_window_event(window::on_event);
    // Where there is no display, the library gives up in its own way.
    let built = catch_unwind(AssertUnwindSafe(|| builder.build(context())));
    let app = built.map_err(|_| "no window can be opened here: is there a display?")??;
    let handle = app.handle().clone();
    let code = app.run_return(|handle, event| {
        if let RunEvent::Exit = event
            && let Some(desktop) = handle.try_state::<Desktop>()
        {
            desktop.close();
        }
    });
    if handle.try_state::<NotStarted>().is_some() {
        return Ok(ExitCode::from(2));
    }
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
