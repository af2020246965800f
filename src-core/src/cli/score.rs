//! `nc-core score`: the log-probability of each next token of a text.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::loaded::{Loaded, Which};
use super::{Context, Failure, print};
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
    /// Score this text instead, behind <|bos|>
    #[arg(long, value_name = "TEXT", conflicts_with = "ids")]
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    List(Vec<u32>),
    Object { ids: Vec<u32> },
}

/// Runs the subcommand: always prints JSON.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let given = match &args.ids {
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read(path).map_err(|error| Failure::input(format!("cannot read {shown}: {error}")))?;
            let parsed = serde_json::from_slice(&text);
            let (Ids::List(ids) | Ids::Object { ids }) =
                parsed.map_err(|_| Failure::input(format!("{shown} must hold a JSON list of token ids, like [1, 2, 3]")))?;
            Some(ids)
        }
        None => None,
    };
    let Loaded { gpu, name, step, model, tokenizer } = Loaded::open(&args.which, context)?;
    let ids = given.unwrap_or_else(|| {
        let text = tokenizer.encode(args.text.as_deref().unwrap_or_default());
        std::iter::once(tokenizer.bos()).chain(text).collect()
    });
    if let Some(id) = ids.iter().find(|&&id| id as usize >= model.config.vocab_size) {
        let size = model.config.vocab_size;
        return Err(Failure::input(format!("there is no token {id}: the vocabulary of run {name} has {size}, counted from 0")));
    }
    if ids.len() < 2 {
        return Err(Failure::input("there is no next token to score: give two tokens or more"));
    }
    let logprobs = engine::score(&gpu, &model, &ids)?;
    let nats: f64 = logprobs.iter().map(|&logprob| -f64::from(logprob)).sum();
    let mut bpb = BitsPerByte::default();
    let losses: Vec<f32> = logprobs.iter().map(|logprob| -logprob).collect();
    let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
    bpb.add(&losses, &targets, &tokenizer.token_bytes());
    let bits = Some(bpb.value()).filter(|bpb| bpb.is_finite());
    let value = json!({
        "run": name, "step": step, "ids": ids, "logprobs": logprobs,
        "mean_nats": nats / logprobs.len() as f64, "perplexity": (nats / logprobs.len() as f64).exp(), "bits_per_byte": bits,
    });
    print(&value.to_string())
}
