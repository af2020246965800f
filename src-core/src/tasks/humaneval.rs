//! HumanEval: 164 beginnings of Python functions. A model writes the rest, and the problem's own checks run on it.
//!
//! The format is nanochat's: the question is the beginning of the function, the whole completion or its first code block
//! is the program, and the imports of the question go before it. To pass, the program must reach its last line. Running it is left
//! to a [`Runner`], which this module is given.

use std::path::PathBuf;

use serde::Deserialize;

use super::digest::Fingerprinter;
use super::python_random::NumpyRandom;
use super::rows::{self, RowFault, parse};
use super::source::{Files, HubSet};
use super::{Sources, Split, Task, TaskError};
use crate::tokenizer::{Conversation, Message, Role};

/// The task's name.
pub const NAME: &str = "humaneval";

/// Where the problems are; there is only a test split. OpenAI's own file is `HumanEval.jsonl.gz`.
pub const SET: HubSet = HubSet { name: NAME, repo: "openai/openai_humaneval", files };

fn files(_: Split) -> Files {
    Files { splits: &["test", "humaneval"], on_hub: &["openai_humaneval/test-"] }
}

const COLUMNS: &[&str] = &["task_id", "prompt", "canonical_solution", "test", "entry_point"];

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// Its name, such as `HumanEval/0`.
    pub task_id: String,
    /// The beginning of the program: imports, the function's head, and a comment that says what it should do.
    pub prompt: String,
    /// A continuation of the prompt that passes.
    pub canonical_solution: String,
    /// A function `check` that raises an exception unless the function that it is given is right.
    pub test: String,
    /// The name of the function.
    pub entry_point: String,
}

impl Problem {
    /// The program that passes if `completion`, a model's answer, is right: it runs to its last line.
    pub fn program(&self, completion: &str) -> String {
        let (imports, code) = (imports(&self.prompt), code(completion));
        format!("{imports}\n\n{code}\n\n{}\ncheck({})", self.test, self.entry_point)
    }

    /// The answer that passes, as nanochat has it: the prompt, a line break, and the solution.
    pub fn solution(&self) -> String {
        format!("{}\n{}", self.prompt, self.canonical_solution)
    }
}

/// Runs a program, and says whether it ran to its last line.
pub type Runner = Box<dyn Fn(&str) -> Result<bool, TaskError> + Send + Sync>;

/// The seed of the reference's order.
const SEED: u64 = 42;

/// The problems.
pub struct HumanEval {
    problems: Vec<Problem>,
    fingerprint: String,
    runner: Option<Runner>,
}

impl HumanEval {
    /// Finds and reads the problems, and brings them into the reference's order.
    ///
    /// # Errors
    /// If they cannot be found, fetched or read, a row is no problem, or there is none.
    pub fn open(sources: &Sources) -> Result<Self, TaskError> {
        let mut read = Self::read(&SET.locate(Split::Test, sources)?)?;
        let order = NumpyRandom::new(SEED).permutation(read.problems.len());
        read.problems = order.into_iter().map(|index| read.problems[index].clone()).collect();
        Ok(read)
    }

    /// The same, with a way to run programs, by which answers can be judged.
    pub fn judged_by(self, runner: Runner) -> Self {
        Self { runner: Some(runner), ..self }
    }

    /// Reads the problems of `files`, in their order.
    ///
    /// # Errors
    /// If a file cannot be read, a row is no problem, or there is none.
    pub fn read(files: &[PathBuf]) -> Result<Self, TaskError> {
        let mut problems = Vec::new();
        let mut print = Fingerprinter::default();
        for path in files {
            rows::for_each(path, COLUMNS, &mut |row| {
                let problem: Problem = parse(row, "strings `task_id`, `prompt`, `canonical_solution`, `test` and `entry_point`")
                    .and_then(checked)
                    .map_err(RowFault::Unusable)?;
                for part in [&problem.task_id, &problem.prompt, &problem.canonical_solution, &problem.test, &problem.entry_point] {
                    print.add(part);
                }
                problems.push(problem);
                Ok(())
            })?;
        }
        if problems.is_empty() {
            return Err(TaskError::Empty { task: NAME.into(), path: files.first().cloned().unwrap_or_default() });
        }
        Ok(Self { problems, fingerprint: print.finish(), runner: None })
    }

    /// The problems.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// A problem whose function can be called by its name.
fn checked(problem: Problem) -> Result<Problem, String> {
    let mut letters = problem.entry_point.chars();
    let name =
        letters.next().is_some_and(|first| first.is_alphabetic() || first == '_') && letters.all(|c| c.is_alphanumeric() || c == '_');
    match problem {
        problem if !name => Err(format!("its `entry_point` is no name of a function, of {} bytes", problem.entry_point.len())),
        problem if problem.prompt.is_empty() => Err("its `prompt` is empty".to_owned()),
        problem => Ok(problem),
    }
}

/// Each problem with its solution as the answer.
impl Task for HumanEval {
    fn name(&self) -> &str {
        NAME
    }

