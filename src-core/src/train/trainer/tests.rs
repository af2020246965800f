//! Steps that fail, and steps whose kernels were recorded.

use super::*;
use crate::data::IGNORED;
use crate::gpu::Forced;
use crate::kernels::testing::Bench;
use crate::model::Architecture;

fn values() -> StepValues {
    StepValues { lr_multiplier: 1.0, momentum: 0.85, weight_decay: 0.0 }
}

/// A step of the fast class on another device, with the choices of the first: the same bits.
#[test]
fn the_recorded_kernels_of_a_fast_step_bring_its_bits_again() {
    let config = Config {
        sequence_len: 16,
        vocab_size: 1024,
        n_layer: 1,
        n_head: 1,
        n_kv_head: 1,
        n_embd: 32,
        window_pattern: "L".into(),
        architecture: Architecture::CURRENT,
    };
    let inputs: Vec<i32> = (0..16).map(|i| i * 61 % 1024).collect();
    let step = |gpu: &Gpu| {
        let optimizer = OptimizerConfig::new(config.n_embd, 1.0);
        let arithmetic = Arithmetic { numerics: Numerics::Fast, ..Arithmetic::default() };
        let mut trainer = Trainer::new(gpu, &config, &optimizer, 1, arithmetic).unwrap();
        trainer.model.parameters.initialise(gpu, &config, 1);
        let batch = Batch { rows: 1, row_len: 16, inputs: inputs.clone(), targets: inputs.clone() };
        let pending = trainer.step(vec![batch], 0, values()).unwrap();
        trainer.finish(pending, &[1; 1024]).unwrap();
        let weights = trainer.model.parameters.iter().map(|parameter| gpu.read::<f32>(parameter.value()).unwrap());
        weights.collect::<Vec<_>>()
    };
    let open = || Gpu::open_as(std::env::var("NC_ADAPTER").ok().as_deref(), Some(Forced::GpuNoSubgroups)).unwrap();

    let gpu = open();
    let fast = step(&gpu);
    let chosen = gpu.fixed_choices();
    assert!(chosen.values().any(|kernel| kernel.starts_with("Split")), "{chosen:?}");
    let other = open();
    other.fix_choices(chosen.clone());
    assert!(step(&other) == fast);
    assert_eq!(other.fixed_choices(), chosen);
}

#[test]
fn a_batch_without_targets_counts_nothing_and_steps_to_no_nan() {
    let bench = Bench::new();
    let gpu = bench.gpu();
    let config = Config {
        sequence_len: 16,
        vocab_size: 50,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 1,
        n_embd: 32,
        window_pattern: "L".into(),
        architecture: Architecture::CURRENT,
    };
    let mut trainer = Trainer::new(gpu, &config, &OptimizerConfig::new(config.n_embd, 1.0), 1, Arithmetic::default()).unwrap();
    trainer.model.parameters.initialise(gpu, &config, 1);
    let inputs: Vec<i32> = (0..16).map(|i| i * 7 % 50).collect();
    let batch = |targets: Vec<i32>| Batch { rows: 1, row_len: 16, inputs: inputs.clone(), targets };
    let (some, none) = (batch((0..16).map(|i| if i % 3 == 0 { i } else { IGNORED }).collect()), batch(vec![IGNORED; 16]));
    let mut step = |batches, step| {
        let pending = trainer.step(batches, step, values()).unwrap();
        trainer.finish(pending, &[1; 50]).unwrap()
    };

    // With fresh moments, a zero gradient is divided by its own norm.
    let nothing = StepLoss { loss: 0.0, bpb: f64::INFINITY, loss_scale: None, outcome: StepOutcome::Made };
    assert_eq!(step(vec![none.clone(), none.clone()], 0), nothing);
    let whole = step(vec![some.clone()], 1).loss;
    assert!((whole - 50f64.ln()).abs() < 0.1, "{whole}");
    let half = step(vec![some, none], 2).loss;
    assert!(half > 0.0 && half < 0.6 * whole, "{half} beside {whole}");
    for parameter in trainer.model.parameters.iter() {
        let weights: Vec<f32> = gpu.read(parameter.value()).unwrap();
        assert!(weights.iter().all(|weight| weight.is_finite()), "{}", parameter.spec.name);
    }
}

/// A trainer of a small model, and batches for it.
fn trainer(precision: Precision) -> (Gpu, Trainer) {
    let gpu = Bench::new().gpu().clone();
    let config = Config {
        sequence_len: 16,
        vocab_size: 50,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 1,
        n_embd: 32,
        window_pattern: "L".into(),
        architecture: Architecture::CURRENT,
    };
    let arithmetic = Arithmetic { precision, ..Arithmetic::default() };
    let trainer = Trainer::new(&gpu, &config, &OptimizerConfig::new(config.n_embd, 1.0), 1, arithmetic).unwrap();
    trainer.model.parameters.initialise(&gpu, &config, 1);
    (gpu, trainer)
}

fn batch(seed: i32) -> Batch {
    let ids = |offset: i32| (0..16).map(|i| (i * 7 + seed + offset) % 50).collect();
    Batch { rows: 1, row_len: 16, inputs: ids(0), targets: ids(7) }
}

fn step(trainer: &mut Trainer, step: u64) -> StepLoss {
    let pending = trainer.step(vec![batch(step as i32), batch(step as i32 + 20)], step, values()).unwrap();
    trainer.finish(pending, &[1; 50]).unwrap()
}

