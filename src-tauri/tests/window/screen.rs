//! A display that nobody sees, with a session bus and the robot that looks at it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

/// Displays, one at a time: two on one machine would take each other's time.
static ALONE: Mutex<()> = Mutex::new(());

/// The display. What was started for it ends with it.
pub struct Screen {
    display: String,
    bus: String,
    home: tempfile::TempDir,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    started: Vec<Child>,
    _alone: MutexGuard<'static, ()>,
}

impl Screen {
    pub fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let home = tempfile::tempdir().unwrap();
        let mut xvfb = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb is there; see scripts/setup.sh --app-test");
        let display = format!(":{}", first_line(&mut xvfb));
        let mut dbus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .env("DISPLAY", &display)
            .envs(surroundings(home.path()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is there; see scripts/setup.sh --app-test");
        let bus = first_line(&mut dbus);
        // Debian's own Python: only that one has the bindings.
        let mut robot = Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/window/robot.py"))
            .env("DISPLAY", &display)
            .env("DBUS_SESSION_BUS_ADDRESS", &bus)
            .envs(surroundings(home.path()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python is there");
        let (orders, answers) = (robot.stdin.take().unwrap(), BufReader::new(robot.stdout.take().unwrap()));
        let mut screen = Self { display, bus, home, orders, answers, started: vec![robot, dbus, xvfb], _alone: alone };
        screen.answer();
        screen
    }

    /// The home folder of whoever sits before it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the app keeps everything.
    pub fn data(&self) -> PathBuf {
        self.home().join("nc")
    }

    /// Makes a command show itself here.
    pub fn on<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("NC_HOME", self.data())
            .env("LANG", "en_US.UTF-8")
            .env_remove("LC_ALL")
            .env_remove("WAYLAND_DISPLAY")
            .envs(surroundings(self.home()))
    }

    /// Has the robot do something, and gives its answer.
    ///
    /// # Panics
    /// When it cannot be done, with all that the robot sees.
    #[track_caller]
    pub fn ask(&mut self, deed: &str, request: Value) -> Value {
        match self.try_ask(deed, request) {
            Ok(answer) => answer,
            Err(error) => {
                let seen = self.try_ask("tree", json!({})).unwrap_or_default();
                panic!("{deed}: {error}\nThe window shows:\n{}", seen.as_str().unwrap_or_default());
            }
        }
    }

    pub fn try_ask(&mut self, deed: &str, mut request: Value) -> Result<Value, String> {
        request["do"] = deed.into();
        writeln!(self.orders, "{request}").expect("the robot hears");
        let mut answer = self.answer();
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => Err(answer["error"].as_str().unwrap_or_default().to_owned()),
        }
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the robot answers; is python3-gi there? see scripts/setup.sh --app-test")
    }
}

/// What a test must not share with whoever runs it.
fn surroundings(home: &Path) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("HOME", home.into()),
        ("XDG_DATA_HOME", home.join("data")),
        ("XDG_CONFIG_HOME", home.join("config")),
        ("XDG_CACHE_HOME", home.join("cache")),
        ("XDG_RUNTIME_DIR", home.into()),
    ]
}

fn first_line(child: &mut Child) -> String {
    // A byte at a time, and left open: what the bus starts has the same stdout, and would end where that is closed.
    let stdout = child.stdout.as_mut().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, stdout).read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'), "it ended at once: {:?}", child.wait());
    line.trim_end().to_owned()
}

impl Drop for Screen {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
