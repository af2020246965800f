//! Which update rule applies to which parameters, and with what constants.
//!
//! Learning rates were tuned for 768 channels and a batch of 2^19 tokens. Those of tables scale with the width by
//! `(n_embd / 768)^−½`, and all but the smear group's scale with the batch by `lr_scale`.

use crate::kernels::adamw::Betas;
use crate::model::Group;

/// Decay of Muon's second moment.
pub const MUON_BETA2: f64 = 0.9;

/// AdamW's ε.
const EPS: f64 = 1e-10;

/// Base learning rates and their scales.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// C: channels of the model.
    pub n_embd: usize,
    /// √(batch / 2^19), from [`Horizon`](super::Horizon).
    pub lr_scale: f64,
    /// Learning rate of lm_head.
    pub unembedding_lr: f64,
    /// Learning rate of wte; value embeddings have half of it.
    pub embedding_lr: f64,
    /// Learning rate of the blocks' matrices.
    pub matrix_lr: f64,
    /// Learning rate of x0_lambdas; resid_lambdas have a hundredth of it.
    pub scalar_lr: f64,
}

/// The hyperparameters of an AdamW group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwRule {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Decays of the moments, and ε.
    pub betas: Betas,
    /// Decoupled weight decay, constant over the run.
    pub weight_decay: f64,
}

impl OptimizerConfig {
    /// The default learning rates for a model of `n_embd` channels and a batch of scale `lr_scale`.
    pub fn new(n_embd: usize, lr_scale: f64) -> Self {
        Self { n_embd, lr_scale, unembedding_lr: 0.008, embedding_lr: 0.3, matrix_lr: 0.02, scalar_lr: 0.5 }
    }

    /// The groups that AdamW steps.
    pub const ADAMW: [Group; 6] = [Group::LmHead, Group::Wte, Group::ValueEmbeds, Group::ResidLambdas, Group::X0Lambdas, Group::Smear];

    /// The hyperparameters of a group, or none for the group that Muon steps.
    pub fn adamw(&self, group: Group) -> Option<AdamwRule> {
        let width = (self.n_embd as f64 / 768.0).powf(-0.5);
        let batch = self.lr_scale;
        let rule = |lr, beta1, beta2, weight_decay| Some(AdamwRule { lr, betas: Betas { beta1, beta2, eps: EPS }, weight_decay });
        match group {
            Group::LmHead => rule(self.unembedding_lr * width * batch, 0.8, 0.96, 0.01),
            Group::Wte => rule(self.embedding_lr * width * batch, 0.8, 0.995, 0.001),
            Group::ValueEmbeds => rule(self.embedding_lr * width * batch * 0.5, 0.8, 0.995, 0.01),
            Group::ResidLambdas => rule(self.scalar_lr * batch * 0.01, 0.8, 0.95, 0.05),
            Group::X0Lambdas => rule(self.scalar_lr * batch, 0.96, 0.95, 0.0),
            Group::Smear => rule(0.2, 0.8, 0.95, 0.0),
            Group::Matrix => None,
        }
    }

    /// Muon's learning rate before the schedule, for matrices `[rows, columns]`.
    pub fn muon_lr(&self, rows: usize, columns: usize) -> f64 {
        self.matrix_lr * self.lr_scale * (rows as f64 / columns as f64).max(1.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every group but the matrices is in the list that the optimizer iterates over; the compiler checks `adamw` itself.
    #[test]
    fn every_group_has_one_rule() {
        let config = OptimizerConfig::new(192, 0.5);
        assert!(OptimizerConfig::ADAMW.iter().all(|&group| config.adamw(group).is_some()));
        assert_eq!(config.adamw(Group::Matrix), None);
        let model = crate::model::Config::from_depth(2, 64, 128, 256, 1000, "L").unwrap();
        for spec in model.param_specs() {
            assert_eq!(OptimizerConfig::ADAMW.contains(&spec.group), spec.group != Group::Matrix, "{}", spec.name);
        }
    }

    #[test]
    fn learning_rates_follow_width_and_batch() {
        let config = OptimizerConfig::new(192, 0.5);
        let lr = |group| config.adamw(group).unwrap().lr;
        // Width: (192 / 768)^−½ = 2.
        let got = OptimizerConfig::ADAMW.map(lr);
        let want = [0.008, 0.3, 0.15, 0.0025, 0.25, 0.2];
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12), "{got:?}");
        assert_eq!([(4, 16), (16, 16), (64, 16)].map(|(rows, columns)| config.muon_lr(rows, columns)), [0.01, 0.01, 0.02]);
    }

    /// The table of the reference, in the order of [`OptimizerConfig::ADAMW`].
    #[test]
    fn moments_and_weights_decay_as_in_the_reference() {
        let config = OptimizerConfig::new(192, 0.5);
        let decays = OptimizerConfig::ADAMW.map(|group| {
            let AdamwRule { betas, weight_decay, .. } = config.adamw(group).unwrap();
            assert_eq!(betas.eps, 1e-10);
            (betas.beta1, betas.beta2, weight_decay)
        });
        let want = [(0.8, 0.96, 0.01), (0.8, 0.995, 0.001), (0.8, 0.995, 0.01), (0.8, 0.95, 0.05), (0.96, 0.95, 0.0), (0.8, 0.95, 0.0)];
        assert_eq!(decays, want);
        assert_eq!(MUON_BETA2, 0.9);
    }
}
