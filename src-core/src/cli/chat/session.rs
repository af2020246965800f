//! A chat in progress: the conversation, the options, and the display of answers.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::command::{Command, HELP, Line};
use super::interrupt::Interrupt;
use crate::cli::draft::drafted;
use crate::cli::{Failure, note, shown};
use crate::data::read_conversations;
use crate::engine::{Chat, ChatOptions, Event, Reason, Reply, Stats};
use crate::tokenizer::{Conversation, Message, Role};

/// A conversation with a model.
pub struct Session<'a> {
    chat: Chat<'a>,
    options: ChatOptions,
    interrupt: &'a Interrupt,
    json: bool,
    conversation: Conversation,
    /// The statistics of the last answer, and how it ended.
    last: Option<(Stats, Reason)>,
    /// The number of retries: each uses another seed.
    retries: u64,
    /// Whether stdout is closed.
    unheard: bool,
}

impl<'a> Session<'a> {
    /// An empty conversation.
    pub fn new(chat: Chat<'a>, options: ChatOptions, interrupt: &'a Interrupt, json: bool) -> Self {
        Self { chat, options, interrupt, json, conversation: Conversation::default(), last: None, retries: 0, unheard: false }
    }

    /// The size of the context in tokens.
    pub fn context(&self) -> usize {
        self.chat.context()
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.conversation.messages
    }

    /// Whether the last answer was ended by Ctrl-C.
    pub fn interrupted(&self) -> bool {
        !self.unheard && self.last.is_some_and(|(_, reason)| reason == Reason::Cancelled)
    }

    /// Executes a line. Returns whether to continue: not if stdout is closed.
    pub fn line(&mut self, line: &str) -> Result<bool, Failure> {
        match Line::parse(line) {
            Line::Empty => {}
            Line::Message(text) => self.say(Message::text(Role::User, text))?,
            Line::Command(Command::Quit) => return Ok(false),
            Line::Command(command) => self.command(command)?,
            Line::Mistake(mistake) => return Err(Failure::input(mistake)),
        }
        Ok(!self.unheard)
    }

    fn command(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Help => note(HELP),
            Command::Clear => self.clear(),
            Command::Save(path, replace) => self.save(&path, replace)?,
            Command::Load(path) => self.load(&path)?,
            Command::System(text) => self.set_system(text),
            Command::Temperature(value) => self.options.sampling.temperature = value,
            Command::TopK(k) => self.options.sampling.top_k = k,
            Command::Seed(seed) => self.options.sampling.seed = seed,
            Command::Retry => self.retry()?,
            Command::Stats => note(&self.stats()),
            Command::Quit => {}
        }
        Ok(())
    }

    /// Sends a message to the model and prints its answer. If that fails, the conversation is unchanged.
    pub fn say(&mut self, message: Message) -> Result<(), Failure> {
        self.retries = 0;
        self.conversation.messages.push(message);
        self.answer().inspect_err(|_| {
            self.conversation.messages.pop();
        })
    }

    /// Answers the last message again.
    fn retry(&mut self) -> Result<(), Failure> {
        let old = match self.conversation.messages.last() {
            Some(message) if message.role == Role::Assistant => self.conversation.messages.pop(),
            _ => return Err(Failure::input("there is no answer to try again")),
        };
        self.retries += 1;
        self.answer().inspect_err(|_| self.conversation.messages.extend(old))
    }

    fn answer(&mut self) -> Result<(), Failure> {
        let mut options = self.options.clone();
        options.sampling.seed = options.sampling.seed.wrapping_add(self.retries);
        let mut screen = Screen::new(self.json);
        let reply = self.interrupt.during(|cancel| {
            self.chat.reply(&self.conversation, &options, cancel, &mut |event| {
                screen.show(&event);
                if screen.unheard {
                    cancel.store(true, Ordering::Relaxed);
                }
            })
        })?;
        self.last = Some((reply.stats, reply.reason));
        screen.end(&reply)?;
        self.unheard = screen.unheard;
        self.conversation.messages.push(reply.message);
        Ok(())
    }

    fn clear(&mut self) {
        self.retries = 0;
        self.conversation.messages.retain(|message| message.role == Role::System);
        self.last = None;
    }

    /// Replaces the system text by `text`.
    pub fn set_system(&mut self, text: Option<String>) {
        self.conversation.messages.retain(|message| message.role != Role::System);
        if let Some(text) = text {
            self.conversation.messages.insert(0, Message::text(Role::System, text));
        }
    }

    /// Writes the conversation to a file. An existing one is only overwritten on request.
    fn save(&self, path: &Path, replace: bool) -> Result<(), Failure> {
        // A file that could not be loaded again would be useless.
        self.conversation.check()?;
        let refused = |error: std::io::Error| Failure::input(format!("could not write {}: {error}", path.display()));
        if path.is_dir() {
            return Err(Failure::input(format!("{} is a folder; name a file in it", path.display())));
        }
        let there =
            || Failure::input(format!("there is a file {} already: choose another name, or replace it with /save!", path.display()));
        if !replace && path.symlink_metadata().is_ok() {
            return Err(there());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(refused)?;
        let line = serde_json::to_string(&self.conversation)?;
        writeln!(file, "{line}").and_then(|()| file.as_file().sync_all()).map_err(refused)?;
        match if replace { file.persist(path) } else { file.persist_noclobber(path) } {
            Err(error) if !replace && error.error.kind() == ErrorKind::AlreadyExists => return Err(there()),
            Err(error) => return Err(refused(error.error)),
            Ok(_) => {}
        }
        note(&format!("wrote {}", path.display()));
        Ok(())
    }

    fn load(&mut self, path: &Path) -> Result<(), Failure> {
        let mut conversations = read_conversations(path)?;
        let count = conversations.len();
        if count != 1 {
            return Err(Failure::input(format!("{} holds {count} conversations; /load takes one", path.display())));
        }
        let old = std::mem::replace(&mut self.conversation, conversations.remove(0));
        self.retries = 0;
        self.last = None;
        if self.conversation.messages.last().is_some_and(|message| message.role == Role::User) {
            // It waits for an answer, and cannot take another message.
            return self.answer().inspect_err(|_| self.conversation = old);
        }
        note(&format!("{} messages", self.conversation.messages.len()));
        Ok(())
    }

    fn stats(&self) -> String {
        let Some((stats, reason)) = &self.last else {
            return "there was no answer yet".to_owned();
        };
        format!(
            "prompt: {} tokens, {} of them in the cache\nanswer: {} tokens{}, {:.1} per second, the first after {:.0} ms, ended by {}\ncontext: {} of {} tokens",
            stats.prompt_tokens,
            stats.reused_tokens,
            stats.new_tokens,
            drafted(stats),
            stats.tokens_per_second(),
            stats.time_to_first_token.as_secs_f64() * 1e3,
            words(*reason),
            stats.context_used,
            stats.context,
        )
    }
}

