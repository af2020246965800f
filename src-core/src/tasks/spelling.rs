//! Spelling and counting letters, generated on the fly.
//!
//! A model sees tokens, not letters: it has to be taught the letters of each token. [`SimpleSpelling`] does just
//! that; [`SpellingBee`] asks how often a letter is in a word, and answers twice: by spelling and counting step by step, and by
//! the calculator. A conversation depends only on its index, so nothing is stored.

use super::digest::Fingerprinter;
use super::grading::Grading;
use super::random::{below, choose, generator, permutation};
use super::words::words;
use super::{Split, Task, TaskError};
use crate::tokenizer::{Content, Conversation, Message, Part, PartKind, Role};

/// Part of the fingerprints; must change whenever the generated content does.
const VERSION: u64 = 1;

/// The seed of all generated content.
const SEED: u64 = 42;

/// The generator's stream for each split, different from those of the indices.
fn stream(split: Split) -> u64 {
    match split {
        Split::Train => 1,
        Split::Validation => 2,
        Split::Test => 3,
    }
}

fn fingerprint(name: &str, split: Split, size: usize) -> String {
    let mut print = Fingerprinter::default();
    print.add(name).add_number(VERSION).add_number(stream(split)).add_number(size as u64);
    for word in words(split) {
        print.add(word);
    }
    print.finish()
}

/// The letters of a word with commas between. A comma is a separate token, so each letter is one, too.
fn spelled(word: &str) -> String {
    let letters: Vec<String> = word.chars().map(String::from).collect();
    letters.join(",")
}

/// "Spell the word: apple", "apple:a,p,p,l,e".
///
/// The words are in shuffled order, and none is repeated before all have occurred.
pub struct SimpleSpelling {
    split: Split,
    size: usize,
    order: Vec<usize>,
}

impl SimpleSpelling {
    /// The task's name.
    pub const NAME: &str = "spelling";

    /// `size` conversations with the words of `split`.
    pub fn new(split: Split, size: usize) -> Self {
        Self { split, size, order: permutation(words(split).len(), SEED) }
    }
}

impl Task for SimpleSpelling {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn len(&self) -> usize {
        self.size
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        let word = words(self.split)[self.order[index % self.order.len()]];
        Ok(Conversation {
            messages: vec![
                Message::text(Role::User, format!("Spell the word: {word}")),
                Message::text(Role::Assistant, format!("{word}:{}", spelled(word))),
            ],
        })
    }

    fn fingerprint(&self) -> String {
        fingerprint(Self::NAME, self.split, self.size)
    }
}

/// Phrasings of the question, in several languages; the answer is always in English.
const QUESTIONS: [&str; 48] = [
    "How many times is {letter} in {word}",
    "How many {letter} are there in {word}",
    "How many {letter} does {word} have",
    "How many {letter}'s do you see in {word}",
    "How many {letter}s can you find in {word}",
    "How often does {letter} occur in {word}",
    "How often do I write {letter} when I write {word}",
    "How often is the letter {letter} used in the word {word}",
    "Count {letter} in {word}",
    "Count the letter {letter} in {word}",
    "Please count every {letter} in the word {word}",
    "Count how often {letter} comes up in {word}",
    "Could you count the {letter}s of {word} for me",
    "Can you tell me how many {letter} the word {word} contains",
    "Do you know how many {letter} are in {word}",
    "I need the number of {letter} in {word}",
    "Give me the number of times {letter} is in {word}",
    "What is the number of {letter}s in {word}",
    "The word {word} contains how many {letter}",
    "In {word}, how often is there a {letter}",
    "In the word {word}, how many letters are {letter}",
    "Of the letters of {word}, how many are {letter}",
    "{word}: how many {letter}",
    "{letter} in {word}, how many",
    "number of {letter} in the word {word}",
    "Looking at {word}, how many {letter} are in it",
    "If you spell {word}, how many times do you say {letter}",
    "Let's count: how many {letter} in {word}",
    // Spanish
    "¿Cuántas veces está la letra {letter} en {word}",
    "¿Cuántas {letter} tiene la palabra {word}",
    "Cuenta cuántas {letter} hay en la palabra {word}",
    // French
    "Combien de fois trouve-t-on {letter} dans le mot {word}",
    "Combien y a-t-il de {letter} dans {word}",
    "Compte les lettres {letter} du mot {word}",
    // German
    "Wie oft steht {letter} im Wort {word}",
    "Wie viele {letter} hat das Wort {word}",
    "Zähle bitte, wie oft {letter} in {word} vorkommt",
    // Italian
    "Quante {letter} ci sono nella parola {word}",
    "Quante volte compare {letter} in {word}",
    // Portuguese
    "Quantas letras {letter} existem em {word}",
    "Quantas vezes aparece {letter} na palavra {word}",
    // Chinese
    "单词{word}里字母{letter}出现了几次",
    "请数一数{word}里面有几个{letter}",
    "{word}这个单词有多少个字母{letter}",
    // Japanese
    "{word}という単語に{letter}はいくつありますか",
    "{word}には{letter}が何回出てきますか",
    // Korean
    "{word}라는 단어에는 {letter}가 몇 번 들어 있나요",
    "단어 {word}에 글자 {letter}가 몇 개 있어요",
];

