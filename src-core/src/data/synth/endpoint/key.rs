//! The API key of a server: read once, sent in one header, and never shown.

use std::fmt;
use std::io::Read;
use std::path::Path;

use ureq::http::HeaderValue;

use super::EndpointError;

/// The default environment variable of the key.
pub const KEY_VARIABLE: &str = "NC_API_KEY";
/// A longer file is not a key.
const LONGEST: u64 = 16 << 10;

/// A key. It has no `Display`, and its `Debug` does not show it.
#[derive(Clone)]
pub struct Key(HeaderValue);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// The key in the environment variable `name`, or in [`KEY_VARIABLE`], where it is optional.
    ///
    /// # Errors
    /// If the named variable is not set, or the key is empty or cannot be sent. The message names only
    /// [`KEY_VARIABLE`]: somebody may have typed the key instead of a variable's name.
    pub fn from_environment(name: Option<&str>) -> Result<Option<Self>, EndpointError> {
        let origin = if name.is_some() { "the environment variable that was named for it" } else { "NC_API_KEY" };
        // The standard library panics at some names; none of these can be set.
        let name = name.unwrap_or(KEY_VARIABLE);
        let value = if name.is_empty() || name.contains(['=', '\0']) { None } else { std::env::var_os(name) };
        match value {
            None if origin == KEY_VARIABLE => Ok(None),
            None => Err(EndpointError::NoKey { origin }),
            Some(value) => Self::new(value.to_str().ok_or(EndpointError::OddKey { origin })?, origin).map(Some),
        }
    }

    /// The key in a file, without surrounding white space.
    ///
    /// # Errors
    /// If the file cannot be read, or its key is empty or cannot be sent.
    pub fn from_file(path: &Path) -> Result<Self, EndpointError> {
        let origin = "the file that was named for it";
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| EndpointError::KeyFile(error.kind()))?;
        file.take(LONGEST).read_to_string(&mut text).map_err(|error| EndpointError::KeyFile(error.kind()))?;
        Self::new(&text, origin)
    }

    /// A key; `origin` describes its source in errors.
    ///
    /// # Errors
    /// If it is empty or cannot be sent.
    pub fn new(text: &str, origin: &'static str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EndpointError::EmptyKey { origin });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EndpointError::OddKey { origin });
        }
        let mut header = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| EndpointError::OddKey { origin })?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    /// The value of the header `Authorization`, marked as sensitive.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_without_the_blanks_around_it_and_shown_nowhere() {
        let key = Key::new(" sk-secret\n", "here").unwrap();
        assert_eq!(key.header().to_str().unwrap(), "Bearer sk-secret");
        assert!(!format!("{key:?} {:?}", key.header()).contains("secret"));
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        for empty in ["", " ", "\n\t "] {
            assert!(matches!(Key::new(empty, "here"), Err(EndpointError::EmptyKey { origin: "here" })));
        }
        for odd in ["sk-one\nsk-two", "sk one", "sk-ä"] {
            let error = Key::new(odd, "here").unwrap_err();
            assert!(matches!(error, EndpointError::OddKey { .. }) && !error.to_string().contains("sk"), "{error}");
        }
        let error = Key::from_environment(Some("sk-typed=by\0mistake")).unwrap_err();
        assert!(matches!(error, EndpointError::NoKey { .. }) && !error.to_string().contains("sk"), "{error}");
    }
}
