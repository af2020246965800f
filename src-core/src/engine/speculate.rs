//! Speculative decoding: several tokens are drafted, one pass of the model verifies them, and the text stays the same.
//!
//! Leviathan et al. (2023, <https://arxiv.org/abs/2211.17192>) and Chen et al. (2023, <https://arxiv.org/abs/2302.01318>) accept a
//! drafted token x with the chance min(1, p(x) / q(x)), p being the model's distribution and q the drafter's, and else draw from what
//! p has more than q: the text is distributed as without drafts. Here the rule is simpler and promises more. The i-th token of a text
//! has its own random number uᵢ, and is tᵢ = draw(p(· | t₁ … tᵢ₋₁), uᵢ), drafts or not. Verifying computes the tᵢ after the tokens of a
//! draft; they hold as long as the draft before them is what was drawn, and from the first difference on they are thrown away. So every
//! token that is written is the tᵢ of plain decoding: with the same seed the text is the same, token for token, and its distribution is
//! that of plain sampling, because it is plain sampling. How the draft came about cannot matter, even if it was drawn with the same uᵢ:
//! it only decides how many tᵢ are computed at a time. No distribution leaves the GPU.
//!
//! What this costs is some acceptance. For a draft without randomness (q is one token) both rules accept with the chance p(x). For a
//! draft model the rule of the papers accepts with the highest chance that there is, 1 − TV(p, q). Here the draft model draws with the
//! model's own uᵢ, so that similar distributions mostly give the same token: a coupling without communication (Daliri et al. 2024,
//! <https://arxiv.org/abs/2408.07978>), whose texts depend on the seed and not on the drafter.

use std::collections::VecDeque;
use std::time::Instant;

use crate::gpu::GpuError;
use crate::model::CacheFormat;

use super::EngineError;
use super::decoder::{Decoder, Feed, MOST_VERIFIED};
use super::draft::{DraftModel, Drafter, Match};
use super::payoff::Payoff;
use super::sampling::Draws;

/// When drafts are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Where that is faster than without them, as far as was measured.
    #[default]
    WherePaying,
    /// Always, for tests and measurements.
    Always,
}

/// Kinds of drafts: of a draft model, of a tool's result that is known, and of lookup with this many tokens alike.
const OF_MODEL: usize = 0;
const KNOWN: usize = 1;
const OF_LOOKUP: [usize; 4] = [2, 3, 4, 8];

/// How many tokens of how many are accepted, before any were. Lookup is expected to fail, since it costs nothing to learn whether it
/// would have been right. A draft model has to be tried.
const CHANCES: [[usize; 2]; 2 + OF_LOOKUP.len()] = [[3, 4], [9, 10], [1, 3], [1, 3], [1, 3], [1, 3]];

fn kind_of_lookup(length: usize) -> usize {
    KNOWN + OF_LOOKUP.iter().filter(|&&least| least <= length).count()
}

/// Continues the text of a decoder with one row, a token at a time, by as few passes as it can.
pub(super) struct Speculator<'a> {
    /// `None` for lookup.
    model: Option<DraftModel<'a>>,
    payoff: Payoff,
    /// Whether there is no memory to verify anything.
    lacks_memory: bool,
    /// The rest of the last draft: each token with the one that the model draws after it.
    ahead: VecDeque<(u32, Option<u32>)>,
    /// The kind of that draft.
    kind: usize,
    /// The next token by a draft that was not verified, with its kind: the text will tell whether it is right.
    guess: Option<(usize, u32)>,
    /// Whether the next step is the first of a text, which also waits for the prompt.
    first: bool,
    /// Tokens of this text that were drafted and verified.
    pub drafted: usize,
    /// How many of them the model drew too.
    pub accepted: usize,
}

/// What is known of a text about to go on.
pub(super) struct Now<'n> {
    /// Its last token, which the decoder does not hold yet.
    pub next: u32,
    /// The tokens that come after it whatever is drawn.
    pub known: &'n VecDeque<u32>,
    /// The most tokens that it may still get, at least one.
    pub most: usize,
}

impl<'a> Speculator<'a> {
    /// Drafts by `drafter` for texts of up to `capacity` tokens; a draft model has a cache in `format`.
    pub fn new(drafter: Drafter<'a>, capacity: usize, format: CacheFormat, effort: Effort) -> Result<Self, EngineError> {
        let model = match drafter {
            Drafter::Lookup => None,
            Drafter::Model { gpu, model, .. } => Some(DraftModel::new(gpu, model, capacity, format)?),
        };
        Ok(Self {
            model,
            payoff: Payoff::new(effort == Effort::Always, &CHANCES),
            lacks_memory: false,
            ahead: VecDeque::new(),
            kind: KNOWN,
            guess: None,
            first: true,
            drafted: 0,
            accepted: 0,
        })
    }

