//! The chat format as a Jinja template, for programs that tokenize the text of a whole conversation at once.
//!
//! It does the same as [`Tokenizer::render`](super::Tokenizer::render), as far as text can: the names of special tokens
//! become those tokens when the text is tokenized, so a message that contains one is rejected.

/// The template, in the form of Hugging Face's libraries: it reads `messages` and `add_generation_prompt`, and calls
/// `raise_exception` with a message.
pub const CHAT_TEMPLATE: &str = include_str!("chat_template.jinja");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use minijinja::{Environment, Error, ErrorKind, Value, context};
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::{Content, Conversation, Message, Part, PartKind, Role, SPECIAL_TOKENS, Tokenizer, TrainOptions};

    /// A JSON value as the template sees it.
    fn value(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::String(text) => Value::from(text),
            serde_json::Value::Array(list) => list.into_iter().map(value).collect(),
            serde_json::Value::Object(fields) => {
                Value::from(fields.into_iter().map(|(key, field)| (key, value(field))).collect::<BTreeMap<_, _>>())
            }
            other => unreachable!("a message holds no {other}"),
        }
    }

    /// The template's output for a conversation, or the message with which it rejects it.
    fn template(conversation: &Conversation, add_generation_prompt: bool) -> Result<String, String> {
        let mut environment = Environment::new();
        environment.add_function("raise_exception", |what: String| Err::<String, Error>(Error::new(ErrorKind::InvalidOperation, what)));
        environment.add_template("chat", CHAT_TEMPLATE).unwrap();
        let messages = value(serde_json::to_value(&conversation.messages).unwrap());
        let values = context! { messages, add_generation_prompt };
        environment.get_template("chat").unwrap().render(values).map_err(|error| format!("{error:#}"))
    }

    fn tokenizer() -> Tokenizer {
        let options = TrainOptions { vocab_size: 270, ..TrainOptions::default() };
        Tokenizer::train([Ok::<_, std::io::Error>("the theme of the text, then the end".to_owned())], &options).unwrap().tokenizer
    }

    /// The ids of rendered text, in which names of special tokens become those tokens.
    fn ids(tokenizer: &Tokenizer, mut text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        while !text.is_empty() {
            let next = SPECIAL_TOKENS.iter().filter_map(|name| Some((text.find(name)?, *name))).min();
            let (at, name) = next.unwrap_or((text.len(), ""));
            ids.extend(tokenizer.encode(&text[..at]));
            ids.extend(tokenizer.special(name));
            text = &text[at + name.len()..];
        }
        ids
    }

    fn part() -> impl Strategy<Value = Part> {
        let kind = prop_oneof![Just(PartKind::Text), Just(PartKind::Python), Just(PartKind::PythonOutput)];
        (kind, "[ -~é\n\t<|{%}]{0,12}").prop_map(|(kind, text)| Part { kind, text })
    }

    fn conversation() -> impl Strategy<Value = Conversation> {
        let text = || "[ -~é\n\t<|{%}]{0,20}";
        let parts = prop::collection::vec(part(), 0..5).prop_map(|mut parts| {
            parts.dedup_by(|a, b| a.kind == PartKind::Text && b.kind == PartKind::Text);
            Content::Parts(parts)
        });
        let answer = prop_oneof![text().prop_map(Content::Text), parts];
        let turns = prop::collection::vec((text(), answer), 1..4);
        (prop::option::of(text()), turns, any::<bool>()).prop_map(|(system, turns, answered)| {
            let mut messages: Vec<Message> = system.map(|text| Message::text(Role::System, text)).into_iter().collect();
            for (asked, content) in turns {
                messages.push(Message::text(Role::User, format!("?{asked}")));
                messages.push(Message::new(Role::Assistant, content));
            }
            if !answered {
                messages.pop();
            }
            Conversation { messages }
        })
    }

    proptest! {
        #[test]
        fn its_text_has_the_ids_of_a_rendered_conversation(conversation in conversation()) {
            let tokenizer = tokenizer();
            let rendered = tokenizer.render(&conversation).unwrap();
            prop_assert_eq!(ids(&tokenizer, &template(&conversation, false).unwrap()), rendered.ids);
            match tokenizer.render_prompt(&conversation) {
                Ok(prompt) => prop_assert_eq!(ids(&tokenizer, &template(&conversation, true).unwrap()), prompt),
                Err(_) => prop_assert!(template(&conversation, true).unwrap_err().contains("nothing to answer")),
            }
        }
    }

    #[test]
    fn what_cannot_be_rendered_is_refused_with_a_sentence() {
        use Role::{Assistant, System, User};
        let of = |roles: &[Role]| Conversation { messages: roles.iter().map(|&role| Message::text(role, "x")).collect() };
        let text = |text: &str| Part { kind: PartKind::Text, text: text.to_owned() };
        let answer = |parts: Vec<Part>| {
            let asked = Message::text(User, "x");
            Conversation { messages: vec![asked, Message::new(Assistant, Content::Parts(parts))] }
        };
        let parts = Content::Parts(vec![text("x")]);
        for (conversation, expected) in [
            (of(&[]), "a message from the user is missing"),
            (of(&[System]), "a message from the user is missing"),
            (of(&[Assistant]), "message 1 must be from the user"),
            (of(&[System, Assistant]), "message 2 must be from the user"),
            (of(&[User, User]), "message 2 must be from the assistant"),
            (of(&[User, System]), "message 2 must be from the assistant"),
            (Conversation { messages: vec![Message::text(User, "")] }, "message 1 is empty"),
            (Conversation { messages: vec![Message::new(User, parts)] }, "only what the assistant says"),
            (answer(vec![text("a"), text("b")]), "join them"),
        ] {
            let error = template(&conversation, false).unwrap_err();
            assert!(error.contains(expected), "{conversation:?}: {error}");
        }
        // Conversations that are valid for nc-core, but not as text.
        for name in SPECIAL_TOKENS {
            for conversation in [
                Conversation { messages: vec![Message::text(User, format!("a {name} b"))] },
                Conversation { messages: vec![Message::text(System, name), Message::text(User, "x")] },
                answer(vec![Part { kind: PartKind::PythonOutput, text: name.to_owned() }]),
            ] {
                let error = template(&conversation, false).unwrap_err();
                assert!(error.contains(&format!("the special token {name}")), "{error}");
            }
        }
    }
}