/// What people put around a letter or a word.
const QUOTES: [&str; 3] = ["", "'", "\""];

const LETTERS: [char; 26] =
    ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z'];

/// "How many r are in strawberry?", counted step by step, checked with `'strawberry'.count('r')`, and ended with `#### 3`.
pub struct SpellingBee {
    split: Split,
    size: usize,
}

impl SpellingBee {
    /// The task's name.
    pub const NAME: &str = "spellingbee";

    /// `size` conversations with the words of `split`.
    pub fn new(split: Split, size: usize) -> Self {
        Self { split, size }
    }
}

impl Task for SpellingBee {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn len(&self) -> usize {
        self.size
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        let mut rng = generator(index as u64, stream(self.split));
        let word = *choose(&mut rng, words(self.split));
        // Usually a letter of the word; sometimes any letter, so that 0 is among the answers.
        let inside: Vec<char> = word.chars().collect();
        let letter = if below(&mut rng, 10) > 0 { *choose(&mut rng, &inside) } else { *choose(&mut rng, &LETTERS) };

        let mut question = choose(&mut rng, &QUESTIONS).to_string();
        if below(&mut rng, 10) < 3 {
            question = question.to_lowercase();
        }
        let mut quoted = |text: &str| {
            let quote = choose::<&str>(&mut rng, &QUOTES);
            format!("{quote}{text}{quote}")
        };
        question = question.replace("{letter}", &quoted(&letter.to_string())).replace("{word}", &quoted(word));
        if below(&mut rng, 2) == 0 {
            question.push('?');
        }
        Ok(Conversation { messages: vec![Message::text(Role::User, question), answer(word, letter)] })
    }

    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        Ok(Some(Grading::Number.accepts(&self.example(index)?, answer)))
    }

    fn fingerprint(&self) -> String {
        fingerprint(Self::NAME, self.split, self.size)
    }
}

