//! Asks a model the questions of a task, and judges what it answers.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::ChatEvalError;
use crate::engine::{EngineError, GenerateOptions, Overflow, Prompts, Sampling, Scorer, Sequence, generate_rows};
use crate::files::digest::hex;
use crate::gpu::Gpu;
use crate::model::Model;
use crate::tasks::{Task, TaskError};
use crate::tokenizer::{ChatTokens, Tokenizer};

/// Categorical questions that are scored together: enough to fill passes with alike lengths.
const WINDOW: usize = 128;

/// How questions are asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatOptions {
    /// The first questions of the task; `None` for all.
    pub most: Option<usize>,
    /// Answers to each generative question, of which one must be right (pass@k).
    pub samples: usize,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// How tokens are drawn. Each batch of questions has a seed of its own, derived from this one.
    pub sampling: Sampling,
    /// Answers that are written together.
    pub rows: usize,
}

impl Default for ChatOptions {
    /// The reference's: one greedy answer of at most 512 tokens.
    fn default() -> Self {
        Self { most: None, samples: 1, max_tokens: 512, sampling: Sampling::greedy(), rows: 8 }
    }
}

/// What a model answered to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatAnswer {
    /// Whether one of its answers is right.
    pub right: bool,
    /// The answers: a label, or a text for each sample.
    pub given: Vec<String>,
}

/// A digest of everything that an evaluation of `task` depends on, the model and the judge of programs aside.
///
/// # Errors
/// If the task cannot be read.
pub fn fingerprint(task: &dyn Task, options: &ChatOptions) -> Result<String, TaskError> {
    /// Changes when the same questions would be evaluated in another way.
    const VERSION: u32 = 1;
    let ChatOptions { most, samples, max_tokens, sampling, rows } = options;
    let categorical = !task.is_empty() && task.labels(0)?.is_some();
    // Drawn answers depend on which questions share a batch.
    let drawn = (sampling.temperature > 0.0).then(|| (rows, format!("{sampling:?}")));
    let written = (!categorical).then_some((samples, max_tokens, drawn));
    let all = serde_json::json!([VERSION, task.name(), task.fingerprint(), most, written]);
    Ok(hex(&Sha256::digest(all.to_string())))
}

/// For each question of `task`, in order, what the model answers. `progress` is told after each batch how many are done;
/// where it breaks before the end, the result is `None`.
///
/// # Errors
/// If a question cannot be read, rendered or judged, or does not fit in the context, or the model or the GPU fails. A wrong answer,
/// whatever it does, is no error.
pub fn evaluate(
    gpu: &Gpu,
    model: &Model,
    tokenizer: &Tokenizer,
    task: &dyn Task,
    options: &ChatOptions,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<ChatAnswer>>, ChatEvalError> {
    let all = options.most.map_or(task.len(), |most| most.min(task.len()));
    let mut answers = Vec::with_capacity(all);
    if all == 0 {
        return Ok(Some(answers));
    }
    let questions = Questions { task, tokenizer, tokens: tokenizer.chat_tokens()? };
    let categorical = task.labels(0)?.is_some();
    let mut scorer = Scorer::new(gpu, model);
    let mut labels = Labels { tokenizer, ids: HashMap::new() };
    let batch = if categorical { WINDOW } else { (options.rows / options.samples.max(1)).max(1) };
    while answers.len() < all {
        let range = answers.len()..all.min(answers.len() + batch);
        let judged = match categorical {
            true => questions.choose(&mut scorer, &mut labels, range)?,
            false => questions.write(gpu, model, options, range)?,
        };
        answers.extend(judged);
        if progress(answers.len()).is_break() && answers.len() < all {
            return Ok(None);
        }
    }
    Ok(Some(answers))
}

struct Questions<'a> {
    task: &'a dyn Task,
    tokenizer: &'a Tokenizer,
    tokens: ChatTokens,
}

