//! The schedules of the learning rate, Muon's momentum and Muon's weight decay.

use std::f64::consts::PI;

/// Muon's momentum rises from the first to the second value over [`MOMENTUM_WARMUP`] steps, and falls to the third
/// while the learning rate falls.
const MOMENTUM: [f64; 3] = [0.85, 0.97, 0.90];
const MOMENTUM_WARMUP: u64 = 400;

/// The shape of the schedules over a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Steps of the run.
    pub num_iterations: u64,
    /// Steps over which the learning rate rises linearly.
    pub warmup_steps: u64,
    /// Fraction of the run over which it falls linearly.
    pub warmdown_ratio: f64,
    /// Fraction of the learning rate that remains at the end.
    pub final_lr_frac: f64,
    /// Muon's weight decay at step 0; it falls to zero along half a cosine.
    pub weight_decay: f64,
}

/// The scheduled values of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepValues {
    /// Factor applied to every learning rate.
    pub lr_multiplier: f64,
    /// Muon's momentum.
    pub momentum: f64,
    /// Muon's weight decay.
    pub weight_decay: f64,
}

impl Schedule {
    /// The defaults of pretraining.
    pub fn pretraining(num_iterations: u64, weight_decay: f64) -> Self {
        Self { num_iterations, warmup_steps: 40, warmdown_ratio: 0.65, final_lr_frac: 0.05, weight_decay }
    }

    /// The values of step `step`, counted from 0; `num_iterations` itself is allowed, and is where the schedules end.
    pub fn at(&self, step: u64) -> StepValues {
        StepValues { lr_multiplier: self.lr_multiplier(step), momentum: self.momentum(step), weight_decay: self.decay(step) }
    }

    /// Steps over which the learning rate falls.
    fn warmdown(&self) -> u64 {
        (self.warmdown_ratio * self.num_iterations as f64).round_ties_even() as u64
    }

    /// The first step at which it falls.
    fn flat_until(&self) -> u64 {
        self.num_iterations.saturating_sub(self.warmdown())
    }

    fn lr_multiplier(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            (step + 1) as f64 / self.warmup_steps as f64
        } else if step <= self.flat_until() {
            1.0
        } else {
            let left = self.num_iterations.saturating_sub(step) as f64 / self.warmdown().max(1) as f64;
            left + (1.0 - left) * self.final_lr_frac
        }
    }

    fn momentum(&self, step: u64) -> f64 {
        let [first, top, last] = MOMENTUM;
        let between = |from: f64, to: f64, part: f64| (1.0 - part) * from + part * to;
        if step < MOMENTUM_WARMUP {
            between(first, top, step as f64 / MOMENTUM_WARMUP as f64)
        } else if step >= self.flat_until() {
            between(top, last, ((step - self.flat_until()) as f64 / self.warmdown().max(1) as f64).min(1.0))
        } else {
            top
        }
    }

    fn decay(&self, step: u64) -> f64 {
        let angle = PI * step.min(self.num_iterations) as f64 / self.num_iterations.max(1) as f64;
        self.weight_decay * 0.5 * (1.0 + angle.cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the end of a run, in runs shorter than the warm-up, and without a decay phase, values stay finite and in range.
    #[test]
    fn every_run_length_has_values_in_range() {
        for num_iterations in [0, 1, 2, 3, 39, 40, 41, 401, 1000] {
            for warmdown_ratio in [0.0, 0.65, 1.0] {
                for warmup_steps in [0, 1, 40] {
                    let schedule = Schedule { warmdown_ratio, warmup_steps, ..Schedule::pretraining(num_iterations, 0.28) };
                    for step in 0..=num_iterations {
                        let values = schedule.at(step);
                        assert!(
                            (0.0..=1.0).contains(&values.lr_multiplier) && values.lr_multiplier > 0.0,
                            "{schedule:?} {step} {values:?}"
                        );
                        assert!((0.85..=0.97 + 1e-12).contains(&values.momentum), "{schedule:?} {step} {values:?}");
                        assert!((0.0..=0.28).contains(&values.weight_decay), "{schedule:?} {step} {values:?}");
                    }
                }
            }
        }
    }
}
