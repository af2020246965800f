//! Conversations of a `.jsonl` file: identity conversations, or any others.
//!
//! What is held out for validation depends only on the first question ([`HeldOut::ByQuestion`]), so that
//! no question is in both splits. The whole file is held in memory.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest::Fingerprinter;
use super::{Split, Task, TaskError};
use crate::data::{FoundConversations, Unsupported, read_conversations_with};
use crate::tokenizer::{Content, Conversation, Role};

/// About one question in this many is held out for validation. In a file with fewer, none is.
pub const HELD_OUT_EVERY: usize = 20;

/// How the conversations for validation are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldOut {
    /// By the hash of the first question: conversations that begin with the same one are in the same split, in every file
    /// and in any order. Case, white space and final punctuation make no difference.
    #[default]
    ByQuestion,
    /// The 20th conversation of the file, the 40th, …: the rule of older runs. Repeated content may be in
    /// both splits.
    EveryTwentieth,
}

impl HeldOut {
    /// The rule of a run that does not record one.
    pub(crate) fn unrecorded() -> Self {
        Self::EveryTwentieth
    }

    /// Which of `conversations` are held out.
    fn of(self, conversations: &[Conversation]) -> Vec<bool> {
        match self {
            Self::EveryTwentieth => (1..=conversations.len()).map(|number| number % HELD_OUT_EVERY == 0).collect(),
            Self::ByQuestion => {
                let questions: Vec<u64> = conversations.iter().map(question).collect();
                let different: HashSet<u64> = questions.iter().copied().collect();
                if different.len() < HELD_OUT_EVERY {
                    return vec![false; conversations.len()];
                }
                let chosen = |question: u64| question.is_multiple_of(HELD_OUT_EVERY as u64);
                // If the hashes select none, the one with the closest hash.
                let instead = if different.iter().copied().any(chosen) { None } else { different.iter().copied().min() };
                questions.into_iter().map(|question| chosen(question) || instead == Some(question)).collect()
            }
        }
    }
}

/// The hash of a conversation's first question.
fn question(conversation: &Conversation) -> u64 {
    let asked = conversation.messages.iter().find(|message| message.role == Role::User).map(|message| &message.content);
    let asked = match asked {
        Some(Content::Text(text)) => text.as_str(),
        Some(Content::Parts(_)) | None => "",
    };
    let words = asked.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let bare = words.trim_end_matches(|end: char| end.is_whitespace() || matches!(end, '.' | '?' | '!' | '…' | '。' | '？' | '！'));
    let digest = Sha256::digest(bare);
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

/// How files of conversations are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileRules {
    /// What is held out for validation.
    pub held_out: HeldOut,
    /// What happens to conversations that cannot be represented.
    pub unsupported: Unsupported,
}

/// What was found in a file of conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSummary {
    /// The file's name.
    pub file: String,
    /// Conversations that are used, for training or for validation.
    pub conversations: usize,
    /// How many of them duplicate an earlier one.
    pub duplicates: usize,
    /// The number of different first questions.
    pub questions: usize,
    /// How many are held out for validation.
    pub held_out: usize,
    /// Conversations that cannot be represented, and were skipped.
    pub skipped: u64,
    /// The first of these, and the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_skipped: Option<String>,
}

/// The conversations of a file that belong to a split.
pub struct Jsonl {
    summary: FileSummary,
    conversations: Vec<Conversation>,
    fingerprint: String,
}

impl Jsonl {
    /// Reads the conversations of `split`.
    ///
    /// # Errors
    /// If the file cannot be read, a line is not a conversation, or there is none at all.
    pub fn open(path: &Path, split: Split, rules: FileRules) -> Result<Self, TaskError> {
        let FoundConversations { mut conversations, skipped, first_skipped } = read_conversations_with(path, rules.unsupported)?;
        let written = |conversation: &Conversation| serde_json::to_vec(conversation).map_err(|error| TaskError::io(path)(error.into()));
        let mut different = HashSet::new();
        for conversation in &conversations {
            different.insert(<[u8; 32]>::from(Sha256::digest(written(conversation)?)));
        }
        let held_out = rules.held_out.of(&conversations);
        let summary = FileSummary {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            conversations: conversations.len(),
            duplicates: conversations.len() - different.len(),
            questions: conversations.iter().map(question).collect::<HashSet<_>>().len(),
            held_out: held_out.iter().filter(|held_out| **held_out).count(),
            skipped,
            first_skipped: first_skipped.map(|error| error.to_string()),
        };
        let mut held_out = held_out.into_iter();
        conversations.retain(|_| held_out.next() == Some(split != Split::Train));
        let mut print = Fingerprinter::default();
        for conversation in &conversations {
            print.add(written(conversation)?);
        }
        Ok(Self { summary, conversations, fingerprint: print.finish() })
    }
}

impl Task for Jsonl {
    fn name(&self) -> &str {
        &self.summary.file
    }