/// The answer: text, a call, its result, text.
fn answer(word: &str, letter: char) -> Message {
    let mut by_hand = format!(
        "I will count the letter '{letter}' in '{word}' by hand first.\n\nThe word, letter by letter:\n{word}:{}\n\nOne at a time:\n",
        spelled(word)
    );
    let mut count = 0;
    for (place, found) in (1..).zip(word.chars()) {
        // No space before the letter: " a" and "a" are different tokens.
        by_hand.push_str(&format!("{place}:{found}"));
        if found == letter {
            count += 1;
            by_hand.push_str(&format!(" yes, that makes {count}"));
        }
        by_hand.push('\n');
    }
    by_hand.push_str(&format!("\nBy hand I get {count}. Python can check that:\n\n"));
    let part = |kind, text: String| Part { kind, text };
    let parts = vec![
        part(PartKind::Text, by_hand),
        part(PartKind::Python, format!("'{word}'.count('{letter}')")),
        part(PartKind::PythonOutput, count.to_string()),
        part(PartKind::Text, format!("\n\nPython gets {count} as well.\n\n#### {count}")),
    ];
    Message::new(Role::Assistant, Content::Parts(parts))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn text(message: &Message) -> &str {
        match &message.content {
            Content::Text(text) => text,
            Content::Parts(_) => panic!("parts where text should be"),
        }
    }

    #[test]
    fn a_word_is_spelled_after_a_colon() {
        let task = SimpleSpelling::new(Split::Train, 5);
        for index in 0..task.len() {
            let made = task.example(index).unwrap();
            let word = text(&made.messages[0]).strip_prefix("Spell the word: ").unwrap();
            let (again, letters) = text(&made.messages[1]).split_once(':').unwrap();
            assert_eq!((again, letters.replace(',', "").as_str()), (word, word));
            assert_eq!(letters.len(), 2 * word.len() - 1);
        }
        assert_eq!(spelled("apple"), "a,p,p,l,e");
    }

    #[test]
    fn every_word_comes_once_before_any_comes_again() {
        for split in [Split::Train, Split::Validation] {
            let count = words(split).len();
            let task = SimpleSpelling::new(split, count + 1);
            let seen: HashSet<String> = (0..count).map(|index| text(&task.example(index).unwrap().messages[0]).to_owned()).collect();
            assert_eq!(seen.len(), count);
            assert_eq!(task.example(count).unwrap(), task.example(0).unwrap());
        }
    }

    #[test]
    fn every_count_is_right_and_every_step_of_it() {
        let mut counts = HashSet::new();
        for split in [Split::Train, Split::Validation] {
            let task = SpellingBee::new(split, 5000);
            for index in 0..task.len() {
                let made = task.example(index).unwrap();
                let Content::Parts(parts) = &made.messages[1].content else { panic!("no parts") };
                let kinds: Vec<PartKind> = parts.iter().map(|part| part.kind).collect();
                assert_eq!(kinds, [PartKind::Text, PartKind::Python, PartKind::PythonOutput, PartKind::Text]);
                let (word, letter) = parts[1].text.strip_suffix("')").unwrap().split_once("'.count('").unwrap();
                let word = word.strip_prefix('\'').unwrap();
                let count = word.matches(letter).count();
                counts.insert(count);

                assert!(words(split).contains(&word), "{word} is of another split");
                let question = text(&made.messages[0]);
                assert!(question.contains(word) && question.contains(letter) && !question.contains('{'), "{question}");
                assert_eq!(parts[2].text, count.to_string());
                assert!(parts[3].text.ends_with(&format!("\n#### {count}")), "{}", parts[3].text);
                assert!(parts[0].text.contains(&format!("\n{word}:{}\n", spelled(word))));
                let steps: Vec<&str> =
                    parts[0].text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).collect();
                assert_eq!(steps.len(), word.len());
                let mut so_far = 0;
                for (place, (step, at)) in steps.iter().zip(word.chars()).enumerate() {
                    let found = letter.starts_with(at);
                    so_far += usize::from(found);
                    let end = if found { format!(" yes, that makes {so_far}") } else { String::new() };
                    assert_eq!(*step, format!("{}:{at}{end}", place + 1));
                }
                assert!(parts[0].text.contains(&format!("By hand I get {count}.")));
            }
        }
        assert!((0..=4).all(|count| counts.contains(&count)), "{counts:?}");
    }

    #[test]
    fn every_question_names_the_word_and_the_letter() {
        assert!(QUESTIONS.iter().all(|question| question.matches("{letter}").count() == 1 && question.matches("{word}").count() == 1));
        assert_eq!(QUESTIONS.iter().collect::<HashSet<_>>().len(), QUESTIONS.len());
    }

    #[test]
    fn an_index_always_gives_the_same_conversation() {
        let task = |split| SpellingBee::new(split, 50);
        for index in 0..50 {
            assert_eq!(task(Split::Train).example(index).unwrap(), task(Split::Train).example(index).unwrap());
            assert_ne!(task(Split::Train).example(index).unwrap(), task(Split::Validation).example(index).unwrap());
        }
        let print = |split, size| (SpellingBee::new(split, size).fingerprint(), SimpleSpelling::new(split, size).fingerprint());
        let all = [print(Split::Train, 5), print(Split::Train, 6), print(Split::Validation, 5)];
        let flat: HashSet<String> = all.into_iter().flat_map(|(one, other)| [one, other]).collect();
        assert_eq!(flat.len(), 6);
    }
}
