//! SmolTalk: general conversations, the bulk of fine-tuning. The hub's smol-smoltalk is the selection for small models,
//! 460,000 conversations to train on and 24,000 to test.

use serde::Deserialize;
use serde_json::Value;

use super::Split;
use super::rows::parse;
use super::source::{Files, HubSet};
use super::table::{Layout, Made};
use crate::tokenizer::{Conversation, ConversationError, Message, Role};

/// Where the conversations are.
pub const SET: HubSet = HubSet { name: "smoltalk", repo: "HuggingFaceTB/smol-smoltalk", files };

/// How they are read.
pub const LAYOUT: Layout = Layout { name: "smoltalk", columns: &["messages"], convert: conversation, grading: None };

fn files(split: Split) -> Files {
    match split {
        Split::Train => Files { splits: &["train"], on_hub: &["data/train-"] },
        Split::Validation | Split::Test => Files { splits: &["test"], on_hub: &["data/test-"] },
    }
}

#[derive(Deserialize)]
struct Row {
    messages: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

fn conversation(row: Value) -> Result<Made, String> {
    let row: Row = parse(row, "a list `messages` of objects with strings `role` and `content`")?;
    let mut messages = Vec::with_capacity(row.messages.len());
    for (index, said) in row.messages.into_iter().enumerate() {
        let role = match said.role.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(format!("the role of message {} is none of system, user and assistant", index + 1)),
        };
        messages.push(Message::text(role, said.content));
    }
    let conversation = Conversation { messages };
    match conversation.check() {
        // The hub's rows cannot be fixed, and there is nothing to answer.
        Err(ConversationError::Empty { .. }) => Ok(Made::Nothing("the user says nothing")),
        Err(error) => Err(error.to_string()),
        Ok(()) if conversation.messages.iter().all(|message| message.role != Role::Assistant) => Err("the assistant never answers".into()),
        Ok(()) => Ok(Made::Conversation(conversation)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(messages: &[(&str, &str)]) -> Value {
        let messages: Vec<Value> = messages.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect();
        json!({ "messages": messages, "source": "made up" })
    }

    #[test]
    fn a_row_becomes_the_conversation_that_it_holds() {
        let made = conversation(row(&[("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")])).unwrap();
        let Made::Conversation(made) = made else { panic!("nothing was made") };
        assert_eq!(made.messages[0], Message::text(Role::System, "Be brief."));
        assert_eq!(made.messages.iter().map(|message| message.role).skip(1).collect::<Vec<_>>(), [Role::User, Role::Assistant, Role::User]);
        assert_eq!(made.messages[2], Message::text(Role::Assistant, "Hello."));
    }

    #[test]
    fn turns_out_of_order_are_refused_by_their_number_and_not_quoted() {
        for (messages, reason) in [
            (vec![], "no messages"),
            (vec![("user", "secret")], "never answers"),
            (vec![("system", "secret")], "only a system message"),
            (vec![("system", "secret"), ("user", "secret")], "never answers"),
            (vec![("assistant", "secret"), ("user", "secret")], "message 1"),
            (vec![("system", "x"), ("user", "secret"), ("user", "secret")], "message 3"),
            (vec![("user", "x"), ("system", "secret")], "message 2"),
            (vec![("user", "x"), ("secret", "secret")], "the role of message 2"),
        ] {
            let Err(said) = conversation(row(&messages)) else { panic!("{messages:?} was taken") };
            assert!(said.contains(reason) && !said.contains("secret"), "{said}");
        }
        for broken in [json!({}), json!({ "messages": "secret" }), json!({ "messages": [{ "role": "user", "content": null }] })] {
            let Err(said) = conversation(broken) else { panic!("a broken row was taken") };
            assert!(said.contains("a list `messages`") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_user_who_says_nothing_teaches_nothing() {
        assert!(matches!(conversation(row(&[("user", ""), ("assistant", "Hm?")])), Ok(Made::Nothing(_))));
        assert!(matches!(conversation(row(&[("user", "Say nothing."), ("assistant", "")])), Ok(Made::Conversation(_))));
    }
}
