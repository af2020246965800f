//! `nc-core chat` at a terminal, which here is a pseudo-terminal: Ctrl-C stops the answer and not the program, a mistake is
//! told and the chat goes on, the model's text cannot command the terminal, and no key that is pressed is logged.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nc_tests::nc_core;
use nc_tests::script::{Script, byte_token};
use nc_tests::workshop::Workshop;

/// What has come out of a file so far, collected by a thread.
type Heard = Arc<Mutex<Vec<u8>>>;

/// A program that takes a pseudo-terminal for a person's.
struct Terminal {
    child: Child,
    keys: File,
    screen: Heard,
    stderr: Heard,
    /// Bytes of the screen and of stderr that were waited for.
    seen: [usize; 2],
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let (mut master, mut slave) = (0, 0);
        let mut size = libc::winsize { ws_row: 40, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let none = std::ptr::null_mut();
        // SAFETY: all pointers are good for the call, which hands over two new descriptors.
        let (master, slave) = unsafe {
            assert_eq!(libc::openpty(&mut master, &mut slave, none, none.cast(), &raw mut size), 0);
            (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        };
        command.env("TERM", "xterm").env_remove("NO_COLOR").stdin(slave.try_clone().unwrap()).stdout(slave).stderr(Stdio::piped());
        // SAFETY: both calls may be made between fork and exec. They make the terminal the one that Ctrl-C comes from.
        unsafe {
            command.pre_exec(|| {
                let failed = libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY as _, 0) < 0;
                if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
            });
        }
        let mut child = command.spawn().unwrap();
        // It holds the program's end of the terminal, which must be closed here for the program's end to be heard.
        drop(command);
        let stderr = listen(child.stderr.take().unwrap());
        let keys = File::from(master);
        Self { child, screen: listen(keys.try_clone().unwrap()), keys, stderr, seen: [0; 2] }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this comes up on the screen, after what was waited for before.
    fn screen(&mut self, words: &str) {
        self.seen[0] = wait(&self.screen, self.seen[0], words);
    }

    /// Waits until the screen has changed by at least so many bytes.
    fn hears_more(&mut self, bytes: usize) {
        let enough = self.seen[0] + bytes;
        let begun = Instant::now();
        while self.screen.lock().unwrap().len() < enough {
            assert!(begun.elapsed() < Duration::from_secs(60), "the screen stands still");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.seen[0] = enough;
    }

    /// Waits until this comes up on stderr, after what was waited for before.
    fn told(&mut self, words: &str) {
        self.seen[1] = wait(&self.stderr, self.seen[1], words);
    }

    /// Waits for the end; gives the exit code, and all of the screen and of stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let code = self.child.wait().unwrap().code();
        let text = |heard: &Heard| String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
        (code, text(&self.screen), text(&self.stderr))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut file: impl Read + Send + 'static) -> Heard {
    let heard = Heard::default();
    let ours = heard.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = file.read(&mut bytes) {
            ours.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    });
    heard
}

fn wait(heard: &Heard, from: usize, words: &str) -> usize {
    let begun = Instant::now();
    loop {
        let bytes = heard.lock().unwrap().clone();
        if let Some(at) = bytes[from..].windows(words.len()).position(|window| window == words.as_bytes()) {
            return from + at + words.len();
        }
        let late = begun.elapsed() > Duration::from_secs(60);
        assert!(!late, "{words:?} did not come, but {:?}", String::from_utf8_lossy(&bytes[from.max(bytes.len().saturating_sub(300))..]));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_program() {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    Script::new(20_000, |_, _| (b'a'..b'k').map(byte_token).collect()).install(&workshop.home(), "forever");
    let mut terminal = Terminal::start(workshop.command(&["chat", "--max-tokens", "19000"]));
    terminal.told("forever at step 1, a context of 20000 tokens; /help lists commands");
    for _ in 0..2 {
        terminal.screen("> ");
        terminal.press("go on\r");
        terminal.screen("\n");
        terminal.hears_more(20);
        terminal.press("\x03");
        terminal.told("ended by you");
    }
    terminal.screen("> ");
    terminal.press("\x03");
    terminal.told("/quit or Ctrl-D leaves");
    terminal.screen("> ");
    terminal.press("/stats\r");
    terminal.told("ended by you");
    terminal.screen("> ");
    terminal.press("/quit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn lines_that_come_at_once_are_each_answered() {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    Script::writing(200, "well").install(&workshop.home(), "patient");
    let mut terminal = Terminal::start(workshop.command(&["chat"]));
    terminal.screen("> ");
    // As a paste comes from a terminal that does not mark it as one.
    terminal.press("one\rtwo\r/wrong\rthree\r/stats\r");
    for _ in 0..3 {
        terminal.screen("well");
    }
    terminal.told("error: there is no such command");
    terminal.told("prompt: ");
    terminal.screen("> ");
    terminal.press("four\r/quit\r");
    terminal.screen("well");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn mistakes_are_told_and_nothing_else_gets_out() {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    // Escape sequences would clear the screen and change its colour.
    Script::writing(128, "a\u{1b}c\u{7}b\u{9b}").install(&workshop.home(), "control");
    let waiting = workshop.file("waiting.jsonl", r#"[{"role": "user", "content": "zyxquorl"}]"#);
    let mut command = workshop.command(&["chat"]);
    command.env("NC_LOG", "trace");
    let mut terminal = Terminal::start(command);
    let harmless = "a\u{FFFD}c\u{FFFD}b\u{FFFD}";
    for (keys, stderr) in [
        ("zyxquorl", ""),
        ("/wrong", "error: there is no such command; /help lists them"),
        ("/topk 999", ""),
        ("zyxquorl", "error: --top-k is 999; it must be at most the 265 tokens"),
        // What waits for an answer and gets none is not kept either, or nothing more could be said.
        (&format!("/load {waiting}"), "error: --top-k is 999"),
        ("/load nothing", "error: "),
        ("/topk 5", ""),
        ("zyx\\\rquorl", ""),
        ("/retry", ""),
    ] {
        terminal.screen("> ");
        terminal.press(&format!("{keys}\r"));
        if !stderr.is_empty() {
            terminal.told(stderr);
        } else if !keys.starts_with("/topk") {
            terminal.screen(harmless);
        }
    }
    terminal.screen("> ");
    terminal.press("/stats\r");
    // Messages of eight and nine bytes, an answer of seven, and eight special tokens.
    terminal.told("prompt: 32 tokens, 31 of them in the cache");
    terminal.screen("> ");
    terminal.press("\x04");
    let (code, screen, stderr) = terminal.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!screen.contains("\u{1b}c") && !screen.contains('\u{7}') && !screen.contains('\u{9b}'), "{screen:?}");
    assert!(stderr.contains("TRACE") || stderr.contains("DEBUG"), "nothing was logged");
    assert!(!stderr.contains("zyxquorl") && !stderr.contains("rustyline"), "what was typed is logged");
    assert_eq!(Workshop::names(&workshop.home()), ["runs"]);
}
