//! The parameters of a configuration: names, shapes, and the group in which each is counted and optimised.

use crate::weights::Format;

use super::Config;
use super::config::{SMEAR_CHANNELS, VE_GATE_CHANNELS};

/// What a parameter is for; members of a group share an optimizer rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The token embedding.
    Wte,
    /// Value embeddings of some layers.
    ValueEmbeds,
    /// The unembedding.
    LmHead,
    /// Every matrix inside a block.
    Matrix,
    /// Weight of the residual stream, by layer.
    ResidLambdas,
    /// Weight of the first embedding, by layer.
    X0Lambdas,
    /// The smear gate, its strength, and the strength of backout.
    Smear,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// The reference's name, as in its checkpoints.
    pub name: String,
    /// Sizes of the axes; matrices are `[out, in]`.
    pub shape: Vec<usize>,
    /// Its group.
    pub group: Group,
    /// Whether it is frozen: see [`Config::backout_is_scale`].
    pub held: bool,
}

/// How a parameter is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Rows by token id.
    Table,
    /// By a matrix product.
    Product,
    /// Value by value: lambdas and gates, which are always f32.
    Values,
}

impl ParamSpec {
    /// How it is read.
    pub fn usage(&self) -> Usage {
        match self.group {
            Group::Wte | Group::ValueEmbeds => Usage::Table,
            Group::Matrix if self.name.ends_with(".ve_gate.weight") => Usage::Values,
            Group::LmHead | Group::Matrix => Usage::Product,
            Group::ResidLambdas | Group::X0Lambdas | Group::Smear => Usage::Values,
        }
    }

    /// The format that it has in a model whose weights are in `format`.
    pub fn format(&self, format: Format) -> Format {
        match self.usage() {
            Usage::Values => Format::F32,
            Usage::Table | Usage::Product => format.for_rows_of(self.shape[1]),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements: never so in a valid configuration.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Number of parameters by the reference's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ParamCounts {
    /// The token embedding.
    pub wte: usize,
    /// Value embeddings.
    pub value_embeds: usize,
    /// The unembedding.
    pub lm_head: usize,
    /// Matrices of the blocks.
    pub transformer_matrices: usize,
    /// Lambdas and the smear gate.
    pub scalars: usize,
    /// All of them.
    pub total: usize,
}

impl Config {
    /// Every parameter, always in the same order: scalars, embedding, blocks, unembedding, smear gate, value embeddings.
    pub fn param_specs(&self) -> Vec<ParamSpec> {
        let (channels, heads, kv, vocab, layers) = (self.n_embd, self.n_kv_head, self.kv_dim(), self.padded_vocab(), self.n_layer);
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[usize], group| {
            let held = name == "backout_lambda" && self.backout_is_scale();
            specs.push(ParamSpec { name, shape: shape.to_vec(), group, held });
        };
        let parts = &self.architecture;
        if parts.lambdas {
            add("resid_lambdas".into(), &[layers], Group::ResidLambdas);
            add("x0_lambdas".into(), &[layers], Group::X0Lambdas);
        }
        if parts.smear {
            add("smear_lambda".into(), &[1], Group::Smear);
        }
        if parts.backout {
            add("backout_lambda".into(), &[1], Group::Smear);
        }
        add("transformer.wte.weight".into(), &[vocab, channels], Group::Wte);
        for i in 0..layers {
            let mut matrix = |part: &str, rows, columns| add(format!("transformer.h.{i}.{part}.weight"), &[rows, columns], Group::Matrix);
            matrix("attn.c_q", channels, channels);
            matrix("attn.c_k", kv, channels);
            matrix("attn.c_v", kv, channels);
            matrix("attn.c_proj", channels, channels);
            if self.has_value_embed(i) {
                matrix("attn.ve_gate", heads, VE_GATE_CHANNELS);
            }
            matrix("mlp.c_fc", 4 * channels, channels);
            matrix("mlp.c_proj", channels, 4 * channels);
        }
        add("lm_head.weight".into(), &[vocab, channels], Group::LmHead);
        if parts.smear {
            add("smear_gate.weight".into(), &[1, SMEAR_CHANNELS], Group::Smear);
        }
        for i in (0..layers).filter(|&i| self.has_value_embed(i)) {
            add(format!("value_embeds.{i}.weight"), &[vocab, kv], Group::ValueEmbeds);
        }
        specs
    }

    /// Number of parameters by group.
    pub fn param_counts(&self) -> ParamCounts {
        let specs = self.param_specs();
        let count = |groups: &[Group]| specs.iter().filter(|spec| groups.contains(&spec.group)).map(ParamSpec::len).sum();
        ParamCounts {
            wte: count(&[Group::Wte]),
            value_embeds: count(&[Group::ValueEmbeds]),
            lm_head: count(&[Group::LmHead]),
            transformer_matrices: count(&[Group::Matrix]),
            scalars: count(&[Group::ResidLambdas, Group::X0Lambdas, Group::Smear]),
            total: specs.iter().map(ParamSpec::len).sum(),
        }
    }

    /// The parameters that the training horizon is proportional to: the blocks' matrices and the unembedding.
    pub fn num_scaling_params(&self) -> usize {
        let counts = self.param_counts();
        counts.transformer_matrices + counts.lm_head
    }

    /// The parameters that tokens are multiplied with: the blocks' matrices, the unembedding and the smear gate.
    pub fn num_matmul_params(&self) -> usize {
        self.num_scaling_params() + if self.architecture.smear { SMEAR_CHANNELS } else { 0 }
    }

    /// The largest parameter, the first of equals; it must fit in one binding of the adapter.
    pub fn largest_param(&self) -> Option<ParamSpec> {
        self.param_specs().into_iter().rev().max_by_key(ParamSpec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_counts_add_up() {
        for depth in 1..8 {
            let config = Config::from_depth(depth, 64, 128, 256, 1000, "SSSL").unwrap();
            let specs = config.param_specs();
            let names: std::collections::HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            assert_eq!(names.len(), specs.len());
            let counts = config.param_counts();
            assert_eq!(counts.total, counts.wte + counts.value_embeds + counts.lm_head + counts.transformer_matrices + counts.scalars);
        }
    }

    #[test]
    fn the_last_layer_always_has_a_value_embedding() {
        for depth in 1..8 {
            let config = Config::from_depth(depth, 64, 128, 256, 1000, "SSSL").unwrap();
            assert!(config.has_value_embed(depth - 1));
            let with: Vec<usize> = (0..depth).filter(|&i| config.has_value_embed(i)).collect();
            assert!(with.windows(2).all(|pair| pair[1] - pair[0] == 2) && with.len() == depth.div_ceil(2));
        }
    }
}
