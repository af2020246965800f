//! Samples during training, to see the model's progress.

use std::sync::atomic::AtomicBool;

use super::TrainError;
use crate::engine::{Chat, ChatError, ChatOptions, Engine, EngineError, Event, GenerateOptions, Overflow, Sampling};
use crate::gpu::Gpu;
use crate::model::Model;
use crate::tokenizer::{Conversation, Message, Role, Tokenizer};

/// Prompts for a base model.
const PROMPTS: [&str; 4] = ["The capital of", "In the beginning", "It was a", "The people of the United States"];

/// Tokens of a continuation.
const PROMPT_TOKENS: usize = 24;

/// Questions for a model in fine-tuning.
const QUESTIONS: [&str; 3] = ["Hello!", "Who are you?", "What is the capital of France?"];

/// The most tokens of an answer.
const ANSWER_TOKENS: usize = 32;

/// The likeliest continuations of a few prompts.
pub(super) fn continuations(gpu: &Gpu, model: &Model, tokenizer: &Tokenizer) -> Result<Vec<String>, TrainError> {
    unless_full(|| {
        let options = GenerateOptions {
            max_tokens: Some(PROMPT_TOKENS),
            sampling: Sampling::greedy(),
            overflow: Overflow::Forget,
            ..GenerateOptions::default()
        };
        let mut engine = Engine::new(gpu, model, tokenizer)?;
        let mut samples = Vec::with_capacity(PROMPTS.len());
        for prompt in PROMPTS {
            let mut ids = vec![tokenizer.bos()];
            ids.extend(tokenizer.encode(prompt));
            ids.truncate(engine.context());
            let written = engine.generate(&ids, &options, &AtomicBool::new(false), &mut |_| {})?;
            ids.extend(written.ids);
            samples.push(tokenizer.decode(&ids[1..]));
        }
        Ok(samples)
    })
}

/// The likeliest answers to a few questions; none to those that do not fit in the context.
pub(super) fn answers(gpu: &Gpu, model: &Model, tokenizer: &Tokenizer) -> Result<Vec<String>, TrainError> {
    unless_full(|| {
        let options = ChatOptions { sampling: Sampling::greedy(), max_tokens: ANSWER_TOKENS };
        let mut samples = Vec::with_capacity(QUESTIONS.len());
        let mut chat = match Chat::new(Engine::new(gpu, model, tokenizer)?) {
            Ok(chat) => chat,
            Err(ChatError::Engine(error)) => return Err(error),
            // Fine-tuning itself has already rejected such a tokenizer.
            Err(ChatError::Conversation(_)) => return Ok(samples),
        };
        for question in QUESTIONS {
            let conversation = Conversation { messages: vec![Message::text(Role::User, question)] };
            let mut answer = String::new();
            let replied = chat.reply(&conversation, &options, &AtomicBool::new(false), &mut |event| {
                if let Event::Text(text) = event {
                    answer.push_str(&text);
                }
            });
            match replied {
                Ok(_) => samples.push(format!("{question} → {answer}")),
                Err(ChatError::Engine(error)) => return Err(error),
                Err(ChatError::Conversation(_)) => {}
            }
        }
        Ok(samples)
    })
}

/// Training continues without samples if only they do not fit in the GPU's memory.
fn unless_full(samples: impl FnOnce() -> Result<Vec<String>, EngineError>) -> Result<Vec<String>, TrainError> {
    match samples() {
        Err(EngineError::Gpu(full)) if full.is_out_of_memory() => {
            tracing::warn!("no samples: {full}");
            Ok(Vec::new())
        }
        samples => Ok(samples?),
    }
}
