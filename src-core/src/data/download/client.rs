//! The HTTP client of all downloads: it tolerates slow servers, and limits where redirects may lead.

use std::net::IpAddr;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::Patience;

const MOST_REDIRECTS: usize = 10;

/// An HTTP client with the timeouts of `patience`.
pub fn agent(base_url: &str, patience: &Patience) -> Agent {
    let stall = Some(patience.stall);
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A redirect must not lead from https to http.
        .https_only(base_url.starts_with("https://"))
        // Redirects are followed by [`get`].
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(stall)
        .timeout_connect(stall)
        .timeout_send_request(stall)
        .timeout_recv_response(stall)
        .timeout_per_read(stall)
        .user_agent(concat!("nc-core/", env!("CARGO_PKG_VERSION")));
    // A proxy cannot resolve this machine's own names.
    let config = if is_this_machine(base_url) { config.proxy(None) } else { config };
    config.build().new_agent()
}

fn is_this_machine(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why there was no answer.
pub enum Unanswered {
    /// The address is invalid, or redirects without end.
    Address(String),
    /// The connection failed; a retry may succeed.
    Broken(String),
}

/// The response for `url`, after redirects. `seen` receives the headers of every response on the way, including the
/// last.
pub fn get(agent: &Agent, url: &str, headers: &[(&str, String)], seen: &mut dyn FnMut(&HeaderMap)) -> Result<Response<Body>, Unanswered> {
    let mut url = url.to_owned();
    for _ in 0..=MOST_REDIRECTS {
        let request = headers.iter().fold(agent.get(&url), |request, (name, value)| request.header(*name, value));
        let response = request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => Unanswered::Address(error.to_string()),
            error => Unanswered::Broken(error.to_string()),
        })?;
        seen(response.headers());
        match (response.status().as_u16(), header(response.headers(), "location")) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => url = join(&url, location),
            _ => return Ok(response),
        }
    }
    Err(Unanswered::Address("it redirects without end".to_owned()))
}

/// Resolves `location` relative to `url`.
fn join(url: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    let path = url[host..].find('/').map_or(url.len(), |path| host + path);
    if location.starts_with('/') {
        return format!("{}{location}", &url[..path]);
    }
    let folder = url[path..].rfind('/').map_or(url.len(), |slash| path + slash);
    format!("{}/{location}", &url[..folder])
}

/// A header's value, if it is text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        for (location, expected) in [
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("/x?y", "https://hub.example:8/x?y"),
            ("x", "https://hub.example:8/a/b/x"),
        ] {
            assert_eq!(join("https://hub.example:8/a/b/c", location), expected);
        }
        assert_eq!((join("http://hub", "/x"), join("http://hub", "x")), ("http://hub/x".into(), "http://hub/x".into()));
    }

    #[test]
    fn only_this_machine_is_reached_without_a_proxy() {
        assert!(["http://127.0.0.1:80/a", "http://localhost", "http://[::1]:8080"].into_iter().all(is_this_machine));
        assert!(!["http://127.0.0.1.example", "https://huggingface.co", "no address"].into_iter().any(is_this_machine));
    }
}
