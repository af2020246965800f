//! Generation around the model: one text and many rows, calls that are answered on the way, ends of every kind. The
//! models are scripted, so that every token is known before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nc_core::engine::decoder::{Decoder, Feed};
use nc_core::engine::{
    Engine, EngineError, Event, GenerateOptions, Generated, Overflow, Prompts, Reason, Sampling, WrittenRow, generate_rows, score,
};
use nc_core::kernels::sample::Draw;
use nc_tests::script::{Script, byte_token};

/// What was written, and everything that was told of it.
fn generate(script: &Script, prompt: &[u32], options: &GenerateOptions) -> (Generated, Vec<Event>) {
    let mut events = Vec::new();
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let generated = engine.generate(prompt, options, &AtomicBool::new(false), &mut |event| events.push(event)).unwrap();
    (generated, events)
}

fn rows(script: &Script, prompts: Prompts<'_>, options: &GenerateOptions) -> Vec<WrittenRow> {
    generate_rows(&script.gpu, &script.model, &script.tokenizer, prompts, options).unwrap()
}

fn greedy(script: &Script, max_tokens: usize) -> GenerateOptions {
    let stop = vec![script.tokens.assistant_end];
    GenerateOptions { max_tokens: Some(max_tokens), sampling: Sampling::greedy(), stop, tools: true, overflow: Overflow::Stop }
}

fn text(events: &[Event]) -> String {
    let texts = events.iter().filter_map(|event| if let Event::Text(text) = event { Some(text.as_str()) } else { None });
    texts.collect()
}

/// The events without the statistics, which differ in their times.
fn told(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|event| !matches!(event, Event::Done { .. })).cloned().collect()
}

fn call(expression: &str, result: Option<&str>) -> [Event; 2] {
    [Event::ToolCall { expression: expression.into() }, Event::ToolResult { result: result.map(str::to_owned) }]
}

/// A model that wanders among letters, ends now and then, and asks the calculator for 7*7.
fn wanderer(context: usize) -> Script {
    Script::new(context, |tokens, from| match from {
        from if from == tokens.python_start => vec![byte_token(b'7')],
        from if from == byte_token(b'7') => vec![byte_token(b'*'), tokens.python_end],
        from if from == byte_token(b'*') => vec![byte_token(b'7')],
        _ => (b'a'..b'k').map(byte_token).chain([tokens.python_start, tokens.assistant_end]).collect(),
    })
}

#[test]
fn rows_are_what_they_would_be_alone_and_end_when_they_do() {
    let script = wanderer(64);
    let sampling = Sampling { temperature: 1.0, top_k: 0, ..Sampling::default() };
    for seed in 0..3 {
        let options = GenerateOptions { sampling: Sampling { seed, ..sampling.clone() }, ..greedy(&script, 40) };
        let prompts: Vec<Vec<u32>> = ["a", "some words", "c, and a longer beginning", "abc", "z"].map(|text| script.ids(text)).to_vec();
        let together = rows(&script, Prompts::Own(&prompts), &options);
        // The first row has the draws of a text alone.
        let (alone, _) = generate(&script, &prompts[0], &options);
        assert_eq!((&together[0].ids, together[0].reason), (&alone.ids, alone.reason));
        for (row, written) in together.iter().enumerate().skip(1) {
            // With others beside it, and at the same place among them, it is the same.
            let mut others = prompts.clone();
            others.truncate(row + 1);
            others[0] = script.ids("something else that is much longer");
            assert_eq!(rows(&script, Prompts::Own(&others), &options)[row], *written, "row {row} of seed {seed}");
        }
        let shared = rows(&script, Prompts::Shared(&prompts[2], 5), &options);
        assert_eq!(shared, rows(&script, Prompts::Own(&vec![prompts[2].clone(); 5]), &options));
        assert!((1..5).any(|row| shared[row].ids != shared[0].ids), "every row drew the same");
        let ended = |reason| shared.iter().chain(&together).filter(|row| row.reason == reason).count();
        assert!(ended(Reason::Stop) > 0, "no row ended early");
        for row in shared.iter().chain(&together) {
            assert_eq!(row.ids.len(), row.drawn.len());
            assert!(!row.ids.contains(&script.tokens.assistant_end));
        }
    }
}

