//! Checkpoints keep their promises under faults: what goes in comes out bit for bit, damage is refused by name, and
//! neither kill -9 nor a full disk costs an earlier checkpoint.

use std::borrow::Cow;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nc_core::checkpoint::home::Home;
use nc_core::checkpoint::{
    Checkpoint, CheckpointError, MODEL_FILE, OPTIMIZER_FILE, Run, RunError, RunLock, STATE_FILE, Snapshot, SourceError, TensorFile,
    TensorRef, TensorSource, TensorSpec, load, load_latest_good, load_model, save,
};
use nc_core::train::metrics::MetricsLog;
use nc_tests::memory::{Counting, peak_of};
use proptest::prelude::*;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

mod headers;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A run in a folder that goes with the test.
fn new_run() -> (tempfile::TempDir, Run) {
    let root = tempfile::tempdir().unwrap();
    let run = Run::create(&Home::at(root.path()), "run", &json!({"depth": 4}), "{\"tokenizer\": true}").unwrap();
    (root, run)
}

/// Saves `model` at `step`, with an empty optimizer and no state.
fn save_model(lock: &RunLock, step: u64, model: &mut dyn TensorSource, keep_last: Option<usize>) -> Result<PathBuf, CheckpointError> {
    let snapshot = Snapshot { step, model, optimizer: Some(&mut &[][..]), state: RawValue::NULL };
    save(lock, snapshot, keep_last.and_then(NonZeroUsize::new))
}

/// What most tests save at `step`: every number says which step it is of.
fn save_step(lock: &RunLock, step: u64, keep_last: Option<usize>) -> Result<PathBuf, CheckpointError> {
    let weights: Vec<f32> = (0..6000).map(|i| step as f32 + i as f32 / 8192.0).collect();
    let moments: Vec<f32> = weights.iter().map(|w| -w).collect();
    let model = [
        TensorRef { name: "wte", shape: &[50, 100], data: &weights[..5000] },
        TensorRef { name: "h.0.c_q", shape: &[10, 100], data: &weights[5000..] },
    ];
    let optimizer = [TensorRef { name: "wte.m", shape: &[6000], data: &moments }];
    let state = to_raw_value(&json!({"step": step, "loader": {"epoch": 1, "buffer": vec![step; 300]}})).unwrap();
    let snapshot = Snapshot { step, model: &mut &model[..], optimizer: Some(&mut &optimizer[..]), state: &state };
    save(lock, snapshot, keep_last.and_then(NonZeroUsize::new))
}

/// Checks that a checkpoint is what [`save_step`] saved.
fn assert_is_step(mut checkpoint: Checkpoint, step: u64) {
    assert_eq!(checkpoint.step, step);
    let state: Value = serde_json::from_str(checkpoint.state.get()).unwrap();
    assert_eq!(state["loader"]["buffer"], json!(vec![step; 300]));
    let mut weights = checkpoint.model.read("wte").unwrap();
    weights.extend(checkpoint.model.read("h.0.c_q").unwrap());
    assert!(weights.iter().enumerate().all(|(i, &w)| w == step as f32 + i as f32 / 8192.0));
    let moments = checkpoint.optimizer.as_mut().unwrap().read("wte.m").unwrap();
    assert!(moments.len() == weights.len() && moments.iter().zip(&weights).all(|(m, w)| *m == -w));
}

/// Names in a folder, sorted.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// ---- What goes in comes out ----