impl Questions<'_> {
    /// The tokens up to where the model answers.
    fn prompt(&self, index: usize) -> Result<Vec<u32>, ChatEvalError> {
        let conversation = self.task.example(index)?;
        let prompt = self.tokenizer.render_for_completion(&conversation);
        prompt.map_err(|source| ChatEvalError::Conversation { task: self.task.name().to_owned(), index, source })
    }

    fn prompts(&self, range: Range<usize>) -> Result<Vec<Vec<u32>>, ChatEvalError> {
        range.into_par_iter().map(|index| self.prompt(index)).collect()
    }

    /// The label with the highest probability is the answer; of equal ones the first.
    fn choose(&self, scorer: &mut Scorer<'_>, labels: &mut Labels<'_>, range: Range<usize>) -> Result<Vec<ChatAnswer>, ChatEvalError> {
        let prompts = self.prompts(range.clone())?;
        let mut choices = Vec::with_capacity(prompts.len());
        for (index, prompt) in range.clone().zip(&prompts) {
            let own = self.task.labels(index)?.ok_or_else(|| self.ungraded())?;
            let answered: Vec<Vec<u32>> = own
                .iter()
                .map(|label| Ok([&prompt[..], &[labels.id(self.task, label)?]].concat()))
                .collect::<Result<_, ChatEvalError>>()?;
            choices.push((own, answered));
        }
        let groups: Vec<Vec<Sequence<'_>>> =
            choices.iter().map(|(_, answered)| answered.iter().map(|ids| Sequence::new(ids, ids.len() - 1)).collect()).collect();
        let scored = scorer.score(&groups).map_err(|error| self.too_long(error, range.start, &prompts))?;
        let judge = |((index, (own, _)), scored): ((usize, &(Vec<String>, _)), &Vec<crate::engine::Scored>)| {
            let losses = scored.iter().map(|scored| scored.losses[0]);
            let best = losses.enumerate().fold((0, f32::INFINITY), |best, now| if now.1 < best.1 { now } else { best }).0;
            let right = self.task.evaluate(index, &own[best])?.ok_or_else(|| self.ungraded())?;
            Ok(ChatAnswer { right, given: vec![own[best].clone()] })
        };
        range.zip(&choices).zip(&scored).map(judge).collect()
    }

    /// Any of the answers to a question must be right.
    fn write(&self, gpu: &Gpu, model: &Model, options: &ChatOptions, range: Range<usize>) -> Result<Vec<ChatAnswer>, ChatEvalError> {
        let ChatTokens { bos, user_start, user_end, assistant_end, .. } = self.tokens;
        let generate = GenerateOptions {
            max_tokens: Some(options.max_tokens),
            sampling: Sampling { seed: options.sampling.seed.wrapping_add(range.start as u64), ..options.sampling.clone() },
            stop: vec![assistant_end, bos, user_start, user_end],
            tools: true,
            overflow: Overflow::Stop,
        };
        let prompts = self.prompts(range.clone())?;
        let samples = options.samples.max(1);
        let several: Vec<Vec<u32>>;
        let asked = if let [prompt] = &prompts[..] {
            Prompts::Shared(prompt, samples)
        } else {
            several = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt.clone(), samples)).collect();
            Prompts::Own(&several)
        };
        let rows =
            generate_rows(gpu, model, self.tokenizer, asked, &generate).map_err(|error| self.too_long(error, range.start, &prompts))?;
        let texts: Vec<String> = rows.par_iter().map(|row| self.tokenizer.decode(&row.ids)).collect();
        // In parallel: an answer may be a program that runs for seconds.
        let judged: Vec<bool> = texts
            .par_iter()
            .enumerate()
            .map(|(row, text)| self.task.evaluate(range.start + row / samples, text)?.ok_or_else(|| self.ungraded()))
            .collect::<Result<_, _>>()?;
        let answer = |(judged, given): (&[bool], &[String])| ChatAnswer { right: judged.contains(&true), given: given.to_vec() };
        Ok(judged.chunks(samples).zip(texts.chunks(samples)).map(answer).collect())
    }

    fn ungraded(&self) -> ChatEvalError {
        ChatEvalError::Ungraded { task: self.task.name().to_owned() }
    }

    /// Names the question that the model cannot read.
    fn too_long(&self, error: EngineError, first: usize, prompts: &[Vec<u32>]) -> ChatEvalError {
        let EngineError::TooLong { room, .. } = error else { return error.into() };
        match prompts.iter().map(Vec::len).enumerate().find(|&(_, tokens)| tokens > room) {
            Some((at, tokens)) => ChatEvalError::TooLong { task: self.task.name().to_owned(), index: first + at, tokens, room },
            None => error.into(),
        }
    }
}

/// The tokens of labels.
struct Labels<'a> {
    tokenizer: &'a Tokenizer,
    ids: HashMap<String, u32>,
}

impl Labels<'_> {
    fn id(&mut self, task: &dyn Task, label: &str) -> Result<u32, ChatEvalError> {
        if let Some(&id) = self.ids.get(label) {
            return Ok(id);
        }
        let [id] = self.tokenizer.encode(label)[..] else {
            let tokens = self.tokenizer.encode(label).len();
            return Err(ChatEvalError::Label { task: task.name().to_owned(), label: label.to_owned(), tokens });
        };
        self.ids.insert(label.to_owned(), id);
        Ok(id)
    }
}
