//! Which parts a model has, and the constants of its formulas: the differences between the architectures of the family.
//!
//! There are two. The current one is nanochat's of July 2026. The classic one is that of October 2025: that of the published
//! d20, d32 and d34, and of the `nanochat` model type of Hugging Face's transformers.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The parts of a model. One code path serves every combination; a part that is absent has no parameters either.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// A gated share of the previous token's embedding is added to each: `smear_gate`, `smear_lambda`.
    pub smear: bool,
    /// Every other layer adds an embedding of the token to its values: `value_embeds`, `ve_gate`.
    pub value_embeds: bool,
    /// Every layer mixes the residual stream with the first embedding: `resid_lambdas`, `x0_lambdas`.
    pub lambdas: bool,
    /// The stream of the middle layer is subtracted at the end: `backout_lambda`.
    pub backout: bool,
    /// Factor applied to queries and keys after their norm: above 1 for sharper attention.
    pub qk_gain: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// ε, added to the mean square under every norm's root.
    pub norm_eps: f32,
    /// Logits are in (−softcap, softcap).
    pub softcap: f32,
}

impl Architecture {
    /// nanochat's of July 2026.
    pub const CURRENT: Self = Self {
        smear: true,
        value_embeds: true,
        lambdas: true,
        backout: true,
        qk_gain: 1.2,
        rope_base: 100_000.0,
        norm_eps: f32::EPSILON, // the default of torch's `rms_norm`
        softcap: 15.0,
    };

    /// nanochat's of October 2025. Hugging Face files specify their own eps and base.
    pub const CLASSIC: Self = Self {
        smear: false,
        value_embeds: false,
        lambdas: false,
        backout: false,
        qk_gain: 1.0,
        rope_base: 10_000.0,
        norm_eps: f32::EPSILON,
        softcap: 15.0,
    };

    /// Whether it has exactly the parts of the classic architecture, whatever its constants.
    pub fn is_classic(&self) -> bool {
        !(self.smear || self.value_embeds || self.lambdas || self.backout) && self.qk_gain == 1.0
    }

    pub(super) fn is_current(&self) -> bool {
        *self == Self::CURRENT
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let constants = [
            ("qk_gain", f64::from(self.qk_gain), 100.0),
            ("rope_base", self.rope_base, 1e9),
            ("norm_eps", f64::from(self.norm_eps), 1.0),
            ("softcap", f64::from(self.softcap), 1e6),
        ];
        match constants.into_iter().find(|(_, value, most)| !(*value > 0.0 && value <= most)) {
            Some((what, got, most)) => Err(ConfigError::Constant { what, got, most }),
            None => Ok(()),
        }
    }
}

impl Default for Architecture {
    fn default() -> Self {
        Self::CURRENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_that_make_no_numbers_are_refused() {
        let constants: [fn(&mut Architecture) -> &mut f32; 3] = [|a| &mut a.qk_gain, |a| &mut a.norm_eps, |a| &mut a.softcap];
        for constant in constants {
            for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
                let mut architecture = Architecture::CLASSIC;
                *constant(&mut architecture) = value;
                assert!(architecture.validate().is_err(), "{architecture:?}");
            }
        }
        assert!(Architecture { rope_base: f64::INFINITY, ..Architecture::CURRENT }.validate().is_err());
        assert_eq!((Architecture::CURRENT.validate(), Architecture::CLASSIC.validate()), (Ok(()), Ok(())));
    }
}
