//! Initial parameters, drawn on the CPU. Every tensor has its own random numbers, which depend only on the seed and the
//! tensor's name: neither the order of drawing nor the number of threads changes a weight.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Config, Group, ParamSpec};

/// Elements that share a stream of random numbers; an even number.
const CHUNK: usize = 1 << 16;

/// A distribution of initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Distribution {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform in [low, high).
    Uniform(f64, f64),
    /// A constant.
    Constant(f64),
    /// Linear from the first to the second value, by layer.
    Falling(f64, f64),
}

/// The initial values of a parameter of `config`, row major.
///
/// Projections into the residual stream start at zero, so that every block starts as the identity; c_fc starts smaller
/// than the other matrices. Uniform distributions avoid outliers; √3 gives them the same standard deviation as a normal one.
pub fn initial_values(config: &Config, spec: &ParamSpec, seed: u64) -> Vec<f32> {
    let len = spec.len();
    match distribution(config, spec) {
        Distribution::Constant(value) => vec![value as f32; len],
        Distribution::Falling(first, last) => {
            let step = (first - last) / (len.max(2) - 1) as f64;
            (0..len).map(|i| (first - step * i as f64) as f32).collect()
        }
        Distribution::Normal(deviation) => draw(spec, seed, |rng, chunk| fill_normal(rng, chunk, deviation)),
        Distribution::Uniform(low, high) => draw(spec, seed, |rng, chunk| {
            chunk.iter_mut().for_each(|value| *value = (low + (high - low) * rng.random::<f64>()) as f32);
        }),
    }
}

fn distribution(config: &Config, spec: &ParamSpec) -> Distribution {
    let s = 3f64.sqrt() * (config.n_embd as f64).powf(-0.5);
    let part = |name: &str| spec.name.ends_with(name);
    match spec.group {
        Group::Wte => Distribution::Normal(0.8),
        Group::LmHead => Distribution::Normal(0.001),
        Group::ValueEmbeds => Distribution::Uniform(-s, s),
        Group::ResidLambdas => Distribution::Falling(1.15, 1.05),
        Group::X0Lambdas => Distribution::Falling(0.20, 0.05),
        Group::Smear if part("smear_lambda") => Distribution::Constant(0.0),
        Group::Smear if part("backout_lambda") => Distribution::Constant(0.2),
        Group::Smear => Distribution::Uniform(0.0, 0.02),
        Group::Matrix if part("c_proj.weight") => Distribution::Constant(0.0),
        Group::Matrix if part("c_fc.weight") => Distribution::Uniform(-0.4 * s, 0.4 * s),
        Group::Matrix if part("ve_gate.weight") => Distribution::Uniform(0.0, 0.02),
        Group::Matrix => Distribution::Uniform(-s, s),
    }
}

/// Fills a tensor chunk by chunk on all threads. Each tensor has its own ChaCha key, and each chunk a stream of it.
fn draw(spec: &ParamSpec, seed: u64, fill: impl Fn(&mut ChaCha8Rng, &mut [f32]) + Sync) -> Vec<f32> {
    let key: [u8; 32] = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(&spec.name).finalize().into();
    let mut values = vec![0.0; spec.len()];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(stream, chunk)| {
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(stream as u64);
        fill(&mut rng, chunk);
    });
    values
}

/// Pairs of normal numbers, by the Box-Muller transform.
fn fill_normal(rng: &mut ChaCha8Rng, chunk: &mut [f32], deviation: f64) {
    for pair in chunk.chunks_mut(2) {
        let radius = deviation * (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (TAU * rng.random::<f64>()).sin_cos();
        for (value, part) in pair.iter_mut().zip([cos, sin]) {
            *value = (radius * part) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::from_depth(3, 64, 128, 256, 1000, "SSSL").unwrap()
    }

    fn values(name: &str, seed: u64) -> Vec<f32> {
        let spec = config().param_specs().into_iter().find(|spec| spec.name == name).unwrap();
        initial_values(&config(), &spec, seed)
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, (square - mean * mean).sqrt())
    }

    #[test]
    fn every_parameter_has_the_spread_of_its_distribution() {
        let deviation = 256f64.powf(-0.5);
        let uniform = 0.02 / 12f64.sqrt();
        for (name, mean_want, deviation_want) in [
            ("transformer.wte.weight", 0.0, 0.8),
            ("lm_head.weight", 0.0, 0.001),
            ("transformer.h.0.attn.c_q.weight", 0.0, deviation),
            ("transformer.h.1.attn.c_k.weight", 0.0, deviation),
            ("transformer.h.2.attn.c_v.weight", 0.0, deviation),
            ("transformer.h.2.mlp.c_fc.weight", 0.0, 0.4 * deviation),
            ("value_embeds.2.weight", 0.0, deviation),
            ("transformer.h.0.attn.c_proj.weight", 0.0, 0.0),
            ("transformer.h.0.mlp.c_proj.weight", 0.0, 0.0),
            ("transformer.h.0.attn.ve_gate.weight", 0.01, uniform),
            ("smear_gate.weight", 0.01, uniform),
        ] {
            let values = values(name, 1);
            let (mean, deviation) = moments(&values);
            // Four standard errors of the mean, and of the standard deviation.
            let slack = 4.0 * deviation_want / (values.len() as f64).sqrt();
            assert!((mean - mean_want).abs() <= slack, "{name}: mean {mean}");
            assert!((deviation - deviation_want).abs() <= slack, "{name}: deviation {deviation}, not {deviation_want}");
        }
    }

    #[test]
    fn uniform_values_stay_inside_their_bounds() {
        let bound = (3.0f32 / 256.0).sqrt();
        let values = values("transformer.h.0.attn.c_q.weight", 3);
        assert!(values.iter().all(|v| v.abs() <= bound) && values.iter().any(|v| v.abs() > 0.99 * bound));
    }

    #[test]
    fn scalars_start_where_the_reference_starts() {
        assert_eq!(values("resid_lambdas", 1), [1.15, 1.1, 1.05]);
        assert_eq!(values("x0_lambdas", 1), [0.2, 0.125, 0.05]);
        assert_eq!(values("smear_lambda", 1), [0.0]);
        assert_eq!(values("backout_lambda", 1), [0.2]);
        let single = Config { n_layer: 1, ..config() };
        assert_eq!(initial_values(&single, &single.param_specs()[0], 1), [1.15]);
    }

    #[test]
    fn values_depend_on_seed_and_name_but_not_on_threads() {
        let name = "transformer.wte.weight";
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert!(config().padded_vocab() * 256 > 2 * CHUNK);
        assert_eq!(values(name, 1), pool.install(|| values(name, 1)));
        assert_ne!(values(name, 1), values(name, 2));
        assert_ne!(values(name, 1)[..8], values(name, 1)[CHUNK..][..8]);
        assert_ne!(values("transformer.h.0.attn.c_q.weight", 1), values("transformer.h.0.attn.c_k.weight", 1));
    }
}
