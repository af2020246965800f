//! How the interpreter gets here: whole, the right one, with its licences, or not at all.

use nc_core::data::download::DownloadError;
use nc_core::data::download::python::{Member, Package};
use nc_core::tools::python::PythonError;
use nc_tests::nc_core;
use nc_tests::server::{Request, Server, honest, refusal};
use sha2::{Digest, Sha256};

use super::*;

/// A server that has the package.
pub fn mirror() -> Server {
    serve(std::fs::read(PACKAGES.join(PACKAGE.name)).unwrap())
}

fn serve(package: Vec<u8>) -> Server {
    Server::start(move |request, stream| {
        let known = request.path == format!("/data/{}", PACKAGE.name);
        let answer = if known { honest(request, &package, "v") } else { refusal("404 Not Found", Vec::new()) };
        // The first answer breaks off, as on a bad day.
        answer.send_part(stream, if request.nth == 0 { package.len() / 3 } else { usize::MAX });
    })
}

fn patience() -> Patience {
    Patience { tries: 3, first_wait: Duration::from_millis(5), longest_wait: Duration::from_millis(20), stall: Duration::from_secs(5) }
}

/// Fetches the interpreter from `server`.
pub fn fetch(server: &Server, folder: &Path) -> Result<bool, DownloadError> {
    Package { base_url: &server.url, ..PACKAGE }.fetch(folder, &patience(), &|_, _| {})
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

#[test]
fn the_command_fetches_the_interpreter_and_its_licences_once() {
    let (home, server) = (tempfile::tempdir().unwrap(), mirror());
    let command = || nc_core!(home).args(["--json", "data", "download", "python", "--base-url", &server.url]).output().unwrap();
    let first = command();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let folder = home.path().join("data/python");
    let said: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(said, serde_json::json!({ "path": folder.join(FILE), "fetched": true }));
    let kept = [
        "LICENSE-CPython-PSF-2.0.txt",
        "LICENSE-webassembly-language-runtimes-Apache-2.0.txt",
        "NOTICE-webassembly-language-runtimes.txt",
        "NOTICE.txt",
        FILE,
    ];
    assert_eq!(names(&folder), kept);
    assert!(std::fs::read_to_string(folder.join(kept[0])).unwrap().contains("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2"));
    assert_eq!(std::fs::metadata(folder.join(FILE)).unwrap().len(), 13_343_823);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::fs::write(home.path().join("any"), "").unwrap();
        assert_eq!(mode(&folder.join(FILE)), mode(&home.path().join("any")));
    }
    let ranges = |requests: Vec<Request>| requests.iter().map(|request| request.range).collect::<Vec<_>>();
    assert_eq!(ranges(server.requests()), [None, Some(11_910_836 / 3)]);
    // A second run asks nobody, until a file is damaged.
    assert!(command().status.success() && server.requests().len() == 2);
    std::fs::write(folder.join("NOTICE.txt"), "").unwrap();
    assert!(command().status.success() && server.requests().len() == 3);
    assert_eq!(names(&folder), kept);
}

#[test]
fn another_file_is_refused_and_leaves_nothing() {
    let mut package = std::fs::read(PACKAGES.join(PACKAGE.name)).unwrap();
    package[1000] ^= 1;
    let home = tempfile::tempdir().unwrap();
    let server = serve(package);
    let output = nc_core!(home).args(["data", "download", "python", "--base-url", &server.url]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains("is another file than the one that this version of the program was made for"), "{last}");
    assert_eq!(names(&home.path().join("data/python")), [""; 0]);
    let output =
        nc_core!(home).args(["data", "download", "python", "--base-url", "http://127.0.0.1:1/x", "--tries", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    // The shards still need their number.
    let output = nc_core!(home).args(["data", "download"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("--num-files"), "{:?}", output.status);
}

/// A package of one file, deflated by hand: a block that is stored.
fn small(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u16;
    [b"PK\x03\x04", &[1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), content, b"PK\x05\x06", &[0; 18]].concat()
}

#[test]
fn a_package_that_is_not_as_described_gives_no_file() {
    let content = b"\0asm\x01\0\0\0\x00\x0b\x06.debugabcd\x00\x02\x01a";
    let (package, kept) = (small(content), b"\0asm\x01\0\0\0\x00\x02\x01a");
    let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (whole, of_kept, of_content) = (digest(&package), digest(kept), digest(content));
    let served = package.clone();
    let server = Server::start(move |request, stream| honest(request, &served, "v").send(stream));
    let good = Member { name: "a.wasm", offset: 4, packed: content.len() + 5, size: content.len(), module: true, sha256: &of_kept };
    let fetch = |member: Member<'_>, folder: &Path| {
        let package = Package { base_url: &server.url, name: "small.whl", sha256: &whole, members: &[member] };
        package.fetch(folder, &patience(), &|_, _| {})
    };
    for member in [
        Member { offset: 5, ..good.clone() },
        Member { offset: usize::MAX, ..good.clone() },
        Member { packed: usize::MAX, ..good.clone() },
        Member { packed: 9, ..good.clone() },
        Member { module: false, ..good.clone() },
        Member { sha256: &of_content, ..good.clone() },
        Member { size: content.len() - 2, ..good.clone() },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(member.clone(), folder.path()).unwrap_err();
        assert!(matches!(error, DownloadError::Different { .. }), "{member:?}: {error}");
        assert_eq!(names(folder.path()), [""; 0], "{member:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(fetch(good, folder.path()).unwrap());
    assert_eq!(std::fs::read(folder.path().join("a.wasm")).unwrap(), kept);
}

#[test]
fn what_is_no_interpreter_is_refused_by_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| {
        let error = Interpreter::open(path).map(|_| ()).unwrap_err();
        let missing = matches!(error, PythonError::Missing { .. });
        (missing, nc_core::cli::Failure::from(error).to_string())
    };
    for path in [folder.path().to_path_buf(), folder.path().join("python.wasm")] {
        let (missing, sentence) = said(&path);
        assert!(missing && sentence.starts_with("there is no Python interpreter at "), "{sentence}");
        assert!(sentence.ends_with("; `nc-core data download python` fetches one"), "{sentence}");
    }
    let path = folder.path().join(FILE);
    // Nothing, a text, a module that does nothing, and one that calls somebody else's function.
    let empty = b"\0asm\x01\0\0\0".to_vec();
    let foreign = [&empty[..], b"\x01\x04\x01\x60\0\0\x02\x07\x01\x01a\x01b\0\0"].concat();
    for content in [Vec::new(), b"print(1)".to_vec(), empty, foreign] {
        std::fs::write(&path, content).unwrap();
        let (missing, sentence) = said(folder.path());
        assert!(!missing && sentence.contains("is no CPython for WASI that brings its standard library: "), "{sentence}");
    }
}
