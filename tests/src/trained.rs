//! Models that were trained, and not drawn: the one that comes with the app, and the reference's.

use std::path::Path;

use nc_core::checkpoint::Run;
use nc_core::checkpoint::home::Home;
use nc_core::tokenizer::Tokenizer;

use crate::golden_dirs;
use crate::workshop::Workshop;

/// The name of the model that comes with the app.
pub const SHIPPED: &str = "shipped";

fn assets() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

/// Makes runs of them in `workshop`, and returns their names.
pub fn install(workshop: &Workshop) -> Vec<&'static str> {
    copy(&assets().join("model"), &workshop.run(SHIPPED));
    let mut names = vec![SHIPPED];
    let native = golden_dirs().into_iter().map(|dir| dir.join("nanochat-native/base")).filter(|dir| dir.exists());
    for (dir, name) in native.zip(["native", "native-2"]) {
        workshop.succeed(&["import", dir.to_str().unwrap(), "--name", name]);
        names.push(name);
    }
    names
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// The run of this name, and `tokens` tokens of English after the one that begins a text.
pub fn open(workshop: &Workshop, name: &str, tokens: usize) -> (Run, Vec<u32>) {
    let run = Run::open(&Home::at(workshop.home()), name).unwrap();
    let tokenizer = Tokenizer::from_file(&run.tokenizer_path()).unwrap();
    let text = std::fs::read_to_string(assets().join("corpus/99-val.jsonl")).unwrap();
    let start = (text.len() / 2..).find(|&at| text.is_char_boundary(at)).unwrap();
    let piece: String = text[start..].chars().take(8 * tokens).collect();
    let mut ids = vec![tokenizer.bos()];
    ids.extend(tokenizer.encode(&piece));
    ids.truncate(1 + tokens);
    (run, ids)
}
