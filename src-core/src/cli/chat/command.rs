//! Commands at the chat's prompt.

use std::path::PathBuf;

use directories::BaseDirs;

/// A line that begins with `/`.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Help,
    Clear,
    /// To a file; `true` to overwrite an existing one.
    Save(PathBuf, bool),
    Load(PathBuf),
    /// The system text; none removes it.
    System(Option<String>),
    Temperature(f64),
    TopK(usize),
    Seed(u64),
    Retry,
    Stats,
    Quit,
}

/// What `/help` prints.
pub const HELP: &str = "\
/help             this list
/clear            begin a new conversation; the system text stays
/save FILE        write the conversation to a new file, one line of JSON
/save! FILE       the same, in the place of a file that is there
/load FILE        continue a conversation from such a file
/system [TEXT]    what the assistant is told before you begin; without TEXT, nothing
/temperature T    0 takes the likeliest token each time; higher is more varied
/topk N           draw from the likeliest N tokens only; 0 for all
/seed N           seed of the draws
/retry            another answer to your last message
/stats            what the last answer took
/quit             leave (Ctrl-D too)

A line that ends with \\ goes on with the next one. Ctrl-C stops an answer.
A message that begins with a slash is written with two. In names of files, ~ is your home folder.";

/// A parsed line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Nothing was typed.
    Empty,
    /// A message for the assistant.
    Message(String),
    /// A command.
    Command(Command),
    /// An invalid command, and what to say about it.
    Mistake(String),
}

impl Line {
    /// Parses a line, or several joined lines.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Line::Empty;
        }
        let Some(command) = text.strip_prefix('/') else {
            return Line::Message(text.to_owned());
        };
        if command.starts_with('/') {
            return Line::Message(command.to_owned());
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match parse(name, rest.trim()) {
            Ok(command) => Line::Command(command),
            Err(mistake) => Line::Mistake(mistake),
        }
    }
}

fn parse(name: &str, rest: &str) -> Result<Command, String> {
    let none = |command: Command| if rest.is_empty() { Ok(command) } else { Err(format!("/{name} takes no argument")) };
    let file = |command: fn(PathBuf) -> Command| {
        if rest.is_empty() { Err(format!("/{name} needs the name of a file")) } else { Ok(command(at_home(rest))) }
    };
    match name {
        "help" | "?" => none(Command::Help),
        "clear" => none(Command::Clear),
        "save" => file(|path| Command::Save(path, false)),
        "save!" => file(|path| Command::Save(path, true)),
        "load" => file(Command::Load),
        "system" => Ok(Command::System(Some(rest.to_owned()).filter(|text| !text.is_empty()))),
        "temperature" => match rest.parse::<f64>() {
            Ok(value) if (0.0..=1e6).contains(&value) => Ok(Command::Temperature(value)),
            _ => Err("/temperature needs a number from 0 up, such as 0.7".into()),
        },
        "topk" => rest.parse().map(Command::TopK).map_err(|_| "/topk needs a whole number from 0 up, such as 50".into()),
        "seed" => rest.parse().map(Command::Seed).map_err(|_| "/seed needs a whole number from 0 up".into()),
        "retry" => none(Command::Retry),
        "stats" => none(Command::Stats),
        "quit" | "exit" => none(Command::Quit),
        _ => Err("there is no such command; /help lists them".into()),
    }
}

/// A path with a leading `~` expanded to the home folder, as in a shell.
fn at_home(path: &str) -> PathBuf {
    let inside = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(std::path::is_separator));
    match (inside, BaseDirs::new()) {
        (Some(rest), Some(folders)) => folders.home_dir().join(rest.trim_start_matches(std::path::is_separator)),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_commands_or_mistakes() {
        let command = Line::Command;
        let cases = [
            ("", Line::Empty),
            ("  \n", Line::Empty),
            (" hello\nthere ", Line::Message("hello\nthere".into())),
            ("//etc is a folder", Line::Message("/etc is a folder".into())),
            ("/help", command(Command::Help)),
            ("/save my chat.jsonl", command(Command::Save("my chat.jsonl".into(), false))),
            ("/save! a~b", command(Command::Save("a~b".into(), true))),
            ("/load ~other/x", command(Command::Load("~other/x".into()))),
            ("/load\tx", command(Command::Load("x".into()))),
            ("/system You are brief.", command(Command::System(Some("You are brief.".into())))),
            ("/system", command(Command::System(None))),
            ("/temperature 0.5", command(Command::Temperature(0.5))),
            ("/topk 0", command(Command::TopK(0))),
            ("/seed 7", command(Command::Seed(7))),
            ("/retry", command(Command::Retry)),
            ("/stats", command(Command::Stats)),
            ("/quit ", command(Command::Quit)),
        ];
        for (text, line) in cases {
            assert_eq!(Line::parse(text), line, "{text:?}");
        }
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = BaseDirs::new().unwrap().home_dir().to_path_buf();
        for (text, path) in [("~/a b.jsonl", home.join("a b.jsonl")), ("~", home.clone()), ("~//x", home.join("x"))] {
            assert_eq!(Line::parse(&format!("/load {text}")), Line::Command(Command::Load(path.clone())));
            assert_eq!(Line::parse(&format!("/save {text}")), Line::Command(Command::Save(path, false)));
        }
    }

    #[test]
    fn a_mistake_is_named_and_what_was_typed_is_not_repeated() {
        for (text, words) in [
            ("/save", "/save needs the name of a file"),
            ("/save!", "/save! needs the name of a file"),
            ("/temperature -1", "/temperature needs a number from 0 up"),
            ("/temperature NaN", "/temperature needs a number"),
            ("/topk -5", "/topk needs a whole number"),
            ("/seed x", "/seed needs a whole number"),
            ("/retry now", "/retry takes no argument"),
            ("/secret words", "there is no such command; /help lists them"),
            ("/", "there is no such command"),
        ] {
            match Line::parse(text) {
                Line::Mistake(mistake) => assert!(mistake.contains(words), "{mistake}"),
                other => panic!("{text} is {other:?}"),
            }
        }
    }
}
