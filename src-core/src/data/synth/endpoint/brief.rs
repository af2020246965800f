//! The request to a server: the facts, and the topic of the conversation.

use serde_json::{Value, json};

use crate::data::synth::dice::Dice;
use crate::data::synth::error::SynthError;
use crate::data::synth::file::Place;
use crate::data::synth::fill::{Filler, text};
use crate::data::synth::recipe::Recipe;
use crate::tokenizer::{Message, Role};

/// The text before the facts in every request.
const TASK: &str = "You write training data for a small language model: conversations between a user and that model. \
Everything that the model says about itself must follow from these facts, which hold for it and not for you:";

/// The text after them.
const FORM: &str = "Write plain, short sentences, no markdown, no lists. The model is friendly, modest and honest. \
Answer with one JSON object and nothing else: {\"messages\": [{\"role\": \"user\", \"content\": \"…\"}, \
{\"role\": \"assistant\", \"content\": \"…\"}]}, user and assistant in turn, the user first and the assistant last.";

/// Writing styles of the user, so that conversations vary.
const MANNERS: [&str; 10] = [
    "friendly and curious",
    "in a hurry, in as few words as possible",
    "all in lower case, with a typing error or two",
    "sceptical, doubting the answers",
    "like a child of ten years",
    "like an engineer who wants details",
    "very polite",
    "confused, mixing the model up with another one",
    "bored, with small talk first",
    "like somebody who has never used a computer much",
];

/// A request, and what its answer does not contain.
pub struct Brief {
    /// The body of the request.
    pub body: Value,
    /// The system message to prepend to the conversation.
    pub system: Option<Message>,
}

/// The request number `index` of a seed to `model`.
pub fn brief(recipe: &Recipe, model: &str, seed: u64, index: u64) -> Result<Brief, SynthError> {
    // Stream 0 is for conversations generated locally.
    let dice = &mut Dice::new(seed, index.wrapping_add(1));
    let wanted = dice.chance(recipe.shape.personas);
    let persona = dice.weighted(recipe.personas.iter().map(|persona| persona.weight)).filter(|_| wanted);
    let persona = persona.map(|index| &recipe.personas[index]);
    let mut filler = Filler::new(recipe, persona);
    let mut facts = String::new();
    for (name, phrasings) in &recipe.facts {
        let told = persona.and_then(|persona| persona.set.get(name)).unwrap_or(phrasings);
        facts.push_str(&format!("\n- {name}: {}", text(&filler.one_of(told, dice)?)));
    }
    let exchanges = 1 + dice.weighted(recipe.shape.exchanges.iter().copied()).unwrap_or(0);
    let weights = recipe.topics.iter().enumerate().map(|(index, topic)| {
        let opens = topic.place != Place::Later && persona.is_none_or(|persona| persona.suits(index, topic));
        if opens { topic.weight } else { 0 }
    });
    let asked = if exchanges == 1 { "one question and its answer".to_owned() } else { format!("{exchanges} questions and their answers") };
    let mut ask = format!("Write a conversation of {asked}.");
    if let Some(topic) = dice.weighted(weights).map(|index| &recipe.topics[index]) {
        filler.start(topic);
        let example = text(&filler.one_of(&topic.first.ask, dice)?);
        ask.push_str(&format!(" It begins with the topic {:?}, for example with a question like {:?}.", topic.name, example.trim()));
        if let Some(language) = &topic.language {
            ask.push_str(&format!(" It is in the language with the code {language:?}."));
        }
    }
    ask.push_str(&format!(" The user writes {}.", dice.pick(&MANNERS)));
    let system = persona.map(|persona| Ok::<_, SynthError>(text(&filler.one_of(&persona.system, dice)?).trim().to_owned())).transpose()?;
    if let Some(system) = &system {
        ask.push_str(&format!(" The model has been told: {system:?} and keeps to it."));
    }
    let messages =
        [json!({ "role": "system", "content": format!("{TASK}\n{facts}\n\n{FORM}") }), json!({ "role": "user", "content": ask })];
    Ok(Brief { body: json!({ "model": model, "messages": messages }), system: system.map(|system| Message::text(Role::System, system)) })
}
