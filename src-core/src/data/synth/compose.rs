//! Generates conversations from a recipe.

use super::dice::Dice;
use super::distinct::Distinct;
use super::error::SynthError;
use super::file::Place;
use super::fill::{Filler, Run, parts, text};
use super::recipe::{Exchange, Persona, Recipe, Topic};
use super::slips::slipped;
use crate::tokenizer::{Content, Conversation, Message, PartKind, Role};

/// After this many draws in a row without a new conversation, the recipe counts as exhausted.
const MOST_IN_VAIN: usize = 10_000;

impl Recipe {
    /// `count` distinct conversations, always the same ones for a seed; fewer if the recipe does not have so many.
    ///
    /// The first of a larger count are those of a smaller one.
    ///
    /// # Errors
    /// If the calculator cannot compute a result that the recipe needs.
    pub fn conversations(&self, count: usize, seed: u64) -> Result<Vec<Conversation>, SynthError> {
        let mut dice = Dice::new(seed, 0);
        let mut distinct = Distinct::default();
        let (mut made, mut in_vain) = (Vec::new(), 0);
        while made.len() < count && in_vain < MOST_IN_VAIN {
            let conversation = self.conversation(&mut dice)?;
            let is_whole = conversation.messages.iter().all(|message| !is_blank(message));
            let told_apart = if self.shape.distinct_openings { opening(&conversation) } else { conversation.clone() };
            if is_whole && distinct.is_new(&super::store::line(&told_apart)) {
                made.push(conversation);
                in_vain = 0;
            } else {
                in_vain += 1;
            }
        }
        Ok(made)
    }

    fn conversation(&self, dice: &mut Dice) -> Result<Conversation, SynthError> {
        let persona = self.draw_persona(dice);
        let mut filler = Filler::new(self, persona);
        let mut messages = Vec::new();
        if let Some(persona) = persona {
            messages.push(Message::text(Role::System, text(&filler.one_of(&persona.system, dice)?).trim()));
        }
        let mut left = 1 + dice.weighted(self.shape.exchanges.iter().copied()).unwrap_or(0);
        let mut used: Vec<usize> = Vec::new();
        while left > 0 {
            let Some(index) = self.draw_topic(&used, persona, dice) else { break };
            let topic = &self.topics[index];
            used.push(index);
            filler.start(topic);
            let mut follow_ups: Vec<&Exchange> = topic.then.iter().collect();
            let mut exchange = &topic.first;
            loop {
                messages.push(Message::text(Role::User, slipped(filler.one_of(&exchange.ask, dice)?, &self.slips, dice)));
                messages.push(self.answer(exchange, persona, &mut filler, dice)?);
                left -= 1;
                if left == 0 || follow_ups.is_empty() || !dice.chance(self.shape.follow_up) {
                    break;
                }
                exchange = follow_ups.remove(dice.below(follow_ups.len()));
            }
        }
        Ok(Conversation { messages })
    }

    fn draw_persona(&self, dice: &mut Dice) -> Option<&Persona> {
        let wanted = dice.chance(self.shape.personas);
        let weights = self.personas.iter().map(|persona| persona.weight);
        dice.weighted(weights).filter(|_| wanted).map(|index| &self.personas[index])
    }

    /// A topic that is unused, suits the persona, is allowed at this position, and is in the language of the first.
    fn draw_topic(&self, used: &[usize], persona: Option<&Persona>, dice: &mut Dice) -> Option<usize> {
        let misplaced = if used.is_empty() { Place::Later } else { Place::First };
        let fits = |index: usize, topic: &Topic| {
            topic.place != misplaced
                && !used.contains(&index)
                && used.first().is_none_or(|&first| self.topics[first].language == topic.language)
                && persona.is_none_or(|persona| persona.suits(index, topic))
        };
        dice.weighted(self.topics.iter().enumerate().map(|(index, topic)| if fits(index, topic) { topic.weight } else { 0 }))
    }

    fn answer<'a>(
        &'a self,
        exchange: &'a Exchange,
        persona: Option<&'a Persona>,
        filler: &mut Filler<'a>,
        dice: &mut Dice,
    ) -> Result<Message, SynthError> {
        let mut runs = filler.one_of(&exchange.answer, dice)?;
        if let Some(persona) = persona.filter(|persona| !persona.answer.is_empty()) {
            runs = filler.fill(dice.pick(&persona.answer), &runs, dice)?;
        }
        let is_call = |run: &Run| matches!(run, Run::Call { .. });
        let content = if runs.iter().any(is_call) { Content::Parts(parts(&runs)) } else { Content::Text(text(&runs).trim().to_owned()) };
        Ok(Message::new(Role::Assistant, content))
    }
}

/// The first question of a conversation, and its answer.
fn opening(conversation: &Conversation) -> Conversation {
    let said = conversation.messages.iter().filter(|message| message.role != Role::System);
    Conversation { messages: said.take(2).cloned().collect() }
}

/// Whether a message is blank, because all its alternatives were empty.
fn is_blank(message: &Message) -> bool {
    match &message.content {
        Content::Text(text) => text.trim().is_empty(),
        Content::Parts(parts) => parts.iter().all(|part| part.kind == PartKind::Text && part.text.trim().is_empty()),
    }
}
