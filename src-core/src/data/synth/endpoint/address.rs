//! The address of a server, and whether it is this machine.

use std::net::IpAddr;

use ureq::http::Uri;

use super::EndpointError;

/// The address of an OpenAI-compatible server.
#[derive(Clone, Debug)]
pub struct Address {
    /// Where requests go to.
    url: String,
    /// Host and port, for messages.
    host: String,
    https: bool,
    this_machine: bool,
}

impl Address {
    /// Reads the base address, such as `https://api.example.com/v1`; `/chat/completions` is added unless it is there.
    ///
    /// # Errors
    /// If it is not an http or https address, or contains a password or a query: both would be shown and sent in plain text.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let bad = EndpointError::Address;
        let base = text.trim().trim_end_matches('/').trim_end_matches("/chat/completions");
        if base.contains('#') {
            return Err(bad("an address with a fragment (#) is no server's"));
        }
        let uri: Uri = base.parse().map_err(|_| bad("this is no address"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("the address must begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or(bad("the address names no host"))?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Secret("a name or password"));
        }
        if uri.query().is_some() {
            return Err(EndpointError::Secret("a query (?)"));
        }
        let name = uri.host().unwrap_or_default();
        if name.is_empty() {
            return Err(bad("the address names no host"));
        }
        let bare = name.trim_matches(['[', ']']);
        let this_machine = bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        Ok(Self { url: format!("{base}/chat/completions"), host: authority.to_string(), https, this_machine })
    }

    /// Where requests go to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host, and port if one is given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether the server is this machine.
    pub fn is_this_machine(&self) -> bool {
        self.this_machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_give_them() {
        for (text, url, host, https, this_machine) in [
            ("https://api.example.com/v1", "https://api.example.com/v1/chat/completions", "api.example.com", true, false),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1/chat/completions", "127.0.0.1:8080", false, true),
            ("http://[::1]:80/v1/chat/completions", "http://[::1]:80/v1/chat/completions", "[::1]:80", false, true),
            (" http://LocalHost:1 ", "http://LocalHost:1/chat/completions", "LocalHost:1", false, true),
            ("http://localhost.example.com", "http://localhost.example.com/chat/completions", "localhost.example.com", false, false),
            ("http://127.0.0.1.example.com", "http://127.0.0.1.example.com/chat/completions", "127.0.0.1.example.com", false, false),
        ] {
            let address = Address::parse(text).unwrap();
            let found = (address.url(), address.host(), address.is_https(), address.is_this_machine());
            assert_eq!(found, (url, host, https, this_machine));
        }
    }

    #[test]
    fn addresses_that_hide_something_are_refused_without_repeating_it() {
        for text in [
            "",
            "api.example.com",
            "ftp://example.com",
            "https://",
            "https://sk-secret@example.com/v1",
            "https://a:sk-secret@127.0.0.1/v1",
            "https://example.com/v1?key=sk-secret",
            "https://example.com/#sk-secret",
            "sk-secret",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.to_string().contains("sk-secret"), "{error}");
        }
    }
}