/// Numbers from a seed. Half of them are those whose bits a detour over text or arithmetic would lose: NaNs with
/// payloads, signalling ones too, infinities, -0 and denormals.
fn delicate_numbers(mut seed: u64, count: usize) -> Vec<f32> {
    const DELICATE: [u32; 9] = [0x7fc0_1234, 0xffc0_0001, 0x7f80_0001, 0xff80_dead, 0x8000_0000, 1, 0x807f_ffff, 0x7f80_0000, 0xff80_0000];
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    (0..count).map(|i| f32::from_bits(if i % 2 == 0 { DELICATE[next() as usize % DELICATE.len()] } else { next() })).collect()
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_bit_of_every_tensor_comes_back(
        tensors in prop::collection::vec((prop::collection::vec(0usize..5, 0..4), any::<u64>()), 0..6),
        step in 0u64..3_000_000,
    ) {
        let names: Vec<String> = (0..tensors.len()).map(|i| format!("t.{}", tensors.len() - i)).collect();
        let data: Vec<_> = tensors.iter().map(|(shape, seed)| delicate_numbers(*seed, shape.iter().product())).collect();
        let refs: Vec<TensorRef> =
            names.iter().zip(&tensors).zip(&data).map(|((name, (shape, _)), data)| TensorRef { name, shape, data }).collect();

        let (_root, run) = new_run();
        let lock = run.lock().unwrap();
        let state = to_raw_value(&json!({"rng": u64::MAX, "scale": 0.1, "text": "\u{0}é"})).unwrap();
        let folder = save(&lock, Snapshot { step, model: &mut &refs[..], optimizer: Some(&mut &refs[..]), state: &state }, None).unwrap();
        prop_assert_eq!(entries(&folder), [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE]);

        let mut checkpoint = load(&run, None).unwrap();
        prop_assert_eq!(checkpoint.step, step);
        prop_assert_eq!(checkpoint.state.get(), state.get());
        let expected: Vec<(&str, &[usize])> = refs.iter().map(|t| (t.name, t.shape)).collect();
        checkpoint.model.expect(&expected).unwrap();
        for tensor in &refs {
            for file in [&mut checkpoint.model, checkpoint.optimizer.as_mut().unwrap()] {
                prop_assert_eq!(bits(&file.read(tensor.name).unwrap()), bits(tensor.data));
            }
        }

        // The reference implementation reads the same.
        let bytes = fs::read(folder.join(MODEL_FILE)).unwrap();
        let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(reference.len(), refs.len());
        for tensor in &refs {
            let view = reference.tensor(tensor.name).unwrap();
            prop_assert_eq!(view.shape(), tensor.shape);
            prop_assert_eq!(view.data(), bytemuck::cast_slice::<f32, u8>(tensor.data));
        }
    }
}

/// Tensors that come into being when they are asked for, as those of a GPU do.
struct Generated {
    tensors: usize,
    elements: usize,
}

impl TensorSource for Generated {
    fn specs(&self) -> Vec<TensorSpec> {
        (0..self.tensors).map(|i| TensorSpec::plain(format!("t{i}"), [self.elements])).collect()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        Ok(vec![index as f32; self.elements].into())
    }
}

#[test]
fn saving_and_loading_hold_one_tensor_at_a_time() {
    const TENSOR: isize = 2 << 20;
    let (_root, run) = new_run();
    let lock = run.lock().unwrap();
    let mut source = Generated { tensors: 12, elements: TENSOR as usize / size_of::<f32>() };
    let (_, peak) = peak_of(|| save_model(&lock, 1, &mut source, None).unwrap());
    assert!((TENSOR..TENSOR * 3 / 2).contains(&peak), "saving held {peak} bytes");
    let ((), peak) = peak_of(|| {
        let mut checkpoint = load(&run, Some(1)).unwrap();
        for i in 0..12 {
            assert!(checkpoint.model.read(&format!("t{i}")).unwrap().iter().all(|&x| x == i as f32));
        }
    });
    assert!((TENSOR..TENSOR * 3 / 2).contains(&peak), "loading held {peak} bytes");
}

/// Two tensors of which the second goes wrong.
struct Failing(Result<usize, &'static str>);

impl TensorSource for Failing {
    fn specs(&self) -> Vec<TensorSpec> {
        ["a", "b"].map(|name| TensorSpec::plain(name, [2, 2])).into()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        let elements = if index == 0 { 4 } else { self.0? };
        Ok(vec![0.0; elements].into())
    }
}

#[test]
fn a_source_that_fails_or_lies_leaves_nothing_behind() {
    let (_root, run) = new_run();
    let lock = run.lock().unwrap();
    save_step(&lock, 1, None).unwrap();
    for (outcome, expected) in [(Ok(3), "3 elements"), (Ok(5), "5 elements"), (Err("the device was lost"), "the device was lost")] {
        let error = save_model(&lock, 2, &mut Failing(outcome), Some(1)).unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(error, CheckpointError::Source { step: 2, .. }) && message.contains("\"b\"") && message.contains(expected),
            "{message}"
        );
    }
    let twice = [TensorRef { name: "a", shape: &[], data: &[0.0] }; 2];
    let error = save_model(&lock, 2, &mut &twice[..], Some(1)).unwrap_err();
    assert!(matches!(error, CheckpointError::Unwritable { step: 2, .. }), "{error}");
    assert_eq!(entries(&run.checkpoints_path()), ["000001"]);
    assert_is_step(load(&run, None).unwrap(), 1);
}

