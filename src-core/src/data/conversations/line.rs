//! One line of JSON as a conversation.
//!
//! The JSON is read into a tree and interpreted by hand: the parser's own errors would quote the unexpected
//! value, and would not say in which message it is.

use super::LineError;
use super::error::Place;
use super::keys::{lost_beside, lost_of, lost_of_message};
use super::node::{Node, Object};
use crate::files::json;
use crate::tokenizer::{Content, Conversation, Message, Part, PartKind, Role, Weight};

/// The longest unknown key, role or type that an error quotes, in characters: more is likely a misplaced message.
const LONGEST_WORD: usize = 20;

/// Reads a conversation that [`Conversation::check`] accepts.
pub(super) fn parse(line: &[u8]) -> Result<Conversation, LineError> {
    let text = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
    let node: Node = json::from_str(text).map_err(|error| LineError::Json { reason: error.reason(), column: error.column() })?;
    let list = match node {
        Node::List(list) => list,
        Node::Object(mut object) => {
            if object.has_twice("messages") {
                return Err(LineError::Twice { place: Place::Conversation, key: word("messages") });
            }
            let Some(Node::List(list)) = object.take("messages") else { return Err(LineError::NoMessageList) };
            refuse_lost(Place::Conversation, lost_beside(&object))?;
            list
        }
        _ => return Err(LineError::NoMessageList),
    };
    let messages = list.into_iter().zip(1..).map(|(node, number)| message(node, number)).collect::<Result<_, _>>()?;
    let conversation = Conversation { messages };
    conversation.check()?;
    Ok(conversation)
}

fn message(node: Node, message: usize) -> Result<Message, LineError> {
    let malformed = || LineError::NotAMessage { message };
    let place = Place::Message { message };
    let Node::Object(mut object) = node else { return Err(malformed()) };
    refuse_twice(place, &object)?;
    let role = match string(&mut object, place, "role")?.ok_or_else(malformed)?.as_str() {
        // OpenAI renamed the role; its meaning is the same.
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => return Err(LineError::UnknownRole { message, role: word(other) }),
    };
    let weight = weight(object.take("weight"), role, message)?;
    refuse_lost(place, lost_of_message(&object, role))?;
    let content = match object.take("content").ok_or_else(malformed)? {
        Node::Text(text) => Content::Text(text),
        Node::List(parts) => {
            let parts: Vec<_> = parts.into_iter().zip(1..).map(|(node, number)| part(node, message, number)).collect::<Result<_, _>>()?;
            joined(parts, role)
        }
        Node::NotFinite(value) => return Err(LineError::NotFinite { place, key: "content", value }),
        _ => return Err(LineError::Content { message }),
    };
    Ok(Message { role, content, weight })
}

/// Parts as content. Many programs write every message as a list; only the assistant's can contain more than one text.
fn joined(parts: Vec<Part>, role: Role) -> Content {
    let texts = !parts.is_empty() && parts.iter().all(|part| part.kind == PartKind::Text);
    if role != Role::Assistant && texts { Content::Text(parts.into_iter().map(|part| part.text).collect()) } else { Content::Parts(parts) }
}

/// The weight of a message. Only the assistant's can be learnt.
fn weight(node: Option<Node>, role: Role, message: usize) -> Result<Weight, LineError> {
    match node {
        None | Some(Node::Null) => Ok(Weight::One),
        Some(Node::NotFinite(value)) => Err(LineError::NotFinite { place: Place::Message { message }, key: "weight", value }),
        Some(Node::Number(0.0)) if role == Role::Assistant => Ok(Weight::Zero),
        Some(Node::Number(0.0)) => Ok(Weight::One),
        Some(Node::Number(1.0)) if role == Role::Assistant => Ok(Weight::One),
        Some(_) => Err(LineError::Weight { message, role }),
    }
}

fn part(node: Node, message: usize, part: usize) -> Result<Part, LineError> {
    let malformed = || LineError::NotAPart { message, part };
    let place = Place::Part { message, part };
    let Node::Object(mut object) = node else { return Err(malformed()) };
    refuse_twice(place, &object)?;
    let kind = match string(&mut object, place, "type")?.ok_or_else(malformed)?.as_str() {
        "text" => PartKind::Text,
        "python" => PartKind::Python,
        "python_output" => PartKind::PythonOutput,
        other => return Err(LineError::UnknownPart { message, part, kind: word(other) }),
    };
    refuse_lost(place, lost_of(&object))?;
    Ok(Part { kind, text: string(&mut object, place, "text")?.ok_or_else(malformed)? })
}

