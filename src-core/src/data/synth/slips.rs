//! Typing errors. People write without capitals, without final punctuation and with typos; a model that has
//! only seen careful questions is confused by that. Values of names are not changed, because the answer refers to them.

use super::dice::Dice;
use super::file::Slips;
use super::fill::Run;

/// Shorter words are not changed: they would hardly be recognisable.
const SHORTEST: usize = 4;

/// The text of a question, with random mistakes.
pub fn slipped(mut runs: Vec<Run>, slips: &Slips, dice: &mut Dice) -> String {
    if dice.chance(slips.lower) {
        for run in &mut runs {
            if let Run::Own(text) = run {
                *text = text.to_lowercase();
            }
        }
    }
    if dice.chance(slips.typo) {
        typo(&mut runs, dice);
    }
    if let (Some(Run::Own(text)), true) = (runs.last_mut(), dice.chance(slips.bare)) {
        text.truncate(text.trim_end_matches(['.', '?', '!']).len());
    }
    super::fill::text(&runs).trim().to_owned()
}

/// Drops, doubles or swaps a letter inside a word of the phrasing's literal text.
fn typo(runs: &mut [Run], dice: &mut Dice) {
    let mut words = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let Run::Own(text) = run else { continue };
        let mut start = 0;
        for word in text.split(|c: char| !c.is_ascii_alphabetic()) {
            if word.len() >= SHORTEST {
                words.push((index, start, word.len()));
            }
            start += word.len();
            start += text[start..].chars().next().map_or(0, char::len_utf8);
        }
    }
    if words.is_empty() {
        return;
    }
    let &(index, start, length) = dice.pick(&words);
    // Never the first letter, and a swap needs a letter after it.
    let at = start + 1 + dice.below(length - 2);
    let kind = dice.below(3);
    if let Run::Own(text) = &mut runs[index] {
        let here = &text[at..=at];
        let next = &text[at + 1..=at + 1];
        let replacement = match kind {
            0 => next.to_owned(),
            1 => format!("{here}{here}{next}"),
            _ => format!("{next}{here}"),
        };
        text.replace_range(at..at + 2, &replacement);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Vec<Run> {
        vec![Run::Own("Où is the Capital of ".into()), Run::Filled("Île-de-France".into()), Run::Own(" today?!".into())]
    }

    #[test]
    fn careful_questions_stay_as_they_are() {
        assert_eq!(slipped(question(), &Slips::default(), &mut Dice::new(1, 0)), "Où is the Capital of Île-de-France today?!");
    }

    #[test]
    fn slips_spare_what_stood_for_a_name() {
        let all = Slips { lower: 1.0, bare: 1.0, typo: 1.0 };
        let mut seen = std::collections::BTreeSet::new();
        for stream in 0..200 {
            let text = slipped(question(), &all, &mut Dice::new(2, stream));
            assert!(text.starts_with("où is the ") && text.contains(" Île-de-France "), "{text}");
            assert!(!text.ends_with(['?', '!']), "{text}");
            assert_ne!(text, "où is the capital of Île-de-France today");
            seen.insert(text);
        }
        assert!(seen.len() > 10, "{seen:?}");
    }

    #[test]
    fn a_typo_needs_a_word_to_be_in() {
        let all = Slips { typo: 1.0, ..Slips::default() };
        let short = vec![Run::Own("2 + 2 is é".into()), Run::Own(String::new())];
        assert_eq!(slipped(short, &all, &mut Dice::new(1, 0)), "2 + 2 is é");
    }
}