    fn len(&self) -> usize {
        self.problems.len()
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        let problem = &self.problems[index];
        Ok(Conversation {
            messages: vec![Message::text(Role::User, problem.prompt.as_str()), Message::text(Role::Assistant, problem.solution())],
        })
    }

    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        self.runner.as_ref().map(|run| run(&self.problems[index].program(answer))).transpose()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

/// The imports that a prompt begins with, a line each: those before the first line that is neither an import nor a comment.
pub fn imports(prompt: &str) -> String {
    let lines = prompt.split('\n').map(strip);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let imports: Vec<&str> = code.take_while(|line| line.starts_with("import ") || line.starts_with("from ")).collect();
    imports.join("\n")
}

/// The program in a completion: its first code block between lines of three backticks, which may be marked as `python`, or
/// else all of it; without blanks at both ends.
///
/// The same as Python's `re.findall(r'```(?:python)?\s*\n(.*?)\n```', completion, re.DOTALL)`.
pub fn code(completion: &str) -> &str {
    const FENCE: &str = "```";
    for (at, _) in completion.match_indices('`').filter(|(at, _)| completion[*at..].starts_with(FENCE)) {
        let rest = &completion[at + FENCE.len()..];
        let rest = rest.strip_prefix("python").unwrap_or(rest);
        let blanks = &rest[..rest.len() - rest.trim_start_matches(is_space).len()];
        // The block begins after the last line break of the blanks. If there is no end after that, it may still be empty,
        // and begin before that line break.
        let mut line_breaks = blanks.rmatch_indices('\n').map(|(at, _)| at).take(2).peekable();
        if line_breaks.peek().is_none() {
            continue;
        }
        for line_break in line_breaks {
            let block = &rest[line_break + 1..];
            if let Some(end) = block.find("\n```") {
                return strip(&block[..end]);
            }
        }
        // What follows has no end either.
        break;
    }
    strip(completion)
}

/// The text without blanks at both ends, as Python's `str.strip`.
fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether Python counts a character as blank; it does so for four more than Unicode.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem() -> Problem {
        Problem {
            task_id: "HumanEval/0".into(),
            prompt: "from typing import List\n\n\ndef double(x):\n    \"\"\" Twice x. \"\"\"\n".into(),
            canonical_solution: "    return 2 * x\n".into(),
            test: "def check(candidate):\n    assert candidate(2) == 4\n".into(),
            entry_point: "double".into(),
        }
    }

    #[test]
    fn a_program_is_imports_code_checks_and_their_call() {
        let program = problem().program("It is\n```python\ndef double(x):\n    return x + x\n```\nas one sees.");
        assert_eq!(
            program,
            "from typing import List\n\ndef double(x):\n    return x + x\n\ndef check(candidate):\n    assert candidate(2) == 4\n\ncheck(double)"
        );
        let solution = problem().program(&problem().solution());
        assert!(solution.contains("\"\"\"\n\n    return 2 * x\n\ndef check"), "{solution}");
    }

    #[test]
    fn the_first_code_block_is_taken() {
        for (completion, taken) in [
            ("```python\na\n```", "a"),
            ("```\na\n\nb\n```", "a\n\nb"),
            ("so:\n```python  \n\n  a\n  b\n```\n```python\nc\n```", "a\n  b"),
            ("```py\na\n```\n```\nb\n```", "```\nb"),
            ("````python\na\n````", "a"),
            ("```python a\n```", "```python a\n```"),
            ("```python\na", "```python\na"),
            ("```python\n```", "```python\n```"),
            ("```python\n\n```", ""),
            ("```\n\n```\na\n```", "```\na"),
            ("  def f():\n    pass\n\n", "def f():\n    pass"),
            ("", ""),
            ("```", "```"),
            ("é```\u{a0}\né\n```", "é"),
        ] {
            assert_eq!(code(completion), taken, "{completion:?}");
        }
    }

    #[test]
    fn imports_end_at_the_first_other_line() {
        assert_eq!(
            imports("# a comment\nimport math\n\n  from typing import List\nx = 1\nimport re\n"),
            "import math\nfrom typing import List"
        );
        assert_eq!(imports("def f():\n    import math\n"), "");
        assert_eq!(imports("importlib = 1\nimport re"), "");
    }

    #[test]
    fn many_fences_take_no_time() {
        let started = std::time::Instant::now();
        code(&"```\n".repeat(1 << 18));
        code(&"x```\n".repeat(1 << 18));
        code(&format!("```{}", "\n".repeat(1 << 20)));
        code(&"`".repeat(1 << 20));
        assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
    }

    fn read(rows: &[Value]) -> Result<HumanEval, TaskError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HumanEval.jsonl");
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&path, lines).unwrap();
        HumanEval::read(&[path])
    }

    fn row() -> Value {
        let Problem { task_id, prompt, canonical_solution, test, entry_point } = problem();
        json!({ "task_id": task_id, "prompt": prompt, "canonical_solution": canonical_solution, "test": test, "entry_point": entry_point })
    }

    #[test]
    fn rows_become_problems_and_conversations() {
        let task = read(&[row(), row()]).unwrap();
        assert_eq!((task.len(), &task.problems()[1]), (2, &problem()));
        let conversation = task.example(1).unwrap();
        assert_eq!(conversation.messages[0], Message::text(Role::User, problem().prompt));
        assert_eq!(conversation.messages[1], Message::text(Role::Assistant, problem().solution()));
        let mut other = row();
        other["test"] = "def check(candidate): pass".into();
        assert_ne!(read(&[row(), other]).unwrap().fingerprint(), task.fingerprint());
    }

    #[test]
    fn rows_that_are_no_problem_are_refused_without_quoting_them() {
        let with = |key: &str, value: Value| {
            let mut row = row();
            row[key] = value;
            row
        };
        for (row, reason) in [
            (with("test", Value::Null), "line 2: it does not have strings `task_id`"),
            (with("entry_point", "double); secret(".into()), "its `entry_point` is no name of a function, of 16 bytes"),
            (with("entry_point", "".into()), "its `entry_point` is no name"),
            (with("prompt", "".into()), "its `prompt` is empty"),
        ] {
            let said = read(&[self::row(), row]).map(|_| ()).unwrap_err().to_string();
            assert!(said.contains(reason) && !said.contains("secret"), "{said}");
        }
        assert!(matches!(read(&[]), Err(TaskError::Empty { .. })));
    }
}
