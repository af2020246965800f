//! Parses the conversation in a server's answer, and validates it.

use serde::Deserialize;
use serde_json::Value;

use crate::files::json;
use crate::tokenizer::{Conversation, Message, Role};

/// The most messages of a conversation.
const MOST_MESSAGES: usize = 16;
/// The most bytes of a message.
const LONGEST_MESSAGE: usize = 4096;

#[derive(Deserialize)]
struct Said {
    role: Role,
    content: String,
}

/// The conversation in the body of an answer, with `system` prepended; or what is wrong with it.
pub fn conversation(body: &[u8], system: Option<&Message>) -> Result<Conversation, &'static str> {
    let answer: Value = json::from_slice(body).map_err(|_| "it is no JSON")?;
    let content = answer.pointer("/choices/0/message/content").and_then(Value::as_str).ok_or("it holds no message")?;
    let said = messages(content)?;
    if said.is_empty() {
        return Err("the conversation is empty");
    }
    if said.len() > MOST_MESSAGES {
        return Err("the conversation is too long");
    }
    if said.len() % 2 != 0 {
        return Err("the conversation does not end with an answer");
    }
    let mut messages: Vec<Message> = system.cloned().into_iter().collect();
    for (index, Said { role, content }) in said.into_iter().enumerate() {
        if role != [Role::User, Role::Assistant][index % 2] {
            return Err("user and assistant do not take turns");
        }
        let content = content.trim();
        if content.is_empty() {
            return Err("a message is empty");
        }
        if content.len() > LONGEST_MESSAGE {
            return Err("a message is too long");
        }
        if content.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err("a message holds control characters");
        }
        messages.push(Message::text(role, content));
    }
    Ok(Conversation { messages })
}

/// The messages that a model wrote: models often put text or a code fence around the object.
fn messages(content: &str) -> Result<Vec<Said>, &'static str> {
    #[derive(Deserialize)]
    struct Object {
        messages: Vec<Said>,
    }
    let (start, end) = (content.find('{').ok_or("it holds no JSON object")?, content.rfind('}').unwrap_or(0));
    let object = content.get(start..=end).ok_or("it holds no JSON object")?;
    serde_json::from_str::<Object>(object).map(|object| object.messages).map_err(|_| "it holds no list of messages with role and content")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content: &str) -> Vec<u8> {
        serde_json::json!({ "choices": [{ "message": { "role": "assistant", "content": content } }] }).to_string().into_bytes()
    }

    const GOOD: &str = r#"{"messages": [{"role": "user", "content": " Hi? "}, {"role": "assistant", "content": "Yes."}]}"#;

    #[test]
    fn a_conversation_is_found_in_fences_and_chatter() {
        let system = Message::text(Role::System, "Be nice.");
        let expected = vec![system.clone(), Message::text(Role::User, "Hi?"), Message::text(Role::Assistant, "Yes.")];
        for content in [GOOD.to_owned(), format!("```json\n{GOOD}\n```"), format!("Here you are:\n{GOOD}\nEnjoy!")] {
            assert_eq!(conversation(&body(&content), Some(&system)).unwrap().messages, expected);
        }
        assert_eq!(conversation(&body(GOOD), None).unwrap().messages, expected[1..]);
    }

    #[test]
    fn nonsense_is_told_apart() {
        let said = |messages: &[(&str, &str)]| {
            let messages: Vec<Value> =
                messages.iter().map(|(role, content)| serde_json::json!({ "role": role, "content": content })).collect();
            body(&serde_json::json!({ "messages": messages }).to_string())
        };
        let long = "x".repeat(LONGEST_MESSAGE + 1);
        let pair = [("user", "a"), ("assistant", "b")];
        for (body, says) in [
            (b"<html>".to_vec(), "no JSON"),
            (b"{}".to_vec(), "no message"),
            (b"{\"choices\": []}".to_vec(), "no message"),
            (body("no"), "no JSON object"),
            (body("} {"), "no JSON object"),
            (body("{}"), "no list"),
            (body(r#"{"messages": [{"role": "tool", "content": "x"}]}"#), "no list"),
            (body(r#"{"messages": [{"role": "user", "content": 3}]}"#), "no list"),
            (said(&[]), "is empty"),
            (said(&pair[..1]), "not end with"),
            (said(&[pair[1], pair[0]]), "take turns"),
            (said(&[pair[0], pair[0]]), "take turns"),
            (said(&[("system", "a"), pair[0]]), "take turns"),
            (said(&[("user", " \n"), pair[1]]), "message is empty"),
            (said(&[("user", &long), pair[1]]), "message is too long"),
            (said(&[("user", "a\u{1b}[2J"), pair[1]]), "control characters"),
            (said(&[pair; 9].concat()), "conversation is too long"),
        ] {
            let error = conversation(&body, None).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
}
