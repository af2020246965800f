//! Microsoft's old shader compiler, `d3dcompiler_47.dll`, under Wine: a small program (`fxc.c`) that calls it is kept running.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The running compiler.
pub struct Fxc {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
    source: PathBuf,
}

impl Fxc {
    /// Starts `fxc.exe` of `folder`, beside which the library lies.
    pub fn start(folder: &Path) -> Result<Self, String> {
        let wine = ["/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine"].iter().find(|path| Path::new(path).exists());
        let wine = wine.ok_or("FXC needs Wine: scripts/setup.sh --fxc")?;
        let failed = |error: std::io::Error| format!("Wine does not start: {error}");
        let mut child = Command::new(wine)
            .arg(folder.join("fxc.exe"))
            .current_dir(folder)
            .env("WINEPREFIX", folder.join("prefix"))
            .env("WINEDEBUG", "-all")
            .env("WINEDLLOVERRIDES", "mscoree=;mshtml=;d3dcompiler_47=n")
            .env_remove("DISPLAY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let ask = child.stdin.take().ok_or("Wine has no input")?;
        let answer = BufReader::new(child.stdout.take().ok_or("Wine has no output")?);
        Ok(Self { child, ask, answer, source: folder.join(format!("shader-{}.hlsl", std::process::id())) })
    }

    /// Compiles a compute shader; says what the compiler says where it refuses.
    pub fn compile(&mut self, text: &str, entry: &str, target: &str) -> Result<(), String> {
        std::fs::write(&self.source, text).map_err(|error| error.to_string())?;
        let file = self.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(self.ask, "{file} {entry} {target}").and_then(|()| self.ask.flush()).map_err(|error| format!("FXC is gone: {error}"))?;
        let mut line = String::new();
        self.answer.read_line(&mut line).map_err(|error| error.to_string())?;
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("ok", _) => Ok(()),
            ("fail", reason) => Err(format!("FXC {target}: {reason}")),
            _ => Err(format!("FXC is gone; it said {line:?}")),
        }
    }
}

impl Drop for Fxc {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.source);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
