use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::tokenizer::{Content, Conversation, Message, Part, PartKind, Role};

const SMALL: &str = r#"
[facts]
name = "nc"
[words]
hello = ["Hi", "Hello"]
[numbers]
a = [1, 3]
[tables.place]
columns = ["country", "capital"]
rows = [["France", "Paris"], ["Peru", "Lima"]]
[[topic]]
name = "one"
ask = "{hello}!"
answer = ["I am {name}.", "{name:upper}"]
"#;

fn parse(text: &str) -> Result<Recipe, SynthError> {
    Recipe::parse(text, Path::new("recipe.toml"))
}

fn text_of(message: &Message) -> String {
    match &message.content {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => parts.iter().map(|part| part.text.as_str()).collect(),
    }
}

/// All that a recipe can say, as pairs of a question and its answer.
fn pairs(recipe: &str) -> BTreeSet<(String, String)> {
    let conversations = parse(recipe).unwrap().conversations(1000, 1).unwrap();
    conversations.iter().map(|conversation| (text_of(&conversation.messages[0]), text_of(&conversation.messages[1]))).collect()
}

#[test]
fn a_recipe_gives_all_that_it_can_say_and_no_more() {
    let expected = [("Hello!", "I am nc."), ("Hello!", "NC"), ("Hi!", "I am nc."), ("Hi!", "NC")];
    assert_eq!(pairs(SMALL), expected.map(|(ask, answer)| (ask.to_owned(), answer.to_owned())).into());
}

#[test]
fn openings_can_be_told_to_differ() {
    let longer = SMALL.to_owned() + "[[topic]]\nname = \"two\"\nplace = \"later\"\nask = [\"a\", \"b\", \"c\"]\nanswer = \"d\"\n";
    let count = |more: &str| {
        let recipe = parse(&format!("[conversation]\nexchanges = [1, 1]\n{more}\n{longer}")).unwrap();
        recipe.conversations(1000, 1).unwrap().len()
    };
    // Four openings, alone or with one of three questions behind.
    assert_eq!([count(""), count("distinct_openings = false"), count("distinct_openings = true")], [16, 16, 4]);
}

#[test]
fn a_seed_gives_the_same_conversations_and_a_larger_count_more_of_them() {
    let recipe = Recipe::identity().unwrap();
    let some = recipe.conversations(300, 7).unwrap();
    assert_eq!(some, recipe.conversations(300, 7).unwrap());
    assert_eq!(some, recipe.conversations(500, 7).unwrap()[..300]);
    assert_ne!(some, recipe.conversations(300, 8).unwrap());
}

#[test]
fn the_shipped_recipe_has_thousands_of_well_formed_conversations() {
    let conversations = Recipe::identity().unwrap().conversations(8000, 42).unwrap();
    assert_eq!(conversations.len(), 8000);
    let answers: BTreeSet<String> = conversations.iter().flat_map(|conversation| conversation.messages.iter()).map(text_of).collect();
    assert!(answers.len() > 6000, "{} different messages", answers.len());
    let mut lengths = BTreeSet::new();
    for Conversation { messages } in &conversations {
        let turns = if messages[0].role == Role::System { &messages[1..] } else { &messages[..] };
        lengths.insert(turns.len());
        for (index, message) in turns.iter().enumerate() {
            assert_eq!(message.role, [Role::User, Role::Assistant][index % 2]);
            let text = text_of(message);
            assert!(
                !text.is_empty() && text.trim() == text && !text.contains(['{', '}', '[', ']', '|']) && !text.contains("  "),
                "{text:?}"
            );
        }
    }
    assert_eq!(lengths, [2, 4, 6].into());
    let systems = conversations.iter().filter(|conversation| conversation.messages[0].role == Role::System).count();
    assert!((600..1400).contains(&systems), "{systems}");
}

#[test]
fn rows_numbers_and_results_hold_for_a_topic() {
    let topic = r#"
        ask = "{place.country} {a}?"
        answer = "{place.capital} {a} {twice()} {twice}"
        let.twice = "{a}*2"
    "#;
    let recipe = SMALL.replace("ask = \"{hello}!\"\nanswer = [\"I am {name}.\", \"{name:upper}\"]", topic);
    let conversations = parse(&recipe).unwrap().conversations(100, 1).unwrap();
    assert_eq!(conversations.len(), 6);
    for conversation in conversations {
        let ask = text_of(&conversation.messages[0]);
        let (country, a) = ask.trim_end_matches('?').split_once(' ').unwrap();
        let (capital, twice) = (if country == "Peru" { "Lima" } else { "Paris" }, 2 * a.parse::<u32>().unwrap());
        let part = |kind, text: String| Part { kind, text };
        let expected = vec![
            part(PartKind::Text, format!("{capital} {a} ")),
            part(PartKind::Python, format!("{a}*2")),
            part(PartKind::PythonOutput, twice.to_string()),
            part(PartKind::Text, format!(" {twice}")),
        ];
        assert_eq!(conversation.messages[1].content, Content::Parts(expected));
    }
}

