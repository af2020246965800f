//! Errors of requests to a server. No message contains the key, nor the server's answer, which might repeat the key.

use crate::data::synth::SynthError;

/// A request failed, or its answer was unusable.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address is invalid.
    #[error("the server's address cannot be used: {0}; give one such as https://api.example.com/v1")]
    Address(&'static str),
    /// The address holds something that may be a key, which would be shown.
    #[error("the server's address holds {0}; give the key by itself")]
    Secret(&'static str),
    /// An empty key.
    #[error("the key in {origin} is empty; put the key there, or do not name it for a server that wants none")]
    EmptyKey {
        /// Where it was read from.
        origin: &'static str,
    },
    /// A key that cannot be sent in a header.
    #[error("the key in {origin} holds a character that no key has; it must be one line of plain letters, digits and signs")]
    OddKey {
        /// Where it was read from.
        origin: &'static str,
    },
    /// There is no key in the given place.
    #[error("there is no key in {origin}; set it, or name another source")]
    NoKey {
        /// The place.
        origin: &'static str,
    },
    /// The file of the key cannot be read.
    #[error("the file of the key cannot be read ({0})")]
    KeyFile(std::io::ErrorKind),
    /// A remote server without a key.
    #[error("{host} is not this machine, and without a key nothing is sent there; set NC_API_KEY")]
    KeyNeeded {
        /// The server.
        host: String,
    },
    /// A remote server without encryption.
    #[error("the key would travel to {host} for all to read; use an https address")]
    Open {
        /// The server.
        host: String,
    },
    /// The server permanently refuses.
    #[error("{host} answered {status}: {}", meaning(*.status))]
    Refused {
        /// The server.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// Too many tries in a row failed.
    #[error("gave up on {host} after {tries} tries ({reason}); run the same command later")]
    GaveUp {
        /// The server.
        host: String,
        /// How many tries in a row.
        tries: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// The answers contain no conversation.
    #[error("the last {answers} answers of {host} were unusable (the last one: {reason}); try another model")]
    Nonsense {
        /// The server.
        host: String,
        /// How many answers in a row.
        answers: usize,
        /// What was wrong with the last one.
        reason: &'static str,
    },
    /// An error of the recipe, or of the output file.
    #[error(transparent)]
    Synth(#[from] SynthError),
}

/// The meaning of a status.
fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => "it does not take the key; check the key and what it is allowed to do",
        404 => "it does not know this address or model; check both",
        300..=399 => "it points to another address, which the key is not sent to; give the final one",
        400 | 422 => "it does not take the request; check that the model is one for chats",
        402 => "it wants to be paid first",
        _ => "it refuses the request; check its address and the model",
    }
}
