//! Which compiler translates shaders for DirectX 12.
//!
//! wgpu writes HLSL and leaves the rest to one of two compilers. FXC is part of Windows, stops at shader model 5.1, and so
//! supports neither subgroups nor 16-bit floats. DXC supports both, but has to be provided. By default wgpu takes any
//! `dxcompiler.dll` on the system's search path: one that another program left there, which may be too old (wgpu treats
//! its warnings as failures) or malicious. Here only the program's own folder is searched, and the version is read
//! before the library is loaded.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const LIBRARY: &str = "dxcompiler.dll";

/// The first release that wgpu works with: 1.8.2502.
const OLDEST: [u16; 4] = [1, 8, 2502, 0];

/// An HLSL compiler, and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// DXC at this path, of this version.
    Dxc(PathBuf, [u16; 4]),
    /// FXC, which is part of Windows, for the given reason.
    Fxc(String),
}

impl Compiler {
    /// What this process uses, depending on the folder of its executable.
    pub fn of_this_program() -> &'static Compiler {
        static CHOSEN: OnceLock<Compiler> = OnceLock::new();
        CHOSEN.get_or_init(|| match std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            Some(folder) => Compiler::in_folder(folder),
            None => Compiler::Fxc("the program's folder is unknown".into()),
        })
    }

    fn in_folder(folder: &Path) -> Compiler {
        let path = folder.join(LIBRARY);
        let Ok(library) = std::fs::read(&path) else {
            return Compiler::Fxc(format!("there is no {LIBRARY} beside the program"));
        };
        match (machine(&library), version(&library)) {
            (Some(machine), Some(version)) if machine == MACHINE && version >= OLDEST => Compiler::Dxc(path, version),
            (Some(machine), Some(_)) if machine != MACHINE => Compiler::Fxc(format!("{} is for another processor", path.display())),
            (Some(_), Some(version)) => {
                let [oldest, version] = [OLDEST, version].map(dotted);
                Compiler::Fxc(format!("{} is version {version}, older than {oldest}", path.display()))
            }
            _ => Compiler::Fxc(format!("{} is not a Windows library", path.display())),
        }
    }

    /// The same as wgpu's type.
    pub(super) fn for_wgpu(&self) -> wgpu::Dx12Compiler {
        match self {
            Compiler::Dxc(path, _) => wgpu::Dx12Compiler::DynamicDxc { dxc_path: path.to_string_lossy().into_owned() },
            Compiler::Fxc(_) => wgpu::Dx12Compiler::Fxc,
        }
    }
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Compiler::Dxc(path, version) => write!(f, "DXC {} ({})", dotted(*version), path.display()),
            Compiler::Fxc(why) => write!(f, "FXC, which supports neither subgroups nor f16, because {why}; see docs/HARDWARE.md"),
        }
    }
}

fn dotted([a, b, c, d]: [u16; 4]) -> String {
    format!("{a}.{b}.{c}.{d}")
}

/// This program's architecture, as the header of a Windows library encodes it.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 0xaa64 } else { 0x8664 };

/// The architecture that a library is for.
fn machine(library: &[u8]) -> Option<u16> {
    let at = usize::try_from(u32::from_le_bytes(part(library, 0x3c)?)).ok()?;
    let signature: [u8; 4] = part(library, at)?;
    (signature == *b"PE\0\0").then(|| part(library, at + 4).map(u16::from_le_bytes))?
}

/// The version of a library: the fixed part of its version resource, found by its signature.
fn version(library: &[u8]) -> Option<[u16; 4]> {
    // Signature and version of the structure, little-endian; the file's version follows in two words.
    const HEAD: [u8; 8] = [0xbd, 0x04, 0xef, 0xfe, 0x00, 0x00, 0x01, 0x00];
    let at = library.windows(HEAD.len()).position(|bytes| bytes == HEAD)? + HEAD.len();
    let word = |index: usize| part(library, at + 2 * index).map(u16::from_le_bytes);
    Some([word(1)?, word(0)?, word(3)?, word(2)?])
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the parts of a library's headers that are read.
    fn library(machine: u16, version: [u16; 4]) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
        bytes.extend([0xbd, 0x04, 0xef, 0xfe, 0x00, 0x00, 0x01, 0x00]);
        let [a, b, c, d] = version;
        bytes.extend([b, a, d, c].iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    fn chosen(library: Option<&[u8]>) -> Compiler {
        let folder = tempfile::tempdir().unwrap();
        if let Some(library) = library {
            std::fs::write(folder.path().join(LIBRARY), library).unwrap();
        }
        Compiler::in_folder(folder.path())
    }

    fn why(library: Option<&[u8]>) -> String {
        match chosen(library) {
            Compiler::Fxc(why) => why,
            Compiler::Dxc(..) => panic!("DXC was taken"),
        }
    }

    #[test]
    fn a_compiler_of_the_oldest_version_or_later_is_taken() {
        for version in [OLDEST, [1, 8, 2505, 32], [1, 9, 2602, 16], [2, 0, 0, 0]] {
            let found = chosen(Some(&library(MACHINE, version)));
            assert!(matches!(&found, Compiler::Dxc(path, found) if *found == version && path.ends_with(LIBRARY)));
            assert!(matches!(found.for_wgpu(), wgpu::Dx12Compiler::DynamicDxc { dxc_path } if dxc_path.ends_with(LIBRARY)));
        }
    }

    #[test]
    fn anything_else_leaves_the_compiler_of_windows_and_says_why() {
        assert_eq!(why(None), "there is no dxcompiler.dll beside the program");
        assert!(why(Some(&library(MACHINE, [1, 7, 2212, 36]))).ends_with("is version 1.7.2212.36, older than 1.8.2502.0"));
        assert!(why(Some(&library(0x014c, OLDEST))).ends_with("is for another processor"));
        let whole = library(MACHINE, OLDEST);
        for length in [0, 0x3d, 0x81, 0x85, 260, whole.len() - 1] {
            assert!(why(Some(&whole[..length])).ends_with("is not a Windows library"), "{length} bytes");
        }
        assert!(matches!(chosen(None).for_wgpu(), wgpu::Dx12Compiler::Fxc));
    }
}
