use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::tokenizer::{SPECIAL_TOKENS, TrainOptions};

/// A tokenizer that has merged as much as possible of the special tokens' names.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let text = format!("{} Whatever\n\n is said, 12/60 or\n \n\nnot, {}", SPECIAL_TOKENS.concat().repeat(20), "a few words. \n".repeat(20));
    let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
    Tokenizer::train([Ok::<_, std::io::Error>(text)], &options).unwrap().tokenizer
});

/// Text that stresses the format: names of special tokens, fragments of them, white space, and anything else.
fn text() -> impl Strategy<Value = String> {
    let crumb = prop_oneof![
        proptest::sample::select(&SPECIAL_TOKENS[..]).prop_map(str::to_owned),
        "[ \n\r\t\u{A0}]{0,3}",
        "[a-z .,']{0,12}",
        "<\\|?|\\|?>|_(start|end)",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(crumb, 0..6).prop_map(|crumbs| crumbs.concat())
}

fn content() -> impl Strategy<Value = Content> {
    let kind = prop_oneof![Just(PartKind::Text), Just(PartKind::Python), Just(PartKind::PythonOutput)];
    let part = (kind, text()).prop_map(|(kind, text)| Part { kind, text });
    prop_oneof![text().prop_map(Content::Text), proptest::collection::vec(part, 0..5).prop_map(Content::Parts)]
}

/// A valid conversation that ends with a message from the user.
fn unanswered() -> impl Strategy<Value = Conversation> {
    let said = || text().prop_filter("the user says something", |text| !text.is_empty());
    (proptest::option::of(text()), proptest::collection::vec((said(), content()), 0..6), said()).prop_map(|(system, turns, last)| {
        let mut messages: Vec<Message> = system.into_iter().map(|text| Message::text(Role::System, text)).collect();
        for (question, answer) in turns {
            messages.push(Message::text(Role::User, question));
            messages.push(Message::new(Role::Assistant, answer));
        }
        messages.push(Message::text(Role::User, last));
        Conversation { messages }
    })
}

/// The special tokens of a conversation, derived from its messages.
fn expected_marks(conversation: &Conversation, tokens: &ChatTokens) -> Vec<u32> {
    let mut marks = vec![tokens.bos];
    for message in &conversation.messages {
        match (message.role, &message.content) {
            (Role::System, _) => {}
            (Role::User, _) => marks.extend([tokens.user_start, tokens.user_end]),
            (Role::Assistant, content) => {
                marks.push(tokens.assistant_start);
                if let Content::Parts(parts) = content {
                    for part in parts {
                        match part.kind {
                            PartKind::Text => {}
                            PartKind::Python => marks.extend([tokens.python_start, tokens.python_end]),
                            PartKind::PythonOutput => marks.extend([tokens.output_start, tokens.output_end]),
                        }
                    }
                }
                marks.push(tokens.assistant_end);
            }
        }
    }
    marks
}

/// Parts as they can be recovered from tokens: adjacent texts are joined, empty texts are dropped.
fn shown(content: &Content) -> Content {
    let Content::Parts(parts) = content else { return content.clone() };
    let mut seen: Vec<Part> = Vec::new();
    for part in parts {
        match seen.last_mut() {
            _ if part.kind == PartKind::Text && part.text.is_empty() => {}
            Some(last) if last.kind == PartKind::Text && part.kind == PartKind::Text => last.text.push_str(&part.text),
            _ => seen.push(part.clone()),
        }
    }
    match seen.as_slice() {
        [] => Content::Text(String::new()),
        [Part { kind: PartKind::Text, text }] => Content::Text(text.clone()),
        _ => Content::Parts(seen),
    }
}

proptest! {
    #[test]
    fn only_the_format_gives_special_tokens(conversation in unanswered()) {
        let tokens = TOKENIZER.chat_tokens().unwrap();
        let rendered = TOKENIZER.render(&conversation).unwrap();
        prop_assert_eq!(rendered.ids.len(), rendered.mask.len());
        let marks: Vec<u32> = rendered.ids.iter().copied().filter(|&id| TOKENIZER.is_special(id)).collect();
        prop_assert_eq!(marks, expected_marks(&conversation, &tokens));
        let mut prompt = rendered.ids;
        prompt.push(tokens.assistant_start);
        prop_assert_eq!(TOKENIZER.render_prompt(&conversation).unwrap(), prompt);
    }

    #[test]
    fn what_is_learnt_is_what_the_assistant_writes(conversation in unanswered()) {
        let rendered = TOKENIZER.render(&conversation).unwrap();
        let learnt: Vec<u32> = rendered.ids.iter().zip(&rendered.mask).filter(|(_, learnt)| **learnt).map(|(id, _)| *id).collect();
        let mut expected = String::new();
        for message in conversation.messages.iter().filter(|message| message.role == Role::Assistant) {
            match &message.content {
                Content::Text(text) => expected.push_str(text),
                Content::Parts(parts) => {
                    for part in parts {
                        match part.kind {
                            PartKind::Text => expected.push_str(&part.text),
                            PartKind::Python => expected.push_str(&format!("<|python_start|>{}<|python_end|>", part.text)),
                            PartKind::PythonOutput => {}
                        }
                    }
                }
            }
            expected.push_str("<|assistant_end|>");
        }
        prop_assert_eq!(TOKENIZER.decode(&learnt), expected);
    }

    #[test]
    fn a_message_with_the_weight_0_is_context_and_not_learnt(conversation in unanswered(), zeros in any::<u16>()) {
        let mut weighted = conversation.clone();
        for (at, message) in weighted.messages.iter_mut().enumerate() {
            message.weight = if zeros >> (at % 16) & 1 == 1 { Weight::Zero } else { Weight::One };
        }
        let (all, some) = (TOKENIZER.render(&conversation).unwrap(), TOKENIZER.render(&weighted).unwrap());
        prop_assert_eq!(&all.ids, &some.ids);
        // Message by message: the mask is the same as before, or empty.
        let tokens = TOKENIZER.chat_tokens().unwrap();
        let answers: Vec<_> = weighted.messages.iter().filter(|message| message.role == Role::Assistant).collect();
        let mut answer = None;
        for at in 0..all.len() {
            if all.ids[at] == tokens.assistant_start {
                answer = Some(answer.map_or(0, |answer: usize| answer + 1));
            }
            let learnt = answer.is_some_and(|answer| answers[answer].weight.is_one());
            prop_assert_eq!(some.mask[at], all.mask[at] && learnt);
        }
    }

    #[test]
    fn a_turn_is_added_without_touching_what_came_before(conversation in unanswered(), answer in content(), next in "(?s).{1,20}") {
        let tokens = TOKENIZER.chat_tokens().unwrap();
        let answer = shown(&answer);
        let mut longer = conversation.clone();
        longer.messages.push(Message::new(Role::Assistant, answer.clone()));
        let prompt = TOKENIZER.render_prompt(&conversation).unwrap();
        prop_assert_eq!(&TOKENIZER.render_for_completion(&longer).unwrap(), &prompt);

        let whole = TOKENIZER.render(&longer).unwrap().ids;
        prop_assert_eq!(&whole[..prompt.len()], &prompt[..]);
        let written = &whole[prompt.len()..];
        prop_assert_eq!(written.last(), Some(&tokens.assistant_end));
        let message = TOKENIZER.message_from_ids(&written[..written.len() - 1]).unwrap();
        prop_assert_eq!(&message.content, &answer);

        longer.messages.push(Message::text(Role::User, next.clone()));
        let step_by_step = [whole, TOKENIZER.render_turn(&next).unwrap()].concat();
        prop_assert_eq!(TOKENIZER.render_prompt(&longer).unwrap(), step_by_step);
    }

    #[test]
    fn whatever_a_model_writes_becomes_a_message_that_renders(ids in proptest::collection::vec(250u32..310, 0..40)) {
        let message = TOKENIZER.message_from_ids(&ids).unwrap();
        prop_assert_eq!(message.role, Role::Assistant);
        let conversation = Conversation { messages: vec![Message::text(Role::User, "?"), message.clone()] };
        let whole = TOKENIZER.render(&conversation).unwrap().ids;
        // Bytes that are not UTF-8 are lost the first time; after that nothing is.
        let start = TOKENIZER.render_for_completion(&conversation).unwrap().len();
        prop_assert_eq!(TOKENIZER.message_from_ids(&whole[start..]).unwrap(), message);
    }

    #[test]
    fn the_cut_drops_as_few_turns_as_it_must(conversation in unanswered(), room in 0usize..160) {
        let system = usize::from(conversation.messages[0].role == Role::System);
        let without = |dropped: usize| {
            let mut messages = conversation.messages.clone();
            messages.drain(system..system + dropped);
            Conversation { messages }
        };
        let turns = (conversation.messages.len() - system) / 2;
        let fits = |dropped: usize| TOKENIZER.render_prompt(&without(dropped)).unwrap().len() <= room;
        let plain = (0..=turns).map(|turn| 2 * turn).find(|&dropped| fits(dropped));
        match (TOKENIZER.cut_to_fit(&conversation, room), plain) {
            (Ok((cut, dropped)), Some(expected)) => {
                prop_assert_eq!(dropped, expected);
                prop_assert_eq!(cut, without(expected));
            }
            (Err(ConversationError::PromptTooLong { tokens, room: said }), None) => {
                prop_assert_eq!(said, room);
                prop_assert_eq!(tokens, TOKENIZER.render_prompt(&without(2 * turns)).unwrap().len());
            }
            (found, expected) => prop_assert!(false, "{found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn stray_special_tokens_are_left_out() {
    let tokens = TOKENIZER.chat_tokens().unwrap();
    let spoken = |ids: &[&[u32]]| TOKENIZER.message_from_ids(&ids.concat()).unwrap().content;
    let (hi, sum) = (&TOKENIZER.encode("hi")[..], &TOKENIZER.encode("1+1")[..]);
    let part = |kind, text: &str| Part { kind, text: text.to_owned() };
    let text = |text: &str| Content::Text(text.to_owned());

    assert_eq!(spoken(&[]), text(""));
    assert_eq!(spoken(&[hi, &[tokens.python_end, tokens.user_start, tokens.output_end], hi]), text("hihi"));
    assert_eq!(spoken(&[hi, &[tokens.assistant_end], hi]), text("hi"));
    assert_eq!(spoken(&[hi, &[tokens.bos], hi]), text("hi"));
    // A call within a call, and one that was never closed.
    let nested = [&[tokens.python_start][..], sum, &[tokens.python_start, tokens.output_start], sum, &[tokens.python_end]];
    assert_eq!(spoken(&nested), Content::Parts(vec![part(PartKind::Python, "1+11+1")]));
    let open = [hi, &[tokens.python_start], sum];
    assert_eq!(spoken(&open), Content::Parts(vec![part(PartKind::Text, "hi"), part(PartKind::Python, "1+1")]));
}

#[test]
fn it_must_be_the_right_ones_turn() {
    let asked = Conversation { messages: vec![Message::text(Role::User, "?")] };
    let answered = Conversation { messages: vec![Message::text(Role::User, "?"), Message::text(Role::Assistant, "!")] };
    assert!(matches!(TOKENIZER.render_prompt(&answered), Err(ConversationError::NothingToAnswer)));
    assert!(matches!(TOKENIZER.cut_to_fit(&answered, 100), Err(ConversationError::NothingToAnswer)));
    assert!(matches!(TOKENIZER.render_for_completion(&asked), Err(ConversationError::NothingToComplete)));
    assert_eq!(TOKENIZER.render_turn("").unwrap_err().to_string(), "the message is empty; the user must say something");
    assert!(TOKENIZER.render_turn(&"x".repeat(1_000_001)).unwrap_err().to_string().starts_with("the message has 1000001 bytes"));
}

#[test]
fn a_long_conversation_is_cut_to_its_last_turns() {
    let turn = ["a few words", "and a few more"].map(str::to_owned);
    let mut messages = vec![Message::text(Role::System, "a few ".repeat(5))];
    for _ in 0..10_000 {
        messages.push(Message::text(Role::User, turn[0].as_str()));
        messages.push(Message::text(Role::Assistant, turn[1].as_str()));
    }
    messages.push(Message::text(Role::User, "last"));
    let conversation = Conversation { messages };
    let (cut, dropped) = TOKENIZER.cut_to_fit(&conversation, 200).unwrap();
    assert_eq!(cut.messages.len() + dropped, conversation.messages.len());
    assert_eq!((&cut.messages[0], cut.messages[1].role), (&conversation.messages[0], Role::User));
    assert!(cut.messages.len() > 4);
    assert!(TOKENIZER.render_prompt(&cut).unwrap().len() <= 200);
}

#[test]
fn truncating_keeps_the_first_tokens_and_their_mask() {
    let messages = vec![Message::text(Role::User, "a few"), Message::text(Role::Assistant, "words")];
    let whole = TOKENIZER.render(&Conversation { messages }).unwrap();
    for max in [0, 1, whole.len() - 1, whole.len(), whole.len() + 1] {
        let mut cut = whole.clone();
        cut.truncate(max);
        let kept = max.min(whole.len());
        assert_eq!((&cut.ids[..], &cut.mask[..]), (&whole.ids[..kept], &whole.mask[..kept]));
    }
}
