//! The 22 tasks of CORE: what `core.yaml` and `eval_meta_data.csv` of the DCLM bundle say of them, for folders without these files.

use serde::{Deserialize, Serialize};

/// How the items of a task are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One context, several continuations: the likeliest continuation wins.
    MultipleChoice,
    /// Several contexts, one continuation: the context that makes it likeliest wins.
    Schema,
    /// One continuation, every token of which must be the likeliest.
    LanguageModeling,
}

/// What is known of a task before its items are read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskFacts {
    /// Its name.
    pub label: String,
    /// Its file, below the bundle's `eval_data`.
    pub dataset_uri: String,
    /// How it is scored.
    pub kind: Kind,
    /// Examples before each item.
    pub shots: usize,
    /// What stands between a question and its answer.
    pub delimiter: String,
    /// The accuracy of guessing, in per cent.
    pub baseline: f64,
}

/// The delimiter of tasks that name none.
pub(super) const SPACE: &str = " ";

/// The delimiter of tasks that ask for an answer.
const ANSWER: &str = "\nAnswer: ";

/// A row of [`TASKS`].
type Row = (&'static str, &'static str, Kind, usize, &'static str, f64);

/// The tasks in the order of the bundle: label, file, kind, shots, delimiter, baseline in per cent.
pub const TASKS: [Row; 22] = {
    use Kind::{LanguageModeling as Lm, MultipleChoice as Mc, Schema};
    [
        ("hellaswag_zeroshot", "language_understanding/hellaswag.jsonl", Mc, 0, SPACE, 25.0),
        ("jeopardy", "world_knowledge/jeopardy_all.jsonl", Lm, 10, ANSWER, 0.0),
        ("bigbench_qa_wikidata", "world_knowledge/bigbench_qa_wikidata.jsonl", Lm, 10, SPACE, 0.0),
        ("arc_easy", "world_knowledge/arc_easy.jsonl", Mc, 10, ANSWER, 25.0),
        ("arc_challenge", "world_knowledge/arc_challenge.jsonl", Mc, 10, ANSWER, 25.0),
        ("copa", "commonsense_reasoning/copa.jsonl", Mc, 0, SPACE, 50.0),
        ("commonsense_qa", "commonsense_reasoning/commonsense_qa.jsonl", Mc, 10, SPACE, 20.0),
        ("piqa", "commonsense_reasoning/piqa.jsonl", Mc, 10, ANSWER, 50.0),
        ("openbook_qa", "commonsense_reasoning/openbook_qa.jsonl", Mc, 0, SPACE, 25.0),
        ("lambada_openai", "language_understanding/lambada_openai.jsonl", Lm, 0, SPACE, 0.0),
        ("hellaswag", "language_understanding/hellaswag.jsonl", Mc, 10, SPACE, 25.0),
        ("winograd", "language_understanding/winograd_wsc.jsonl", Schema, 0, SPACE, 50.0),
        ("winogrande", "language_understanding/winogrande.jsonl", Schema, 0, SPACE, 50.0),
        ("bigbench_dyck_languages", "symbolic_problem_solving/bigbench_dyck_languages.jsonl", Lm, 10, SPACE, 0.0),
        ("agi_eval_lsat_ar", "symbolic_problem_solving/agi_eval_lsat_ar.jsonl", Mc, 3, SPACE, 20.0),
        ("bigbench_cs_algorithms", "symbolic_problem_solving/bigbench_cs_algorithms.jsonl", Lm, 10, SPACE, 0.0),
        ("bigbench_operators", "symbolic_problem_solving/bigbench_operators.jsonl", Lm, 10, SPACE, 0.0),
        ("bigbench_repeat_copy_logic", "symbolic_problem_solving/bigbench_repeat_copy_logic.jsonl", Lm, 10, SPACE, 0.0),
        ("squad", "reading_comprehension/squad.jsonl", Lm, 10, SPACE, 0.0),
        ("coqa", "reading_comprehension/coqa.jsonl", Lm, 0, SPACE, 0.0),
        ("boolq", "reading_comprehension/boolq.jsonl", Mc, 10, ANSWER, 62.0),
        ("bigbench_language_identification", "language_understanding/bigbench_language_identification.jsonl", Mc, 10, SPACE, 9.1),
    ]
};

impl TaskFacts {
    /// The 22 tasks.
    pub fn all() -> Vec<Self> {
        let fact = |&(label, file, kind, shots, delimiter, baseline): &Row| Self {
            label: label.to_owned(),
            dataset_uri: file.to_owned(),
            kind,
            shots,
            delimiter: delimiter.to_owned(),
            baseline,
        };
        TASKS.iter().map(fact).collect()
    }

    /// `(accuracy − baseline) / (1 − baseline)`: 0 is guessing, 1 is perfect.
    pub fn centred(&self, accuracy: f64) -> f64 {
        let baseline = 0.01 * self.baseline;
        (accuracy - baseline) / (1.0 - baseline)
    }
}