fn refuse_twice(place: Place, object: &Object) -> Result<(), LineError> {
    object.twice().map_or(Ok(()), |key| Err(LineError::Twice { place, key: word(key) }))
}

fn refuse_lost(place: Place, key: Option<&str>) -> Result<(), LineError> {
    key.map_or(Ok(()), |key| Err(LineError::Unsupported { place, key: word(key) }))
}

/// The string at `key`.
fn string(object: &mut Object, place: Place, key: &'static str) -> Result<Option<String>, LineError> {
    match object.take(key) {
        Some(Node::Text(text)) => Ok(Some(text)),
        Some(Node::NotFinite(value)) => Err(LineError::NotFinite { place, key, value }),
        _ => Ok(None),
    }
}

/// A key, role or type that may be quoted in an error.
fn word(text: &str) -> Option<String> {
    let short = !text.is_empty() && text.len() <= LONGEST_WORD;
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    (short && plain).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn refused(line: impl ToString) -> String {
        let error = parse(line.to_string().as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        error
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        let user = json!({ "role": "user", "content": "secret" });
        let answer = |content: Value| json!([user, { "role": "assistant", "content": content }]);
        for (line, expected) in [
            (json!("secret"), "neither an object with a list"),
            (json!({ "messages": "secret" }), "neither an object with a list"),
            (json!({ "text": "secret" }), "neither an object with a list"),
            (json!(["secret"]), "message 1 is not an object"),
            (json!([{ "content": "secret" }]), "message 1 is not an object"),
            (json!([{ "role": 5, "content": "secret" }]), "message 1 is not an object"),
            (json!([user, { "role": "assistant" }]), "message 2 is not an object"),
            (json!([{ "role": "human", "content": "secret" }]), "message 1 has an unknown role `human`; the roles are"),
            (json!([{ "role": "my secret", "content": "" }]), "message 1 has an unknown role; the roles are"),
            (json!([{ "role": "s".repeat(21), "content": "" }]), "message 1 has an unknown role; the roles are"),
            (json!([{ "role": "", "content": "" }]), "message 1 has an unknown role; the roles are"),
            (json!([user, { "role": "assistant", "content": null }]), "the content of message 2 is neither"),
            (answer(json!({ "secret": 1 })), "the content of message 2 is neither"),
            (answer(json!(["secret"])), "part 1 of message 2 is not an object"),
            (answer(json!([{ "type": "text", "text": ["secret"] }])), "part 1 of message 2 is not an object"),
            (answer(json!([{ "type": "text", "text": "" }, { "text": "secret" }])), "part 2 of message 2 is not an object"),
            (answer(json!([{ "type": "image", "text": "secret" }])), "part 1 of message 2 has an unknown type `image`; the types"),
            (json!([]), "has no messages"),
            (json!([{ "role": "assistant", "content": "secret" }]), "message 1 is from the assistant, but must be from the user"),
            (json!([user, user]), "message 2 is from the user, but"),
            (json!([{ "role": "user", "content": "" }]), "message 1 is empty"),
            (json!([{ "role": "user", "content": [] }]), "message 1 is from the user and a list of parts"),
        ] {
            let error = refused(&line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    /// A conversation of a question and an answer with an additional key, given as JSON.
    fn with(role: &str, more: &str) -> String {
        let more_of = |of: &str| if of == role { format!(", {more}") } else { String::new() };
        let (user, assistant) = (more_of("user"), more_of("assistant"));
        format!(r#"[{{"role": "user", "content": "Hi"{user}}}, {{"role": "assistant", "content": "secret"{assistant}}}]"#)
    }

    #[test]
    fn what_a_conversation_cannot_hold_is_refused_by_its_key() {
        for (role, more, key) in [
            (
                "assistant",
                r#""tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]"#,
                "tool_calls",
            ),
            ("assistant", r#""function_call": {"name": "add", "arguments": "{}"}"#, "function_call"),
            ("assistant", r#""refusal": "secret""#, "refusal"),
            ("assistant", r#""reasoning_content": "secret""#, "reasoning_content"),
            ("assistant", r#""thinking": "secret""#, "thinking"),
            ("assistant", r#""audio": {"id": "secret"}"#, "audio"),
            ("assistant", r#""annotations": [{"type": "url_citation"}]"#, "annotations"),
            ("assistant", r#""train": false"#, "train"),
            ("assistant", r#""loss_weight": 0.5"#, "loss_weight"),
            ("assistant", r#""masked": true"#, "masked"),
            ("assistant", r#""train_detail": [{"begin_offset": 0}]"#, "train_detail"),
            ("assistant", r#""type": "function_call""#, "type"),
            ("user", r#""name": "secret""#, "name"),
            ("user", r#""images": ["secret.png"]"#, "images"),
            ("user", r#""tool_call_id": "secret""#, "tool_call_id"),
            ("user", r#""train": true"#, "train"),
        ] {
            let number = if role == "user" { 1 } else { 2 };
            let error = parse(with(role, more).as_bytes()).unwrap_err();
            assert!(error.is_unsupported(), "{error}");
            assert!(error.to_string().starts_with(&format!("message {number} has `{key}`, which")), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let secret = with("assistant", r#""my secret key": "x""#);
        assert!(refused(&secret).starts_with("message 2 has a key that is not known"), "{}", refused(&secret));
        for (beside, key) in [
            (r#""tools": [{"type": "function", "function": {"name": "add"}}]"#, "tools"),
            (r#""system": "You are brief.""#, "system"),
            (r#""images": ["a.png"]"#, "images"),
            (r#""weight": 0"#, "weight"),
        ] {
            let error = refused(format!("{{{beside}, \"messages\": {}}}", with("", "")));
            assert!(error.starts_with(&format!("the conversation has `{key}`, which")), "{error}");
        }
        let part = r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "x", "citations": ["secret"]}]}]"#;
        assert!(refused(part).starts_with("part 1 of message 2 has `citations`, which"), "{}", refused(part));
        for (line, words) in [
            (r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "c"}]}]"#, "`tool_calls`"),
            (r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [{"id": "c"}]}]"#, "`tool_calls`"),
            (r#"[{"role": "tool", "content": "secret"}]"#, "message 1 has an unknown role `tool`"),
            (
                r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "refusal", "refusal": "secret"}]}]"#,
                "`refusal`",
            ),
            (r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "secret"}}]}]"#, "`image_url`"),
            (r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": null}]"#, "the content of message 2"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.is_unsupported() && error.to_string().contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn other_spellings_of_the_same_are_read() {
        let plain = parse(br#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi you"}]"#).unwrap();
        let parts = br#"[{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you", "cache_control": null}]}]"#;
        assert_eq!(parse(parts).unwrap(), plain);
        let error = refused(r#"[{"role": "user", "content": [{"type": "text", "text": "secret"}, {"type": "python", "text": "1"}]}]"#);
        assert!(error.contains("message 1 is from the user and a list of parts"), "{error}");
    }

    #[test]
    fn keys_that_say_nothing_are_passed_over() {
        let plain = parse(with("", "").as_bytes()).unwrap();
        for more in [
            r#""tool_calls": null"#,
            r#""tool_calls": []"#,
            r#""function_call": null, "refusal": null, "annotations": [], "audio": null"#,
            r#""reasoning_content": """#,
            r#""id": "msg_1", "timestamp": "2026-01-01", "metadata": {"source": "web"}, "model": "x", "type": "message""#,
            r#""score": NaN, "likes": 3, "edited": false, "usage": {"prompt_tokens": 5}"#,
            r#""weight": 1"#,
            r#""weight": 1.0, "train": true, "masked": false"#,
            r#""weight": null, "train": null"#,
        ] {
            assert_eq!(parse(with("assistant", more).as_bytes()).unwrap(), plain, "{more}");
        }
        assert_eq!(parse(with("user", r#""weight": 0, "train": false, "mask": true"#).as_bytes()).unwrap(), plain);
        for beside in [
            r#""id": "x", "id": "y", "created": 5, "score": Infinity, "tags": ["a"], "prompt": "Hi", "metadata": {"a": {"b": "c"}}"#,
            r#""tools": [], "functions": null, "system": "", "weight": 1, "parallel_tool_calls": false"#,
        ] {
            assert_eq!(parse(format!("{{{beside}, \"messages\": {}}}", with("", "")).as_bytes()).unwrap(), plain, "{beside}");
        }
    }

    #[test]
    fn a_weight_is_zero_or_one_and_the_assistants() {
        let zero = parse(with("assistant", r#""weight": 0"#).as_bytes()).unwrap();
        assert_eq!(zero.messages.iter().map(|message| message.weight).collect::<Vec<_>>(), [Weight::One, Weight::Zero]);
        for weight in ["0.5", "2", "-1", "\"0\"", "true", "[]"] {
            let error = parse(with("assistant", &format!("\"weight\": {weight}")).as_bytes()).unwrap_err();
            assert!(error.is_unsupported() && error.to_string().contains("message 2 has a weight that"), "{error}");
        }
        let error = refused(with("user", r#""weight": 1"#));
        assert!(error.contains("message 1 is from the user and has a weight"), "{error}");
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        let messages = with("", "");
        for (line, words) in [
            (format!("{{\"messages\": [], \"messages\": {messages}}}"), "the conversation has the key `messages` twice"),
            (with("assistant", "\"content\": \"secret\""), "message 2 has the key `content` twice"),
            (with("user", "\"role\": \"user\""), "message 1 has the key `role` twice"),
            (with("user", "\"x\": 1, \"x\": 1"), "message 1 has the key `x` twice"),
            (
                r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "", "text": "secret"}]}]"#.into(),
                "part 1 of message 2 has the key `text` twice",
            ),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(!error.is_unsupported());
            assert_eq!(error.to_string(), words);
        }
    }

    #[test]
    fn nan_is_refused_where_it_is_used() {
        for (line, words) in [
            (with("assistant", r#""weight": NaN"#), "the `weight` of message 2 is NaN, which cannot be used there"),
            (r#"[{"role": NaN, "content": "Hi"}]"#.into(), "the `role` of message 1 is NaN, which cannot be used there"),
            (r#"[{"role": "user", "content": -Infinity}]"#.into(), "the `content` of message 1 is -Infinity, which cannot be used there"),
        ] {
            assert_eq!(refused(line), words);
        }
    }

    #[test]
    fn broken_json_is_placed() {
        for (line, expected) in [
            ("hello", "it is not JSON (expected value at column 1)"),
            (r#"{"messages": [{"role": "secret"#, "it is not JSON (EOF while parsing a string at column 30)"),
            (r#"["secret" "secret"]"#, "it is not JSON (expected `,` or `]` at column 11)"),
            ("[] []", "it is not JSON (trailing characters at column 4)"),
            ("[NaN, NaN, secret]", "it is not JSON (expected value at column 12)"),
        ] {
            assert_eq!(refused(line), expected);
        }
        assert!(refused("[".repeat(100_000)).contains("recursion limit exceeded"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            said in "(?s).{1,40}",
            answer in "(?s).{0,40}",
            expression in "(?s).{0,40}",
            weight in prop::sample::select(vec![Weight::Zero, Weight::One]),
        ) {
            let parts = [(PartKind::Text, answer), (PartKind::Python, expression.clone()), (PartKind::PythonOutput, expression)];
            let parts = parts.into_iter().map(|(kind, text)| Part { kind, text }).collect();
            let answer = Message { role: Role::Assistant, content: Content::Parts(parts), weight };
            let conversation = Conversation { messages: vec![Message::text(Role::System, "s"), Message::text(Role::User, said), answer] };
            prop_assert_eq!(parse(&serde_json::to_vec(&conversation).unwrap()).unwrap(), conversation.clone());
            prop_assert_eq!(parse(&serde_json::to_vec(&conversation.messages).unwrap()).unwrap(), conversation);
        }

        #[test]
        fn a_damaged_line_is_no_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut line = br#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": ""}]}]}"#.to_vec();
            let at = at.index(line.len());
            line[at] = byte;
            if let Ok(conversation) = parse(&line) {
                prop_assert!(conversation.check().is_ok());
            }
        }
    }
}