#[test]
fn the_calculator_s_answer_enters_the_row_and_the_model_goes_on_from_it() {
    // Behind the call the script would go on with x; only `<|output_end|>` makes it write what comes after that.
    let script = Script::new(64, |tokens, from| {
        let of = |text: &str| text.bytes().map(byte_token).collect::<Vec<_>>();
        let path = [&[tokens.assistant_start][..], &of("so "), &[tokens.python_start], &of("12/60"), &[tokens.python_end], &of("x")];
        let ids = path.concat();
        let next = ids.windows(2).find(|pair| pair[0] == from).map(|pair| pair[1]);
        let rest = if from == tokens.output_end { byte_token(b'!') } else { tokens.assistant_end };
        vec![next.unwrap_or(rest)]
    });
    let tokens = script.tokens;
    let inner = [&[tokens.output_start][..], &script.ids("0.2"), &[tokens.output_end]].concat();
    let call_ids = [&script.ids("so ")[..], &[tokens.python_start], &script.ids("12/60"), &[tokens.python_end]].concat();
    let whole = [&call_ids[..], &inner, &script.ids("!")].concat();

    let (generated, events) = generate(&script, &[tokens.assistant_start], &greedy(&script, 40));
    assert_eq!((generated.ids.clone(), generated.reason), (whole.clone(), Reason::Stop));
    assert_eq!(generated.stats.new_tokens, whole.len() + 1);
    assert_eq!((text(&events), &told(&events)[3..5]), ("so !".to_owned(), &call("12/60", Some("0.2"))[..]));
    assert!(matches!(events.last(), Some(Event::Done { reason: Reason::Stop, stats }) if *stats == generated.stats));

    let written = rows(&script, Prompts::Shared(&[tokens.assistant_start], 2), &greedy(&script, 40));
    let drawn: Vec<bool> = (0..whole.len()).map(|at| !(call_ids.len()..call_ids.len() + inner.len()).contains(&at)).collect();
    assert_eq!(written, vec![WrittenRow { ids: whole.clone(), drawn, reason: Reason::Stop }; 2]);

    // Without tools, what the model writes is all there is.
    let plain = GenerateOptions { tools: false, ..greedy(&script, 40) };
    let (generated, events) = generate(&script, &[tokens.assistant_start], &plain);
    assert_eq!((generated.ids, text(&events)), ([&call_ids[..], &script.ids("x")].concat(), "so 12/60x".to_owned()));

    // An end in the middle of the result leaves the call without one, wherever it comes.
    for most in 0..=whole.len() {
        let (generated, events) = generate(&script, &[tokens.assistant_start], &greedy(&script, most));
        let in_result = most > call_ids.len() && most < call_ids.len() + inner.len();
        let kept = if in_result { &call_ids[..] } else { &whole[..most] };
        assert_eq!((&generated.ids[..], generated.reason, generated.stats.new_tokens), (kept, Reason::MaxTokens, most));
        assert_eq!(told(&events).contains(&call("12/60", Some("0.2"))[1]), most >= call_ids.len());
        let written = rows(&script, Prompts::Shared(&[tokens.assistant_start], 2), &greedy(&script, most));
        assert_eq!((&written[1].ids[..], written[1].reason, written[1].drawn.len()), (kept, Reason::MaxTokens, kept.len()));
    }
}

