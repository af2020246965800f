//! Decodes text from a stream of tokens: a character may be spread over several of them.

/// Bytes that wait for the rest of their character.
#[derive(Default)]
pub(super) struct TextStream {
    waiting: Vec<u8>,
}

impl TextStream {
    /// Appends the bytes of a token, and returns the characters that are complete now. Bytes that can never become a character
    /// are returned as U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        while done < self.waiting.len() {
            match std::str::from_utf8(&self.waiting[done..]) {
                Ok(rest) => {
                    text.push_str(rest);
                    done = self.waiting.len();
                }
                Err(error) => {
                    let good = done + error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.waiting[done..good]));
                    done = good;
                    let Some(bad) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    done += bad;
                }
            }
        }
        self.waiting.drain(..done);
        text
    }

    /// The rest at the end: U+FFFD for an incomplete character.
    pub fn finish(&mut self) -> String {
        let left = std::mem::take(&mut self.waiting);
        String::from_utf8_lossy(&left).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_add_up_to_the_text(text: String, at in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = at.iter().map(|at| at.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut stream = TextStream::default();
            let pieces: String = cuts.windows(2).map(|cut| stream.push(&bytes[cut[0]..cut[1]])).collect();
            prop_assert_eq!(pieces + &stream.finish(), text);
        }

        #[test]
        fn any_bytes_come_out_as_the_library_reads_them(bytes: Vec<u8>, at in any::<prop::sample::Index>()) {
            let cut = at.index(bytes.len() + 1);
            let mut stream = TextStream::default();
            let text = stream.push(&bytes[..cut]) + &stream.push(&bytes[cut..]) + &stream.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }

    #[test]
    fn half_a_character_waits() {
        let mut stream = TextStream::default();
        let bytes = "né".as_bytes();
        assert_eq!(stream.push(&bytes[..2]), "n");
        assert_eq!(stream.push(&bytes[2..]), "é");
        assert_eq!(stream.finish(), "");
        assert_eq!(stream.push(&[0xE2, 0x82]), "");
        assert_eq!(stream.finish(), "\u{FFFD}");
    }
}
