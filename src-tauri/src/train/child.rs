//! The child process: it makes what its order says, from wherever the disk is.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nc_core::checkpoint::Run;
use nc_core::checkpoint::home::Home;
use nc_core::data::{self, DataSet, Split};
use nc_core::gpu::Gpu;
use nc_core::tokenizer::{Tokenizer, TokenizerError, TrainOptions};
use nc_core::train::{self, Event, Length, Origin, Outcome, Resume, RunConfig, Setting, Start, Training, run_config};

use super::order::Line;
use super::{Order, plan};
use crate::error::{AppError, AppResult};
use crate::types::{Budget, StepPoint, TrainEvent, TrainPhase};

/// Steps that are timed for a budget in minutes, and how many of them only warm up.
const TIMED_STEPS: u64 = 12;
const WARM_UP: usize = 4;

/// How much it gives way to others, from 0 to 19.
#[cfg(unix)]
const NICENESS: libc::c_int = 10;

/// Runs the child. Its exit code says what its last line says.
pub fn main() -> ExitCode {
    #[cfg(unix)]
    // SAFETY: a plain system call. A chat beside it goes first; where that cannot be arranged, it shares.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS as _, 0, NICENESS);
    }
    let interrupt = Arc::new(AtomicBool::new(false));
    let outcome = read_order(&interrupt).and_then(|order| Child { order, interrupt }.run());
    let line = match &outcome {
        Ok(complete) => Line::End { complete: *complete },
        Err(error) => Line::Failed { error: error.clone() },
    };
    tell(&line);
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the order, the first line of stdin. Whatever comes after it, be it the end because the app has ended, asks to
/// stop after the step in progress.
fn read_order(interrupt: &Arc<AtomicBool>) -> AppResult<Order> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let order = serde_json::from_str(&line).map_err(|_| AppError::bad_input("The order to train cannot be read."))?;
    let flag = interrupt.clone();
    std::thread::Builder::new().name("orders".into()).spawn(move || {
        let _ = io::stdin().lock().read_line(&mut String::new());
        flag.store(true, Ordering::Relaxed);
    })?;
    Ok(order)
}

/// Tells the app something. If it is gone, stdin has ended too, and that stops the run.
fn tell(line: &Line) {
    let mut json = serde_json::to_vec(line).unwrap_or_default();
    json.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&json).and_then(|()| out.flush());
}

fn event(event: TrainEvent) {
    tell(&Line::Event { event });
}

struct Child {
    order: Order,
    interrupt: Arc<AtomicBool>,
}

impl Child {
    /// Makes what is missing. Says whether everything is there now; if not, it was asked to stop.
    fn run(&self) -> AppResult<bool> {
        tell(&Line::Phase { phase: TrainPhase::Preparing });
        let home = Home::at(&self.order.home);
        let gpu = Gpu::open(self.order.gpu.as_deref())?;
        gpu.autotune_in(&home.cache());
        if !self.pretrain(&home, &gpu)? {
            return Ok(false);
        }
        match (self.order.chat_name(), &self.order.conversations) {
            (Some(name), Some(conversations)) => self.fine_tune(&home, &gpu, &name, conversations),
            _ => Ok(true),
        }
    }

    fn pretrain(&self, home: &Home, gpu: &Gpu) -> AppResult<bool> {
        let name = &self.order.name;
        if home.run(name).exists() {
            let tokenizer = Tokenizer::from_file(&Run::open(home, name)?.tokenizer_path())?;
            return self.train(home, gpu, tokenizer, name, TrainPhase::Pretraining, Start::Resume(Resume::default()));
        }
        DataSet::open(&self.order.data)?;
        let Some(tokenizer) = self.tokenizer(plan::vocab_size(gpu))? else { return Ok(false) };
        let model = plan::model(gpu, &self.order, tokenizer.vocab_size())?;
        let config = |steps| plan::pretraining(gpu, &self.order, model.clone(), steps);
        let steps = match self.order.budget {
            Budget::Steps { steps } => steps,
            Budget::Tokens { tokens } => plan::steps_of(tokens, plan::step_tokens(gpu, &self.order)),
            Budget::Minutes { minutes } => match self.measure(gpu, &tokenizer, config(TIMED_STEPS)?)? {
                Some(seconds) => ((minutes * 60.0 * plan::PRETRAINING_SHARE / seconds) as u64).max(20),
                None => return Ok(false),
            },
        };
        let start = Start::Fresh { config: Box::new(config(steps)?), origin: None };
        self.train(home, gpu, tokenizer, name, TrainPhase::Pretraining, start)
    }

    fn fine_tune(&self, home: &Home, gpu: &Gpu, name: &str, conversations: &std::path::Path) -> AppResult<bool> {
        let base = Run::open(home, &self.order.name)?;
        let tokenizer = Tokenizer::from_file(&base.tokenizer_path())?;
        let start = if home.run(name).exists() {
            Start::Resume(Resume::default())
        } else {
            let origin = Origin::open(&base, None, true)?;
            let config = plan::fine_tuning(&self.order, &run_config(&base)?, origin.source().clone(), conversations)?;
            Start::Fresh { config: Box::new(config), origin: Some(Box::new(origin)) }
        };
        self.train(home, gpu, tokenizer, name, TrainPhase::FineTuning, start)
    }