#[test]
fn a_stop_token_in_a_call_ends_the_text() {
    let script = Script::writing(64, "so [1+2");
    let (generated, events) = generate(&script, &[script.tokens.assistant_start], &greedy(&script, 40));
    assert_eq!((text(&events), generated.reason), ("so ".to_owned(), Reason::Stop));
    assert!(!told(&events).iter().any(|event| matches!(event, Event::ToolCall { .. })), "{events:?}");
    // What has no value is told, and the model goes on by itself.
    let script = Script::writing(64, "so [1/0]?");
    let (generated, events) = generate(&script, &[script.tokens.assistant_start], &greedy(&script, 40));
    assert_eq!((text(&events), generated.reason), ("so ?".to_owned(), Reason::Stop));
    assert_eq!(told(&events)[3..5], call("1/0", None));
}

#[test]
fn pieces_of_text_add_up_to_the_tokens_and_split_no_character() {
    let script = Script::writing(64, "né€🐋\u{80}");
    let (generated, events) = generate(&script, &[script.tokens.assistant_start], &greedy(&script, 40));
    assert_eq!(text(&events), script.tokenizer.decode(&generated.ids));
    assert_eq!(told(&events), ["n", "é", "€", "🐋", "\u{80}"].map(|piece| Event::Text(piece.into())));
    // Begun and not ended: by the limit, and by a call that comes in between.
    let (_, events) = generate(&script, &[script.tokens.assistant_start], &greedy(&script, 4));
    assert_eq!(text(&events), "né\u{FFFD}");
    let script = Script::new(64, |tokens, from| {
        let path = [tokens.assistant_start, 0xC3, tokens.python_start, byte_token(b'1'), tokens.python_end];
        let next = path.windows(2).find(|pair| pair[0] == from).map(|pair| pair[1]);
        vec![next.unwrap_or(if from == tokens.output_end { 0xA9 } else { tokens.assistant_end })]
    });
    let (generated, events) = generate(&script, &[script.tokens.assistant_start], &greedy(&script, 40));
    let broken = Event::Text("\u{FFFD}".into());
    assert_eq!(told(&events), [&[broken.clone()][..], &call("1", Some("1")), &[broken]].concat(), "{generated:?}");
}

#[test]
fn a_full_context_ends_a_text_or_its_first_half_is_forgotten() {
    // Round and round, and every answer of the calculator falls on another place of the context.
    let script = Script::new(16, |tokens, from| {
        let path = [byte_token(b'a'), tokens.python_start, byte_token(b'7'), byte_token(b'*'), byte_token(b'8'), tokens.python_end];
        let next = path.windows(2).find(|pair| pair[0] == from).map(|pair| pair[1]);
        vec![next.unwrap_or(byte_token(b'a'))]
    });
    let prompt = script.ids("some text");
    let (generated, _) = generate(&script, &prompt, &GenerateOptions { tools: false, ..greedy(&script, 100) });
    assert_eq!((generated.reason, generated.ids.len(), generated.stats.context_used), (Reason::ContextFull, 16 - prompt.len() + 1, 16));
    let round = [
        &script.ids("a")[..],
        &[script.tokens.python_start],
        &script.ids("7*8"),
        &[script.tokens.python_end, script.tokens.output_start],
        &script.ids("56"),
        &[script.tokens.output_end],
    ]
    .concat();
    let forever: Vec<u32> = round.iter().copied().cycle().take(200).collect();
    for length in 1..=16 {
        let prompt = vec![byte_token(b'x'); length];
        let options = greedy(&script, 90);
        let (stopped, _) = generate(&script, &prompt, &options);
        let written = rows(&script, Prompts::Shared(&prompt, 2), &options);
        assert_eq!((&written[1].ids, written[1].reason), (&stopped.ids, Reason::ContextFull));
        assert!(forever.starts_with(&stopped.ids) && stopped.ids.last() != Some(&script.tokens.output_start), "{:?}", stopped.ids);
        let (forgot, events) = generate(&script, &prompt, &GenerateOptions { overflow: Overflow::Forget, ..options });
        let results = told(&events).iter().filter(|event| **event == call("7*8", Some("56"))[1]).count();
        assert_eq!((forgot.reason, forgot.ids.len(), results), (Reason::MaxTokens, 90, 9));
        assert_eq!(forgot.ids, forever[..90]);
    }
}