/// Prints an answer as it comes.
struct Screen {
    json: bool,
    colours: bool,
    /// The assistant's message.
    text: String,
    /// Whether a tool's result was printed last.
    after_result: bool,
    /// Whether stdout is closed.
    unheard: bool,
    /// An error of stdout, other than being closed.
    broken: Option<std::io::Error>,
}

impl Screen {
    fn new(json: bool) -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colours, text: String::new(), after_result: false, unheard: false, broken: None }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Text(text) => {
                self.text.push_str(text);
                if std::mem::take(&mut self.after_result) && !text.starts_with(char::is_whitespace) {
                    self.piece(" ");
                }
                self.piece(&shown(text));
            }
            Event::ToolCall { expression } => self.piece(&self.dim(&format!("[{}", printable(expression)))),
            Event::ToolResult { result } => {
                let result = result.as_deref().map_or("no result".to_owned(), printable);
                self.piece(&self.dim(&format!(" → {result}]")));
                self.after_result = true;
            }
            Event::Cut { messages } => note(&format!("(the context is full: the first {messages} messages are dropped)")),
            Event::Done { .. } => {}
        }
    }

    /// Ends the answer, with its statistics.
    fn end(&mut self, reply: &Reply) -> Result<(), Failure> {
        if self.json {
            self.write(&format!("{}\n", as_json(reply, &self.text)));
        } else {
            self.write("\n");
            note(&self.dim(&summary(reply)));
        }
        match self.broken.take() {
            Some(error) => Err(Failure::input(format!("cannot write to stdout: {error}"))),
            None => Ok(()),
        }
    }

    /// A piece of the answer, which `--json` prints as a whole.
    fn piece(&mut self, text: &str) {
        if !self.json {
            self.write(text);
        }
    }

    fn write(&mut self, text: &str) {
        let mut out = std::io::stdout();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.unheard = true;
            self.broken = (error.kind() != ErrorKind::BrokenPipe).then_some(error);
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.colours { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One line without control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "itself",
        Reason::MaxTokens => "--max-tokens",
        Reason::ContextFull => "the end of the context",
        Reason::Cancelled => "you",
    }
}

fn summary(reply: &Reply) -> String {
    let stats = &reply.stats;
    let end = if reply.reason == Reason::Stop { String::new() } else { format!(", ended by {}", words(reply.reason)) };
    format!(
        "({} tokens, {:.1} per second, context {} of {}{end})",
        stats.new_tokens,
        stats.tokens_per_second(),
        stats.context_used,
        stats.context
    )
}

fn as_json(reply: &Reply, text: &str) -> serde_json::Value {
    let stats = &reply.stats;
    json!({
        "text": text,
        "message": reply.message,
        "reason": reply.reason,
        "dropped_messages": reply.dropped,
        "prompt_tokens": stats.prompt_tokens,
        "reused_tokens": stats.reused_tokens,
        "new_tokens": stats.new_tokens,
        "drafted_tokens": stats.drafted_tokens,
        "accepted_tokens": stats.accepted_tokens,
        "time_to_first_token": stats.time_to_first_token.as_secs_f64(),
        "tokens_per_second": stats.tokens_per_second(),
        "context_used": stats.context_used,
        "context": stats.context,
    })
}