#[test]
fn only_the_newest_stay_and_a_step_can_be_saved_again() {
    let (_root, run) = new_run();
    let lock = run.lock().unwrap();
    for step in [10, 20, 30, 40] {
        save_step(&lock, step, Some(2)).unwrap();
    }
    assert_eq!(run.steps().unwrap(), [30, 40]);
    // A later one, which a resume passed over because it is damaged, neither goes nor counts.
    fs::write(run.checkpoint_path(40).join(MODEL_FILE), "damaged").unwrap();
    save_step(&lock, 31, Some(1)).unwrap();
    assert_eq!(run.steps().unwrap(), [31, 40]);
    save_step(&lock, 40, None).unwrap();
    assert_eq!(entries(&run.checkpoints_path()), ["000031", "000040"]);
    assert_is_step(load(&run, None).unwrap(), 40);
    let error = load(&run, Some(30)).unwrap_err();
    assert!(error.to_string().ends_with("has no checkpoint of step 30; it has 31, 40"), "{error}");
}

#[test]
fn a_checkpoint_of_another_config_is_told_by_its_tensors() {
    let (_root, run) = new_run();
    save_step(&run.lock().unwrap(), 1, None).unwrap();
    let model = load_model(&run, None).unwrap().model;
    model.expect(&[("h.0.c_q", &[10, 100]), ("wte", &[50, 100])]).unwrap();
    let message = model.expect(&[("wte", &[100, 50]), ("lm_head", &[50, 100])]).unwrap_err().to_string();
    for expected in
        ["another config", "\"wte\" is [50, 100] instead of [100, 50]", "\"lm_head\" is missing", "\"h.0.c_q\" is not in the model"]
    {
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

// ---- Damage is refused by name ----

/// Damages `file` of the newer of two checkpoints, and checks that it is refused by name and the older is resumed from.
fn assert_refused(run: &Run, file: &Path, what: &str, damage: impl FnOnce(&Path)) {
    let original = fs::read(file).unwrap();
    damage(file);
    let name = file.file_name().unwrap().to_str().unwrap();
    let Err(CheckpointError::Rejected(rejected)) = load(run, Some(2)) else { panic!("{what} of {name} was not refused") };
    assert_eq!((rejected.step, rejected.file.as_path()), (2, file), "{what}: {rejected}");
    let (checkpoint, refused) = load_latest_good(run).unwrap();
    assert_is_step(checkpoint, 1);
    assert_eq!(refused, [rejected], "{what}");
    // Weights alone can be had from a checkpoint whose optimizer is damaged, and from no other.
    assert_eq!(load_model(run, Some(2)).is_ok(), name == OPTIMIZER_FILE, "{what} of {name}");
    fs::write(file, original).unwrap();
}

#[test]
fn truncated_altered_and_missing_files_are_refused_and_the_one_before_is_resumed_from() {
    let (_root, run) = new_run();
    let lock = run.lock().unwrap();
    save_step(&lock, 1, None).unwrap();
    let folder = save_step(&lock, 2, None).unwrap();
    for file in [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE].map(|name| folder.join(name)) {
        let bytes = fs::read(&file).unwrap();
        for percent in (0..100).step_by(5) {
            let length = bytes.len() * percent / 100;
            assert_refused(&run, &file, &format!("cutting to {percent} %"), |file| fs::write(file, &bytes[..length]).unwrap());
        }
        assert_refused(&run, &file, "cutting the last byte", |file| fs::write(file, &bytes[..bytes.len() - 1]).unwrap());
        assert_refused(&run, &file, "adding a byte", |file| fs::write(file, [&bytes[..], b"\0"].concat()).unwrap());
        assert_refused(&run, &file, "zeroing", |file| fs::write(file, vec![0; bytes.len()]).unwrap());
        assert_refused(&run, &file, "removing", |file| fs::remove_file(file).unwrap());
        // The first bytes (lengths, headers), the last ones, and many between.
        let positions = (0..40).chain(bytes.len() - 40..bytes.len()).chain((0..bytes.len()).step_by(bytes.len() / 60));
        for position in positions {
            let mut altered = bytes.clone();
            altered[position] ^= 1 << (position % 8);
            assert_refused(&run, &file, &format!("flipping a bit of byte {position}"), |file| fs::write(file, &altered).unwrap());
        }
    }
    assert_is_step(load(&run, Some(2)).unwrap(), 2);
}

#[test]
fn files_of_another_step_a_renamed_folder_and_another_tokenizer_are_refused() {
    let (_root, run) = new_run();
    let lock = run.lock().unwrap();
    let one = save_step(&lock, 1, None).unwrap();
    let two = save_step(&lock, 2, None).unwrap();
    assert_refused(&run, &two.join(OPTIMIZER_FILE), "taking step 1's", |file| {
        fs::copy(one.join(OPTIMIZER_FILE), file).unwrap();
    });
    fs::rename(&two, run.checkpoint_path(3)).unwrap();
    let message = load(&run, Some(3)).unwrap_err().to_string();
    assert!(message.contains("state.json is of step 2"), "{message}");
    fs::rename(run.checkpoint_path(3), &two).unwrap();

    fs::write(run.tokenizer_path(), "{\"tokenizer\": false}").unwrap();
    let message = load(&run, Some(2)).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json is not the tokenizer"), "{message}");
    let Err(CheckpointError::NoneGood { rejected, .. }) = load_latest_good(&run) else { panic!("a foreign tokenizer was taken") };
    assert_eq!(rejected.iter().map(|r| r.step).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_run_without_checkpoints_says_so() {
    let (_root, run) = new_run();
    assert!(matches!(load_latest_good(&run), Err(CheckpointError::Empty { .. })));
    assert!(matches!(load_model(&run, Some(3)), Err(CheckpointError::Empty { .. })));
}

// ---- Hostile files ----

// ---- Processes that die ----

/// Which part a process plays that this program starts of itself, and in which home.
const PART: &str = "NC_TEST_CHECKPOINT_PART";
const HOME: &str = "NC_TEST_CHECKPOINT_HOME";

/// Starts this test program again to play a part in another process.
fn start(part: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plays_its_part_in_another_process", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env(HOME, home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Any user can set a limit on file size; it strikes in the middle of a write, as a full disk does.
#[cfg(unix)]
fn limit_file_size(bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: plain system calls on this process.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

/// Does something only when [`start`] started it.
#[test]
fn plays_its_part_in_another_process() {
    let (Ok(part), Some(home)) = (std::env::var(PART), std::env::var_os(HOME)) else { return };
    let run = Run::open(&Home::at(home), "run").unwrap();
    let mut out = std::io::stdout();
    match part.as_str() {
        "save until killed" => {
            let lock = run.lock().unwrap();
            let first = run.steps().unwrap().last().map_or(1, |newest| newest + 1);
            for step in first.. {
                save_step(&lock, step, Some(2)).unwrap();
                writeln!(out, "\nsaved {step}").unwrap();
                // Again in the same place: one that is being replaced must survive too.
                save_step(&lock, step, Some(2)).unwrap();
            }
        }
        "hold the lock" => {
            let _lock = run.lock().unwrap();
            writeln!(out, "\nlocked").unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        #[cfg(unix)]
        "log with small files only" => {
            limit_file_size(10_000);
            let mut log = MetricsLog::open(&run.metrics_path(), None).unwrap();
            log.append(&json!({"step": 0})).unwrap();
            let error = log.append(&json!({"step": 1, "sample": "x".repeat(20_000)})).unwrap_err();
            log.append(&json!({"step": 1})).unwrap();
            writeln!(out, "\nno room: {error}").unwrap();
        }
        #[cfg(unix)]
        "save with small files only" => {
            limit_file_size(10_000);
            let error = save_step(&run.lock().unwrap(), 2, Some(1)).unwrap_err();
            let no_room = matches!(error, CheckpointError::NoRoom { step: 2, needed: 48_000.., free: None, .. });
            writeln!(out, "\nno room: {no_room}: {error}").unwrap();
        }
        other => panic!("no such part: {other}"),
    }
}

/// Waits for a line that starts with `expected` and gives the rest of it.
fn wait_for(lines: &mut impl Iterator<Item = std::io::Result<String>>, expected: &str) -> String {
    lines.map(Result::unwrap).find_map(|line| line.strip_prefix(expected).map(str::to_owned)).expect("the other process ended early")
}

#[test]
fn kill_9_at_any_moment_of_saving_leaves_a_whole_newest_checkpoint() {
    const KILLS: u64 = 60;
    let (root, run) = new_run();
    save_step(&run.lock().unwrap(), 1, None).unwrap();
    let mut interrupted = 0;
    for round in 0..KILLS {
        let mut child = start("save until killed", root.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = wait_for(&mut lines, "saved ");
        // Moments spread evenly over a time in which several checkpoints are saved.
        std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let reported =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("saved ").map(str::to_owned)).last().unwrap_or(first);
        let reported: u64 = reported.parse().unwrap();

        interrupted += u64::from(entries(&run.checkpoints_path()).iter().any(|name| name.starts_with('.')));
        let _lock = run.lock().expect("a killed process holds no lock");
        assert!(entries(&run.checkpoints_path()).iter().all(|name| !name.starts_with('.')), "round {round}");
        let (checkpoint, refused) = load_latest_good(&run).unwrap();
        assert_eq!(refused, [], "round {round}");
        assert!(checkpoint.step >= reported, "round {round}: {reported} was saved, {} is the newest", checkpoint.step);
        for step in run.steps().unwrap() {
            assert_is_step(load(&run, Some(step)).unwrap(), step);
        }
    }
    assert!(interrupted > KILLS / 4, "only {interrupted} of {KILLS} kills came while something was being written");
}

#[test]
fn a_second_process_is_refused_with_the_firsts_pid_and_a_killed_one_is_no_obstacle() {
    let (root, run) = new_run();
    let mut child = start("hold the lock", root.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    wait_for(&mut lines, "locked");
    let error = run.lock().unwrap_err();
    assert!(matches!(error, RunError::Busy { pid, .. } if pid == Some(child.id())), "{error}");
    assert!(error.to_string().contains(&format!("pid {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    run.lock().unwrap();
}

// ---- Full disks ----

#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_keeps_the_last_checkpoint_and_says_how_much_is_needed() {
    let (root, run) = new_run();
    save_step(&run.lock().unwrap(), 1, None).unwrap();
    let mut child = start("save with small files only", root.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answer = wait_for(&mut lines, "no room: ");
    assert!(child.wait().unwrap().success());
    assert!(answer.starts_with("true: the checkpoint of step 2 needs 0.2 MB"), "{answer}");
    assert_eq!(entries(&run.checkpoints_path()), ["000001"]);
    assert_is_step(load(&run, None).unwrap(), 1);
}

#[cfg(unix)]
#[test]
fn a_line_that_finds_no_room_leaves_no_part_of_itself_in_the_log() {
    let (root, run) = new_run();
    let mut child = start("log with small files only", root.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let error = wait_for(&mut lines, "no room: ");
    assert!(child.wait().unwrap().success());
    assert!(error.starts_with("cannot write ") && error.contains("metrics.jsonl"), "{error}");
    assert_eq!(fs::read_to_string(run.metrics_path()).unwrap(), "{\"step\":0}\n{\"step\":1}\n");
}

/// Fills the disk when its second tensor is asked for, after the room was found to suffice.
#[cfg(target_os = "linux")]
struct FillsTheDisk(PathBuf);

#[cfg(target_os = "linux")]
impl TensorSource for FillsTheDisk {
    fn specs(&self) -> Vec<TensorSpec> {
        Generated { tensors: 2, elements: 50_000 }.specs()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        if index == 1 {
            let mut ballast = fs::File::create(&self.0)?;
            while ballast.write_all(&[0; 4096]).is_ok() {}
        }
        Ok(vec![1.0; 50_000].into())
    }
}

/// Mounts an empty file system of 1 MiB that only this thread sees and that goes with it; needs root.
#[cfg(target_os = "linux")]
fn mount_small_disk(folder: &Path) -> bool {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let folder = CString::new(folder.as_os_str().as_bytes()).unwrap();
    // SAFETY: plain system calls with C strings that outlive them.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()) == 0
            && libc::mount(c"none".as_ptr(), folder.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=1m".as_ptr().cast()) == 0
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_the_last_checkpoint_before_and_in_the_middle_of_saving() {
    let root = tempfile::tempdir().unwrap();
    if !mount_small_disk(root.path()) {
        eprintln!("not run: mounting needs root; the limit on file size shows the middle of saving for other users");
        return;
    }
    let run = Run::create(&Home::at(root.path()), "run", &json!({}), "{}").unwrap();
    let lock = run.lock().unwrap();
    save_step(&lock, 1, Some(1)).unwrap();
    let assert_intact = || {
        assert_eq!(entries(&run.checkpoints_path()), ["000001"]);
        assert_is_step(load(&run, None).unwrap(), 1);
    };

    let error = save_model(&lock, 2, &mut Generated { tensors: 3, elements: 100_000 }, Some(1)).unwrap_err();
    assert!(matches!(error, CheckpointError::NoRoom { needed: 1_200_000.., free: Some(..1_048_576), .. }), "{error}");
    assert!(error.to_string().contains("needs 1.3 MB in "), "{error}");
    assert_intact();

    let ballast = root.path().join("ballast");
    let error = save_model(&lock, 2, &mut FillsTheDisk(ballast.clone()), Some(1)).unwrap_err();
    assert!(matches!(error, CheckpointError::NoRoom { needed: 400_000.., free: None, .. }), "{error}");
    assert_intact();

    fs::remove_file(ballast).unwrap();
    save_step(&lock, 2, Some(1)).unwrap();
    assert_eq!(entries(&run.checkpoints_path()), ["000002"]);
}
