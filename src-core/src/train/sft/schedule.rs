//! The schedules of fine-tuning: the learning rate depends on the progress of the run, which need not
//! know its number of steps; Muon's momentum depends on the step; there is no weight decay.

use crate::optim::StepValues;

/// Muon's momentum rises from the first to the second value over [`MOMENTUM_WARMUP`] steps.
const MOMENTUM: [f64; 2] = [0.85, 0.95];
const MOMENTUM_WARMUP: u64 = 300;

/// Keeps the learning rate of the very first step above zero.
const FIRST_STEP: f64 = 1e-8;

/// The shape of the schedules over a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SftSchedule {
    /// Factor applied to all learning rates.
    pub init_lr_frac: f64,
    /// Fraction of the run over which the learning rate rises linearly.
    pub warmup_ratio: f64,
    /// Fraction of the run over which it falls linearly.
    pub warmdown_ratio: f64,
    /// Fraction of it that remains at the end.
    pub final_lr_frac: f64,
}

impl SftSchedule {
    /// The values of step `step`, counted from 0, which begins at `progress`, from 0 to 1.
    pub fn at(&self, step: u64, progress: f64) -> StepValues {
        let risen = step.min(MOMENTUM_WARMUP) as f64 / MOMENTUM_WARMUP as f64;
        let [first, last] = MOMENTUM;
        StepValues {
            lr_multiplier: self.init_lr_frac * self.lr_multiplier(progress.min(1.0)),
            momentum: (1.0 - risen) * first + risen * last,
            weight_decay: 0.0,
        }
    }

    fn lr_multiplier(&self, progress: f64) -> f64 {
        let flat_until = 1.0 - self.warmdown_ratio;
        if progress < self.warmup_ratio {
            (progress + FIRST_STEP) / self.warmup_ratio
        } else if progress <= flat_until {
            1.0
        } else {
            let fallen = (progress - flat_until) / self.warmdown_ratio;
            (1.0 - fallen) + fallen * self.final_lr_frac
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: SftSchedule = SftSchedule { init_lr_frac: 0.8, warmup_ratio: 0.0, warmdown_ratio: 0.5, final_lr_frac: 0.0 };

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
    }

    #[test]
    fn the_default_is_flat_for_half_of_the_run_and_falls_to_nothing() {
        for (progress, want) in [(0.0, 0.8), (0.25, 0.8), (0.5, 0.8), (0.6, 0.64), (0.75, 0.4), (0.9, 0.16), (1.0, 0.0), (1.3, 0.0)] {
            near(DEFAULT.at(7, progress).lr_multiplier, want);
        }
    }

    #[test]
    fn it_rises_over_the_warmup_and_falls_to_what_shall_be_left() {
        let schedule = SftSchedule { init_lr_frac: 1.0, warmup_ratio: 0.2, warmdown_ratio: 0.4, final_lr_frac: 0.1 };
        for (progress, want) in
            [(0.0, 5e-8), (0.05, 0.25 + 5e-8), (0.1, 0.5 + 5e-8), (0.2, 1.0), (0.6, 1.0), (0.7, 0.775), (0.8, 0.55), (1.0, 0.1)]
        {
            near(schedule.at(0, progress).lr_multiplier, want);
        }
    }

    #[test]
    fn momentum_rises_over_300_steps_and_nothing_decays() {
        for (step, want) in [(0, 0.85), (75, 0.875), (150, 0.9), (300, 0.95), (10_000, 0.95)] {
            let values = DEFAULT.at(step, 0.5);
            near(values.momentum, want);
            assert_eq!(values.weight_decay, 0.0);
        }
    }

    #[test]
    fn ratios_at_their_ends_give_values_in_range() {
        for warmup_ratio in [0.0, 0.5, 1.0] {
            for warmdown_ratio in [0.0, 0.5, 1.0] {
                let schedule = SftSchedule { warmup_ratio, warmdown_ratio, ..DEFAULT };
                for part in 0..=20 {
                    let multiplier = schedule.at(0, f64::from(part) / 20.0).lr_multiplier;
                    assert!((0.0..=0.8 + 1e-6).contains(&multiplier), "{schedule:?} {part} {multiplier}");
                }
            }
        }
    }
}
