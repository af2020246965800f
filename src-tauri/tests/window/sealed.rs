//! The window is shut to networks: over a whole session no internet socket is made, none is needed, and no variable of
//! the environment opens a port.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::app::{self, App};
use super::screen::Screen;
use super::session;

/// What strace is to look at. Not by its own seccomp filter: the app's would go before it, and hide what it refuses.
const WATCHED: &str = "trace=socket,socketpair,bind,listen,connect,io_uring_setup";

/// Lines of a trace that make, or try to make, a socket of an internet address family.
fn internet(trace: &str) -> Vec<&str> {
    trace.lines().filter(|line| line.contains("socket(AF_INET")).collect()
}

#[test]
fn a_whole_session_makes_no_internet_socket() {
    let mut screen = Screen::new();
    let trace = screen.home().join("trace");
    let wrapper = ["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), "-e", WATCHED];

    // That it would be seen.
    let script = "import socket\nsocket.socket()";
    assert!(Command::new(wrapper[0]).args(&wrapper[1..]).args(["/usr/bin/python3", "-c", script]).status().unwrap().success());
    assert_eq!(internet(&fs::read_to_string(&trace).unwrap()).len(), 1);

    session::prepare(&screen);
    let app = App::start(&screen, &wrapper, &[]);
    app.wait(&mut screen);
    session::live(&mut screen);
    session::train(&mut screen);
    assert!(!app::processes(&screen, "WebKitWebProces").is_empty(), "the pages are shown by a process of WebKit");
    assert!(app.close(&mut screen).success());

    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("socket(AF_UNIX"), "the trace holds what the app did");
    let made = internet(&trace);
    println!("{} sockets, {} of the internet", trace.matches("socket(AF_").count(), made.len());
    assert!(made.iter().all(|line| line.contains("EAFNOSUPPORT")), "{made:?}");
    assert!(!trace.contains("sa_family=AF_INET"), "nothing is bound or connected");
    // Screen readers are listened to by a socket of the file system.
    let bound: Vec<&str> = trace.lines().filter(|line| line.contains(" bind(")).collect();
    let on_this_machine = |line: &&str| line.contains("sa_family=AF_UNIX") || line.contains("sa_family=AF_NETLINK");
    assert!(bound.iter().all(on_this_machine), "{bound:?}");
}

#[test]
fn a_whole_session_needs_no_network_at_all() {
    let possible = Command::new("unshare").args(["--map-root-user", "--net", "true"]).status().is_ok_and(|status| status.success());
    assert!(possible, "this system lets nobody make a name space; run the tests where it does");
    let mut screen = Screen::new();
    session::prepare(&screen);
    let app = App::start(&screen, &["unshare", "--map-root-user", "--net"], &[]);
    app.wait(&mut screen);
    session::live(&mut screen);
    assert!(app.close(&mut screen).success());
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
    let mut screen = Screen::new();
    let app = App::start(&screen, &[] as &[&str], &hostile);
    app.wait(&mut screen);
    assert!(!app::processes(&screen, "WebKitWebProces").is_empty(), "it is shown by the system's own WebKit");
    for port in [47911, 47912] {
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} is open");
    }
    let mut second = App::start(&screen, &[] as &[&str], &[]);
    assert!(second.ended().success());
    assert!(second.stderr().contains("running already"), "{}", second.stderr());
    screen.see(json!({ "role": "document web" }));
    assert_eq!(app::processes(&screen, "nanochat").len(), 1);
    assert!(app.close(&mut screen).success());
}
