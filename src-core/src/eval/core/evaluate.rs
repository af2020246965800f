//! Evaluates the items of a task.

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CoreError, Item, Kind, Prompt, TaskData, all_likeliest, lowest_mean};
use crate::engine::{EngineError, Scored, Scorer, Sequence};
use crate::tokenizer::Tokenizer;

/// Items that are rendered and scored together: enough to fill passes with alike lengths.
const WINDOW: usize = 128;

/// How items are evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Tokens of a prompt that are kept, the last ones. Without a number nothing is cropped, and a prompt that the model cannot read
    /// is an error.
    pub room: Option<usize>,
}

/// The outcome of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it is right.
    pub correct: bool,
    /// The option that was picked, if there are options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked: Option<usize>,
    /// The mean loss of each sequence's scored tokens in nats; none where nothing is scored.
    pub means: Vec<Option<f64>>,
}

/// Evaluates all items of a task, in their order. `progress` is told after every few how many are done; where it breaks, the result is
/// `None`.
///
/// # Errors
/// If an item cannot be rendered, a prompt is too long, or scoring fails.
pub fn evaluate(
    scorer: &mut Scorer<'_>,
    tokenizer: &Tokenizer,
    data: &TaskData,
    options: Options,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Answer>>, CoreError> {
    let items = data.items();
    let render = |index| match options.room {
        Some(room) => data.cropped(index, tokenizer, room),
        None => data.prompts(index, tokenizer),
    };
    let mut answers = Vec::with_capacity(items.len());
    while answers.len() < items.len() {
        let window = answers.len()..items.len().min(answers.len() + WINDOW);
        let prompts: Vec<Vec<Prompt>> = window.clone().into_par_iter().map(render).collect::<Result<_, _>>()?;
        let groups: Vec<Vec<Sequence<'_>>> = prompts.iter().map(|prompts| sequences(prompts)).collect();
        let scored = scorer.score(&groups).map_err(|error| too_long(error, data, window.start, &prompts))?;
        answers.extend(window.zip(prompts.iter().zip(&scored)).map(|(index, (prompts, scored))| answer(&items[index], prompts, scored)));
        if progress(answers.len()).is_break() && answers.len() < items.len() {
            return Ok(None);
        }
    }
    Ok(Some(answers))
}

fn sequences(prompts: &[Prompt]) -> Vec<Sequence<'_>> {
    prompts.iter().map(|prompt| Sequence::new(&prompt.ids, prompt.start)).collect()
}

fn answer(item: &Item, prompts: &[Prompt], scored: &[Scored]) -> Answer {
    let mean = |scored: &Scored| {
        let sum: f64 = scored.losses.iter().copied().map(f64::from).sum();
        (!scored.losses.is_empty()).then(|| sum / scored.losses.len() as f64)
    };
    let means = scored.iter().map(mean).collect();
    match item.gold() {
        Some(gold) => {
            let losses: Vec<Vec<f32>> = scored.iter().map(|scored| scored.losses.clone()).collect();
            let picked = lowest_mean(&losses);
            Answer { correct: picked == gold, picked: Some(picked), means }
        }
        None => {
            let right = |(prompt, scored): (&Prompt, &Scored)| all_likeliest(&scored.likeliest, &prompt.ids[prompt.start..]);
            Answer { correct: prompts.iter().zip(scored).all(right), picked: None, means }
        }
    }
}

/// Names the item whose prompt the model cannot read.
fn too_long(error: EngineError, data: &TaskData, first: usize, prompts: &[Vec<Prompt>]) -> CoreError {
    let EngineError::TooLong { room, .. } = error else { return error.into() };
    let longest = |prompts: &Vec<Prompt>| prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
    match prompts.iter().map(longest).enumerate().find(|&(_, tokens)| tokens > room) {
        Some((at, tokens)) => CoreError::Unreadable { task: data.facts.label.clone(), index: first + at, tokens, room },
        None => error.into(),
    }
}

impl Kind {
    /// Its name in `core.yaml`.
    pub fn word(self) -> &'static str {
        match self {
            Self::MultipleChoice => "multiple_choice",
            Self::Schema => "schema",
            Self::LanguageModeling => "language_modeling",
        }
    }
}
