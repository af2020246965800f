//! `nc-core score`: the log-probability of each next token of a text.

use std::path::PathBuf;

use serde_json::json;

use super::loaded::{Loaded, Which};
use super::{Context, Failure, ids, print};
use crate::engine;
use crate::eval::bits_per_byte::BitsPerByte;

/// Options of `nc-core score`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// A JSON file with token ids: a list, or an object with the list `ids`
    #[arg(long, value_name = "FILE", required_unless_present = "text")]
    ids: Option<PathBuf>,
    /// Score this text instead, after <|bos|>
    #[arg(long, value_name = "TEXT", conflicts_with = "ids")]
    text: Option<String>,
}

/// Runs the subcommand: always prints JSON.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let given = args.ids.as_deref().map(ids::read).transpose()?;
    let loaded = Loaded::open(&args.which, context)?;
    let ids = match given {
        Some(ids) => ids,
        None => {
            let tokenizer = loaded.tokenizer()?;
            let text = tokenizer.encode(args.text.as_deref().unwrap_or_default());
            std::iter::once(tokenizer.bos()).chain(text).collect()
        }
    };
    let Loaded { gpu, name, step, model, tokenizer, .. } = &loaded;
    ids::check(&ids, &model.config, name)?;
    if ids.len() < 2 {
        return Err(Failure::input("there is no next token to score: give two tokens or more"));
    }
    let logprobs = engine::score(gpu, model, &ids)?;
    let nats: f64 = logprobs.iter().map(|&logprob| -f64::from(logprob)).sum();
    let bits = tokenizer.as_ref().and_then(|tokenizer| {
        let mut bpb = BitsPerByte::default();
        let losses: Vec<f32> = logprobs.iter().map(|logprob| -logprob).collect();
        let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
        bpb.add(&losses, &targets, &tokenizer.token_bytes());
        Some(bpb.value()).filter(|bpb| bpb.is_finite())
    });
    let value = json!({
        "run": name, "step": step, "ids": ids, "logprobs": logprobs,
        "mean_nats": nats / logprobs.len() as f64, "perplexity": (nats / logprobs.len() as f64).exp(), "bits_per_byte": bits,
    });
    print(&value.to_string())
}
