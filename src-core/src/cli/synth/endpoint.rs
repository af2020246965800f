//! `nc-core data synth --endpoint`: shows the server and the first request, asks for consent, and collects the answers.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::{Context, Failure, note};
use crate::data::download::Patience;
use crate::data::synth::endpoint::{Address, Endpoint, Event, Key, gather};
use crate::data::synth::{Gathered, Recipe};

/// The default number of conversations from a server.
const COUNT: u32 = 200;

/// Options for a server.
#[derive(clap::Args)]
pub struct Server {
    /// Get the conversations from an OpenAI-compatible server, such as http://127.0.0.1:8080/v1; asks before sending
    #[arg(long, value_name = "URL", requires = "model", help_heading = "Server")]
    endpoint: Option<String>,
    /// The model to use on the server
    #[arg(long, value_name = "NAME", requires = "endpoint", help_heading = "Server")]
    model: Option<String>,
    /// Environment variable with the server's API key [default: NC_API_KEY; a server on this machine needs none]
    #[arg(long, value_name = "VARIABLE", requires = "endpoint", conflicts_with = "key_file", help_heading = "Server")]
    key_env: Option<String>,
    /// File with the server's API key
    #[arg(long, value_name = "FILE", requires = "endpoint", help_heading = "Server")]
    key_file: Option<PathBuf>,
    /// Send without asking
    #[arg(long, short, requires = "endpoint", help_heading = "Server")]
    yes: bool,
    /// Parallel requests
    #[arg(short = 'w', long, value_name = "W", requires = "endpoint", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Server")]
    workers: u16,
    /// Timeout of an answer in seconds
    #[arg(long, value_name = "SECONDS", requires = "endpoint", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "Server")]
    timeout: u64,
    /// Tries in a row without an answer before giving up
    #[arg(long, value_name = "N", requires = "endpoint", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Server")]
    tries: u32,
}

impl Server {
    /// Whether a server is to be used.
    pub fn is_wanted(&self) -> bool {
        self.endpoint.is_some()
    }
}

/// Gets conversations from the server and writes them to `path`.
pub fn run(args: &Server, recipe: &Recipe, path: &Path, count: Option<u32>, seed: u64, context: &Context) -> Result<(), Failure> {
    let model = args.model.clone().unwrap_or_default();
    if model.trim().is_empty() {
        return Err(Failure::input("--model is empty; name one of the server's models"));
    }
    let address = Address::parse(args.endpoint.as_deref().unwrap_or_default())?;
    let key = match &args.key_file {
        Some(file) => Some(Key::from_file(file)?),
        None => Key::from_environment(args.key_env.as_deref())?,
    };
    let keyed = if key.is_some() { "with your key, which is not shown" } else { "without a key" };
    let patience = Patience { tries: args.tries, stall: Duration::from_secs(args.timeout), ..Patience::default() };
    let endpoint = Endpoint::new(address, model, key, patience)?;
    let mut gathered = gather(path)?;
    let result = (|| {
        let count = count.unwrap_or(COUNT) as usize;
        let earlier = gathered.len();
        if earlier > 0 {
            note(&format!("going on with the {earlier} conversations in {}", Gathered::part_of(path).display()));
        }
        if earlier < count {
            let first = endpoint.request(recipe, seed, earlier as u64)?;
            let (host, url, missing) = (endpoint.address().host(), endpoint.address().url(), count - earlier);
            note(&format!("{missing} conversations will be asked of {host}, at {url}, {keyed}. The first request:"));
            note(&serde_json::to_string_pretty(&first)?);
            note("The others differ in what the conversation is to be about. Nothing else is sent.");
            if !args.yes {
                confirm(host)?;
            }
        }
        on_interrupt(path)?;
        let progress = Progress::new(count, earlier);
        let summary = endpoint.ask(recipe, &mut gathered, count, seed, usize::from(args.workers), &|event| progress.show(event))?;
        progress.finish();
        Ok::<_, Failure>((count, summary))
    })();
    let (count, summary) = match result {
        Ok(outcome) => outcome,
        // No conversation was received: leave no empty partial file.
        Err(failure) if gathered.is_empty() => {
            gathered.finish()?;
            return Err(failure);
        }
        Err(failure) => {
            let (kept, part) = (gathered.len(), Gathered::part_of(path));
            note(&format!("{kept} conversations are kept in {}; the same command continues from there", part.display()));
            return Err(failure);
        }
    };
    if !gathered.finish()? {
        return Err(Failure::input("the server gave no usable conversation; try another --model"));
    }
    let value = json!({
        "path": path, "conversations": summary.conversations, "asked": count, "earlier": summary.earlier,
        "bad_answers": summary.bad_answers, "left_out": summary.left_out, "seed": seed,
    });
    let bad = match (summary.bad_answers, summary.left_out) {
        (0, _) => String::new(),
        (bad, 0) => format!(" ({bad} unusable answers were requested again)"),
        (bad, left_out) => format!(" ({bad} answers were unusable; {left_out} conversations were skipped)"),
    };
    let words = format!("wrote {} conversations to {}{bad}\n{}", summary.conversations, path.display(), super::next(path));
    context.finish(&value, &words)
}

/// Asks for consent to send.
fn confirm(host: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::input(format!("there is no terminal to confirm that this is sent to {host}; add --yes to agree")));
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "Send to {host}? [y/N] ").and_then(|()| stderr.flush());
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::input("nothing was sent")),
    }
}

/// On Ctrl-C no cleanup is needed: the partial file can be continued at any moment.
fn on_interrupt(path: &Path) -> Result<(), Failure> {
    let part = Gathered::part_of(path);
    ctrlc::set_handler(move || {
        note(&format!("stopped; the results so far are kept in {}, and the same command continues from there", part.display()));
        std::process::exit(130);
    })?;
    Ok(())
}

/// Shows progress on stderr: a bar on a terminal, else a line for each tenth and for each problem.
struct Progress {
    bar: Option<ProgressBar>,
    count: usize,
}

impl Progress {
    fn new(count: usize, earlier: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} conversations, {eta} left  {msg}");
            let bar = ProgressBar::new(count as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(earlier as u64);
            bar.reset_eta();
            bar
        });
        Self { bar, count }
    }

    fn show(&self, event: Event<'_>) {
        let line = match event {
            Event::Got(conversations) => {
                if let Some(bar) = &self.bar {
                    bar.set_position(conversations as u64);
                    return;
                }
                if conversations % self.count.div_ceil(10) != 0 {
                    return;
                }
                format!("{conversations} of {} conversations", self.count)
            }
            Event::Bad { reason } => format!("an answer is unusable: {reason}"),
            Event::Waiting { reason, wait } => format!("{reason}; trying again in {:.1} s", wait.as_secs_f64()),
        };
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None => note(&line),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
