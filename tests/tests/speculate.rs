//! Speculative decoding: whatever drafts, the text is the one of plain decoding, token for token; and so is the distribution.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use nc_core::engine::decoder::{Decoder, Feed, MOST_VERIFIED};
use nc_core::engine::{Drafter, Effort, Engine, EngineError, Event, GenerateOptions, Generated, Overflow, Reason, Sampling, Stats};
use nc_core::gpu::Gpu;
use nc_core::kernels::sample::{Draw, twin};
use nc_core::model::{Architecture, CacheFormat};
use nc_core::weights::Format;
use nc_tests::drawn::windowed;
use nc_tests::nc_core;
use nc_tests::script::{Script, byte_token, bytes_tokenizer};
use nc_tests::workshop::{Workshop, refusal, words};
use serde_json::Value;

fn gpu() -> Gpu {
    Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap()
}

/// Draws of every kind, with another random number each.
fn draws(from: usize, count: usize) -> Vec<Draw> {
    let uniform = |i: usize| (i * 7919 % 1009) as f32 / 1009.0;
    let draw = |i: usize| match i % 3 {
        0 => Draw::GREEDY,
        1 => Draw { temperature: 1.0, top_k: 20, uniform: uniform(i), ..Draw::GREEDY },
        _ => Draw { temperature: 2.0, top_p: 0.9, penalty: 1.3, uniform: uniform(i), ..Draw::GREEDY },
    };
    (from..from + count).map(draw).collect()
}

#[test]
fn a_verified_token_is_drawn_as_by_a_step_to_the_bit() {
    let gpu = gpu();
    let cases = [
        (Architecture::CURRENT, Format::F32, CacheFormat::F32),
        (Architecture::CLASSIC, Format::F32, CacheFormat::Bf16),
        (Architecture::CURRENT, Format::Q8, CacheFormat::F16),
    ];
    for (architecture, format, cache) in cases {
        let model = windowed(&gpu, 64, architecture, format);
        let ids: Vec<u32> = (0..1500).map(|t| ((t * t + t / 7) % 64) as u32).collect();
        let junk = [9; MOST_VERIFIED];
        let new = || Decoder::with_cache(&gpu, &model, 1, usize::MAX, cache).unwrap();
        let (mut plain, mut drafted) = (new(), new());
        // Before the window is full, at the end of the ring, past it, and where the context ends.
        for start in [0, 3, 500, 760, 765, 1100, 1476] {
            for decoder in [&mut plain, &mut drafted] {
                decoder.prefill(0, &ids[..start]).unwrap();
                decoder.mark_seen();
            }
            let mut at = start;
            for tokens in [1, 2, 3, 8, 5, 4] {
                let draws = draws(at, tokens);
                let feeds = ids[at..at + tokens].iter().zip(&draws);
                let stepped: Vec<Option<u32>> = feeds.map(|(&id, &draw)| plain.step(&[Feed::Token(id, draw)]).unwrap()[0]).collect();
                // What is thrown away leaves nothing behind, as often as it is, and whoever keeps tokens goes on from them.
                drafted.verify(0, &junk, &[Draw::GREEDY; MOST_VERIFIED]).unwrap_or_default();
                let junk_after_one = [&ids[at..=at], &junk[1..]].concat();
                if at + MOST_VERIFIED <= 1500 {
                    let verified = drafted.verify(0, &junk_after_one, &self::draws(at, MOST_VERIFIED)).unwrap();
                    assert_eq!(verified[0], stepped[0], "{at}");
                }
                let verified = drafted.verify(0, &ids[at..at + tokens], &draws).unwrap();
                assert_eq!(verified, stepped, "{tokens} tokens at {at}");
                assert_eq!(drafted.held(0).len(), at);
                (0..tokens).for_each(|_| drafted.keep());
                at += tokens;
                assert_eq!((drafted.held(0), plain.held(0)), (&ids[..at], &ids[..at]));
            }
            // The same cache: the next logits are the same bits, by another pass.
            let draw = self::draws(2, 1)[0];
            let next: Vec<Option<u32>> =
                [&mut plain, &mut drafted].into_iter().map(|decoder| decoder.step(&[Feed::Token(ids[at], draw)]).unwrap()[0]).collect();
            assert_eq!(next[0], next[1]);
            assert!(plain.logits().unwrap() == drafted.logits().unwrap(), "from {start}");
        }
        // Going back reuses as much, whatever was thrown away.
        for length in [1490, 1240, 1236, 1233, 1230, 900] {
            let reused = [&mut plain, &mut drafted].map(|decoder| decoder.prefill(0, &ids[..length]).unwrap());
            assert_eq!(reused[0], reused[1], "{length}");
            drafted.verify(0, &junk, &[Draw::GREEDY; MOST_VERIFIED]).unwrap();
        }
    }
}

