//! `nc-core chat`: talk with a fine-tuned model in the terminal. The conversation is only stored by
//! `/save`.

use serde_json::json;

use super::draft::DraftArgs;
use super::interrupt::stop_at_once;
use super::loaded::{Loaded, Which};
use super::sampling::SamplingArgs;
use super::{Context, Failure, note, print};
use crate::engine::{Chat, ChatOptions, Engine};
use crate::model::CacheFormat;
use crate::tokenizer::{Message, Role};

mod command;
mod input;
mod interrupt;
mod session;

use input::{Input, Next};
use interrupt::Interrupt;
use session::Session;

/// Options of `nc-core chat`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Answer this one message and exit
    #[arg(long, short, value_name = "TEXT")]
    prompt: Option<String>,
    /// The system prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
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
    let options =
        ChatOptions { sampling: args.sampling.sampling(ChatOptions::default().sampling.temperature), max_tokens: args.max_tokens as usize };
    options.sampling.validate(usize::MAX)?;
    let loaded = Loaded::open(&args.which, context)?;
    options.sampling.validate(loaded.model.config.vocab_size)?;
    let drafts = args.drafts.open(&args.which, &loaded, context)?;
    let mut engine = Engine::with_cache(&loaded.gpu, &loaded.model, Some(loaded.tokenizer()?), args.cache)?;
    drafts.apply(&mut engine)?;
    let chat = Chat::new(engine)?;

    // Before the handler of Ctrl-C: the line editor would override it.
    let input = if args.prompt.is_none() { Some(Input::open()?) } else { None };
    let interrupt = Interrupt::listen(input.as_ref().is_some_and(Input::is_terminal))?;
    let mut session = Session::new(chat, options, &interrupt, context.json);
    if let Some(system) = args.system.filter(|text| !text.is_empty()) {
        session.set_system(Some(system));
    }
    let Some(mut input) = input else {
        session.say(Message::text(Role::User, args.prompt.unwrap_or_default()))?;
        if session.interrupted() {
            stop_at_once();
        }
        return Ok(());
    };
    if input.is_terminal() {
        note(&format!("{} at step {}, a context of {} tokens; /help lists commands", loaded.name, loaded.step, session.context()));
    }
    converse(&mut session, &mut input)?;
    if context.json {
        print(&json!({ "run": loaded.name, "step": loaded.step, "messages": session.messages() }).to_string())?;
    }
    Ok(())
}

/// Answers until the last line, or `/quit`.
fn converse(session: &mut Session<'_>, input: &mut Input) -> Result<(), Failure> {
    loop {
        match input.next()? {
            Next::End => return Ok(()),
            Next::Interrupted => note("/quit or Ctrl-D leaves"),
            Next::Line(line) => match session.line(&line) {
                Ok(true) if session.interrupted() && !input.is_terminal() => stop_at_once(),
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // A person sees the error and continues; a script had better stop.
                Err(failure) if input.is_terminal() => note(&format!("error: {failure}")),
                Err(failure) => return Err(failure),
            },
        }
    }
}
