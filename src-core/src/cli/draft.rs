//! Options of speculative decoding, for every subcommand that writes one text.

use super::loaded::{Loaded, Which};
use super::{Context, Failure};
use crate::engine::{Drafter, Effort, Engine, Stats};

/// What drafts tokens.
#[derive(clap::Args)]
pub struct DraftArgs {
    /// A smaller run with the same tokenizer, which drafts tokens: the same text, faster if many of them are right
    #[arg(long, value_name = "RUN")]
    draft: Option<String>,
    /// Draft tokens from what came after the same words before: the same text, faster if it repeats itself
    #[arg(long, conflicts_with = "draft")]
    lookup: bool,
}

/// What the options asked for.
pub enum Drafts {
    Nothing,
    Lookup,
    Model(Box<Loaded>),
}

impl DraftArgs {
    /// Loads the run that drafts, if there is one, for texts of `loaded`, which is `which`.
    pub fn open(&self, which: &Which, loaded: &Loaded, context: &Context) -> Result<Drafts, Failure> {
        match &self.draft {
            Some(name) => Ok(Drafts::Model(Box::new(loaded.beside(name, which, context)?))),
            None if self.lookup => Ok(Drafts::Lookup),
            None => Ok(Drafts::Nothing),
        }
    }
}

impl Drafts {
    /// Makes `engine` use them.
    pub fn apply<'a>(&'a self, engine: &mut Engine<'a>) -> Result<(), Failure> {
        let drafter = match self {
            Drafts::Nothing => return Ok(()),
            Drafts::Lookup => Drafter::Lookup,
            Drafts::Model(loaded) => Drafter::Model { gpu: &loaded.gpu, model: &loaded.model, tokenizer: loaded.tokenizer.as_ref() },
        };
        Ok(engine.speculate(drafter, Effort::WherePaying)?)
    }
}

/// What became of the drafts of a text, as the end of a sentence; nothing if there were none.
pub fn drafted(stats: &Stats) -> String {
    match stats.drafted_tokens {
        0 => String::new(),
        drafted => format!(", {} of {drafted} drafted ones accepted", stats.accepted_tokens),
    }
}