#[test]
fn tokens_that_cannot_be_verified_are_refused() {
    let script = Script::writing(10, "abc");
    let mut decoder = Decoder::new(&script.gpu, &script.model, 1, usize::MAX).unwrap();
    decoder.prefill(0, &[1, 2, 3]).unwrap();
    let too_long = decoder.verify(0, &[1; 8], &[Draw::GREEDY; 8]);
    assert!(matches!(too_long, Err(EngineError::TooLong { tokens: 11, room: 10 })));
    assert!(matches!(decoder.verify(0, &[1, 265], &[Draw::GREEDY; 2]), Err(EngineError::NoSuchToken { id: 265, .. })));
    assert_eq!(decoder.verify(0, &script.ids("abc12x?"), &[Draw::GREEDY; 7]).unwrap()[..2], [98, 99].map(Some));
    assert_eq!(decoder.held(0), [1, 2, 3]);
}

/// What was written for each prompt by one engine, and everything that was told.
fn write(script: &Script, drafter: Option<(Drafter<'_>, Effort)>, prompts: &[Vec<u32>], options: &GenerateOptions) -> Vec<Written> {
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    if let Some((drafter, effort)) = drafter {
        engine.speculate(drafter, effort).unwrap();
    }
    let text = |prompt: &Vec<u32>| {
        let mut events = Vec::new();
        let generated = engine.generate(prompt, options, &AtomicBool::new(false), &mut |event| events.push(event)).unwrap();
        events.retain(|event| !matches!(event, Event::Done { .. }));
        Written { generated, events }
    };
    prompts.iter().map(text).collect()
}

struct Written {
    generated: Generated,
    events: Vec<Event>,
}

impl Written {
    /// All but the times and what was drafted.
    fn plain(&self) -> (&[u32], Reason, &[Event], [usize; 4]) {
        let Generated { ids, reason, stats } = &self.generated;
        (ids, *reason, &self.events, [stats.prompt_tokens, stats.reused_tokens, stats.new_tokens, stats.context_used])
    }
}

/// Wanders among letters, mostly round in one way, ends now and then, and asks the calculator for 7*7, 7*7*7 and so on.
fn wanderer(context: usize, liking: f32) -> Script {
    let tokens = bytes_tokenizer().chat_tokens().unwrap();
    let letters = || (b'a'..b'k').map(byte_token);
    let next = move |from: u32, to: u32| match from {
        from if from == tokens.python_start => to == byte_token(b'7'),
        from if from == byte_token(b'7') => [byte_token(b'*'), tokens.python_end].contains(&to),
        from if from == byte_token(b'*') => to == byte_token(b'7'),
        _ => letters().chain([tokens.python_start, tokens.assistant_end]).any(|id| id == to),
    };
    Script::with_logits(context, move |from, to| match next(from, to) {
        true if letters().any(|id| id == from) && to == byte_token(b'a') + (from + 1 - byte_token(b'a')) % 10 => 6.0 + liking,
        true => 6.0,
        false => -20.0,
    })
}

/// Every way to draw, each with one of two ways to end.
fn options(script: &Script) -> Vec<GenerateOptions> {
    let base = Sampling { temperature: 1.0, top_k: 0, ..Sampling::default() };
    let samplings = [
        Sampling::greedy(),
        base.clone(),
        Sampling { temperature: 0.7, top_k: 5, seed: 1, ..base.clone() },
        Sampling { top_p: 0.8, min_p: 0.05, seed: 2, ..base.clone() },
        Sampling { repetition_penalty: 1.1, seed: 3, ..base },
        Sampling { repetition_penalty: 3.0, ..Sampling::greedy() },
    ];
    let ends = [(vec![script.tokens.assistant_end], Overflow::Stop), (Vec::new(), Overflow::Forget)];
    let of = |(sampling, (stop, overflow))| GenerateOptions { max_tokens: Some(60), sampling, stop, tools: true, overflow };
    samplings.into_iter().zip(ends.into_iter().cycle()).map(of).collect()
}

#[test]
fn texts_are_the_same_with_every_drafter() {
    let (script, like, unlike) = (wanderer(80, 3.0), wanderer(80, 2.0), wanderer(40, -2.0));
    let drafters: [(&str, Drafter<'_>); 4] = [
        ("lookup", Drafter::Lookup),
        ("itself", Drafter::Model { gpu: &script.gpu, model: &script.model, tokenizer: Some(&script.tokenizer) }),
        ("alike", Drafter::Model { gpu: &like.gpu, model: &like.model, tokenizer: Some(&like.tokenizer) }),
        ("unlike, of half the context", Drafter::Model { gpu: &unlike.gpu, model: &unlike.model, tokenizer: Some(&unlike.tokenizer) }),
    ];
    let beginning = script.ids("abcdefgh 7*7 abcabc");
    let longer = [&beginning[..], &script.ids("and more, abcdefgh")].concat();
    let full = vec![byte_token(b'x'); 80];
    let prompts = [beginning.clone(), longer, beginning, full, script.ids("c")];
    let mut accepted: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for options in options(&script) {
        let plain = write(&script, None, &prompts, &options);
        for (name, drafter) in drafters {
            for effort in [Effort::Always, Effort::WherePaying] {
                let drafted = write(&script, Some((drafter, effort)), &prompts, &options);
                for (plain, drafted) in plain.iter().zip(&drafted) {
                    assert_eq!(drafted.plain(), plain.plain(), "{name}, {effort:?}, {options:?}");
                    let stats = drafted.generated.stats;
                    assert!(stats.accepted_tokens <= stats.drafted_tokens && stats.accepted_tokens <= stats.new_tokens);
                    if effort == Effort::Always {
                        let of = accepted.entry(name).or_default();
                        *of = [of[0] + stats.accepted_tokens, of[1] + stats.drafted_tokens];
                    }
                }
            }
        }
    }
    let share = |name: &str| accepted[name][0] as f64 / accepted[name][1] as f64;
    // All that a model drafts of itself is right, unless the text ends in the middle of a draft.
    assert!(share("itself") > 0.85 && share("alike") > 0.2 && share("alike") < share("itself"), "{accepted:?}");
    assert!(share("lookup") > 0.2 && share("unlike, of half the context") > 0.02, "{accepted:?}");
}

#[test]
fn every_length_and_every_moment_to_stop_end_the_same_text() {
    let script = wanderer(48, 3.0);
    let prompt = script.ids("abcdefghijabcdefghijab");
    let base = &options(&script)[2];
    for most in 0..30 {
        let options = GenerateOptions { max_tokens: Some(most), ..base.clone() };
        let [plain, drafted] = [None, Some((Drafter::Lookup, Effort::Always))]
            .map(|drafter| write(&script, drafter, &[prompt.clone(), [&prompt[..], &script.ids("cd")].concat()], &options));
        assert!(plain.iter().zip(&drafted).all(|(plain, drafted)| plain.plain() == drafted.plain()), "{most}");
        // Cancelled in the middle of a draft, the cache holds what was written and no more.
        let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
        engine.speculate(Drafter::Lookup, Effort::Always).unwrap();
        let (cancel, mut heard) = (AtomicBool::new(most == 0), 0);
        let options = GenerateOptions { tools: false, ..base.clone() };
        let cancelled = engine
            .generate(&prompt, &options, &cancel, &mut |event| {
                heard += usize::from(matches!(event, Event::Text(_)));
                cancel.store(heard >= most, Ordering::Relaxed);
            })
            .unwrap();
        let whole = &write(&script, None, std::slice::from_ref(&prompt), &options)[0].generated;
        assert!(whole.ids.starts_with(&cancelled.ids));
        if cancelled.reason == Reason::Cancelled && most > 0 {
            assert_eq!(cancelled.stats.context_used, prompt.len() + cancelled.ids.len() - 1);
        }
    }
}

/// Letters with chances of every size after each other. `shift` makes another model of it.
fn chances(context: usize, shift: u32) -> Script {
    Script::with_logits(context, move |from, to| match to.checked_sub(byte_token(b'a')) {
        Some(letter @ 0..8) => 2.0 + 0.7 * ((from * 5 + letter * 3 + (from + letter) / 4 * shift) % 8) as f32,
        _ => -60.0,
    })
}

/// χ² of what followed each letter in `ids` against the chances that `model` gives, and the degrees of freedom.
fn chi_squared(model: &Script, draw: &Draw, ids: &[u32]) -> (f64, f64) {
    let mut decoder = Decoder::new(&model.gpu, &model.model, 1, usize::MAX).unwrap();
    let (mut sum, mut freedom) = (0.0, 0.0);
    for from in (b'a'..b'i').map(byte_token) {
        decoder.prefill(0, &[]).unwrap();
        decoder.step(&[Feed::Token(from, *draw)]).unwrap();
        let logits = decoder.logits().unwrap();
        let kept = twin::kept(&logits, draw, &vec![false; logits.len()]).unwrap();
        let all: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let after: Vec<u32> = ids.windows(2).filter(|pair| pair[0] == from).map(|pair| pair[1]).collect();
        let count = |id: u32| after.iter().filter(|&&other| other == id).count() as f64;
        // Rare tokens count together: χ² is an approximation for frequent ones.
        let (mut rare, mut rare_expected) = (after.len() as f64, after.len() as f64);
        for (id, weight) in kept {
            let expected = after.len() as f64 * weight / all;
            if expected >= 8.0 {
                sum += (count(id) - expected).powi(2) / expected;
                (rare, rare_expected) = (rare - count(id), rare_expected - expected);
                freedom += 1.0;
            }
        }
        match rare_expected {
            expected if expected >= 1.0 => sum += (rare - expected).powi(2) / expected,
            _ => freedom -= 1.0,
        }
    }
    (sum, freedom)
}

#[test]
fn thousands_of_draws_are_distributed_as_the_model_says() {
    let (script, other) = (chances(2048, 0), chances(2048, 1));
    let model = Drafter::Model { gpu: &other.gpu, model: &other.model, tokenizer: Some(&other.tokenizer) };
    for (top_p, seed, drafter) in [(1.0, 5, Drafter::Lookup), (0.9, 6, model)] {
        let sampling = Sampling { temperature: 0.9, top_k: 0, top_p, seed, ..Sampling::default() };
        let options = GenerateOptions { sampling, ..GenerateOptions::default() };
        let draw = Draw { temperature: 0.9, top_p: top_p as f32, ..Draw::GREEDY };
        let near = |(sum, freedom): (f64, f64)| (sum - freedom).abs() < 4.0 * (2.0 * freedom).sqrt();
        let written = write(&script, Some((drafter, Effort::Always)), &[script.ids("a")], &options);
        let Generated { ids, stats, .. } = &written[0].generated;
        let Stats { drafted_tokens, accepted_tokens, .. } = *stats;
        assert!(ids.len() == 2048 && accepted_tokens > 200 && drafted_tokens > 2 * accepted_tokens, "{stats:?}");
        let right = chi_squared(&script, &draw, ids);
        assert!(near(right), "{right:?} with {accepted_tokens} of {drafted_tokens} accepted");
        // The test would notice the draft's distribution.
        let wrong = chi_squared(&other, &draw, ids);
        assert!(right.1 > 15.0 && wrong.0 > 3.0 * wrong.1, "{right:?}, {wrong:?}");
    }
}

#[test]
fn a_draft_model_of_another_tokenizer_is_refused() {
    let script = wanderer(32, 0.0);
    let mut engine = Engine::new(&script.gpu, &script.model, &script.tokenizer).unwrap();
    let drafter = |tokenizer| Drafter::Model { gpu: &script.gpu, model: &script.model, tokenizer };
    assert!(matches!(engine.speculate(drafter(None), Effort::Always), Err(EngineError::OtherTokenizer)));
    let mut of_ids = Engine::of_ids(&script.gpu, &script.model).unwrap();
    assert!(matches!(of_ids.speculate(drafter(Some(&script.tokenizer)), Effort::Always), Err(EngineError::OtherTokenizer)));
    of_ids.speculate(drafter(None), Effort::Always).unwrap();
    let other = windowed(&script.gpu, 64, Architecture::CURRENT, Format::F32);
    let drafter = Drafter::Model { gpu: &script.gpu, model: &other, tokenizer: None };
    assert!(matches!(of_ids.speculate(drafter, Effort::Always), Err(EngineError::OtherTokenizer)));
}

#[test]
fn a_draft_model_whose_logits_are_no_numbers_harms_nothing() {
    let (script, broken) = (wanderer(64, 3.0), Script::with_logits(64, |_, _| f32::NAN));
    let drafter = Drafter::Model { gpu: &broken.gpu, model: &broken.model, tokenizer: Some(&broken.tokenizer) };
    let prompts = [script.ids("abc")];
    let options = &options(&script)[2];
    let (plain, drafted) = (write(&script, None, &prompts, options), write(&script, Some((drafter, Effort::Always)), &prompts, options));
    assert_eq!(plain[0].plain(), drafted[0].plain());
    assert_eq!(drafted[0].generated.stats.accepted_tokens, 0);
}

/// A home with the run "wander", two that draft for it, and "other", whose tokenizer is another one.
fn workshop() -> Workshop {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    let home = workshop.home();
    let script = wanderer(300, 3.0);
    script.install(&home, "wander");
    wanderer(300, 2.0).install(&home, "like");
    script.install_as(&home, "other", &script.tokenizer.to_json().replace("<|python_end|>", "<|no|>"), |_| {});
    workshop
}

#[test]
fn the_command_writes_the_same_text_and_says_what_was_drafted() {
    let workshop = workshop();
    let say = |more: &[&str]| -> Value {
        let args = ["generate", "--run", "wander", "--prompt", "abcdefghijabc", "--max-tokens", "120", "--json", "--seed", "4"];
        let output = workshop.command(&[&args, more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let plain = say(&[]);
    assert_eq!((plain["drafted_tokens"].as_u64(), plain["accepted_tokens"].as_u64()), (Some(0), Some(0)));
    for more in [&["--lookup"][..], &["--draft", "like"], &["--draft", "wander"]] {
        let drafted = say(more);
        assert_eq!((&drafted["text"], &drafted["ids"]), (&plain["text"], &plain["ids"]), "{more:?}");
        assert!(drafted["drafted_tokens"].as_u64() > Some(0), "{more:?}: {drafted}");
        assert!(drafted["accepted_tokens"].as_u64() <= drafted["drafted_tokens"].as_u64());
    }

    // Greedily it goes round and round.
    let mut command = workshop.command(&["chat", "--run", "wander", "--lookup", "--temperature", "0", "--max-tokens", "100"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"abc\n/stats\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains(" drafted ones accepted, "), "{}", words(&output));
    let output = workshop.command(&["generate", "--run", "wander", "--lookup", "--prompt", "abcabcabc"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(" drafted ones accepted, "), "{}", words(&output));
}

#[test]
fn a_run_that_cannot_draft_is_refused_with_a_sentence() {
    let workshop = workshop();
    for (run, sentence) in [("other", "the draft model has another tokenizer"), ("wandr", "did you mean \"wander\"")] {
        for args in [&["chat", "-p", "hm"][..], &["generate", "--prompt", "hm"]] {
            let args = [args, &["--run", "wander", "--draft", run]].concat();
            let said = refusal(&format!("{args:?}"), &workshop.command(&args).output().unwrap());
            assert!(said.contains(sentence), "{said}");
        }
    }
}
