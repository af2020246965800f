//! `nc-core eval chat`: categorical tasks by the probabilities of their labels, generative ones by what the model writes, and what is
//! refused.

use std::ops::ControlFlow;
use std::sync::Mutex;

use nc_core::checkpoint::{self, Run};
use nc_core::engine;
use nc_core::eval::chat::{ChatOptions, evaluate};
use nc_core::gpu::Gpu;
use nc_core::model::Model;
use nc_core::tasks::{self, FileRules, Sources, Split, Task, TaskError};
use nc_core::tokenizer::{Conversation, Message, Role, Tokenizer};
use nc_core::train::{self, run_config};
use nc_tests::nc_core;
use nc_tests::trained::{self, SHIPPED};
use nc_tests::workshop::Workshop;
use serde_json::{Value, json};

const QUESTIONS: usize = 10;

/// A home with the model that comes with the app, and a folder of tasks.
fn workshop() -> Workshop {
    let workshop = Workshop::without_tokenizer(|home| nc_core!(home));
    trained::install(&workshop);
    let lines = |rows: Vec<Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let asked = |number: usize| {
        let labels = if number.is_multiple_of(3) { ["1", "2", "3", "4"] } else { ["A", "B", "C", "D"] };
        let text: Vec<String> = (0..4).map(|choice| format!("{} apples", number + choice)).collect();
        json!({ "question": format!("How many are {number} apples?"), "choices": { "text": text, "label": labels }, "answerKey": labels[number % 4] })
    };
    std::fs::create_dir_all(workshop.folder().join("data/arc-easy")).unwrap();
    workshop.file("data/arc-easy/test.jsonl", lines((0..QUESTIONS).map(asked).collect()));
    workshop
}

struct Opened {
    gpu: Gpu,
    model: Model,
    tokenizer: Tokenizer,
}

impl Opened {
    fn shipped(workshop: &Workshop) -> Self {
        let (run, _): (Run, _) = trained::open(workshop, SHIPPED, 1);
        let config = run_config(&run).unwrap().model;
        let mut saved = checkpoint::load_model(&run, None).unwrap();
        let gpu = Gpu::open(None).unwrap();
        let parameters = train::load(&gpu, &config, &mut saved.model, None).unwrap();
        let model = Model::new(&gpu, &config, parameters).unwrap();
        Self { gpu, model, tokenizer: Tokenizer::from_file(&run.tokenizer_path()).unwrap() }
    }
}

#[test]
fn the_label_with_the_highest_probability_is_the_answer() {
    let workshop = workshop();
    let (data, csv) = (workshop.path("data"), workshop.path("scores.csv"));
    let output = workshop.succeed(&["eval", "chat", "--run", SHIPPED, "--data", &data, "--tasks", "ARC-Easy", "--csv", &csv, "--json"]);
    let value: Value = serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap();
    let score = &value["chat"]["tasks"][0];

    let Opened { gpu, model, tokenizer } = Opened::shipped(&workshop);
    let sources = Sources { data: Some(data.into()), offline: true, cache: workshop.home().join("cache"), files: FileRules::default() };
    let task = tasks::open(&"arc-easy".parse().unwrap(), Split::Test, &sources).unwrap();
    let mut right = 0;
    for index in 0..task.len() {
        let prompt = tokenizer.render_for_completion(&task.example(index).unwrap()).unwrap();
        let labels = task.labels(index).unwrap().unwrap();
        let log_probability = |label: &String| {
            let [id] = tokenizer.encode(label)[..] else { panic!("{label} is not one token") };
            *engine::score(&gpu, &model, &[&prompt[..], &[id]].concat()).unwrap().last().unwrap()
        };
        let best = labels.iter().max_by(|one, other| log_probability(one).total_cmp(&log_probability(other))).unwrap();
        right += usize::from(task.evaluate(index, best).unwrap().unwrap());
    }
    assert_eq!((score["questions"].as_u64(), score["right"].as_u64()), (Some(QUESTIONS as u64), Some(right as u64)));
    // The rest of ChatCORE is missing, so there is no number of that name.
    assert_eq!(value["chat"]["chat_core"], Value::Null);
    assert!(std::fs::read_to_string(csv).unwrap().contains(&format!("ARC-Easy,{QUESTIONS},{right},")));
}

/// Questions to which only what `right` says is an answer; keeps what was written.
struct Asked<F> {
    right: F,
    written: Mutex<Vec<(usize, String)>>,
}

impl<F: Fn(usize, &str) -> bool + Send + Sync> Task for Asked<F> {
    fn name(&self) -> &str {
        "asked"
    }

    fn len(&self) -> usize {
        5
    }

    fn example(&self, index: usize) -> Result<Conversation, TaskError> {
        let asked = ["Hello!", "What is the capital of France?", "Who are you?", "Spell the word: apple", "Count."][index];
        Ok(Conversation { messages: vec![Message::text(Role::User, asked), Message::text(Role::Assistant, "?")] })
    }

    fn evaluate(&self, index: usize, answer: &str) -> Result<Option<bool>, TaskError> {
        self.written.lock().unwrap().push((index, answer.to_owned()));
        Ok(Some((self.right)(index, answer)))
    }

    fn fingerprint(&self) -> String {
        "asked".into()
    }
}

