//! The output of the commands that train: a line for every event, the result, and readable numbers.

use std::io::{IsTerminal, Write};

use serde_json::json;

use super::{Context, Ended, Failure, note};
use crate::tasks::FileSummary;
use crate::train::{Event, Length, Outcome, StepReport};

/// Prints events: on stdout, or on stderr if stdout is for JSON.
pub fn event(event: &Event, json: bool) {
    // The stream may be closed: training continues anyway.
    let say = |words: String| if json { note(&words) } else { drop(writeln!(std::io::stdout(), "{words}")) };
    match event {
        Event::Start { step, length, parameters, flops_per_token, device_batch_size, accumulation, memory, adapter } => {
            let length = match length {
                Length::Steps(steps) => format!("{steps} steps"),
                Length::Epoch { conversations } => format!("{} conversations in steps", grouped(*conversations as u64)),
            };
            let times = if *accumulation > 1 { format!(" × {accumulation} batches") } else { String::new() };
            let begin = if *step > 0 { format!("resuming at step {step}") } else { "training".to_owned() };
            say(format!(
                "{begin} on {adapter}: {} parameters, {:.1} MFLOP per token, {length} of {device_batch_size} rows{times}, {} of GPU memory",
                grouped(*parameters as u64),
                *flops_per_token as f64 / 1e6,
                bytes(*memory),
            ));
        }
        Event::BatchHalved { from, to, accumulation } => {
            say(format!("GPU memory does not suffice for batches of {from} rows: continuing with {to}, {accumulation} per step"));
        }
        Event::Rejected { reasons } => reasons.iter().for_each(|reason| say(format!("skipped: {reason}"))),
        Event::Conversations(file) => conversations(file).into_iter().for_each(say),
        Event::NoValidation => say("no conversation is held out, so nothing is validated".to_owned()),
        Event::Step(step) => say(step_line(step)),
        Event::Validation { step, bpb, min_bpb } => {
            say(format!("step {step:05} | validation bits per byte {bpb:.4} (lowest {min_bpb:.4})"));
        }
        Event::Sample { step, text } => say(format!("step {step:05} | {}", text.replace('\n', " "))),
        Event::Saved { step, path } => say(format!("step {step:05} | saved {}", path.display())),
    }
}

/// What was found in a file of conversations.
fn conversations(file: &FileSummary) -> Vec<String> {
    let number = |count: usize| grouped(count as u64);
    let duplicates = match file.duplicates {
        0 => "no duplicates".to_owned(),
        count => format!("{} of them duplicates", number(count)),
    };
    let found = format!(
        "{}: {} conversations, {duplicates}, that begin with {} different questions; {} are held out for validation",
        file.file,
        number(file.conversations),
        number(file.questions),
        number(file.held_out),
    );
    let skipped = file.first_skipped.as_ref().map(|first| {
        format!("{}: {} conversations are skipped because they cannot be represented; the first: {first}", file.file, grouped(file.skipped))
    });
    [found].into_iter().chain(skipped).collect()
}

fn step_line(step: &StepReport) -> String {
    let StepReport { loss, bpb, lr_multiplier, seconds, tokens_per_second, flops_per_second, memory, eta_seconds, .. } = step;
    let of = match step.length {
        Length::Steps(steps) => format!("/{steps:05}"),
        Length::Epoch { .. } => format!(" ({:.1} %)", 100.0 * step.progress),
    };
    let skipped = match step.loss_scale {
        Some(scale) if step.skipped => format!(" | left out: a gradient overflowed f16 with loss scale {scale}, which is halved"),
        _ => String::new(),
    };
    format!(
        "step {:05}{of} | loss {loss:.4} | bpb {bpb:.4} | lrm {lr_multiplier:.2} | {:.0} ms | {tokens_per_second:.0} tok/s | {:.1} GFLOP/s | {} | eta {}{skipped}",
        step.step,
        seconds * 1e3,
        flops_per_second / 1e9,
        bytes(*memory),
        duration(*eta_seconds),
    )
}

/// Ends a subcommand that trained: prints what it wrote, and `next`, the command to run next. Returns how it ended.
pub fn finish(name: &str, outcome: &Outcome, next: &str, context: &Context) -> Result<Ended, Failure> {
    let value = json!({
        "run": name,
        "path": context.home.run(name),
        "first_step": outcome.first_step,
        "step": outcome.step,
        "num_iterations": outcome.num_iterations,
        "interrupted": outcome.interrupted,
        "loss": outcome.loss,
        "val_bpb": outcome.val_bpb,
        "first_val_bpb": outcome.first_val_bpb,
        "min_val_bpb": outcome.min_val_bpb,
        "training_seconds": outcome.training_seconds,
        "left_out": outcome.left_out,
        "peak_memory": outcome.peak_memory,
    });
    let bpb = match (outcome.first_val_bpb, outcome.val_bpb) {
        (Some(first), Some(last)) if first != last => format!("; validation bits per byte {first:.4} → {last:.4}"),
        (_, Some(last)) => format!("; validation bits per byte {last:.4}"),
        _ => String::new(),
    };
    if outcome.first_step == outcome.step && !outcome.interrupted {
        context.finish(&value, &format!("run {name} is complete: all of its {} steps are done\nnext: {next}", outcome.step))?;
        return Ok(Ended::Done);
    }
    let stopped = match (outcome.interrupted, outcome.num_iterations) {
        (true, Some(steps)) => format!("stopped at {} of {steps} steps", outcome.step),
        (true, None) => format!("stopped after {} steps", outcome.step),
        (false, _) => format!("trained {} of {} steps", outcome.step, outcome.step),
    };
    let left_out = match outcome.left_out {
        0 => String::new(),
        count => format!("; skipped {count} conversations with nothing to learn within a row's length"),
    };
    context.finish(
        &value,
        &format!(
            "{stopped} in {}{bpb}{left_out}; at most {} of GPU memory\nwrote {}\nnext: {next}",
            duration(outcome.training_seconds),
            bytes(outcome.peak_memory),
            context.home.run(name).display(),
        ),
    )?;
    if std::io::stdout().is_terminal() && !context.json {
        note(&format!("curves: tensorboard --logdir {}", context.home.run(name).join("tensorboard").display()));
    }
    Ok(if outcome.interrupted { Ended::Interrupted } else { Ended::Done })
}

/// A readable number of bytes.
pub fn bytes(count: u64) -> String {
    match count {
        0..0x10_0000 => format!("{:.0} KiB", count as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.0} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "?".to_owned(),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