#[test]
fn facts_hold_for_a_conversation_and_personas_change_them() {
    let recipe = r#"
        conversation = { exchanges = [0, 1], personas = 0.5 }
        [facts]
        name = ["A", "B"]
        full = "{name} the model"
        [[topic]]
        name = "one"
        place = "first"
        ask = "who?"
        answer = "{full}"
        [[topic]]
        name = "two"
        place = "later"
        ask = "sure?"
        answer = "{name}"
        [[persona]]
        system = "Be {name}."
        set.name = "P"
        answer = "Arr, {answer}!"
    "#;
    let found: BTreeSet<Vec<String>> =
        parse(recipe).unwrap().conversations(100, 1).unwrap().iter().map(|c| c.messages.iter().map(text_of).collect()).collect();
    let plain = |name: &str| vec!["who?".into(), format!("{name} the model"), "sure?".into(), name.to_owned()];
    let pirate = ["Be P.", "who?", "Arr, P the model!", "sure?", "Arr, P!"].map(String::from).to_vec();
    assert_eq!(found, [plain("A"), plain("B"), pirate].into());
}

#[test]
fn a_conversation_stays_in_its_language_and_brings_up_no_topic_twice() {
    for Conversation { messages } in Recipe::identity().unwrap().conversations(3000, 3).unwrap() {
        let texts: Vec<String> = messages.iter().map(text_of).collect();
        let german = |text: &String| text.contains("Ich ");
        if texts.iter().any(german) {
            assert!(!texts.iter().any(|text| text.contains("I am") || text.contains("I'm")), "{texts:?}");
        }
        let names = texts.iter().filter(|text| text.starts_with("What is your name")).count();
        assert!(names <= 1, "{texts:?}");
    }
}

#[test]
fn facts_can_be_set_to_any_text() {
    let mut recipe = parse(SMALL).unwrap();
    recipe.set("name", "{odd} [a|b] \\").unwrap();
    let answers: BTreeSet<String> = recipe.conversations(10, 1).unwrap().iter().map(|c| text_of(&c.messages[1])).collect();
    assert_eq!(answers, ["I am {odd} [a|b] \\.", "{ODD} [A|B] \\"].map(String::from).into());
    let error = recipe.set("nam", "x").unwrap_err().to_string();
    assert!(error.contains("did you mean \"name\"?"), "{error}");
}

#[test]
fn broken_recipes_are_refused_by_line() {
    let with = |more: &str| format!("{SMALL}{more}");
    for (text, line, says) in [
        (with("then = 3"), 15, "invalid type"),
        (with("colour = 3"), 15, "unknown field"),
        (with("[[topic"), 15, ""),
        (with("[[topic]]\nname = \"two\"\nask = \"{nme}\"\nanswer = \"x\""), 17, "nothing is called \"nme\"; did you mean \"name\"?"),
        (with("[[topic]]\nname = \"two\"\nask = [\n\"x\",\n\"{place.city}\"]\nanswer = \"x\""), 19, "\"place.city\""),
        (with("[[topic]]\nname = \"two\"\nask = \"x\"\nanswer = \"[a|{b]\""), 18, "{ is never closed"),
        (with("[[topic]]\nname = \"two\"\nask = \"x\"\nanswer = \"{a()}\""), 18, "no `let` of this topic"),
        (with("[[topic]]\nname = \"two\"\nlet.x = \"1+1\"\nask = \"{x()}\"\nanswer = \"x\""), 18, "only an answer"),
        (with("[[topic]]\nname = \"two\"\nlet.a = \"1+1\"\nask = \"x\"\nanswer = \"x\""), 17, "already the name"),
        (with("[[topic]]\nname = \"one\"\nask = \"x\"\nanswer = \"x\""), 16, "two topics"),
        (with("[[topic]]\nname = \"two\"\nask = []\nanswer = \"x\""), 16, "at least one phrasing"),
        (with("[[persona]]\nsystem = \"x\"\nanswer = \"no\""), 17, "must hold {answer}"),
        (with("[[persona]]\nsystem = \"x\"\ntopics = [\"ones\"]"), 17, "did you mean \"one\"?"),
        (with("[[persona]]\nsystem = \"x\"\nset.nam = \"y\""), 17, "did you mean \"name\"?"),
        (SMALL.replace("\"nc\"", "\"{name}\""), 3, "in terms of itself"),
        (SMALL.replace("[1, 3]", "[3, 1]"), 7, "from 3 to 1"),
        (SMALL.replace("[\"Peru\", \"Lima\"]", "[\"Peru\"]"), 10, "1 cells"),
        (SMALL.replace("hello =", "\"he llo\" ="), 5, "is no name"),
        (SMALL.replace("[[topic]]", "[[topic]]\nplace = \"later\""), 1, "could open with"),
        (format!("slips = {{ typo = 2 }}\n{SMALL}"), 1, "from 0 to 1"),
        (format!("conversation = {{ exchanges = [0] }}\n{SMALL}"), 1, "exchanges"),
        (String::new(), 1, "no [[topic]]"),
    ] {
        let error = parse(&text).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("recipe.toml, line {line}: ")) && error.contains(says), "{says}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_result_that_cannot_be_computed_is_told_with_its_line() {
    let recipe = SMALL.replace("ask = \"{hello}!\"", "let.x = \"{a}+ham\"\nask = \"{x}\"");
    let error = parse(&recipe).unwrap().conversations(1, 1).unwrap_err().to_string();
    assert!(error.starts_with("recipe.toml, line 13: ") && error.contains("+ham"), "{error}");
}
