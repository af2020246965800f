//! The whole app, with its window, on a display that nobody sees: it opens no internet socket, needs no network, and lets
//! no variable of the environment open a port.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the app is watched after its database is there.
const WATCHED: Duration = Duration::from_secs(6);

/// The app below some other programs, which end with it.
struct Session {
    child: Child,
    home: tempfile::TempDir,
}

impl Session {
    /// Starts the app under a display of its own, below `wrapper`.
    fn start(wrapper: &[&str], variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let app = env!("CARGO_BIN_EXE_nanochat");
        let line =
            ["xvfb-run", "--auto-servernum", "dbus-run-session", "--"].iter().chain(wrapper).chain(&[app]).copied().collect::<Vec<_>>();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env("NC_HOME", home.path()).env("HOME", home.path()).env_remove("XDG_DATA_HOME");
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().expect("xvfb-run is there; see scripts/setup.sh --app-test");
        Self { child, home }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    /// Waits until the app has opened its database, and a while longer for its window.
    fn watch(&mut self) {
        let begun = Instant::now();
        while !self.path().join("desktop/conversations.db").exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the app does not start");
            assert_eq!(self.child.try_wait().unwrap(), None, "the app has ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(WATCHED);
        assert_eq!(self.child.try_wait().unwrap(), None, "the app has ended");
    }

    /// Ids of the processes of this session that are called `name`.
    fn processes(&self, name: &str) -> Vec<u32> {
        let home = format!("NC_HOME={}", self.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| {
            let called = fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
            called
                && fs::read(format!("/proc/{id}/environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == home.as_bytes()))
        })
        .collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The whole group that was started here.
        // SAFETY: a plain system call.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        for name in ["nanochat", "Xvfb"] {
            for id in self.processes(name) {
                // SAFETY: as above; it has our folder in its environment, so it is ours.
                unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
            }
        }
        let _ = self.child.wait();
    }
}

#[test]
fn a_session_makes_no_internet_socket_and_the_web_view_runs() {
    let traces = tempfile::tempdir().unwrap();
    let trace = traces.path().join("trace");
    let wrapper = ["strace", "-f", "-o", trace.to_str().unwrap(), "-e", "trace=socket,bind,listen,connect,io_uring_setup"];
    let mut session = Session::start(&wrapper, &[]);
    session.watch();
    assert!(!session.processes("WebKitWebProces").is_empty(), "the pages are shown by a process of WebKit");
    drop(session);
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("socket(AF_UNIX"), "the trace holds what the app did");
    let inet: Vec<&str> = trace.lines().filter(|line| line.contains("socket(AF_INET") && !line.contains("EAFNOSUPPORT")).collect();
    assert!(inet.is_empty(), "{inet:?}");
    assert!(!trace.contains("sa_family=AF_INET"), "nothing is bound or connected");
}

#[test]
fn the_app_runs_where_there_is_no_network_at_all() {
    let possible = Command::new("unshare").args(["--map-root-user", "--net", "true"]).status().is_ok_and(|status| status.success());
    assert!(possible, "this system lets nobody make a name space; run the tests where it does");
    let mut session = Session::start(&["unshare", "--map-root-user", "--net"], &[]);
    session.watch();
    assert!(!session.processes("WebKitWebProces").is_empty());
}

#[test]
fn hostile_variables_open_no_port_and_a_second_instance_gives_way() {
    let hostile = [
        ("WEBKIT_INSPECTOR_SERVER", "127.0.0.1:47911"),
        ("WEBKIT_INSPECTOR_HTTP_SERVER", "127.0.0.1:47912"),
        ("TAURI_WEBVIEW_AUTOMATION", "true"),
        ("TAURI_AUTOMATION", "true"),
        ("WEBKIT_EXEC_PATH", "/nowhere"),
        ("WEBKIT_INJECTED_BUNDLE_PATH", "/nowhere"),
    ];
    let mut session = Session::start(&[], &hostile);
    session.watch();
    assert!(!session.processes("WebKitWebProces").is_empty(), "it is shown by the system's own WebKit");
    for port in [47911, 47912] {
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} is open");
    }
    let second = Command::new(env!("CARGO_BIN_EXE_nanochat")).env("NC_HOME", session.path()).env_remove("DISPLAY").output().unwrap();
    assert!(second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("running already"));
    assert_eq!(session.processes("nanochat").len(), 1);
}
