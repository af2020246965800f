//! Python with the packages that the tests compare with: PyTorch and Hugging Face's libraries.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// The interpreter. `scripts/python.sh` puts the packages in place the first time that anybody asks for it.
static INTERPRETER: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/python.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("scripts/python.sh can be run");
    assert!(output.status.success(), "scripts/python.sh found no way to the packages of tests/python/requirements.txt");
    String::from_utf8(output.stdout).unwrap().trim_end().into()
});

/// Runs `tests/python/SCRIPT FOLDER` on a question, and gives its answer.
pub fn ask(script: &str, folder: &Path, question: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let mut command = Command::new(&*INTERPRETER);
    command.arg("-I").arg(path).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It reads all before it writes anything, so neither side waits for the other.
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} failed on {}: {}", folder.display(), output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