    fn len(&self) -> usize {
        self.conversations.len()
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        Ok(self.conversations[index].clone())
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn files(&self) -> Vec<FileSummary> {
        vec![self.summary.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::number;
    use super::*;

    fn file(folder: &Path, count: usize) -> std::path::PathBuf {
        let line = |number: usize| serde_json::json!({ "messages": [{ "role": "user", "content": number.to_string() }] }).to_string();
        let path = folder.join("talks.jsonl");
        std::fs::write(&path, (0..count).map(|number| line(number) + "\n").collect::<String>()).unwrap();
        path
    }

    fn open(path: &Path, split: Split) -> Jsonl {
        Jsonl::open(path, split, FileRules::default()).unwrap()
    }

    fn numbers(path: &Path, split: Split, held_out: HeldOut) -> Vec<usize> {
        let task = Jsonl::open(path, split, FileRules { held_out, ..FileRules::default() }).unwrap();
        (0..task.len()).map(|index| number(&task, index)).collect()
    }

    #[test]
    fn old_runs_hold_out_every_20th_conversation_of_a_file_that_has_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let numbers = |path: &Path, split| numbers(path, split, HeldOut::EveryTwentieth);
        let path = file(dir.path(), 45);
        assert_eq!(numbers(&path, Split::Validation), [19, 39]);
        assert_eq!(numbers(&path, Split::Train), (0..45).filter(|number| ![19, 39].contains(number)).collect::<Vec<_>>());
        let path = file(dir.path(), 19);
        assert_eq!(numbers(&path, Split::Train).len(), 19);
        assert_eq!(numbers(&path, Split::Validation), [0; 0]);
    }

    #[test]
    fn what_is_held_out_depends_on_the_question_and_not_on_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let held_out = |count| numbers(&file(dir.path(), count), Split::Validation, HeldOut::ByQuestion);
        assert_eq!(numbers(&file(dir.path(), 19), Split::Train, HeldOut::ByQuestion).len(), 19);
        let all = held_out(2000);
        assert!((70..130).contains(&all.len()), "{}", all.len());
        // Less of the file, in another order: the same are held out.
        assert_eq!(held_out(1000), all.iter().copied().filter(|&number| number < 1000).collect::<Vec<_>>());
        let path = file(dir.path(), 2000);
        let reversed: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().rev().map(str::to_owned).collect();
        std::fs::write(&path, reversed.join("\n")).unwrap();
        assert_eq!(numbers(&path, Split::Validation, HeldOut::ByQuestion), all.iter().copied().rev().collect::<Vec<_>>());
        let (trained, held_out) = (open(&path, Split::Train), open(&path, Split::Validation));
        assert_eq!(trained.len() + held_out.len(), 2000);
        assert_eq!(trained.files(), held_out.files());
        // Twenty questions are enough for one to be held out, whatever their hashes are.
        for count in 20..60 {
            assert!(!open(&file(dir.path(), count), Split::Validation).is_empty(), "{count}");
        }
    }

    #[test]
    fn the_same_question_is_on_one_side_however_it_is_written_and_answered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("talks.jsonl");
        let ways = ["What is {}?", "what is {}", "What  is\t{}!!", " WHAT IS {} ?", "What is {}?"];
        let line = |asked: &str, answered: &str, system: bool| {
            let system = system.then(|| serde_json::json!({ "role": "system", "content": "Be brief." }));
            let rest =
                [serde_json::json!({ "role": "user", "content": asked }), serde_json::json!({ "role": "assistant", "content": answered })];
            serde_json::json!(system.into_iter().chain(rest).collect::<Vec<_>>()).to_string() + "\n"
        };
        let text: String = (0..100)
            .flat_map(|number| ways.iter().enumerate().map(move |(way, asked)| (number, way, *asked)))
            .map(|(number, way, asked)| line(&asked.replace("{}", &number.to_string()), if way == 4 { "?" } else { "yes" }, way == 1))
            .collect();
        std::fs::write(&path, text.repeat(2)).unwrap();
        let (trained, held_out) = (open(&path, Split::Train), open(&path, Split::Validation));
        let summary = &trained.files()[0];
        assert_eq!((summary.conversations, summary.duplicates, summary.questions, summary.skipped), (1000, 500, 100, 0));
        assert_eq!(summary.held_out, held_out.len());
        assert!(!held_out.is_empty() && held_out.len() % 10 == 0, "{}", held_out.len());
        let asked = |task: &Jsonl| task.conversations.iter().map(question).collect::<HashSet<_>>();
        assert!(asked(&trained).is_disjoint(&asked(&held_out)));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 3);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole + "[{\"role\": \"tool\", \"content\": \"secret\"}]\n").unwrap();
        assert!(Jsonl::open(&path, Split::Train, FileRules::default()).is_err());
        let rules = FileRules { unsupported: Unsupported::Skip, ..FileRules::default() };
        let summary = Jsonl::open(&path, Split::Train, rules).unwrap().files().remove(0);
        assert_eq!((summary.conversations, summary.skipped), (3, 1));
        let first = summary.first_skipped.unwrap();
        assert!(first.contains("talks.jsonl, line 4: message 1 has an unknown role `tool`") && !first.contains("secret"), "{first}");
    }

    #[test]
    fn the_fingerprint_depends_on_what_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let print = |count, split| open(&file(dir.path(), count), split).fingerprint();
        assert_eq!(print(30, Split::Train), print(30, Split::Train));
        assert_ne!(print(30, Split::Train), print(31, Split::Train));
        assert_ne!(print(30, Split::Train), print(30, Split::Validation));
    }

    #[test]
    fn a_broken_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 3);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"messages\": [{{\"role\": \"secret\", \n")).unwrap();
        let Err(error) = Jsonl::open(&path, Split::Train, FileRules::default()) else { panic!("a broken line was taken") };
        let said = error.to_string();
        assert!(said.contains("talks.jsonl, line 4") && !said.contains("secret"), "{said}");
    }
}
