//! The words of the spelling tasks: 40,035 common English ones, from `assets/words`, which also has their licence.

use std::sync::LazyLock;

use super::Split;

/// One word per line, sorted.
const LIST: &str = include_str!("../../../assets/words/words.txt");

/// One word in this many is never trained on, so that validation uses unseen words.
pub const HELD_OUT_EVERY: usize = 20;

static TRAIN: LazyLock<Vec<&str>> = LazyLock::new(|| of(Split::Train));
static VALIDATION: LazyLock<Vec<&str>> = LazyLock::new(|| of(Split::Validation));

fn of(split: Split) -> Vec<&'static str> {
    let words = LIST.lines().enumerate();
    words.filter(|(index, _)| (index % HELD_OUT_EVERY == 0) == (split != Split::Train)).map(|(_, word)| word).collect()
}

/// The words of a split, sorted.
pub fn words(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &TRAIN,
        Split::Validation | Split::Test => &VALIDATION,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_words_are_plain_and_each_is_of_one_split() {
        let (train, validation) = (words(Split::Train), words(Split::Validation));
        assert_eq!((train.len(), validation.len()), (38_033, 2_002));
        let all: HashSet<&str> = train.iter().chain(validation).copied().collect();
        assert_eq!(all.len(), train.len() + validation.len());
        assert!(all.iter().all(|word| (3..=15).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())));
        assert!(train.contains(&"strawberry"));
    }
}