#[test]
fn written_answers_are_judged_each_by_its_question_and_one_of_several_is_enough() {
    let workshop = workshop();
    let Opened { gpu, model, tokenizer } = Opened::shipped(&workshop);
    let ask = |task: &dyn Task, options: &ChatOptions| {
        let answers = evaluate(&gpu, &model, &tokenizer, task, options, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
        answers.into_iter().map(|answer| answer.right).collect::<Vec<bool>>()
    };
    let greedy = ChatOptions { max_tokens: 12, rows: 3, ..ChatOptions::default() };
    let task = Asked { right: |index: usize, _: &str| index % 2 == 1, written: Mutex::default() };
    assert_eq!(ask(&task, &greedy), [false, true, false, true, false]);
    let mut together = task.written.into_inner().unwrap();
    together.sort();
    // One at a time gives the same texts.
    let alone = Asked { right: |index: usize, _: &str| index % 2 == 1, written: Mutex::default() };
    ask(&alone, &ChatOptions { rows: 1, ..greedy.clone() });
    assert_eq!(alone.written.into_inner().unwrap(), together);

    // Of four drawn answers to each question, any different one from the greedy text counts.
    let different = Asked { right: |index: usize, answer: &str| answer != together[index].1, written: Mutex::default() };
    let mut drawn = ChatOptions { samples: 4, most: Some(2), ..greedy };
    drawn.sampling.temperature = 1.5;
    let right = ask(&different, &drawn);
    let written = different.written.into_inner().unwrap();
    assert_eq!((right.len(), written.len()), (2, 8));
    for (index, right) in right.into_iter().enumerate() {
        assert_eq!(right, written.iter().any(|(asked, answer)| *asked == index && answer != &together[index].1));
    }
}

#[test]
fn of_several_drawn_answers_each_belongs_to_its_question() {
    let workshop = workshop();
    let Opened { gpu, model, tokenizer } = Opened::shipped(&workshop);
    let task = Asked { right: |index: usize, _: &str| index == 3, written: Mutex::default() };
    // Four questions share a pass, each with two answers.
    let mut options = ChatOptions { samples: 2, rows: 8, max_tokens: 8, ..ChatOptions::default() };
    options.sampling.temperature = 1.5;
    let answers = evaluate(&gpu, &model, &tokenizer, &task, &options, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    assert_eq!(answers.iter().map(|answer| answer.right).collect::<Vec<_>>(), [false, false, false, true, false]);
    let mut judged = task.written.into_inner().unwrap();
    let mut given: Vec<(usize, String)> =
        answers.into_iter().enumerate().flat_map(|(index, answer)| answer.given.into_iter().map(move |text| (index, text))).collect();
    judged.sort();
    given.sort();
    assert_eq!((judged.len(), &judged), (10, &given));
    assert!((0..5).any(|index| judged[2 * index] != judged[2 * index + 1]), "all samples are alike: {judged:?}");
}

#[test]
fn finished_tasks_are_not_evaluated_again() {
    let workshop = workshop();
    let data = workshop.path("data");
    let eval = |asked: [&str; 2], more: &[&str]| {
        let args = [
            &[
                "eval",
                "chat",
                "--run",
                SHIPPED,
                "--data",
                &data,
                "--tasks",
                "arc-easy,spellingbee",
                "-x",
                asked[0],
                "--max-new-tokens",
                asked[1],
            ],
            more,
        ];
        let output = workshop.succeed(&args.concat());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap().matches("finished before").count())
    };
    let few = ["4", "8"];
    let (first, none) = eval(few, &[]);
    assert_eq!((eval(few, &[]), none), ((first.clone(), 2), 0));
    assert_eq!((eval(["4", "9"], &[]).1, eval(["3", "8"], &[]).1, eval(few, &["--weights", "bf16"]).1), (1, 0, 0));
    let answers = workshop.path("answers.jsonl");
    assert_eq!([eval(few, &["--again"]), eval(few, &["--answers", &answers])], [(first.clone(), 0), (first, 0)]);
    let lines: Vec<Value> = std::fs::read_to_string(answers).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["task"] == "SpellingBee").count(), 4);
    assert!(lines.iter().filter(|line| line["task"] == "ARC-Easy").all(|line| "ABCD1234".contains(line["given"][0].as_str().unwrap())));
    // Other data are another task.
    workshop.file(
        "data/arc-easy/test.jsonl",
        std::fs::read_to_string(workshop.path("data/arc-easy/test.jsonl")).unwrap().replace("apples", "pears"),
    );
    assert_eq!(eval(few, &[]).1, 1);
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let workshop = workshop();
    let data = workshop.path("data");
    let eval = |more: &[&str]| workshop.refused(&[&["eval", "chat", "--run", SHIPPED, "--data", &data][..], more].concat());
    assert!(eval(&["--tasks", "arc"]).contains("there is no chat task \"arc\"; there are arc-easy, arc-challenge, mmlu"));
    assert!(eval(&["--tasks", "gsm8k"]).contains("holds no gsm8k for evaluation"));
    let nowhere = workshop.path("nowhere");
    assert!(eval(&["--tasks", "humaneval", "--python", &nowhere]).contains("nc-core data download python"));
    assert!(eval(&["--tasks", "arc-easy", "--temperature", "-1"]).contains("temperature"));
    workshop.file("data/arc-easy/test.jsonl", "{\"question\": 1}\n");
    assert!(eval(&["--tasks", "arc-easy"]).contains("line 1"));
}
