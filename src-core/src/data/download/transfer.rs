//! Downloads one file over HTTP: requests what is missing, rejects answers that do not fit what is there, and retries.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::client::{self, Unanswered, header};
use super::partial::{Partial, Version};
use super::{Content, DownloadError, Event, Patience};
use crate::files::digest::sha256_of;

const BLOCK: usize = 1 << 17;

/// The result for a file.
pub enum Fetched {
    /// It already existed.
    Present,
    /// It was fetched and has this many bytes.
    Whole(u64),
    /// Another file's failure ended the download.
    Stopped,
}

/// Why a try failed.
enum Fault {
    /// A transient error: retry, no sooner than the server asks.
    Passing { reason: String, wait: Option<Duration> },
    /// A permanent error.
    Final(DownloadError),
    /// Another file's failure ended the download.
    Stopped,
}

impl From<DownloadError> for Fault {
    fn from(error: DownloadError) -> Self {
        Self::Final(error)
    }
}

fn passing(reason: impl Into<String>) -> Fault {
    Fault::Passing { reason: reason.into(), wait: None }
}

/// The transfer of one file.
pub struct Transfer<'a> {
    pub agent: &'a Agent,
    pub url: String,
    pub target: &'a Path,
    pub content: &'a Content,
    pub patience: &'a Patience,
    pub stop: &'a AtomicBool,
    pub tell: &'a dyn Fn(Event<'_>),
}

