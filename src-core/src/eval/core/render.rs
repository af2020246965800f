//! From items to token ids: which examples stand before an item, the text of the whole, and which tokens are scored.

use super::text::strip;
use super::{CoreError, Item, TaskFacts};
use crate::tasks::python_random::PythonRandom;
use crate::tokenizer::Tokenizer;

/// The seed of the order of a task's items.
const ORDER_SEED: u64 = 1337;

/// The seed of the examples of the first item; each next one has the next.
const SHOTS_SEED: u64 = 1234;

/// A task with its items in the order in which they are evaluated.
#[derive(Clone, Debug)]
pub struct TaskData {
    /// What is known of the task.
    pub facts: TaskFacts,
    items: Vec<Item>,
    /// The SHA-256 of the file.
    pub digest: String,
}

/// One sequence to score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, beginning with `<|bos|>`.
    pub ids: Vec<u32>,
    /// The first token that is scored; all that follow are. Past the last one if none is.
    pub start: usize,
}

impl TaskData {
    /// The items of a file, given in its order: shuffled as the reference does, then cut to `most`, if given and not 0.
    pub fn new(facts: TaskFacts, mut items: Vec<Item>, digest: String, most: Option<usize>) -> Self {
        PythonRandom::new(ORDER_SEED).shuffle(&mut items);
        if let Some(most) = most.filter(|&most| most > 0) {
            items.truncate(most);
        }
        Self { facts, items, digest }
    }

    /// The items in their order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The indices of the examples that stand before item `index`: a sample of all others, in the order in which they are drawn. Fewer
    /// than the task's shots if there are no more.
    pub fn shots(&self, index: usize) -> Vec<usize> {
        let others = self.items.len().saturating_sub(1);
        let count = self.facts.shots.min(others);
        let drawn = PythonRandom::new(SHOTS_SEED + index as u64).sample(others, count).unwrap_or_default();
        // The others are numbered without the item itself.
        drawn.into_iter().map(|other| other + usize::from(other >= index)).collect()
    }

    /// The texts of item `index`: one for each option; for language modelling first the text without the continuation, then the whole.
    pub fn texts(&self, index: usize) -> Vec<String> {
        let mut before = String::new();
        for shot in self.shots(index) {
            let (left, right) = solved(&self.items[shot]);
            before.extend([left, &self.facts.delimiter, right, "\n\n"]);
        }
        let text = |left: &str, right: &str| [&before, left, &self.facts.delimiter, right].concat();
        match &self.items[index] {
            Item::MultipleChoice { query, choices, .. } => choices.iter().map(|choice| text(query, choice)).collect(),
            Item::Schema { context_options, continuation, .. } => {
                context_options.iter().map(|context| text(context, continuation)).collect()
            }
            Item::LanguageModeling { context, continuation } => {
                let context = strip(context);
                // Blanks at its end would go into the first token of the continuation.
                vec![strip(&text(context, "")).to_owned(), text(context, continuation)]
            }
        }
    }

    /// The sequences of item `index` with their scored spans: of multiple choice what follows the tokens that all options begin with,
    /// of a schema the tokens that all options end with, of language modelling what follows the text without the continuation.
    ///
    /// # Errors
    /// If the tokens of that text do not begin those of the whole.
    pub fn prompts(&self, index: usize, tokenizer: &Tokenizer) -> Result<Vec<Prompt>, CoreError> {
        let encode = |text: &String| std::iter::once(tokenizer.bos()).chain(tokenizer.encode(text)).collect();
        let mut all: Vec<Vec<u32>> = self.texts(index).iter().map(encode).collect();
        let with_start = |ids: Vec<u32>, start: usize| Prompt { ids, start };
        Ok(match &self.items[index] {
            Item::MultipleChoice { .. } => {
                let start = common(&all, |ids, i| ids[i]);
                all.into_iter().map(|ids| with_start(ids, start)).collect()
            }
            Item::Schema { .. } => {
                let scored = common(&all, |ids, i| ids[ids.len() - 1 - i]);
                let start = |ids: &Vec<u32>| match ids.len() - scored {
                    // Options that are all the same: the reference takes an empty span from them.
                    0 => ids.len(),
                    start => start,
                };
                all.into_iter().map(|ids| (start(&ids), ids)).map(|(start, ids)| with_start(ids, start)).collect()
            }
            Item::LanguageModeling { .. } => {
                let (whole, before) = (all.pop().unwrap_or_default(), all.pop().unwrap_or_default());
                if before.len() >= whole.len() || !whole.starts_with(&before) {
                    return Err(CoreError::NoPrefix { task: self.facts.label.clone(), index });
                }
                vec![with_start(whole, before.len())]
            }
        })
    }

    /// [`prompts`](Self::prompts) of which only the last `room` tokens are kept, as the reference does for models that cannot read
    /// more.
    ///
    /// # Errors
    /// Also if that would leave a scored token without one before it.
    pub fn cropped(&self, index: usize, tokenizer: &Tokenizer, room: usize) -> Result<Vec<Prompt>, CoreError> {
        let mut prompts = self.prompts(index, tokenizer)?;
        for prompt in &mut prompts {
            let tokens = prompt.ids.len();
            let surplus = tokens.saturating_sub(room);
            if surplus >= prompt.start {
                return Err(CoreError::TooLong { task: self.facts.label.clone(), index, tokens, room });
            }
            prompt.ids.drain(..surplus);
            prompt.start -= surplus;
        }
        Ok(prompts)
    }
}

/// An example's question and its right answer.
fn solved(item: &Item) -> (&str, &str) {
    match item {
        Item::MultipleChoice { query, choices, gold } => (query, &choices[*gold]),
        Item::Schema { context_options, continuation, gold } => (&context_options[*gold], continuation),
        Item::LanguageModeling { context, continuation } => (strip(context), continuation),
    }
}

/// How many tokens all sequences have in common, by `at`, the token at a distance from one end.
fn common(all: &[Vec<u32>], at: impl Fn(&[u32], usize) -> u32) -> usize {
    let shortest = all.iter().map(Vec::len).min().unwrap_or(0);
    (0..shortest).find(|&i| all.iter().any(|ids| at(ids, i) != at(&all[0], i))).unwrap_or(shortest)
}