/// Everything that a step changes.
fn state(gpu: &Gpu, trainer: &Trainer) -> Vec<Vec<f32>> {
    let weights = trainer.model.parameters.iter().map(|parameter| gpu.read(parameter.value()).unwrap());
    let moments = trainer.optimizer.state_tensors().into_iter().map(|state| gpu.read(&state.value).unwrap());
    weights.chain(moments).collect()
}

/// A scale that is far too large: steps are left out until one fits, and from there on it is as if it had been the first.
#[test]
fn steps_that_overflow_are_left_out_and_leave_no_trace() {
    let (gpu, mut trainer) = trainer(Precision::F16);
    let large: LossScale = serde_json::from_str(r#"{"exponent":24,"steps":0,"skipped":0}"#).unwrap();
    trainer.resume_loss_scale(large);
    let before = state(&gpu, &trainer);
    let mut number = 0;
    let first = loop {
        let done = step(&mut trainer, number);
        number += 1;
        assert!(done.loss.is_finite());
        if done.outcome == StepOutcome::Made {
            break done;
        }
        assert_eq!(done.outcome, StepOutcome::Skipped);
        assert!(state(&gpu, &trainer) == before, "a step that was left out changed something");
        assert!(number < 24);
    };
    let skipped = number - 1;
    let scale = trainer.loss_scale().unwrap();
    assert!(skipped > 2 && scale.skipped() == skipped, "{skipped} of {scale:?}");
    assert_eq!((scale.factor(), first.loss_scale), (2f64.powi(24 - skipped as i32), Some(scale.factor())));

    // The same batches with that scale from the beginning; the moments count the steps that were made.
    let other = self::trainer(Precision::F16).1;
    let fitting = format!(r#"{{"exponent":{},"steps":0,"skipped":{skipped}}}"#, 24 - skipped);
    let mut other = Trainer { loss_scale: serde_json::from_str(&fitting).unwrap(), ..other };
    assert_eq!(step(&mut other, skipped), first);
    assert!(state(&gpu, &other) == state(&gpu, &trainer));
    assert!(state(&gpu, &trainer) != before);
}

/// The update does not depend on the scale, which is a power of two, as long as nothing over- or underflows.
#[test]
fn a_loss_scale_is_undone_in_the_update() {
    let mut updates = Vec::new();
    for exponent in [6, 9] {
        let (gpu, mut trainer) = trainer(Precision::F16);
        let scale = format!(r#"{{"exponent":{exponent},"steps":0,"skipped":0}}"#);
        trainer.resume_loss_scale(serde_json::from_str(&scale).unwrap());
        let before = state(&gpu, &trainer);
        assert_eq!(step(&mut trainer, 0).outcome, StepOutcome::Made);
        let update = |(new, old): (&Vec<f32>, &Vec<f32>)| new.iter().zip(old).map(|(new, old)| new - old).collect::<Vec<f32>>();
        updates.push(state(&gpu, &trainer).iter().zip(&before).map(update).collect::<Vec<_>>());
    }
    for (a, b) in updates[0].iter().zip(&updates[1]) {
        let error = crate::kernels::testing::relative_error(a, &crate::kernels::testing::wide(b));
        assert!(error < 0.02, "{error}");
    }
}

/// What is not finite is found before it reaches a weight, and named; later steps change nothing either.
#[test]
fn the_first_tensor_that_is_not_finite_is_named_and_nothing_changes() {
    let fault = |precision, name: &str, value: f32| {
        let (gpu, mut trainer) = trainer(precision);
        // The smallest loss scale: from others on, gradients that are not finite where losses are would first be tried with smaller ones.
        trainer.resume_loss_scale(serde_json::from_str(r#"{"exponent":-14,"steps":0,"skipped":0}"#).unwrap());
        let weight = trainer.model.parameters.get(name);
        gpu.write(weight, &vec![value; weight.len()]);
        let before = state(&gpu, &trainer);
        // As in a run: the next step is submitted before the first one's losses are waited for.
        let first = trainer.step(vec![batch(0), batch(1)], 0, values()).unwrap();
        let second = trainer.step(vec![batch(2)], 1, values()).unwrap();
        let outcomes = [first, second].map(|pending| trainer.finish(pending, &[1; 50]).unwrap().outcome);
        let bits = |state: Vec<Vec<f32>>| state.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>();
        assert!(bits(state(&gpu, &trainer)) == bits(before), "{name} = {value}: something changed");
        let StepOutcome::Failed { first } = outcomes[0].clone() else { panic!("{outcomes:?}") };
        first
    };
    let named = |precision, name: &str, value: f32| fault(precision, name, value).unwrap();
    for precision in Precision::ALL {
        assert_eq!(named(precision, "transformer.h.1.mlp.c_fc.weight", f32::NAN), "the weight transformer.h.1.mlp.c_fc.weight");
        assert_eq!(named(precision, "x0_lambdas", 3e38), "the input of attention of layer 0");
    }
    assert_eq!(named(Precision::F32, "transformer.h.1.mlp.c_fc.weight", 1e25), "relu² in the MLP of layer 1");
    // 2¹⁴ from each of 32 channels: relu² is within f32, but far past f16, and so is what is left of its factor.
    assert_eq!(named(Precision::F16, "transformer.h.0.mlp.c_fc.weight", 16_384.0), "the residual stream of layer 0");
}