#[test]
fn nothing_and_one_token_are_lengths_too() {
    let script = Script::writing(32, "abc");
    for (most, ids) in [(0, ""), (1, "a")] {
        let options = greedy(&script, most);
        let (generated, events) = generate(&script, &[script.tokens.assistant_start], &options);
        assert_eq!((generated.ids, generated.reason, text(&events)), (script.ids(ids), Reason::MaxTokens, ids.to_owned()));
        for row in rows(&script, Prompts::Own(&[vec![script.tokens.assistant_start], script.ids("12345a")]), &options) {
            assert_eq!((row.reason, row.ids.len()), (Reason::MaxTokens, most));
        }
    }
    // However many are asked for, no memory is taken for what the context cannot hold.
    let (generated, _) = generate(&script, &[script.tokens.assistant_start], &greedy(&script, usize::MAX));
    assert_eq!(generated.ids, script.ids("abc"));
    let written = rows(&script, Prompts::Shared(&[script.tokens.assistant_start], 3), &greedy(&script, usize::MAX));
    assert!(written.iter().all(|row| row.ids == script.ids("abc") && row.reason == Reason::Stop));
}

#[test]
fn what_cannot_be_continued_is_refused_and_harms_nothing() {
    let script = Script::writing(32, "abc");
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let options = greedy(&script, 0);
    let beyond = script.model.config.vocab_size as u32;
    let long = vec![1; 33];
    for prompt in [&[][..], &[beyond], &[1, u32::MAX], &[u32::MAX, 1], &long] {
        for most in [0, 5] {
            let options = GenerateOptions { max_tokens: Some(most), ..options.clone() };
            let shared = generate_rows(&script.gpu, &script.model, &script.tokenizer, Prompts::Shared(prompt, 2), &options);
            let own = [vec![1], prompt.to_vec()];
            let own = generate_rows(&script.gpu, &script.model, &script.tokenizer, Prompts::Own(&own), &options);
            let one = engine.generate(prompt, &options, &AtomicBool::new(false), &mut |_| {}).map(|_| Vec::new());
            for error in [shared, own, one].map(Result::unwrap_err) {
                let right = match prompt.len() {
                    0 => matches!(error, EngineError::Empty),
                    33 => matches!(error, EngineError::TooLong { tokens: 33, room: 32 }),
                    _ => matches!(error, EngineError::NoSuchToken { .. }),
                };
                assert!(right, "{prompt:?}, {most}: {error}");
            }
        }
    }
    assert!(rows(&script, Prompts::Shared(&[1], 0), &options).is_empty() && rows(&script, Prompts::Own(&[]), &options).is_empty());
    let generated = engine.generate(&[script.tokens.assistant_start], &greedy(&script, 9), &AtomicBool::new(false), &mut |_| {});
    assert_eq!(generated.unwrap().ids, script.ids("abc"));
}

#[test]
fn cancelling_ends_a_text_before_its_next_token() {
    let script = Script::writing(64, "abcdefghijklmnopqrstuvw");
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let cancel = AtomicBool::new(false);
    let mut heard = String::new();
    let generated = engine
        .generate(&[script.tokens.assistant_start], &greedy(&script, 40), &cancel, &mut |event| {
            if let Event::Text(text) = event {
                heard += &text;
                cancel.store(heard.len() == 5, Ordering::Relaxed);
            }
        })
        .unwrap();
    assert_eq!((heard.as_str(), generated.ids, generated.reason), ("abcde", script.ids("abcde"), Reason::Cancelled));
    let none = engine.generate(&[script.tokens.assistant_start], &greedy(&script, 40), &cancel, &mut |_| {}).unwrap();
    assert_eq!((none.ids.len(), none.reason), (0, Reason::Cancelled));
}

