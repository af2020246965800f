//! `nc-core tokenizer show`: a conversation token by token, as a model is trained on it.
//!
//! It prints the conversation's text, but never as terminal escape sequences: whatever is not
//! plainly visible is written as an escape.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use serde_json::json;

use super::{Context, Failure, Which, open};
use crate::data::read_conversations;
use crate::tokenizer::{ChatTokens, Rendered, Tokenizer};

/// Options of `nc-core tokenizer show`.
#[derive(clap::Args)]
pub struct Args {
    /// A .jsonl file of conversations, or a folder of them
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Which conversation, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    index: usize,
    /// Print the id after each token
    #[arg(long)]
    ids: bool,
    /// Colours; without them brackets mark what is learnt
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    #[command(flatten)]
    which: Which,
}

/// Runs the subcommand.
pub fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (tokenizer, _) = open(&args.which, context)?;
    let conversations = read_conversations(&args.path)?;
    let Some(conversation) = conversations.get(args.index) else {
        let (path, last) = (args.path.display(), conversations.len().saturating_sub(1));
        return Err(Failure::input(format!("{path} has no conversation {}; its last one is {last}, counted from 0", args.index)));
    };
    let rendered = tokenizer.render(conversation)?;
    let (tokens, learnt) = (rendered.len(), rendered.mask.iter().filter(|learnt| **learnt).count());
    let value = json!({
        "path": args.path, "index": args.index, "conversations": conversations.len(), "learnt": learnt,
        "ids": rendered.ids, "mask": rendered.mask.iter().map(|&learnt| u8::from(learnt)).collect::<Vec<_>>(),
        "tokens": rendered.ids.iter().map(|&id| tokenizer.decode(&[id])).collect::<Vec<_>>(),
    });
    let look = if coloured(args.color) { Look::Coloured } else { Look::Plain };
    let legend = look.paint(Ink::Learnt, &format!("{learnt} learnt"));
    let title = format!("conversation {} of {}, counted from 0: {tokens} tokens, {legend}", args.index, conversations.len());
    let page = Page { tokenizer: &tokenizer, marks: tokenizer.chat_tokens()?, look, ids: args.ids };
    context.finish(&value, &format!("{title}\n\n{}", page.lay_out(&rendered)))
}

/// Whether to print colours: on a terminal, unless disabled (<https://no-color.org>).
fn coloured(choice: ColorChoice) -> bool {
    let refused = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => std::io::stdout().is_terminal() && !refused(),
    }
}

/// How the mask is displayed.
#[derive(Clone, Copy)]
enum Look {
    /// Green is learnt, red is not, as in nanochat.
    Coloured,
    /// What is learnt is in brackets.
    Plain,
}

/// The kind of a piece of output.
#[derive(Clone, Copy)]
enum Ink {
    /// A token that is learnt.
    Learnt,
    /// A token that is not.
    Given,
    /// Not a token: a separator, or an id.
    Aside,
}

impl Look {
    fn paint(self, ink: Ink, text: &str) -> String {
        let style = match (self, ink) {
            (Self::Plain, Ink::Learnt) => return format!("[{text}]"),
            (Self::Plain, Ink::Given | Ink::Aside) => return text.to_owned(),
            (Self::Coloured, Ink::Learnt) => AnsiColor::Green.on_default(),
            (Self::Coloured, Ink::Given) => AnsiColor::Red.on_default(),
            (Self::Coloured, Ink::Aside) => Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// Arranges tokens in lines.
struct Page<'a> {
    tokenizer: &'a Tokenizer,
    marks: ChatTokens,
    look: Look,
    ids: bool,
}

impl Page<'_> {
    /// Tokens with separators between; a new line at the start of a message and where the text has one.
    fn lay_out(&self, rendered: &Rendered) -> String {
        let border = self.look.paint(Ink::Aside, "│");
        let mut page = String::new();
        let mut line_is_full = true;
        for (&id, &learnt) in rendered.ids.iter().zip(&rendered.mask) {
            let begins = id == self.marks.user_start || id == self.marks.assistant_start;
            if !page.is_empty() {
                page.push_str(if begins || line_is_full { "\n" } else { &border });
            }
            let bytes = self.tokenizer.decode_bytes(&[id]);
            page.push_str(&self.look.paint(if learnt { Ink::Learnt } else { Ink::Given }, &visible(&bytes)));
            if self.ids {
                page.push_str(&self.look.paint(Ink::Aside, &format!("({id})")));
            }
            line_is_full = bytes.contains(&b'\n');
        }
        page
    }
}

/// A token's bytes as visible characters: a space is `·`, a line break `↵`, and invisible characters,
/// control characters and incomplete characters are written as escapes.
fn visible(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                ' ' => shown.push('·'),
                '\n' => shown.push('↵'),
                '\'' | '"' => shown.push(character),
                _ => shown.extend(character.escape_debug()),
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        let shown = visible("a \"b\"\t\\\r\n\u{1b}[31m\u{7}\u{9b}0m\u{202e}\u{200b}\u{feff}é日".as_bytes());
        assert_eq!(shown, "a·\"b\"\\t\\\\\\r↵\\u{1b}[31m\\u{7}\\u{9b}0m\\u{202e}\\u{200b}\\u{feff}é日");
        assert_eq!(visible(b"\xe6\x97"), "\\xE6\\x97");
        let every: String = ('\0'..=char::MAX).filter(|c| c.is_control()).collect();
        assert!(visible(every.as_bytes()).chars().all(|c| !c.is_control()));
    }
}
