//! What DirectX 12 adapters would be given, and Microsoft's compilers on it: DXC for all of them, FXC for what wgpu may have
//! to give it where no DXC is at hand.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use naga::back::hlsl::ShaderModel;
use sha2::{Digest, Sha256};

use crate::dxc::Dxc;
use crate::fxc::Fxc;
use crate::translate::Parsed;
use crate::worker::say;
use crate::{adapter, worker};

/// DXC's share of the work, in the lines of [`worker`]: each variant for the oldest shader model that has what it needs, and
/// for the newest that wgpu asks an old DXC for.
pub fn dxc(library: &Path, filter: &str, cache: &Path) -> Result<(), String> {
    let compiler = Dxc::load(library)?;
    let mut known = Known::open(&cache.join("dxc.txt"));
    for capabilities in adapter::direct_x() {
        for variant in adapter::variants(capabilities) {
            let key = variant.key();
            if !key.contains(filter) {
                continue;
            }
            say(&format!("next\t{key}"))?;
            let judged = (|| {
                let text = variant.render(capabilities).map_err(|error| format!("{error:#}"))?;
                let parsed = Parsed::new(&text, variant.entry)?;
                let old = if text.contains("enable f16;") { (ShaderModel::V6_2, true) } else { (ShaderModel::V6_0, false) };
                for (model, sixteen_bit) in [old, (ShaderModel::V6_6, true)] {
                    let (text, entry) = parsed.hlsl(model)?;
                    let target = format!("cs_{}", model.to_str());
                    known.once(&[&text, &entry, &target], || compiler.compile(&text, &entry, &target, sixteen_bit))?;
                }
                Ok::<_, String>(())
            })();
            match judged {
                Ok(()) => say(&format!("fine\t{key}"))?,
                Err(reason) => say(&format!("fail\t{key}\t{}", reason.replace('\n', " ")))?,
            }
        }
    }
    worker::say("done")
}

/// FXC's share: the variants of an adapter without subgroups.
pub fn fxc(folder: &Path, filter: &str, cache: &Path) -> Result<(), String> {
    let mut compiler = Fxc::start(folder)?;
    let mut known = Known::open(&cache.join("fxc.txt"));
    let capabilities = adapter::direct_x()[0];
    for variant in adapter::variants(capabilities) {
        let key = variant.key();
        if !key.contains(filter) {
            continue;
        }
        say(&format!("next\t{key}"))?;
        let judged = (|| {
            let text = variant.render(capabilities).map_err(|error| format!("{error:#}"))?;
            let (text, entry) = Parsed::new(&text, variant.entry)?.hlsl(ShaderModel::V5_1)?;
            known.once(&[&text, &entry, "cs_5_1"], || compiler.compile(&text, &entry, "cs_5_1"))
        })();
        match judged {
            Ok(()) => say(&format!("fine\t{key}"))?,
            Err(reason) => say(&format!("fail\t{key}\t{}", reason.replace('\n', " ")))?,
        }
    }
    say("done")
}

/// Texts that a compiler has taken before, by their digest, in a file that only grows.
struct Known {
    digests: BTreeSet<String>,
    file: Option<fs::File>,
}

impl Known {
    fn open(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        Self { digests: text.lines().map(str::to_owned).collect(), file: OpenOptions::new().create(true).append(true).open(path).ok() }
    }

    fn once(&mut self, parts: &[&str], compile: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        if !self.digests.contains(&digest) {
            compile()?;
            if let Some(file) = &mut self.file {
                let _ = writeln!(file, "{digest}");
            }
            self.digests.insert(digest);
        }
        Ok(())
    }
}
