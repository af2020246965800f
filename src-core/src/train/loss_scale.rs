//! The dynamic loss scale of training in f16 (Micikevicius et al. 2018, <https://arxiv.org/abs/1710.03740>).
//!
//! Most gradients are too small for f16, which ends at 6·10⁻⁸. So the loss is multiplied with a power of two, all gradients with it,
//! and the optimizer divides by it. If a gradient overflows, the step is left out and the scale halved; after many steps without
//! that it is doubled.

use serde::{Deserialize, Serialize};

/// The exponent to begin with.
const FIRST: i32 = 16;
/// Below this, overflow is not a matter of scale.
const LEAST: i32 = -14;
/// With a larger one nothing would be gained: the smallest f16 would stand for 10⁻¹⁷.
const MOST: i32 = 32;
/// Steps without overflow after which the scale is doubled.
const INTERVAL: u64 = 2000;

/// A scale, and what determines the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct LossScale {
    exponent: i32,
    /// Steps since it was last changed.
    steps: u64,
    /// Steps that were left out, in all.
    skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { exponent: FIRST, steps: 0, skipped: 0 }
    }
}

impl LossScale {
    /// The factor of the loss.
    pub fn factor(&self) -> f64 {
        2f64.powi(self.exponent)
    }

    /// Steps that were left out.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// A step was made.
    pub fn made(&mut self) {
        self.steps += 1;
        if self.steps == INTERVAL {
            self.steps = 0;
            self.exponent = MOST.min(self.exponent + 1);
        }
    }

    /// A gradient overflowed: the step is left out. Returns whether a smaller scale is left to try.
    pub fn overflowed(&mut self) -> bool {
        self.skipped += 1;
        self.steps = 0;
        let left = self.exponent > LEAST;
        self.exponent -= i32::from(left);
        left
    }
}

/// As it is stored in `state.json`.
#[derive(Serialize, Deserialize)]
struct Stored {
    exponent: i32,
    steps: u64,
    skipped: u64,
}

impl TryFrom<Stored> for LossScale {
    type Error = String;

    fn try_from(Stored { exponent, steps, skipped }: Stored) -> Result<Self, String> {
        if !(LEAST..=MOST).contains(&exponent) || steps >= INTERVAL {
            return Err(format!("a loss scale of 2^{exponent} after {steps} steps does not occur"));
        }
        Ok(Self { exponent, steps, skipped })
    }
}

impl From<LossScale> for Stored {
    fn from(LossScale { exponent, steps, skipped }: LossScale) -> Self {
        Self { exponent, steps, skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_halved_by_overflow_and_doubled_after_many_steps() {
        let mut scale = LossScale::default();
        assert_eq!(scale.factor(), 65_536.0);
        assert!(scale.overflowed());
        assert_eq!((scale.factor(), scale.skipped()), (32_768.0, 1));
        for _ in 0..INTERVAL - 1 {
            scale.made();
        }
        assert_eq!(scale.factor(), 32_768.0);
        scale.made();
        assert_eq!(scale.factor(), 65_536.0);
        // Overflow starts the count again.
        for _ in 0..INTERVAL - 1 {
            scale.made();
        }
        scale.overflowed();
        scale.made();
        assert_eq!((scale.factor(), scale.skipped()), (32_768.0, 2));
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut scale = LossScale::default();
        let halved = (0..100).filter(|_| scale.overflowed()).count();
        assert_eq!((halved as i32, scale.factor(), scale.skipped()), (FIRST - LEAST, 2f64.powi(LEAST), 100));
        for _ in 0..100 * INTERVAL {
            scale.made();
        }
        assert_eq!(scale.factor(), 2f64.powi(MOST));
    }

    #[test]
    fn a_stored_one_is_read_back_and_an_impossible_one_refused() {
        let mut scale = LossScale::default();
        scale.overflowed();
        scale.made();
        let stored = serde_json::to_string(&scale).unwrap();
        assert_eq!(stored, r#"{"exponent":15,"steps":1,"skipped":1}"#);
        assert_eq!(serde_json::from_str::<LossScale>(&stored).unwrap(), scale);
        for bad in [r#"{"exponent":99,"steps":1,"skipped":1}"#, r#"{"exponent":15,"steps":2000,"skipped":1}"#] {
            assert!(serde_json::from_str::<LossScale>(bad).is_err(), "{bad}");
        }
    }
}
