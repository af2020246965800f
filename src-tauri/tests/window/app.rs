//! The app on the screen: started, looked at, and ended in every way.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::screen::Screen;

/// The program: what this test was built with, or any other that is named by the variable `NANOCHAT_BIN`, such as the one
/// that is shipped.
pub fn program() -> PathBuf {
    std::env::var_os("NANOCHAT_BIN").filter(|path| !path.is_empty()).map_or_else(|| env!("CARGO_BIN_EXE_nanochat").into(), PathBuf::from)
}

/// The app, perhaps below another program such as strace.
pub struct App {
    child: Child,
    stderr: PathBuf,
}

impl App {
    /// Starts it and waits for its window.
    #[track_caller]
    pub fn open(screen: &mut Screen) -> Self {
        let app = Self::start(screen, &[] as &[&str], &[]);
        app.wait(screen);
        app
    }

    /// Starts it below `wrapper`, with more variables, and waits for nothing.
    pub fn start(screen: &Screen, wrapper: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Self {
        let program = program();
        let mut line: Vec<&OsStr> = wrapper.iter().map(AsRef::as_ref).collect();
        line.push(program.as_os_str());
        let (file, stderr) = tempfile::NamedTempFile::new_in(screen.home()).unwrap().keep().unwrap();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = screen.on(&mut command).envs(variables.iter().copied()).spawn().expect("the app starts");
        Self { child, stderr }
    }

    /// Waits for the window and gives it the keyboard.
    #[track_caller]
    pub fn wait(&self, screen: &mut Screen) {
        if let Err(error) = screen.try_ask("activate", json!({ "seconds": 60 })) {
            panic!("{error}: {}", self.stderr());
        }
        screen.ask("find", json!({ "role": "document web", "seconds": 60 }));
    }

    /// Closes the window as a person does, and waits for the end.
    #[track_caller]
    pub fn close(mut self, screen: &mut Screen) -> ExitStatus {
        screen.ask("close", json!({}));
        self.ended()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the app does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as the system does that is out of memory.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it has written to stderr.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // The whole group that was started here, the web view's processes among them.
        // SAFETY: a plain system call.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

/// The database, to be looked at from outside.
pub fn database(screen: &Screen) -> rusqlite::Connection {
    rusqlite::Connection::open(screen.data().join("desktop/conversations.db")).unwrap()
}

/// Processes of this screen that are called `name`.
pub fn processes(screen: &Screen, name: &str) -> Vec<u32> {
    let home = format!("NC_HOME={}", screen.data().display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let called = fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
        called && fs::read(format!("/proc/{id}/environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == home.as_bytes()))
    })
    .collect()
}

/// Short ways to say what a person does.
impl Screen {
    #[track_caller]
    pub fn press(&mut self, role: &str, name: &str) {
        self.ask("press", json!({ "role": role, "name": name }));
    }

    #[track_caller]
    pub fn see(&mut self, request: Value) -> Value {
        self.ask("find", request)
    }

    #[track_caller]
    pub fn keys(&mut self, keys: &[&str]) {
        self.ask("keys", json!({ "keys": keys }));
    }

    #[track_caller]
    pub fn write(&mut self, text: &str) {
        self.ask("write", json!({ "text": text }));
    }

    /// Says something to the model that is chosen.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.ask("focus", json!({ "name": "Message", "role": FIELD }));
        self.write(text);
        self.keys(&["Return"]);
    }
}

/// What a field to write in may be called.
pub const FIELD: &str = "text|entry|password text|editable text";

/// What a button may be called: the older name and the newer, one that stays pressed, one that opens a menu.
pub const BUTTON: &str = "push button|button|toggle button|combo box";

/// Starts the app and closes it, so that there is a database.
#[track_caller]
pub fn run_once(screen: &mut Screen) {
    let app = App::open(screen);
    assert!(app.close(screen).success());
}

/// Has answers be as long as they like in new conversations. The app must not run now.
#[track_caller]
pub fn long_answers(screen: &mut Screen) {
    run_once(screen);
    let defaults = json!({
        "max_tokens": 100_000, "temperature": 0.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": 1,
        "system_prompt": ""
    });
    set(screen, &json!({ "defaults": defaults, "onboarded": true }));
}

/// Sets what the app takes from its database at a start. The app must have run once, and not run now.
pub fn set(screen: &Screen, settings: &Value) {
    let sql = "INSERT INTO setting VALUES ('settings', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    database(screen).execute(sql, [settings.to_string()]).unwrap();
}

/// Who may do what with a file or folder.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
