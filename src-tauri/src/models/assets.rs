//! What comes with the app: the sample corpus, conversations to learn answering from, and a small model.

use std::path::{Path, PathBuf};

/// The folder of what comes with the app.
#[derive(Clone, Debug)]
pub struct Assets {
    folder: Option<PathBuf>,
}

impl Assets {
    /// Looks in the folder of the installed app's resources, beside the program and above it, then in the source tree
    /// that it was built from.
    pub fn locate(resources: Option<PathBuf>) -> Self {
        let program = std::env::current_exe().ok();
        let above = program.iter().flat_map(|program| program.ancestors().skip(1).take(6));
        let folder = resources
            .iter()
            .map(PathBuf::as_path)
            .chain(above)
            .chain(Path::new(env!("CARGO_MANIFEST_DIR")).parent())
            .map(|folder| folder.join("assets"))
            .find(|folder| folder.join("corpus").is_dir());
        Self { folder }
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists())
    }

    /// The sample corpus.
    pub fn corpus(&self) -> Option<PathBuf> {
        self.find("corpus")
    }

    /// Conversations to learn answering from.
    pub fn conversations(&self) -> Option<PathBuf> {
        self.find("conversations").map(|folder| folder.join("demo.jsonl")).filter(|file| file.is_file())
    }

    /// The small model: a run's folder, complete.
    pub fn model(&self) -> Option<PathBuf> {
        self.find("model").filter(|folder| folder.join("config.json").is_file())
    }
}
