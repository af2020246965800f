//! `nc-core bench infer`: prefill and decode, how close decoding comes to the memory bandwidth, and what verifying drafts takes.

use serde_json::json;

use super::{Context, Failure};
use crate::bench::peak;
use crate::bench::steps::{Decoding, prefill_seconds, prompt, verify_seconds};
use crate::gpu::{Clock, Gpu};
use crate::model::{CacheFormat, Config, Model, Parameters};
use crate::weights::Format;

/// Options of `nc-core bench infer`.
#[derive(clap::Args)]
pub struct InferArgs {
    /// Layers
    #[arg(long, value_name = "N", default_value_t = 4)]
    depth: usize,
    /// Tokens of the context
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_seq_len: usize,
    /// Vocabulary size
    #[arg(long, value_name = "N", default_value_t = 4096)]
    vocab: usize,
    /// Attention windows of the layers: S short, L full
    #[arg(long, value_name = "LETTERS", default_value = "SSSL")]
    window_pattern: String,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    prompt_tokens: u32,
    /// Tokens to decode per row
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    decode_tokens: u32,
    /// Batch sizes of decoding: a sweep over these
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 8, 32], value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_sizes: Vec<u32>,
    /// 0 takes the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Format of the weights: f32, bf16, f16, q8 or q4
    #[arg(long, value_name = "FORMAT", default_value_t)]
    weights: Format,
    /// Format of the KV cache: f32, f16 or bf16
    #[arg(long, value_name = "FORMAT", default_value_t)]
    cache: CacheFormat,
    /// Show where the time of a step goes, kernel by kernel
    #[arg(long)]
    kernels: bool,
}

/// Bytes of each buffer of the copy: larger than the caches of most adapters.
const COPY_BYTES: u64 = 64 << 20;

/// Runs the subcommand.
pub fn run(args: &InferArgs, gpu: &Gpu, context: &Context) -> Result<(), Failure> {
    let config = Config::from_depth(args.depth, 64, 128, args.max_seq_len, args.vocab, &args.window_pattern)?;
    let (prompt_tokens, decode_tokens) = (args.prompt_tokens as usize, args.decode_tokens as usize);
    if prompt_tokens + decode_tokens > config.sequence_len {
        return Err(Failure::input(format!(
            "a prompt of {prompt_tokens} tokens and {decode_tokens} more do not fit a context of {}; raise --max-seq-len",
            config.sequence_len
        )));
    }
    let (bandwidth, ..) = peak::memory(gpu, COPY_BYTES)?;
    let parameters = Parameters::frozen(gpu, &config, args.weights)?;
    parameters.initialise(gpu, &config, 42);
    let model = Model::new(gpu, &config, parameters)?;
    let prompt = prompt(prompt_tokens, config.vocab_size);

    let weights = config.weight_bytes(args.weights);
    let cache_read = config.cache_read_bytes(prompt_tokens + decode_tokens / 2, args.cache);
    let mut lines = vec![
        format!(
            "inference on {}: depth {}, vocabulary {}, windows {}, weights in {}, cache in {}",
            gpu.info().name,
            args.depth,
            args.vocab,
            args.window_pattern,
            args.weights,
            args.cache
        ),
        format!(
            "  {:.1} MiB of weights, {:.1} of them read for a token; copy kernel {:.2} GB/s",
            mib(weights.stored),
            mib(weights.read),
            bandwidth / 1e9
        ),
    ];

    let prefill = prefill_seconds(gpu, &model, args.cache, &prompt, 5)?;
    lines.push(format!("  prefill of {prompt_tokens} tokens: {:.1} ms, {:.0} tokens/s", prefill * 1e3, prompt_tokens as f64 / prefill));
    lines.push("  batch   ms a step   tokens/s   MBU   bandwidth of what is read".to_owned());
    let mut sweep = Vec::new();
    for &batch in &args.batch_sizes {
        let rows = batch as usize;
        let mut decoding = Decoding::new(gpu, &model, args.cache, rows, &prompt, decode_tokens, args.temperature)?;
        let step = decoding.step_seconds(decode_tokens)?;
        let moved = |weights: u64| (weights + batch as u64 * cache_read) as f64 / step;
        let (mbu, read) = (moved(weights.stored) / bandwidth, moved(weights.read) / bandwidth);
        lines.push(format!(
            "  {batch:>5}   {:>9.2}   {:>8.0}   {:>3.0}%   {:>3.0}%",
            step * 1e3,
            batch as f64 / step,
            100.0 * mbu,
            100.0 * read
        ));
        sweep.push(json!({
            "batch_size": batch,
            "step_seconds": step,
            "tokens_per_second": batch as f64 / step,
            "mbu": mbu,
            "read_bandwidth_share": read,
            "peak_memory": gpu.memory().peak,
        }));
        if args.kernels {
            let kernels = decoding.decoder.profile()?;
            let total: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
            lines.push(format!("    kernel by kernel, {} ({:.2} ms in all):", Clock::of(gpu).name(), total * 1e3));
            lines.extend(
                kernels.iter().map(|kernel| format!("    {:>9.3} ms {:>4} × {}", kernel.seconds * 1e3, kernel.calls, kernel.kernel)),
            );
        }
    }
    let mut verify = Vec::new();
    for tokens in [2, 4, 8].into_iter().filter(|&tokens| tokens <= prompt_tokens.min(decode_tokens)) {
        let seconds = verify_seconds(gpu, &model, args.cache, &prompt, tokens, args.temperature, decode_tokens)?;
        lines.push(format!("  a pass that verifies {tokens} tokens: {:.2} ms", seconds * 1e3));
        verify.push(json!({ "tokens": tokens, "seconds": seconds }));
    }
    let value = json!({
        "adapter": gpu.info().name, "driver": gpu.info().driver_info,
        "depth": args.depth, "max_seq_len": args.max_seq_len, "vocab": args.vocab, "window_pattern": args.window_pattern,
        "weights": args.weights.word(), "cache": args.cache.word(), "prompt_tokens": prompt_tokens, "decode_tokens": decode_tokens, "temperature": args.temperature,
        "copy_bandwidth": bandwidth, "weight_bytes": weights.stored, "weight_bytes_read": weights.read,
        "cache_read_bytes_per_row": cache_read,
        "prefill": { "seconds": prefill, "tokens_per_second": prompt_tokens as f64 / prefill },
        "sweep": sweep,
        "verify": verify,
    });
    context.finish(&value, &lines.join("\n"))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
