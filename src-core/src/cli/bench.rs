//! `nc-core bench`: how fast the kernels and a whole training step are on an adapter.

use clap::Subcommand;
use serde_json::json;

use super::numerics::NumericsArgs;
use super::{Context, Failure};
use crate::bench::clock::{median, median_seconds};
use crate::bench::steps::Training;
use crate::gpu::{Clock, DType, Gpu, KernelTime, Memory, Recorder};
use crate::kernels::matmul::{Layout, Product, matmul};
use crate::kernels::precision::Precision;
use crate::model::Config;
use crate::train::memory::step_memory;
use crate::train::trainer::Arithmetic;

/// Options of `nc-core bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check and measure an adapter: kernels, its roofline and whole steps, in two files for an issue
    Device(super::bench_device::DeviceArgs),
    /// Measure f32 products of square matrices
    Matmul(MatmulArgs),
    /// Measure a whole training step, kernel by kernel
    Step(StepArgs),
    /// Measure prefill and decode with a KV cache, and compare with the memory bandwidth
    Infer(super::bench_infer::InferArgs),
}

#[derive(clap::Args)]
struct MatmulArgs {
    /// Sizes: one product of N × N matrices for each
    #[arg(value_name = "N", default_values_t = [512, 1024], value_parser = clap::value_parser!(u32).range(1..=8192))]
    sizes: Vec<u32>,
    /// Repeats; the median is reported
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
}

#[derive(clap::Args)]
struct StepArgs {
    /// Layers
    #[arg(long, value_name = "N", default_value_t = 4)]
    depth: usize,
    /// Tokens per row
    #[arg(long, value_name = "N", default_value_t = 512)]
    seq: usize,
    /// Vocabulary size
    #[arg(long, value_name = "N", default_value_t = 4096)]
    vocab: usize,
    /// Rows per batch; a step is one batch
    #[arg(long, value_name = "N", default_value_t = 4)]
    batch: usize,
    /// Attention windows of the layers: S short, L full
    #[arg(long, value_name = "LETTERS", default_value = "SSSL")]
    window_pattern: String,
    /// Steps to time; the median is reported
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Round the inputs of products: f32, f16 or bf16
    #[arg(long, value_name = "FORMAT", default_value_t)]
    precision: Precision,
    #[command(flatten)]
    numerics: NumericsArgs,
    /// Time the same model in another framework on this adapter instead
    #[cfg(feature = "burn")]
    #[arg(long, value_enum)]
    peer: Option<Peer>,
}

#[cfg(feature = "burn")]
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Peer {
    /// Burn on burn-wgpu, sharing the device
    Burn,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.command {
        Command::Device(args) => super::bench_device::run(&args, context),
        Command::Matmul(args) => bench_matmul(&args, &open(context)?, context),
        Command::Step(args) => bench_step(&args, &open(context)?, context),
        Command::Infer(args) => super::bench_infer::run(&args, &open(context)?, context),
    }
}

/// Opens the adapter, with kernels chosen by measuring.
fn open(context: &Context) -> Result<Gpu, Failure> {
    let gpu = Gpu::open(context.adapter.as_deref())?;
    gpu.autotune_in(&context.home.cache());
    Ok(gpu)
}

fn bench_matmul(args: &MatmulArgs, gpu: &Gpu, context: &Context) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut lines = vec![format!("f32 matmul on {}, median of {}", gpu.info().name, args.repeats)];
    for &size in &args.sizes {
        let n = size as usize;
        let data: Vec<f32> = (0..n * n).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect();
        let operand = |name: &str| gpu.upload(name, &[n, n], DType::F32, Memory::Workspace, &data);
        let (a, b, c) = (operand("A")?, operand("B")?, operand("C")?);
        let mut rec = Recorder::new(gpu);
        matmul(&mut rec, &a, &b, &c, Product::new(Layout::NN, n, n, n));
        let recording = rec.finish()?;
        recording.run();
        gpu.wait()?;
        let seconds = median_seconds(args.repeats as usize, || {
            recording.run();
            gpu.wait()
        })?;
        let gflops = 2.0 * (n * n * n) as f64 / seconds / 1e9;
        lines.push(format!("  {n:>5}³  {:>9.3} ms  {gflops:>8.1} GFLOP/s", seconds * 1e3));
        rows.push(json!({ "m": n, "n": n, "k": n, "seconds": seconds, "gflops": gflops }));
    }
    context.finish(&json!({ "matmul": rows, "adapter": gpu.info().name, "driver": gpu.info().driver_info }), &lines.join("\n"))
}

