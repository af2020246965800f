//! Conversations from an OpenAI-compatible server, based on the same facts.
//!
//! Nothing is sent before an [`Endpoint`] is created, and none can be created that would send a key unencrypted, an empty
//! key, or anything without a key to another machine. Answers are collected in a partial file line by line, so that
//! they survive any interruption, and the next call continues from there.

mod address;
mod answer;
mod brief;
mod error;
mod key;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;

pub use address::Address;
pub use error::EndpointError;
pub use key::{KEY_VARIABLE, Key};

use super::{Gathered, Recipe, SynthError};
use crate::data::download::Patience;
use crate::tokenizer::Conversation;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// How often a conversation is requested before it is skipped.
const BAD_ANSWERS: usize = 3;
/// The number of unusable answers in a row after which the work ends.
const MOST_BAD_ANSWERS: usize = 30;

/// A server and its settings.
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    model: String,
    key: Option<Key>,
    patience: Patience,
    agent: Agent,
}

/// Progress.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The number of conversations so far.
    Got(usize),
    /// An answer was unusable.
    Bad {
        /// Why.
        reason: &'static str,
    },
    /// A try failed; the next begins after `wait`.
    Waiting {
        /// Why it failed.
        reason: &'a str,
        /// How long until the next try.
        wait: Duration,
    },
}

/// The result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Conversations in the file.
    pub conversations: usize,
    /// Those of them from earlier calls.
    pub earlier: usize,
    /// Unusable answers.
    pub bad_answers: usize,
    /// Conversations that were skipped after several such answers.
    pub left_out: usize,
}

/// Why a try failed.
enum Fault {
    /// A transient error: retry, no sooner than the server asks.
    Passing { reason: String, wait: Option<Duration> },
    /// The answer was unusable.
    Bad(&'static str),
    /// A permanent error.
    Final(EndpointError),
}

impl Endpoint {
    /// A server to use. `patience.stall` is the timeout of an answer.
    ///
    /// # Errors
    /// If the server is not this machine and there is no key, or the key would be sent unencrypted.
    pub fn new(address: Address, model: String, key: Option<Key>, patience: Patience) -> Result<Self, EndpointError> {
        if !address.is_this_machine() {
            if key.is_none() {
                return Err(EndpointError::KeyNeeded { host: address.host().to_owned() });
            }
            if !address.is_https() {
                return Err(EndpointError::Open { host: address.host().to_owned() });
            }
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(address.is_https())
            // The key goes to the host that was named, and to no other.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(patience.stall))
            .user_agent(concat!("nc-core/", env!("CARGO_PKG_VERSION")));
        // A proxy cannot resolve this machine's own names.
        let config = if address.is_this_machine() { config.proxy(None) } else { config };
        let agent = config.build().new_agent();
        Ok(Self { address, model, key, patience, agent })
    }

    /// Where requests go to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The body of the request for conversation `index`; it does not contain the key.
    ///
    /// # Errors
    /// If the calculator cannot compute a result that the recipe needs.
    pub fn request(&self, recipe: &Recipe, seed: u64, index: u64) -> Result<Value, EndpointError> {
        Ok(brief::brief(recipe, &self.model, seed, index)?.body)
    }

    /// Requests conversations, `workers` at a time, until there are `count` in `gathered`, or each has been requested.
    /// Reports progress to `report`.
    ///
    /// # Errors
    /// If the server refuses, fails too often, or only sends unusable answers, and if the disk is full. The conversations so far
    /// are in the partial file.
    pub fn ask(
        &self,
        recipe: &Recipe,
        gathered: &mut Gathered,
        count: usize,
        seed: u64,
        workers: usize,
        report: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Summary, EndpointError> {
        let earlier = gathered.len();
        let missing = count.saturating_sub(earlier);
        // A later call requests other conversations than the one before it.
        let (next, end) = (AtomicU64::new(earlier as u64), count.max(earlier) as u64);
        let work = Work {
            endpoint: self,
            recipe,
            seed,
            gathered: Mutex::new(gathered),
            stop: AtomicBool::new(false),
            bad: AtomicUsize::new(0),
            bad_in_a_row: AtomicUsize::new(0),
            left_out: AtomicUsize::new(0),
            report,
        };
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers.clamp(1, missing.max(1)) {
                scope.spawn(|| {
                    while !work.stop.load(Ordering::Relaxed) {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= end {
                            return;
                        }
                        if let Err(error) = work.one(index) {
                            work.stop.store(true, Ordering::Relaxed);
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        }
                    }
                });
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let (bad_answers, left_out) = (work.bad.into_inner(), work.left_out.into_inner());
        let conversations = work.gathered.into_inner().unwrap_or_else(PoisonError::into_inner).len();
        Ok(Summary { conversations, earlier, bad_answers, left_out })
    }

    /// One request.
    fn attempt(&self, body: &Value, system: Option<&crate::tokenizer::Message>) -> Result<Conversation, Fault> {
        let mut request =
            self.agent.post(self.address.url()).header("Content-Type", "application/json").header("Accept-Encoding", "identity");
        if let Some(key) = &self.key {
            request = request.header("Authorization", key.header());
        }
        let mut response = request.send(body.to_string().as_bytes()).map_err(failed_call)?;
        match response.status().as_u16() {
            200 => {}
            status @ (408 | 425 | 429 | 500..=599) => {
                let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
                let wait = header.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
                return Err(Fault::Passing { reason: format!("the server answered {status}"), wait });
            }
            status => return Err(Fault::Final(EndpointError::Refused { host: self.address.host().to_owned(), status })),
        }
        let bytes = match response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec() {
            Ok(bytes) => bytes,
            Err(ureq::Error::BodyExceedsLimit(_)) => return Err(Fault::Bad("it is longer than 1 MiB")),
            Err(error) => return Err(failed_call(error)),
        };
        answer::conversation(&bytes, system).map_err(Fault::Bad)
    }
}

/// A connection error, which may be transient.
fn failed_call(error: ureq::Error) -> Fault {
    let reason = match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "the host is not known".to_owned(),
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        ureq::Error::Io(error) => format!("the connection broke: {}", error.kind()),
        // Anything else without details, since they may quote what was sent or received.
        _ => "the connection failed".to_owned(),
    };
    Fault::Passing { reason, wait: None }
}

/// What the threads share.
struct Work<'a> {
    endpoint: &'a Endpoint,
    recipe: &'a Recipe,
    seed: u64,
    gathered: Mutex<&'a mut Gathered>,
    stop: AtomicBool,
    bad: AtomicUsize,
    bad_in_a_row: AtomicUsize,
    left_out: AtomicUsize,
    report: &'a (dyn Fn(Event<'_>) + Sync),
}