    /// Begins another text. What was measured stays.
    pub fn begin(&mut self) {
        self.ahead.clear();
        self.guess = None;
        self.first = true;
        (self.drafted, self.accepted) = (0, 0);
    }

    /// Appends the last token to the decoder's row, and returns the one that is drawn after it. Takes one of `draws`.
    pub fn step(
        &mut self,
        decoder: &mut Decoder<'_>,
        draws: &mut Draws,
        now: &Now<'_>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<u32, EngineError> {
        if let Some((drafted, drawn)) = self.ahead.pop_front() {
            let right = drafted == now.next;
            self.payoff.accepted(self.kind, right);
            if right {
                self.accepted += 1;
                decoder.keep();
                draws.next();
                return drawn.ok_or(EngineError::NotNumbers);
            }
            self.ahead.clear();
        }
        if let Some((kind, guessed)) = self.guess.take() {
            self.payoff.accepted(kind, guessed == now.next);
        }
        let draft = self.draft(decoder, draws, now, go_on)?;
        if !draft.is_empty()
            && let Some(drawn) = self.verify(decoder, draws, now.next, &draft)?
        {
            return drawn.ok_or(EngineError::NotNumbers);
        }
        let begun = Instant::now();
        let drawn = decoder.step(&[Feed::Token(now.next, draws.next())])?[0];
        if !std::mem::take(&mut self.first) {
            self.payoff.plain(begun.elapsed());
        }
        drawn.ok_or(EngineError::NotNumbers)
    }

    /// The tokens to verify after the last one; none if that does not pay.
    fn draft(
        &mut self,
        decoder: &Decoder<'_>,
        draws: &Draws,
        now: &Now<'_>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<u32>, EngineError> {
        let held = decoder.held(0);
        let most = now.most.min(MOST_VERIFIED).min(decoder.capacity() - held.len()).saturating_sub(1);
        if most == 0 || self.lacks_memory {
            return Ok(Vec::new());
        }
        if !now.known.is_empty() {
            self.kind = KNOWN;
            let tokens = self.payoff.tokens(KNOWN, most.min(now.known.len()));
            return Ok(now.known.iter().copied().take(tokens).collect());
        }
        let Some(model) = &mut self.model else {
            let ids = [held, &[now.next]].concat();
            let Some(found) = Match::of(&ids) else { return Ok(Vec::new()) };
            self.kind = kind_of_lookup(found.length);
            let draft = found.draft(&ids, most);
            let tokens = self.payoff.tokens(self.kind, most);
            if tokens == 0 {
                self.guess = Some((self.kind, draft[0]));
            }
            return Ok(draft[..tokens].to_vec());
        };
        self.kind = OF_MODEL;
        let tokens = self.payoff.tokens(OF_MODEL, most.min(model.room(held.len())));
        if tokens == 0 {
            return Ok(Vec::new());
        }
        let begun = Instant::now();
        let draft = model.draft(held, now.next, &draws.ahead(tokens), go_on)?;
        // The first draft of a text waits for its prompt.
        if !self.first && draft.len() == tokens {
            self.payoff.drafted(tokens, begun.elapsed());
        }
        Ok(draft)
    }

    /// Verifies a draft after the token `next`, and returns what the model draws after that. `None` if there is no memory for it.
    fn verify(
        &mut self,
        decoder: &mut Decoder<'_>,
        draws: &mut Draws,
        next: u32,
        draft: &[u32],
    ) -> Result<Option<Option<u32>>, EngineError> {
        let begun = Instant::now();
        let ids = [&[next], draft].concat();
        let drawn = match decoder.verify(0, &ids, &draws.ahead(ids.len())) {
            Err(EngineError::Gpu(GpuError::OutOfMemory { .. })) => {
                self.lacks_memory = true;
                return Ok(None);
            }
            drawn => drawn?,
        };
        if !std::mem::take(&mut self.first) {
            self.payoff.verified(draft.len(), begun.elapsed());
        }
        self.drafted += draft.len();
        decoder.keep();
        draws.next();
        self.ahead = draft.iter().copied().zip(drawn[1..].iter().copied()).collect();
        Ok(Some(drawn[0]))
    }
}