#[test]
fn a_long_prompt_is_given_up_between_two_passes_and_read_to_its_end_later() {
    let script = wanderer(1024);
    let prompt: Vec<u32> = script.ids("abcdefghij").iter().copied().cycle().take(900).collect();
    let mut decoder = Decoder::new(&script.gpu, &script.model, 1, 1024).unwrap();
    let mut passes = 0;
    let mut two_passes = || {
        passes += 1;
        passes <= 2
    };
    assert_eq!(decoder.prefill_while(0, &prompt, &mut two_passes).unwrap(), None);
    assert_eq!(decoder.held(0), &prompt[..512]);
    assert_eq!(decoder.prefill_while(0, &prompt, &mut || true).unwrap(), Some(512));
    let mut whole = Decoder::new(&script.gpu, &script.model, 1, 1024).unwrap();
    whole.prefill(0, &prompt).unwrap();
    for decoder in [&mut decoder, &mut whole] {
        decoder.step(&[Feed::Token(prompt[0], Draw::GREEDY)]).unwrap();
    }
    assert_eq!(decoder.logits().unwrap(), whole.logits().unwrap());

    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let given_up = engine.generate(&prompt, &greedy(&script, 5), &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert_eq!((given_up.reason, given_up.stats.context_used), (Reason::Cancelled, 0));
    let written = engine.generate(&prompt, &greedy(&script, 5), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(written.ids, generate(&script, &prompt, &greedy(&script, 5)).0.ids);
}

#[test]
fn logits_that_are_no_numbers_give_no_text_and_no_score() {
    let script = Script::with_logits(32, |_, to| if to == 5 { f32::NAN } else { 1.0 });
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let written = engine.generate(&[3], &greedy(&script, 5), &AtomicBool::new(false), &mut |_| {}).map(drop);
    let many = generate_rows(&script.gpu, &script.model, &script.tokenizer, Prompts::Shared(&[3], 2), &greedy(&script, 5)).map(drop);
    for outcome in [written, many, score(&script.gpu, &script.model, &[1, 3, 1]).map(drop)] {
        assert!(matches!(outcome, Err(EngineError::NotNumbers)), "{outcome:?}");
    }
}

#[test]
fn every_token_after_the_first_has_a_score() {
    let script = wanderer(32);
    let ids = script.ids("abcdefghij").repeat(7);
    for length in [0, 1, 2, 32, 33, 34, 65, 66] {
        let scores = score(&script.gpu, &script.model, &ids[..length]).unwrap();
        assert_eq!(scores.len(), length.saturating_sub(1), "{length} tokens");
    }
}

#[test]
fn a_huge_penalty_keeps_every_token_from_coming_twice() {
    // The same ranking after every token: z likes itself best, then y, and so down.
    let script = Script::with_logits(300, |_, to| 5.0 + to as f32 / 100.0);
    let penalised = Sampling { repetition_penalty: 100.0, ..Sampling::greedy() };
    let options = GenerateOptions { sampling: penalised, stop: Vec::new(), tools: false, ..greedy(&script, 200) };
    let prompts: Vec<Vec<u32>> = ["a", "the old white whale", "264 tokens~"].map(|text| script.ids(text)).to_vec();
    let want = |prompt: &[u32]| -> Vec<u32> { (0..265).rev().filter(|id| !prompt.contains(id)).take(200).collect() };
    let written = rows(&script, Prompts::Own(&prompts), &options);
    for (prompt, row) in prompts.iter().zip(&written) {
        assert_eq!(row.ids, want(prompt));
        assert_eq!(generate(&script, prompt, &options).0.ids, want(prompt));
    }
    assert!(rows(&script, Prompts::Shared(&prompts[1], 3), &options).iter().all(|row| row.ids == want(&prompts[1])));
    // An engine that was used before, with and without a penalty, remembers nothing of it.
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    for (prompt, options) in
        [(0, &options), (1, &GenerateOptions { sampling: Sampling::greedy(), ..options.clone() }), (0, &options), (2, &options)]
    {
        let generated = engine.generate(&prompts[prompt], options, &AtomicBool::new(false), &mut |_| {}).unwrap();
        let all = options.sampling.repetition_penalty == 1.0;
        assert_eq!(generated.ids, if all { vec![264; 200] } else { want(&prompts[prompt]) });
    }
}

#[test]
fn a_row_that_stands_idle_has_seen_nothing() {
    let script = Script::with_logits(32, |_, to| 5.0 + if to == 0 { 1.0 } else { 0.0 });
    let draw = Draw { penalty: 50.0, ..Draw::GREEDY };
    let mut decoder = Decoder::new(&script.gpu, &script.model, 2, 32).unwrap();
    decoder.mark_seen();
    assert_eq!(decoder.step(&[Feed::Token(5, draw), Feed::Idle]).unwrap(), [Some(0), None]);
    assert_eq!(decoder.step(&[Feed::Token(0, draw), Feed::Token(5, draw)]).unwrap(), [Some(1), Some(0)]);
    assert!(matches!(decoder.step(&[Feed::Token(265, draw), Feed::Idle]), Err(EngineError::NoSuchToken { id: 265, .. })));
    assert_eq!((decoder.held(0), decoder.held(1)), (&[5, 0][..], &[5][..]));
}

#[test]
fn a_text_forgets_the_first_half_of_its_context() {
    // The prompt fills the context up to its last token, the second token needs room, and half of it is given up.
    for (context, used) in [(16, 8 + 1), (17, 8 + 1)] {
        let script = wanderer(context);
        let options = GenerateOptions { overflow: Overflow::Forget, ..greedy(&script, 2) };
        let (generated, _) = generate(&script, &vec![byte_token(b'x'); context], &options);
        assert_eq!((generated.reason, generated.stats.context_used), (Reason::MaxTokens, used));
    }
}

#[test]
fn the_time_to_the_first_token_ends_with_the_first_token() {
    let script = Script::writing(64, "abcdefghijklmnopqrst");
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let begun = Instant::now();
    let mut first = None;
    let mut each = |event| {
        if matches!(event, Event::Text(_)) {
            first.get_or_insert_with(|| begun.elapsed());
        }
    };
    let stats = engine.generate(&[script.tokens.assistant_start], &greedy(&script, 40), &AtomicBool::new(false), &mut each).unwrap().stats;
    assert_eq!(stats.new_tokens, 21);
    assert!(Duration::ZERO < stats.time_to_first_token && stats.time_to_first_token <= first.unwrap(), "{stats:?}, heard at {first:?}");
    assert!(stats.time_to_first_token < stats.total_time);
}

#[test]
fn options_out_of_their_range_are_refused_for_one_text_and_for_many() {
    let script = Script::writing(32, "abc");
    let options = GenerateOptions { sampling: Sampling { top_k: 266, ..Sampling::default() }, ..greedy(&script, 5) };
    let many = generate_rows(&script.gpu, &script.model, &script.tokenizer, Prompts::Shared(&[1], 2), &options).unwrap_err();
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let one = engine.generate(&[1], &options, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    for error in [many, one] {
        assert!(matches!(error, EngineError::TopK { top_k: 266, vocab_size: 265 }), "{error}");
    }
}

#[test]
fn rows_take_memory_for_what_they_may_write() {
    let script = Script::writing(4096, "abc");
    let prompt = [script.tokens.assistant_start];
    let peak = |most| {
        assert_eq!(rows(&script, Prompts::Shared(&prompt, 4), &greedy(&script, most))[3].ids, script.ids("abc"));
        script.gpu.memory().peak
    };
    let few = peak(8);
    assert_eq!(peak(8), few);
    assert!(peak(4000) > few);
}
