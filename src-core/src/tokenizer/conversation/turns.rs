//! The rules of a conversation: an optional system message, then alternating user and assistant messages. The result of the check
//! is a type that cannot violate them, so rendering cannot fail.

use super::{Content, Conversation, ConversationError, LONGEST_MESSAGE, Role, Weight};

/// A message of a valid conversation.
#[derive(Clone, Copy, Debug)]
pub(in crate::tokenizer) enum Turn<'c> {
    User(&'c str),
    Assistant(&'c Content, Weight),
}

/// A valid conversation: at least one turn, alternating, the user's first.
#[derive(Clone, Debug)]
pub(in crate::tokenizer) struct Turns<'c> {
    pub(in crate::tokenizer) system: Option<&'c str>,
    pub(in crate::tokenizer) turns: Vec<Turn<'c>>,
}

impl<'c> Turns<'c> {
    /// Checks a conversation.
    pub(in crate::tokenizer) fn of(conversation: &'c Conversation) -> Result<Self, ConversationError> {
        let mut system = None;
        let mut turns = Vec::with_capacity(conversation.messages.len());
        for (message, number) in conversation.messages.iter().zip(1..) {
            check_length(message.content.bytes(), Some(number))?;
            let plain = || match &message.content {
                Content::Text(text) => Ok(text.as_str()),
                Content::Parts(_) => Err(ConversationError::Parts { message: number, role: message.role }),
            };
            let expected = if turns.len() % 2 == 0 { Role::User } else { Role::Assistant };
            match message.role {
                Role::System if number == 1 => system = Some(plain()?),
                Role::System => return Err(ConversationError::SystemNotFirst { message: number }),
                found if found != expected => return Err(ConversationError::OutOfTurn { message: number, expected, found }),
                Role::User => turns.push(Turn::User(check_user(plain()?, Some(number))?)),
                Role::Assistant => turns.push(Turn::Assistant(&message.content, message.weight)),
            }
        }
        match (turns.is_empty(), system) {
            (true, None) => Err(ConversationError::NoMessages),
            (true, Some(_)) => Err(ConversationError::OnlySystem),
            (false, _) => Ok(Self { system, turns }),
        }
    }
}

/// Checks a user message and returns its text.
pub(in crate::tokenizer) fn check_user(text: &str, message: Option<usize>) -> Result<&str, ConversationError> {
    check_length(text.len(), message)?;
    if text.is_empty() { Err(ConversationError::Empty { message }) } else { Ok(text) }
}

fn check_length(bytes: usize, message: Option<usize>) -> Result<(), ConversationError> {
    if bytes > LONGEST_MESSAGE { Err(ConversationError::TooLong { message, bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::{Message, Part, PartKind};
    use super::*;

    fn refused(messages: Vec<Message>) -> String {
        let error = Conversation { messages }.check().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        error
    }

    #[test]
    fn what_breaks_the_rules_is_refused_by_number() {
        use Role::{Assistant, System, User};
        let of = |roles: &[Role]| roles.iter().map(|&role| Message::text(role, "secret")).collect::<Vec<_>>();
        for (roles, expected) in [
            (&[][..], "no messages"),
            (&[System], "only a system message"),
            (&[Assistant], "message 1 is from the assistant, but must be from the user"),
            (&[System, Assistant], "message 2 is from the assistant, but must be from the user"),
            (&[User, User], "message 2 is from the user, but must be from the assistant"),
            (&[User, Assistant, Assistant], "message 3 is from the assistant, but must be from the user"),
            (&[User, System], "message 2 is a system message"),
            (&[System, System], "message 2 is a system message"),
        ] {
            let error = refused(of(roles));
            assert!(error.contains(expected), "{roles:?}: {error}");
        }
        for roles in [&[User][..], &[System, User], &[User, Assistant], &[System, User, Assistant, User]] {
            Conversation { messages: of(roles) }.check().unwrap();
        }
    }

    #[test]
    fn only_the_assistant_may_say_nothing_or_speak_in_parts() {
        let user = || Message::text(Role::User, "secret");
        let parts = |role| Message::new(role, Content::Parts(vec![Part { kind: PartKind::Text, text: "secret".into() }]));
        assert_eq!(refused(vec![Message::text(Role::User, "")]), "message 1 is empty; the user must say something");
        let later = vec![user(), Message::text(Role::Assistant, ""), Message::text(Role::User, "")];
        assert!(refused(later).starts_with("message 3 is empty"));
        assert!(refused(vec![parts(Role::User)]).starts_with("message 1 is from the user and a list of parts"));
        assert!(refused(vec![parts(Role::System), user()]).starts_with("message 1 is from the system and a list of parts"));
        for answer in [parts(Role::Assistant), Message::text(Role::Assistant, ""), Message::new(Role::Assistant, Content::Parts(vec![]))] {
            Conversation { messages: vec![user(), answer] }.check().unwrap();
        }
    }

    #[test]
    fn a_message_may_have_a_million_bytes() {
        let long = |bytes| Message::text(Role::User, "é".repeat(bytes / 2));
        Conversation { messages: vec![long(LONGEST_MESSAGE)] }.check().unwrap();
        let expected = "message 1 has 1000002 bytes; the longest that can be used has 1000000";
        assert_eq!(refused(vec![long(LONGEST_MESSAGE + 2)]), expected);
        let half = || Part { kind: PartKind::Python, text: "1".repeat(LONGEST_MESSAGE / 2 + 1) };
        let parts = Message::new(Role::Assistant, Content::Parts(vec![half(), half()]));
        assert_eq!(refused(vec![Message::text(Role::User, "secret"), parts]), expected.replace("message 1", "message 2"));
    }
}
