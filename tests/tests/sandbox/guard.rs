//! Programs that do not end, want too much, or reach for what is outside are stopped or fail; the next one runs.

use super::*;

/// How long a program may be there: four times its limit, on a busy machine, and what stopping takes.
const LONGEST: Duration = Duration::from_secs(8);

fn limits() -> Limits {
    Limits { time: Duration::from_millis(1500), ..Limits::default() }
}

/// Runs a program, and asserts that it stays within the limits and does no harm to the next one.
fn stopped(program: &str) -> Run {
    let started = Instant::now();
    let run = INTERPRETER.run(program, &limits()).unwrap();
    assert!(started.elapsed() < LONGEST, "{program}: {:?}", started.elapsed());
    assert!(run.memory <= limits().memory && run.output.len() <= limits().output, "{program}: {} {}", run.memory, run.output.len());
    assert_still_works();
    run
}

fn assert_outcome(program: &str, outcome: &Outcome) {
    assert_eq!(stopped(program).outcome, *outcome, "{program}");
}

#[test]
fn loops_without_end_are_stopped() {
    for program in [
        "while True: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import itertools\nsum(itertools.repeat(0))",
        "x = 10 ** (10 ** 8)",
        "import re\nre.match('(a*)*b', 'a' * 40)",
        "import time\nwhile True: time.sleep(0.01)",
        "import time\ntime.sleep(1e6)",
        "import time\ntime.sleep(1e9)\nprint('woke up')",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    ] {
        let run = stopped(program);
        assert!(run.outcome == Outcome::TimedOut && run.output.is_empty(), "{program}: {}", run.outcome);
    }
}

#[test]
fn memory_is_bounded() {
    for program in [
        "x = bytearray(1 << 29)",
        "x = []\nwhile True: x.append(bytes(1 << 20) + str(len(x)).encode())",
        "x = 'a'\nwhile True: x += x",
        "x = [0] * (1 << 28)",
    ] {
        assert_outcome(program, &Outcome::OutOfMemory);
    }
    let within = "x = bytearray(200 << 20)\nassert len(x) == 200 << 20";
    assert_outcome(within, &Outcome::Finished);
    let small = Limits { memory: 30 << 20, ..limits() };
    assert_eq!(INTERPRETER.run("x = bytearray(20 << 20)", &small).unwrap().outcome, Outcome::OutOfMemory);
    // Too little for the interpreter itself.
    for memory in [0, 1 << 20, 12 << 20] {
        let run = INTERPRETER.run("pass", &Limits { memory, ..limits() }).unwrap();
        assert_eq!(run.outcome, Outcome::OutOfMemory, "{memory}");
    }
    // A program that handles the exception goes on.
    assert_outcome("try: bytearray(1 << 29)\nexcept MemoryError: pass", &Outcome::Finished);
    let later = stopped("try: bytearray(1 << 29)\nexcept MemoryError: pass\nassert False, 'later'");
    assert_eq!(exception(&later), "AssertionError: later");
}

#[test]
fn output_is_bounded() {
    for program in [
        "while True: print('a' * 1000)",
        "print('a' * (1 << 21))",
        "import sys\nwhile True: sys.stderr.write('a' * 100)",
        "import os\nwhile True: os.write(2, bytes(1 << 16))",
    ] {
        let run = stopped(program);
        assert_eq!((run.outcome, run.output.len()), (Outcome::TooMuchOutput, limits().output), "{program}");
    }
    let limit = limits().output;
    let full = stopped(&format!("print('a' * {}, end='')", limit));
    assert_eq!((full.outcome, full.output.len()), (Outcome::Finished, limit));
    let more = stopped(&format!("print('a' * {}, end='')", limit + 1));
    assert_eq!((more.outcome, more.output.len()), (Outcome::TooMuchOutput, limit));
    let failed = stopped(&format!("print('a' * {limit}, end='')\nraise ValueError('full')"));
    assert_eq!((exception(&failed), failed.output.len()), ("ValueError: full", limit));
    let silent = Limits { output: 0, ..limits() };
    assert_eq!(INTERPRETER.run("x = 1", &silent).unwrap().outcome, Outcome::Finished);
    assert_eq!(INTERPRETER.run("print()", &silent).unwrap().outcome, Outcome::TooMuchOutput);
}

#[test]
fn deep_recursion_is_an_exception() {
    for program in [
        "def f(): return f()\nf()",
        "f = lambda n: sorted([1], key=lambda _: f(n + 1))\nf(0)",
        "class A:\n    def __getattr__(self, name): return getattr(self, name + 'a')\nA().x",
        "class A:\n    def __str__(self): return str(self)\nstr(A())",
        "class A:\n    def __add__(self, other): return self + other\nA() + A()",
        "import functools\n@functools.cache\ndef f(n): return f(n + 1)\nf(0)",
        "import re\ndef f(_): return re.sub('a', f, 'a')\nf(0)",
        "x = []\nfor _ in range(100000): x = [x]\nrepr(x)",
        "import json\njson.loads('[' * 100000)",
    ] {
        let run = stopped(program);
        assert!(exception(&run).starts_with("RecursionError"), "{program}: {}", run.outcome);
    }
    // As deep as programs go.
    let cached = "import functools\n@functools.cache\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)\nassert f(150) % 1000 == 200";
    assert_outcome(cached, &Outcome::Finished);
    // Nested so deeply in C code that Python does not count it: whatever happens to that program, it is its own affair.
    for program in ["x = range(3)\nfor _ in range(100000): x = map(int, x)\nlist(x)", "eval('-' * 100000 + '1')"] {
        stopped(program);
    }
}