    /// Trains a run to its end. Says whether it is complete.
    fn train(&self, home: &Home, gpu: &Gpu, tokenizer: Tokenizer, name: &str, phase: TrainPhase, start: Start) -> AppResult<bool> {
        if self.stopped() {
            return Ok(false);
        }
        tell(&Line::Phase { phase });
        let setting = Setting { gpu, home, tokenizer: &Arc::new(tokenizer), interrupt: &self.interrupt };
        let outcome = train::train(setting, name, start, &mut |happened| {
            if let Some(happened) = translate(phase, happened) {
                event(happened);
            }
        })?;
        Ok(!outcome.interrupted)
    }

    /// Trains a tokenizer on the data; on text that is too short for it, a smaller one. None when asked to stop.
    fn tokenizer(&self, vocab_size: usize) -> AppResult<Option<Tokenizer>> {
        tell(&Line::Phase { phase: TrainPhase::Tokenizer });
        let train = |vocab_size| {
            let options = TrainOptions { vocab_size, ..TrainOptions::default() };
            let documents = data::documents(&self.order.data, Split::Train)?;
            Ok::<_, AppError>(Tokenizer::train(documents, &options))
        };
        let trained = match train(vocab_size)? {
            Err(TokenizerError::VocabularyTooLarge { possible, .. }) => {
                event(TrainEvent::Note { text: format!("The text is too short for {vocab_size} tokens: the vocabulary has {possible}.") });
                train(possible)?
            }
            trained => trained,
        };
        Ok((!self.stopped()).then_some(trained?.tokenizer))
    }

    /// Seconds of a step, by a few of them in a folder that is thrown away. None when asked to stop.
    fn measure(&self, gpu: &Gpu, tokenizer: &Tokenizer, config: RunConfig) -> AppResult<Option<f64>> {
        tell(&Line::Phase { phase: TrainPhase::Measuring });
        let folder = tempfile::tempdir()?;
        let home = Home::at(folder.path());
        let mut config = config;
        if let Training::Base(options) = &mut config.training {
            (options.sample_every, options.common.eval_every, options.common.save_every) = (None, None, None);
        }
        let tokenizer = Arc::new(Tokenizer::from_json(&tokenizer.to_json())?);
        let setting = Setting { gpu, home: &home, tokenizer: &tokenizer, interrupt: &self.interrupt };
        let mut seconds = Vec::new();
        let start = Start::Fresh { config: Box::new(config), origin: None };
        let Outcome { interrupted, .. } = train::train(setting, "measured", start, &mut |event| {
            if let Event::Step(report) = event {
                seconds.push(report.seconds);
            }
        })?;
        let timed = seconds.get(WARM_UP..).filter(|timed| !timed.is_empty()).unwrap_or(&seconds);
        let mean = timed.iter().sum::<f64>() / timed.len().max(1) as f64;
        Ok((!interrupted && !self.stopped()).then_some(mean.max(1e-4)))
    }

    fn stopped(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

/// What nc-core tells, as the pages hear it.
fn translate(phase: TrainPhase, event: Event) -> Option<TrainEvent> {
    Some(match event {
        Event::Start { step, length, parameters, memory, adapter, .. } => TrainEvent::Started {
            phase,
            parameters: parameters as u64,
            memory_bytes: memory,
            gpu: adapter,
            step,
            steps: match length {
                Length::Steps(steps) => Some(steps),
                Length::Epoch { .. } => None,
            },
        },
        Event::Step(report) => TrainEvent::Step {
            phase,
            progress: report.progress,
            eta_seconds: report.eta_seconds,
            point: StepPoint {
                step: report.step,
                loss: report.loss,
                smooth_loss: report.smooth_loss,
                bpb: report.bpb,
                tokens: report.tokens,
                tokens_per_second: report.tokens_per_second,
                memory_bytes: report.memory,
                seconds: report.seconds,
            },
        },
        Event::Validation { step, bpb, min_bpb } => TrainEvent::Validation { phase, step, bpb, min_bpb },
        Event::Sample { step, text } => TrainEvent::Sample { phase, step, text },
        Event::Saved { step, .. } => TrainEvent::Saved { phase, step },
        Event::BatchHalved { from, to, .. } => {
            TrainEvent::Note { text: format!("GPU memory is short: a batch has {to} rows instead of {from}.") }
        }
        Event::Rejected { reasons } => TrainEvent::Note { text: reasons.join(" ") },
        Event::Conversations(file) if file.duplicates > 0 => {
            TrainEvent::Note { text: format!("{} of {} conversations are duplicates.", file.duplicates, file.conversations) }
        }
        Event::Conversations(_) => return None,
        Event::NoValidation => TrainEvent::Note { text: "The data holds nothing to validate on.".into() },
    })
}
