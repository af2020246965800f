//! The range of every setting, in one place: the pages show it, and every command checks against it.

use nc_core::tokenizer::LONGEST_MESSAGE;

use crate::error::{AppError, AppResult};
use crate::types::{AppSettings, ChatLimits, ChatSettings, Limits, Range, TextLimit, TrainLimits};

/// The largest whole number that a page can hold exactly: 2^53 − 1.
pub const LARGEST_WHOLE: u64 = (1 << 53) - 1;
/// Longest message, in bytes of UTF-8.
pub const MESSAGE_BYTES: usize = LONGEST_MESSAGE;
/// Longest system prompt, in bytes of UTF-8.
pub const SYSTEM_PROMPT_BYTES: usize = 100_000;
/// Longest title, in characters.
pub const TITLE_CHARS: usize = 200;
/// Longest search, in characters.
pub const SEARCH_CHARS: usize = 200;
/// Longest name of a model, in characters.
pub const MODEL_NAME_CHARS: usize = 64;

const fn whole(min: u64, max: u64, default: u64, step: u64) -> Range {
    Range { min: min as f64, max: max as f64, default: default as f64, step: step as f64, whole: true }
}

const fn real(min: f64, max: f64, default: f64, step: f64) -> Range {
    Range { min, max, default, step, whole: false }
}

/// Every limit there is.
pub const LIMITS: Limits = Limits {
    chat: ChatLimits {
        system_prompt: TextLimit { max_bytes: SYSTEM_PROMPT_BYTES },
        temperature: real(0.0, 5.0, 0.6, 0.05),
        top_k: whole(0, 100_000, 50, 1),
        top_p: real(0.01, 1.0, 1.0, 0.01),
        min_p: real(0.0, 1.0, 0.0, 0.01),
        repetition_penalty: real(0.5, 2.0, 1.0, 0.01),
        seed: whole(0, LARGEST_WHOLE, 42, 1),
        max_tokens: whole(1, 100_000, 512, 1),
    },
    message_max_bytes: MESSAGE_BYTES,
    title_max_chars: TITLE_CHARS,
    search_max_chars: SEARCH_CHARS,
    font_size: real(12.0, 24.0, 15.0, 1.0),
    sidebar_width: real(200.0, 480.0, 280.0, 1.0),
    model_name_max_chars: MODEL_NAME_CHARS,
    train: TrainLimits {
        depth: whole(1, 32, 2, 1),
        context: whole(64, 4096, 256, 64),
        steps: whole(1, 1_000_000, 800, 1),
        tokens: whole(1000, LARGEST_WHOLE, 2_000_000, 1000),
        minutes: real(1.0, 10_080.0, 10.0, 1.0),
        seed: whole(0, LARGEST_WHOLE, 42, 1),
    },
};

impl Default for ChatSettings {
    fn default() -> Self {
        let limits = &LIMITS.chat;
        Self {
            system_prompt: String::new(),
            temperature: limits.temperature.default,
            top_k: limits.top_k.default as u64,
            top_p: limits.top_p.default,
            min_p: limits.min_p.default,
            repetition_penalty: limits.repetition_penalty.default,
            seed: None,
            max_tokens: limits.max_tokens.default as u64,
        }
    }
}

impl Range {
    /// Checks that `value` lies within; `what` is its name in a sentence.
    pub fn check(&self, what: &str, value: f64) -> AppResult<()> {
        if !(self.min..=self.max).contains(&value) {
            return Err(AppError::bad_input(format!("{what} must be a number from {} to {}.", self.min, self.max)));
        }
        if self.whole && value.fract() != 0.0 {
            return Err(AppError::bad_input(format!("{what} must be a whole number.")));
        }
        Ok(())
    }
}

impl ChatSettings {
    /// Checks every setting.
    pub fn check(&self) -> AppResult<()> {
        let limits = &LIMITS.chat;
        if self.system_prompt.len() > limits.system_prompt.max_bytes {
            return Err(AppError::bad_input(format!("The system prompt is longer than {SYSTEM_PROMPT_BYTES} bytes.")));
        }
        limits.temperature.check("Temperature", self.temperature)?;
        limits.top_k.check("Top-k", self.top_k as f64)?;
        limits.top_p.check("Top-p", self.top_p)?;
        limits.min_p.check("Min-p", self.min_p)?;
        limits.repetition_penalty.check("The repetition penalty", self.repetition_penalty)?;
        limits.seed.check("The seed", self.seed.unwrap_or_default() as f64)?;
        limits.max_tokens.check("The longest answer", self.max_tokens as f64)
    }
}

