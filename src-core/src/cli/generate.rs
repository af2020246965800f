//! `nc-core generate`: continue a text.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::draft::{DraftArgs, drafted};
use super::loaded::{Loaded, Which};
use super::sampling::SamplingArgs;
use super::{Context, Failure, ids, note, print, shown};
use crate::engine::{Engine, Event, GenerateOptions, Overflow, Sampling};
use crate::model::CacheFormat;

/// Options of `nc-core generate`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The text to continue
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    prompt: String,
    /// Continue token ids instead, with nothing prepended: a JSON file with a list, or an object with the list `ids`
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    ids: Option<PathBuf>,
    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 128, allow_negative_numbers = true)]
    max_tokens: usize,
    /// Format of the KV cache: f32, f16 or bf16
    #[arg(long, value_name = "FORMAT", default_value_t)]
    cache: CacheFormat,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    drafts: DraftArgs,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let sampling = args.sampling.sampling(Sampling::default().temperature);
    sampling.validate(usize::MAX)?;
    let given = args.ids.as_deref().map(ids::read).transpose()?;
    let loaded = Loaded::open(&args.which, context)?;
    sampling.validate(loaded.model.config.vocab_size)?;
    // Ids are continued without a stop token: their meaning is up to the caller.
    let (prompt, stop) = match given {
        Some(ids) => (ids, Vec::new()),
        None => {
            let tokenizer = loaded.tokenizer()?;
            let text = tokenizer.encode(&args.prompt);
            (std::iter::once(tokenizer.bos()).chain(text).collect(), vec![tokenizer.bos()])
        }
    };
    let drafts = args.drafts.open(&args.which, &loaded, context)?;
    let Loaded { gpu, name, step, model, tokenizer, .. } = &loaded;
    ids::check(&prompt, &model.config, name)?;
    if prompt.len() > model.config.sequence_len {
        let (has, room) = (prompt.len(), model.config.sequence_len);
        return Err(Failure::input(format!("the prompt has {has} tokens and the model's context {room}; shorten the prompt")));
    }
    let options = GenerateOptions { max_tokens: Some(args.max_tokens), sampling, stop, tools: false, overflow: Overflow::Forget };

    // If stdout is closed, generating more is pointless.
    let unheard = AtomicBool::new(false);
    let show = |text: &str| {
        let mut out = std::io::stdout();
        if !context.json && out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            unheard.store(true, Ordering::Relaxed);
        }
    };
    let mut text = String::new();
    let mut engine = Engine::with_cache(gpu, model, tokenizer.as_ref(), args.cache)?;
    drafts.apply(&mut engine)?;
    show(&args.prompt);
    let generated = engine.generate(&prompt, &options, &unheard, &mut |event| {
        if let Event::Text(piece) = event {
            show(&shown(&piece));
            text.push_str(&piece);
        }
    })?;
    let stats = generated.stats;
    if context.json {
        let value = json!({
            "run": name, "step": step, "prompt": args.prompt, "text": text, "ids": generated.ids, "reason": generated.reason,
            "tokens_per_second": stats.tokens_per_second(), "time_to_first_token": stats.time_to_first_token.as_secs_f64(),
            "drafted_tokens": stats.drafted_tokens, "accepted_tokens": stats.accepted_tokens,
        });
        print(&value.to_string())
    } else {
        if tokenizer.is_none() {
            show(&generated.ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        }
        print("")?;
        note(&format!("({} tokens{}, {:.1} a second)", generated.ids.len(), drafted(&stats), stats.tokens_per_second()));
        Ok(())
    }
}