fn bench_step(args: &StepArgs, gpu: &Gpu, context: &Context) -> Result<(), Failure> {
    let config = Config::from_depth(args.depth, 64, 128, args.seq, args.vocab, &args.window_pattern)?;
    if args.batch == 0 {
        return Err(Failure::input("--batch is 0; it must be at least 1"));
    }
    #[cfg(feature = "burn")]
    if let Some(Peer::Burn) = args.peer {
        return bench_burn(args, &config, gpu, context);
    }
    let arithmetic = Arithmetic { precision: args.precision, numerics: args.numerics.numerics(args.precision) };
    let mut training = Training::new(gpu, &config, args.batch, arithmetic)?;
    training.step()?;
    let seconds = (0..args.steps).map(|_| training.step()).collect::<Result<Vec<f64>, _>>()?;
    let seconds = median(seconds);
    let tokens = args.batch * args.seq;
    let memory = gpu.memory();
    let predicted = step_memory(gpu, &config, args.batch, arithmetic)?.total();

    let clock = Clock::of(gpu);
    let mut kernels: Vec<KernelTime> = Vec::new();
    for recording in training.trainer.recordings() {
        kernels.extend(recording.profile(clock)?);
    }
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let total: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
    let flops = (config.flops_per_token() * tokens as u64) as f64;

    let mut lines = vec![
        format!(
            "training step in {} on {}: depth {}, {} rows of {}, vocabulary {}, windows {}",
            args.precision,
            gpu.info().name,
            args.depth,
            args.batch,
            args.seq,
            args.vocab,
            args.window_pattern
        ),
        format!(
            "  {:.1} ms a step (median of {}), {:.0} tokens/s, {:.1} GFLOP/s, {:.0} MiB of GPU memory ({:.0} predicted)",
            seconds * 1e3,
            args.steps,
            tokens as f64 / seconds,
            flops / seconds / 1e9,
            memory.peak as f64 / 1_048_576.0,
            predicted as f64 / 1_048_576.0
        ),
        format!("  kernel by kernel, {} ({:.1} ms in all):", clock.name(), total * 1e3),
    ];
    lines.extend(kernels.iter().map(|kernel| {
        let share = 100.0 * kernel.seconds / total;
        format!("  {:>9.2} ms {share:>5.1}% {:>5} × {}", kernel.seconds * 1e3, kernel.calls, kernel.kernel)
    }));
    let value = json!({
        "step_seconds": seconds,
        "tokens_per_second": tokens as f64 / seconds,
        "flops_per_second": flops / seconds,
        "peak_memory": memory.peak,
        "predicted_memory": predicted,
        "adapter": gpu.info().name,
        "driver": gpu.info().driver_info,
        "depth": args.depth, "seq": args.seq, "vocab": args.vocab, "batch": args.batch, "window_pattern": args.window_pattern,
        "precision": args.precision, "numerics": arithmetic.numerics,
        "clock": clock.name(),
        "kernels": kernels
            .iter()
            .map(|kernel| json!({ "kernel": kernel.kernel, "calls": kernel.calls, "seconds": kernel.seconds }))
            .collect::<Vec<_>>(),
    });
    context.finish(&value, &lines.join("\n"))
}

#[cfg(feature = "burn")]
fn bench_burn(args: &StepArgs, config: &Config, gpu: &Gpu, context: &Context) -> Result<(), Failure> {
    let seconds = crate::burn_twin::bench_step(gpu, config, args.batch, args.seq, args.steps as usize)?;
    let tokens_per_second = (args.batch * args.seq) as f64 / seconds;
    let value = json!({
        "peer": "burn", "step_seconds": seconds, "tokens_per_second": tokens_per_second,
        "adapter": gpu.info().name, "driver": gpu.info().driver_info,
    });
    let words = format!("Burn on {}: {:.1} ms a step, {tokens_per_second:.0} tokens/s", gpu.info().name, seconds * 1e3);
    context.finish(&value, &words)
}
