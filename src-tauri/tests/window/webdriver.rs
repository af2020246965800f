//! What is needed of the WebDriver protocol to run a script in the page and hear what it measured. Only a build with the
//! feature `e2e` lets itself be driven so, and that is never shipped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::app::program;
use super::screen::Screen;

/// A page that is driven.
pub struct Page {
    driver: Child,
    port: u16,
    session: String,
}

impl Page {
    /// Starts the app and waits for its page.
    pub fn open(screen: &Screen) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("WebKitWebDriver");
        command.arg(format!("--port={port}")).env("TAURI_WEBVIEW_AUTOMATION", "true").stdout(Stdio::null()).stderr(Stdio::null());
        let driver = screen.on(&mut command).spawn().expect("WebKitWebDriver is there: apt-get install webkit2gtk-driver");
        let mut page = Self { driver, port, session: String::new() };
        let wanted = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": { "binary": program(), "args": [] } } } });
        let begun = Instant::now();
        let made = loop {
            match page.post("/session", &wanted) {
                Ok(made) => break made,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        page.session = made["sessionId"].as_str().unwrap().to_owned();
        let timeouts = json!({ "script": 120_000 });
        page.post(&format!("/session/{}/timeouts", page.session), &timeouts).unwrap();
        page
    }

    /// Runs the body of an asynchronous function in the page, and gives what it returns.
    #[track_caller]
    pub fn run(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
            (async () => {{ {body} }})().then((value) => done({{ value }}), (error) => done({{ error: String(error) }}));"
        );
        let outcome = self.post(&format!("/session/{}/execute/async", self.session), &json!({ "script": script, "args": [] })).unwrap();
        assert!(outcome.get("error").is_none(), "{outcome}");
        outcome["value"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let words = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(words)?;
        let body = body.to_string();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        write!(stream, "{head}Connection: close\r\n\r\n{body}").map_err(words)?;
        // By its length, since the driver may keep the connection.
        let mut all = Vec::new();
        let mut piece = [0; 65_536];
        loop {
            let count = stream.read(&mut piece).map_err(words)?;
            all.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&all);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
                if count == 0 || length.is_some_and(|length| body.len() >= length) {
                    let mut answer: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
                    let value = answer["value"].take();
                    return if value.get("error").is_some() && value.get("message").is_some() { Err(value.to_string()) } else { Ok(value) };
                }
            } else if count == 0 {
                return Err("the driver said nothing".into());
            }
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Ends the app with it.
        if !self.session.is_empty() {
            let path = format!("/session/{}", self.session);
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                let _ = write!(stream, "DELETE {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                let _ = stream.read(&mut [0; 1024]);
            }
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