impl AppSettings {
    /// Checks every setting.
    pub fn check(&self) -> AppResult<()> {
        LIMITS.font_size.check("The font size", self.font_size)?;
        LIMITS.sidebar_width.check("The width of the sidebar", self.sidebar_width)?;
        let short = |text: Option<&str>| text.is_none_or(|text| text.len() <= 256);
        if !(short(Some(&self.language)) && short(self.last_model.as_deref()) && short(self.gpu.as_deref())) {
            return Err(AppError::bad_input("A setting is longer than 256 bytes."));
        }
        self.defaults.check()
    }
}

/// What a person says: something, and not too much.
pub fn message(text: &str) -> AppResult<()> {
    if text.trim().is_empty() {
        return Err(AppError::bad_input("The message is empty."));
    }
    if text.len() > MESSAGE_BYTES {
        return Err(AppError::bad_input(format!("The message is longer than {MESSAGE_BYTES} bytes.")));
    }
    Ok(())
}

/// A title as it is stored: trimmed, in one line.
pub fn title(text: &str) -> AppResult<String> {
    // Looked at only as far as a title may go, however long the text is.
    let title = one_line(text.trim_start().chars().take(4 * TITLE_CHARS));
    match title.chars().count() {
        0 => Err(AppError::bad_input("The title is empty.")),
        count if count > TITLE_CHARS => Err(AppError::bad_input(format!("The title is longer than {TITLE_CHARS} characters."))),
        _ => Ok(title),
    }
}

/// A title for a conversation that begins with `text`.
pub fn title_from(text: &str) -> String {
    const CHARS: usize = 60;
    let line = one_line(text.trim_start().chars().take(4 * CHARS));
    if line.chars().count() <= CHARS {
        return line;
    }
    let cut: String = line.chars().take(CHARS).collect();
    // At the last word's end, unless that leaves too little.
    let end = cut.rfind(' ').filter(|&end| end > CHARS / 2).unwrap_or(cut.len());
    format!("{}…", &cut[..end])
}

/// Words with single spaces between them, without characters that control anything.
fn one_line(chars: impl Iterator<Item = char>) -> String {
    let text: String = chars.map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_their_range_are_refused_by_name() {
        ChatSettings::default().check().unwrap();
        AppSettings::default().check().unwrap();
        type Spoil = fn(&mut ChatSettings);
        let cases: [(Spoil, &str); 10] = [
            (|s| s.temperature = -0.1, "Temperature"),
            (|s| s.temperature = f64::NAN, "Temperature"),
            (|s| s.temperature = f64::INFINITY, "Temperature"),
            (|s| s.top_k = 100_001, "Top-k"),
            (|s| s.top_p = 0.0, "Top-p"),
            (|s| s.min_p = 1.1, "Min-p"),
            (|s| s.repetition_penalty = 0.0, "penalty"),
            (|s| s.seed = Some(u64::MAX), "seed"),
            (|s| s.max_tokens = 0, "longest answer"),
            (|s| s.system_prompt = "x".repeat(SYSTEM_PROMPT_BYTES + 1), "system prompt"),
        ];
        for (spoil, words) in cases {
            let mut settings = ChatSettings::default();
            spoil(&mut settings);
            let error = settings.check().expect_err(words);
            assert!(error.message.contains(words), "{error}");
        }
    }

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(title("  a\n b\u{7}c\t").unwrap(), "a b c");
        assert!(title(" \n ").is_err() && title(&"é".repeat(201)).is_err());
        assert!(title(&"x ".repeat(5_000_000)).is_err());
        assert_eq!(title(&"é".repeat(200)).unwrap().chars().count(), 200);
        assert_eq!(title_from("What is\nthe capital?"), "What is the capital?");
        let long = title_from(&"word ".repeat(1000));
        assert!(long.chars().count() <= 61 && long.ends_with("word…"), "{long}");
        assert_eq!(title_from(&"x".repeat(100)).chars().count(), 61);
    }
}
