//! The chat tasks, and what guessing gets in each.

/// A task of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChatTask {
    /// The task's name, as in [`tasks::NAMES`](crate::tasks::NAMES), or `humaneval`.
    pub name: &'static str,
    /// The reference's name.
    pub label: &'static str,
    /// The accuracy of guessing.
    pub chance: f64,
    /// Whether it counts in ChatCORE. SpellingBee counted until July 2026.
    pub in_core: bool,
}

/// All tasks, in the reference's order.
pub const ALL: [ChatTask; 6] = [
    ChatTask { name: "arc-easy", label: "ARC-Easy", chance: 0.25, in_core: true },
    ChatTask { name: "arc-challenge", label: "ARC-Challenge", chance: 0.25, in_core: true },
    ChatTask { name: "mmlu", label: "MMLU", chance: 0.25, in_core: true },
    ChatTask { name: "gsm8k", label: "GSM8K", chance: 0.0, in_core: true },
    ChatTask { name: "humaneval", label: "HumanEval", chance: 0.0, in_core: true },
    ChatTask { name: "spellingbee", label: "SpellingBee", chance: 0.0, in_core: false },
];

/// The task of this name or label, in any case.
pub fn find(name: &str) -> Option<&'static ChatTask> {
    ALL.iter().find(|task| [task.name, task.label].iter().any(|known| known.eq_ignore_ascii_case(name)))
}

impl ChatTask {
    /// An accuracy on a scale from 0 for guessing to 1 for perfect.
    pub fn centred(&self, accuracy: f64) -> f64 {
        (accuracy - self.chance) / (1.0 - self.chance)
    }
}
