//! One GPU's share of the work, in a process of its own under that GPU's no-op kernel: writes a line a variant.
//!
//! Lines: `have TAB key TAB numbers`, `fail TAB key TAB reason`, before each compilation `next TAB key` (so that a driver
//! that crashes is known by what it was given), and `done`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::adapter;
use crate::gpus::Gpu;
use crate::stats::Stats;
use crate::translate::Parsed;
use crate::vulkan::Driver;

/// Results of another version of this program are not taken from the cache.
const VERSION: u32 = 3;

/// Judges every variant whose key holds `filter`. Results are kept in `cache`, by what the compiler was given.
pub fn run(gpu: &Gpu, filter: &str, cache: &Path, assembly: Option<&Path>) -> Result<(), String> {
    let open = nc_core::gpu::Gpu::open(None).map_err(|error| error.to_string())?;
    let driver = Driver::open(&open, gpu.compiler)?;
    let mut known = Cache::open(&cache.join(format!("{}.txt", gpu.name)));
    let capabilities = adapter::capabilities(&open);
    for variant in adapter::variants(capabilities) {
        let key = variant.key();
        if !key.contains(filter) {
            continue;
        }
        say(&format!("next\t{key}"))?;
        let judged = (|| {
            let text = variant.render(capabilities).map_err(|error| format!("{error:#}"))?;
            let parsed = Parsed::new(&text, variant.entry)?;
            let spirv = parsed.spirv(driver.robust_buffers())?;
            let digest = digest(&spirv);
            if let Some(stats) = known.get(&digest).filter(|_| assembly.is_none()) {
                return Ok(stats);
            }
            let (stats, text) = driver.compile(&spirv, variant.entry, &parsed.bindings())?;
            known.put(&digest, &stats);
            if let Some(folder) = assembly {
                let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
                fs::write(folder.join(format!("{}-{name}.txt", gpu.name)), text).map_err(|error| error.to_string())?;
            }
            Ok(stats)
        })();
        match judged {
            Ok(stats) => say(&format!("have\t{key}\t{stats}"))?,
            Err::<_, String>(reason) => say(&format!("fail\t{key}\t{}", reason.replace('\n', " ").trim()))?,
        }
    }
    say("done")
}

/// A line for the parent. Drivers print to the same place, so a line of ours begins with a mark.
pub fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
}

/// What every line of a worker begins with.
pub const MARK: &str = "nc\t";

fn digest(spirv: &[u32]) -> String {
    let mut hash = Sha256::new();
    hash.update(VERSION.to_le_bytes());
    for word in spirv {
        hash.update(word.to_le_bytes());
    }
    hash.finalize().iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Results by digest, in a file that only grows. Losing it costs time only.
struct Cache {
    known: HashMap<String, Stats>,
    file: Option<fs::File>,
}

impl Cache {
    fn open(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = |line: &str| line.split_once(' ').and_then(|(digest, stats)| Some((digest.to_owned(), stats.parse().ok()?)));
        Self { known: text.lines().filter_map(line).collect(), file: OpenOptions::new().create(true).append(true).open(path).ok() }
    }

    fn get(&self, digest: &str) -> Option<Stats> {
        self.known.get(digest).cloned()
    }

    fn put(&mut self, digest: &str, stats: &Stats) {
        self.known.insert(digest.to_owned(), stats.clone());
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{digest} {stats}");
        }
    }
}
