//! What a power failure would find: whatever has a name is on the disk already. Nothing can be unplugged here, so this program
//! stands in for the two calls of the system that decide about it, and writes down their order.

#![cfg(target_os = "linux")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{CheckpointError, Run, RunLock, Snapshot, TensorRef, load, save};
use serde_json::json;
use serde_json::value::RawValue;

/// A call that matters for what is on the disk.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    /// A file was synced when it had so many bytes.
    File(String, u64),
    /// A folder was synced.
    Folder(String),
    /// Something got another name.
    Rename(String, String),
}

thread_local! {
    /// What this thread has called. Every test is a thread of its own.
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
    /// How many renames go well before one fails.
    static GOOD_RENAMES: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The library's calls of `fsync` come here, as this program's own symbols precede those of the C library.
#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    let open = format!("/proc/self/fd/{file}");
    let path = fs::read_link(&open).unwrap().to_str().unwrap().to_owned();
    let data = fs::metadata(&open).unwrap();
    CALLS.with_borrow_mut(|calls| calls.push(if data.is_dir() { Call::Folder(path) } else { Call::File(path, data.len()) }));
    // SAFETY: the system call itself, with the argument that it was meant to have.
    unsafe { libc::syscall(libc::SYS_fsync, file) as c_int }
}

/// Those of `rename` too.
///
/// # Safety
/// Both are C strings.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let [old, new] = unsafe { [CStr::from_ptr(from), CStr::from_ptr(to)] }.map(|path| path.to_str().unwrap().to_owned());
    CALLS.with_borrow_mut(|calls| calls.push(Call::Rename(old, new)));
    let left = GOOD_RENAMES.get();
    GOOD_RENAMES.set(left.wrapping_sub(1));
    // SAFETY: strings as above, and the place where the system says why a call failed.
    unsafe {
        if left == 0 {
            *libc::__errno_location() = libc::EIO;
            return -1;
        }
        libc::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to)
    }
}

/// What `work` calls, with paths below `root`.
fn calls_of(root: &Path, work: impl FnOnce()) -> Vec<Call> {
    CALLS.take();
    work();
    let below = |path: String| Path::new(OsStr::from_bytes(path.as_bytes())).strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let call = |call| match call {
        Call::File(path, bytes) => Call::File(below(path), bytes),
        Call::Folder(path) => Call::Folder(below(path)),
        Call::Rename(from, to) => Call::Rename(below(from), below(to)),
    };
    CALLS.take().into_iter().map(call).collect()
}

/// A folder for a test, by the path that the system knows it by.
fn root() -> (tempfile::TempDir, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap();
    (root, path)
}

fn file(path: impl Into<String>, bytes: u64) -> Call {
    Call::File(path.into(), bytes)
}

fn folder(path: impl Into<String>) -> Call {
    Call::Folder(path.into())
}

fn renamed(from: impl Into<String>, to: impl Into<String>) -> Call {
    Call::Rename(from.into(), to.into())
}

/// Saves a checkpoint whose weights are `step`, in files longer than a writer's buffer, and keeps only it.
fn save_step(lock: &RunLock, step: u64) -> Result<(), CheckpointError> {
    let weights = vec![step as f32; 100_000];
    let tensors = [TensorRef { name: "a", shape: &[100_000], data: &weights }];
    let snapshot = Snapshot { step, model: &mut &tensors[..], optimizer: Some(&mut &tensors[..]), state: RawValue::NULL };
    save(lock, snapshot, std::num::NonZeroUsize::new(1)).map(drop)
}

fn weights(run: &Run, step: u64) -> Vec<f32> {
    load(run, Some(step)).unwrap().model.read("a").unwrap()
}

#[test]
fn a_checkpoint_is_on_the_disk_before_it_has_its_name_and_before_another_goes() {
    let (_root, path) = root();
    let run = Run::create(&Home::at(&path), "a", &json!({}), "{}").unwrap();
    let lock = run.lock().unwrap();
    save_step(&lock, 1).unwrap();
    let checkpoints = run.checkpoints_path();
    let length = |step: &str, name: &str| fs::metadata(checkpoints.join(step).join(name)).unwrap().len();
    let written = |at: &str, step: &str| {
        let files =
            ["model.safetensors", "optimizer.safetensors", "state.json"].map(|name| file(format!("{at}/{name}"), length(step, name)));
        files.into_iter().chain([folder(at)]).collect::<Vec<_>>()
    };

    let calls = calls_of(&checkpoints, || save_step(&lock, 2).unwrap());
    let named = [renamed(".tmp-000002", "000002"), folder(""), renamed("000001", ".tmp-old-000001")];
    assert_eq!(calls, [written(".tmp-000002", "000002"), named.to_vec()].concat());

    // In the place of another, which keeps a name until the new one has it.
    let calls = calls_of(&checkpoints, || save_step(&lock, 2).unwrap());
    let named = [renamed("000002", ".replaced-000002"), renamed(".tmp-000002", "000002"), folder("")];
    assert_eq!(calls, [written(".tmp-000002", "000002"), named.to_vec()].concat());
}

#[test]
fn a_checkpoint_that_cannot_be_replaced_stays() {
    let (_root, path) = root();
    let run = Run::create(&Home::at(&path), "a", &json!({}), "{}").unwrap();
    let lock = run.lock().unwrap();
    save_step(&lock, 1).unwrap();
    for good in [0, 1] {
        GOOD_RENAMES.set(good);
        let error = save_step(&lock, 1).unwrap_err();
        GOOD_RENAMES.set(usize::MAX);
        assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
        assert_eq!(fs::read_dir(run.checkpoints_path()).unwrap().count(), 1, "after {good} renames");
        assert_eq!(weights(&run, 1), [1.0; 100_000]);
    }
    // What one that failed has left behind stands in nobody's way, while the run is locked still.
    for left in [".tmp-000001", ".replaced-000001"] {
        fs::create_dir_all(run.checkpoints_path().join(left).join("model.safetensors")).unwrap();
    }
    save_step(&lock, 1).unwrap();
    assert_eq!(fs::read_dir(run.checkpoints_path()).unwrap().count(), 1);
}

#[test]
fn a_run_and_its_configuration_are_on_the_disk_before_they_have_their_names() {
    let (_root, path) = root();
    let home = Home::at(&path);
    let calls = calls_of(&path, || drop(Run::create(&home, "a", &json!({}), "tokenizer").unwrap()));
    let Some(Call::Rename(new, _)) = calls.iter().find(|call| matches!(call, Call::Rename(..))) else { panic!("{calls:?}") };
    let checkpoints = folder(format!("{new}/checkpoints"));
    let made = [file(format!("{new}/tokenizer.json"), 9), file(format!("{new}/config.json"), 3), folder(new)];
    assert_eq!(calls, [&made[..], &[checkpoints, renamed(new, "runs/a"), folder("runs")]].concat());

    // What a killed process has left is cleared away for good.
    let run = Run::open(&home, "a").unwrap();
    fs::create_dir(run.checkpoints_path().join(".tmp-000001")).unwrap();
    let mut lock = None;
    assert_eq!(calls_of(run.folder(), || lock = Some(run.lock().unwrap())), [folder("checkpoints")]);
    let calls = calls_of(run.folder(), || lock.unwrap().replace_config(&json!([1])).unwrap());
    let config = fs::read(run.folder().join("config.json")).unwrap().len() as u64;
    assert_eq!(calls, [file(".config.json.new", config), renamed(".config.json.new", "config.json"), folder("")]);
    assert_eq!(Run::open(&home, "a").unwrap().config(), &json!([1]));
}