#[test]
fn ending_early_is_no_success() {
    for (program, status) in [
        ("import sys\nsys.exit()", 0),
        ("import sys\nsys.exit(0)", 0),
        ("raise SystemExit", 0),
        ("import sys\nsys.exit(3)", 3),
        ("import sys\nsys.exit('a message')", 1),
        ("import os\nos._exit(0)", 0),
        ("import os\nos._exit(7)", 7),
        ("def f(): raise SystemExit(0)\nf()\nassert False", 0),
        ("import atexit, sys\natexit.register(print, 'bye')\nsys.exit(0)", 0),
        ("import sys\ntry: sys.exit(0)\nfinally: print('bye')", 0),
    ] {
        assert_outcome(program, &Outcome::EndedEarly { status });
    }
    assert_outcome("import sys\ntry: sys.exit(0)\nexcept SystemExit: pass", &Outcome::Finished);
    // Words that could be signs.
    for word in ["finished", "Finished", "passed", "ok", "0", "", "0123456789abcdef0123456789abcdef"] {
        let program = format!("import os\nprint({word:?}, flush=True)\nos.write(1, {word:?}.encode())\nos._exit(0)");
        assert_outcome(&program, &Outcome::EndedEarly { status: 0 });
    }
}

#[test]
fn nothing_outside_can_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("there.txt");
    std::fs::write(&file, "secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let there = serde_json::json!(file).to_string();
    for program in [
        format!("open({there})"),
        format!("open({there}, 'w')"),
        format!("open({there} + '.new', 'x')"),
        "open('/proc/self/environ')".to_owned(),
        "open('/dev/null')".to_owned(),
        "open(3)".to_owned(),
        "open('..')".to_owned(),
        format!("import os\nos.remove({there})"),
        format!("import os\nos.rename({there}, {there} + '.new')"),
        format!("import os\nos.stat({there})"),
        "import os\nos.mkdir('/new')".to_owned(),
        "import os\nos.listdir('/')".to_owned(),
        "import os\nos.symlink('/', 'new')".to_owned(),
        format!("import sqlite3\nsqlite3.connect({there}).execute('create table a (b)')"),
        format!("import socket\nsocket.create_connection(('127.0.0.1', {port}))"),
        format!("import socket\nsocket.socket().connect(('127.0.0.1', {port}))"),
        "import socket\nsocket.socket().bind(('127.0.0.1', 0))".to_owned(),
        "import socket\nsocket.gethostbyname('localhost')".to_owned(),
        format!("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}/')"),
        "import subprocess\nsubprocess.check_output(['true'])".to_owned(),
        "import os\nos.execv('/bin/true', ['true'])".to_owned(),
        "import os\nos.posix_spawn('/bin/true', ['true'], {})".to_owned(),
        "import os\nos.kill(os.getppid(), 9)".to_owned(),
        "import os\nos.environ['PATH']".to_owned(),
        "import os\nos.environ['HOME']".to_owned(),
        "input()".to_owned(),
    ] {
        exception(&stopped(&program));
    }
    let known = stopped("import os, sys\nprint(dict(os.environ), os.getcwd(), sys.argv, sys.stdin.read())");
    assert_eq!(String::from_utf8(known.output).unwrap(), "{} / ['-c'] \n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody connected");
}

/// What a program breaks in its own interpreter stays there.
#[test]
fn a_broken_interpreter_costs_its_own_program() {
    for (program, finished) in [
        ("import builtins\nbuiltins.print = None\nbuiltins.str = None", true),
        ("import sys\nsys.stdout = None", true),
        ("import sys\nsys.stdout.close()", true),
        ("import os\nos.write = os.read = None", true),
        ("import sys\nsys.modules.clear()", true),
        ("import os\nos.close(0)\nos.close(1)\nos.close(2)", true),
        ("import faulthandler\nfaulthandler._sigsegv()", false),
        ("import os\nos.abort()", false),
    ] {
        let run = stopped(program);
        assert_eq!(run.outcome.is_finished(), finished, "{program}: {}", run.outcome);
    }
}

/// All at once, beside programs that do nothing wrong.
#[test]
fn many_that_misbehave_stop_no_other() {
    let bad = ["while True: pass", "x = bytearray(1 << 29)", "while True: print(1)", "def f(): f()\nf()", "import os\nos._exit(0)"];
    let programs: Vec<&str> = bad.iter().flat_map(|bad| [*bad, "assert sum(range(1000)) == 499500"]).collect();
    let right = AtomicUsize::new(0);
    let note = |index: usize, run: Run| {
        assert_eq!(run.outcome.is_finished(), index % 2 == 1, "{}: {}", programs[index], run.outcome);
        right.fetch_add(1, Ordering::Relaxed);
    };
    run_all(&INTERPRETER, &programs, &Limits { time: Duration::from_secs(5), ..limits() }, 3, &AtomicBool::new(false), &note).unwrap();
    assert_eq!(right.into_inner(), programs.len());
}