impl Transfer<'_> {
    /// Fetches the file unless it already exists.
    pub fn run(&self) -> Result<Fetched, DownloadError> {
        if self.target.exists() && (self.content.check)(self.target).is_ok() {
            (self.tell)(Event::Present);
            return Ok(Fetched::Present);
        }
        let mut partial = Partial::open(self.target)?;
        // A try counts as a failure unless it got further than any before: a server that disconnects every megabyte still
        // delivers the whole file, one that starts over every time does not go on for ever.
        let (mut furthest, mut failures) = (partial.len(), 0);
        loop {
            let (reason, wait) = match self.attempt(&mut partial) {
                Ok(()) => match whole(&partial, self.content)? {
                    None => {
                        let bytes = partial.finish()?;
                        (self.tell)(Event::Finished { bytes });
                        return Ok(Fetched::Whole(bytes));
                    }
                    Some(reason) => {
                        partial.discard()?;
                        (reason, None)
                    }
                },
                Err(Fault::Passing { reason, wait }) => (reason, wait),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Stopped) => return Ok(Fetched::Stopped),
            };
            if partial.len() > furthest {
                (furthest, failures) = (partial.len(), 0);
            }
            failures += 1;
            if failures >= self.patience.tries {
                return Err(DownloadError::GaveUp { url: self.url.clone(), tries: failures, reason });
            }
            let wait = wait.unwrap_or_else(|| self.back_off(failures)).min(self.patience.longest_wait);
            (self.tell)(Event::Waiting { reason: &reason, wait });
            if !self.sleep(wait) {
                return Ok(Fetched::Stopped);
            }
        }
    }

    /// The wait doubles with each failure in a row.
    fn back_off(&self, failures: u32) -> Duration {
        self.patience.first_wait.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX))
    }

    /// Waits; false if the download was stopped meanwhile.
    fn sleep(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        while !self.stop.load(Ordering::Relaxed) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        false
    }

    /// One request, from the first missing byte to the end of the file.
    fn attempt(&self, partial: &mut Partial) -> Result<(), Fault> {
        if partial.is_complete() {
            return Ok(());
        }
        if partial.version().validator.is_none() {
            // Without an identifier it is unknown whether the rest belongs to the same file.
            partial.discard()?;
        }
        let (response, sha256) = self.request(partial)?;
        let headers = response.headers();
        match response.status().as_u16() {
            // Also the answer to a range request if the file has changed, or the server does not support ranges.
            200 => {
                let total = number(headers, "content-length");
                partial.restart(Version { validator: validator(headers), total, sha256 })?;
            }
            206 => self.check_range(headers, sha256, partial)?,
            416 if partial.len() > 0 => return self.beyond_the_end(headers, partial),
            status @ (408 | 425 | 429 | 500..=599) => {
                let wait = number(headers, "retry-after").map(Duration::from_secs);
                return Err(Fault::Passing { reason: format!("the server answered {status}"), wait });
            }
            status => return Err(DownloadError::Refused { url: self.url.clone(), status }.into()),
        }
        self.receive(response, partial)
    }

    /// Requests what is missing. Returns the answer, and the file's SHA-256 if a redirect gave it.
    ///
    /// The hub answers with a redirect to the storage, and only that redirect has the file's digest, in
    /// `X-Linked-ETag`.
    fn request(&self, partial: &Partial) -> Result<(Response<Body>, Option<String>), Fault> {
        let mut headers = vec![("Accept-Encoding", "identity".to_owned())];
        if partial.len() > 0 {
            headers.push(("Range", format!("bytes={}-", partial.len())));
            headers.extend(partial.version().validator.clone().map(|validator| ("If-Range", validator)));
        }
        let mut sha256 = None;
        let response =
            client::get(self.agent, &self.url, &headers, &mut |headers| sha256 = sha256.take().or_else(|| linked_sha256(headers)));
        match response {
            Ok(response) => Ok((response, sha256)),
            Err(Unanswered::Address(reason)) => Err(DownloadError::Address { url: self.url.clone(), reason }.into()),
            Err(Unanswered::Broken(reason)) => Err(passing(reason)),
        }
    }

    /// The answer must start exactly where the partial file ends, with the same version and length.
    fn check_range(&self, headers: &HeaderMap, sha256: Option<String>, partial: &mut Partial) -> Result<(), Fault> {
        let range = header(headers, "content-range").and_then(ContentRange::parse);
        let version = partial.version();
        let fits = range.is_some_and(|range| {
            range.start == Some(partial.len()) && (range.total.is_none() || version.total.is_none() || range.total == version.total)
        });
        let same = validator(headers).is_none_or(|validator| version.validator.as_ref() == Some(&validator))
            && (sha256.is_none() || version.sha256.is_none() || sha256 == version.sha256);
        if !fits || !same {
            partial.discard()?;
            let what = if fits { "another version of the file" } else { "another part of the file than was asked for" };
            return Err(passing(format!("the server sent {what}")));
        }
        if let (None, Some(total)) = (version.total, range.and_then(|range| range.total)) {
            partial.set_total(total);
        }
        Ok(())
    }

    /// The server reports that nothing follows: either the file is complete, or it belongs to a longer version.
    fn beyond_the_end(&self, headers: &HeaderMap, partial: &mut Partial) -> Result<(), Fault> {
        let total = header(headers, "content-range").and_then(ContentRange::parse).and_then(|range| range.total);
        if total == Some(partial.len()) {
            return Ok(());
        }
        partial.discard()?;
        Err(passing("the server's file is shorter than what it sent before"))
    }

    /// Appends the body to the partial file.
    fn receive(&self, response: Response<Body>, partial: &mut Partial) -> Result<(), Fault> {
        let total = partial.version().total;
        (self.tell)(Event::Started { from: partial.len(), total });
        let mut body = response.into_body().into_reader();
        let mut block = vec![0; BLOCK];
        let mut head = Vec::new();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Fault::Stopped);
            }
            let read = match body.read(&mut block) {
                Ok(0) => break,
                Ok(read) => &block[..read],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(passing(format!("the connection broke: {error}"))),
            };
            let opening = self.content.opening;
            if partial.len() < opening.len() as u64 {
                head.extend(read.iter().take(opening.len()));
                if !head.starts_with(&opening[..head.len().min(opening.len())]) {
                    partial.discard()?;
                    return Err(passing(format!("the server sent something else than a {}", self.content.what)));
                }
            }
            if total.is_some_and(|total| partial.len() + read.len() as u64 > total) {
                partial.discard()?;
                return Err(passing("the server sent more than it promised"));
            }
            partial.append(read)?;
            (self.tell)(Event::Advanced { bytes: partial.len() });
        }
        match total {
            Some(total) if partial.len() < total => Err(passing(format!("the server stopped at {} of {total} bytes", partial.len()))),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a complete file, if anything.
fn whole(partial: &Partial, content: &Content) -> Result<Option<String>, DownloadError> {
    if let Err(reason) = (content.check)(partial.path()) {
        return Ok(Some(format!("what came is not a whole {}: {reason}", content.what)));
    }
    let Some(expected) = &partial.version().sha256 else { return Ok(None) };
    let digest = File::open(partial.path()).and_then(sha256_of).map_err(DownloadError::io(partial.path()))?;
    Ok((digest != *expected).then(|| "what came has another SHA-256 than the server says".into()))
}

/// The digest of a large file from the hub.
fn linked_sha256(headers: &HeaderMap) -> Option<String> {
    let digest = header(headers, "x-linked-etag")?.trim_matches('"').to_ascii_lowercase();
    (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digest)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    header(headers, name)?.parse().ok()
}

/// A strong `ETag`, else `Last-Modified`. A weak tag does not guarantee equal bytes.
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = header(headers, "etag").filter(|tag| !tag.starts_with("W/"));
    tag.or_else(|| header(headers, "last-modified")).map(str::to_owned)
}

/// `Content-Range: bytes START-END/TOTAL`, where START-END or TOTAL may be `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(value: &str) -> Option<Self> {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let start = match range.trim() {
            "*" => None,
            range => Some(range.split_once('-')?.0.trim().parse().ok()?),
        };
        let total = match total.trim() {
            "*" => None,
            total => Some(total.parse().ok()?),
        };
        Some(Self { start, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_understood_or_refused() {
        let parsed = |value| ContentRange::parse(value).map(|range| (range.start, range.total));
        assert_eq!(parsed("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(parsed("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(parsed("bytes */10"), Some((None, Some(10))));
        for bad in ["", "5-9/10", "bytes 5/10", "bytes -9/10", "bytes 5-9", "bytes 5-9/x"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
