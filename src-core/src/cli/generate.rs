//! `nc-core generate`: continue a text.

use std::io::Write;
use std::time::Instant;

use serde_json::json;

use super::loaded::{Loaded, Which};
use super::{Context, Failure, note, print};
use crate::engine::{GenerateOptions, Generator};

/// Options of `nc-core generate`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The text to continue
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    prompt: String,
    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 128, allow_negative_numbers = true)]
    max_tokens: usize,
    /// 0 takes the likeliest token each time; higher is more varied
    #[arg(long, short, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from the likeliest N tokens only; 0 for all
    #[arg(long, short = 'k', value_name = "N", default_value_t = 50, allow_negative_numbers = true)]
    top_k: usize,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 42, allow_negative_numbers = true)]
    seed: u64,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if !(args.temperature.is_finite() && args.temperature >= 0.0) {
        return Err(Failure::input(format!("--temperature is {}; it must be 0 or more", args.temperature)));
    }
    let Loaded { gpu, name, step, model, tokenizer } = Loaded::open(&args.which, context)?;
    let mut ids = vec![tokenizer.bos()];
    ids.extend(tokenizer.encode(&args.prompt));
    if ids.len() > model.config.sequence_len {
        let (has, room) = (ids.len(), model.config.sequence_len);
        return Err(Failure::input(format!("the prompt has {has} tokens and the model's context {room}; shorten the prompt")));
    }
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        top_k: Some(args.top_k).filter(|&k| k > 0),
        seed: args.seed,
        stop: vec![tokenizer.bos()],
    };

    let streaming = !context.json;
    // Says whether somebody still reads.
    let show = |text: &str| {
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    };
    if streaming && !show(&args.prompt) {
        return print("");
    }
    let mut written: Vec<u32> = Vec::new();
    let mut waiting: Vec<u8> = Vec::new();
    let start = Instant::now();
    Generator::new(&gpu, &model).generate(&ids, &options, &mut |token| {
        written.push(token);
        if !streaming {
            return true;
        }
        // A character may be spread over tokens: what is not whole yet waits for the next.
        waiting.extend(tokenizer.decode_bytes(&[token]));
        let whole = match std::str::from_utf8(&waiting) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => waiting.len(),
        };
        let ready: Vec<u8> = waiting.drain(..whole).collect();
        show(&String::from_utf8_lossy(&ready))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    if streaming {
        print(&String::from_utf8_lossy(&waiting))?;
        note(&format!("({} tokens, {:.1} a second)", written.len(), written.len() as f64 / seconds));
        Ok(())
    } else {
        let value = json!({
            "run": name, "step": step, "prompt": args.prompt, "text": tokenizer.decode(&written), "ids": written,
            "tokens_per_second": written.len() as f64 / seconds,
        });
        print(&value.to_string())
    }
}