impl Work<'_> {
    /// Requests conversation `index`, or skips it after some bad answers.
    fn one(&self, index: u64) -> Result<(), EndpointError> {
        let brief = brief::brief(self.recipe, &self.endpoint.model, self.seed, index)?;
        let host = || self.endpoint.address.host().to_owned();
        let patience = &self.endpoint.patience;
        let (mut failures, mut bad) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            let reason = match self.endpoint.attempt(&brief.body, brief.system.as_ref()) {
                Ok(conversation) => {
                    if self.keep(&conversation)? {
                        self.bad_in_a_row.store(0, Ordering::Relaxed);
                        return Ok(());
                    }
                    "it duplicates an earlier conversation"
                }
                Err(Fault::Bad(reason)) => reason,
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing { reason, wait }) => {
                    failures += 1;
                    if failures >= patience.tries {
                        return Err(EndpointError::GaveUp { host: host(), tries: failures, reason });
                    }
                    let doubled = patience.first_wait.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
                    let wait = wait.unwrap_or(doubled).min(patience.longest_wait);
                    (self.report)(Event::Waiting { reason: &reason, wait });
                    self.sleep(wait);
                    continue;
                }
            };
            failures = 0;
            bad += 1;
            self.bad.fetch_add(1, Ordering::Relaxed);
            (self.report)(Event::Bad { reason });
            let answers = self.bad_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
            if answers >= MOST_BAD_ANSWERS {
                return Err(EndpointError::Nonsense { host: host(), answers, reason });
            }
            if bad >= BAD_ANSWERS {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Stores a conversation; false if it is a duplicate.
    fn keep(&self, conversation: &Conversation) -> Result<bool, SynthError> {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let new = gathered.push(conversation)?;
        if new {
            (self.report)(Event::Got(gathered.len()));
        }
        Ok(new)
    }

    /// Waits, unless another thread ends the work.
    fn sleep(&self, wait: Duration) {
        let end = Instant::now() + wait;
        while !self.stop.load(Ordering::Relaxed) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// Opens the partial file of `path`, unless `path` itself exists: what came from a server is not overwritten.
///
/// # Errors
/// If there is a file at `path`, or the partial file cannot be continued.
pub fn gather(path: &Path) -> Result<Gathered, SynthError> {
    if path.exists() {
        return Err(SynthError::Present { path: path.to_path_buf() });
    }
    Gathered::open(path)
}
