//! The reference's own numbers: logits, losses, every gradient and the parameters after a few optimizer steps, for
//! every model case in `tests/golden` and in `NC_GOLDEN_DIR`.
//!
//! Bars, as ‖a − b‖ / ‖b‖ in f32: 1e-5 for logits and losses, 1e-4 for each gradient, 5e-3 for each update.

use std::collections::BTreeSet;
use std::path::Path;

use nc_core::gpu::Variant;
use nc_core::kernels;
use nc_core::kernels::precision::Precision;
use nc_core::optim::{Optimizer, OptimizerConfig, StepValues};
use nc_tests::golden::{Case, Report};
use nc_tests::golden_models;
use nc_tests::passes::Passes;

const LOGITS: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;
const UPDATE: f64 = 5e-3;

fn mean(losses: &[f32], targets: &[i32]) -> f32 {
    let counted = targets.iter().filter(|target| **target >= 0).count();
    (losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / counted as f64) as f32
}

fn check(path: &Path) -> Report {
    let case = Case::open(path);
    let passes = Passes::new(&case, Precision::F32);
    let Passes { gpu, config, model, acts, grads } = &passes;
    let mut report = Report::default();

    // Forward and backward on batch 0.
    let (ids, targets) = (case.ids("batch.0.idx"), case.ids("batch.0.targets"));
    passes.upload(&ids, &targets, 1.0);
    report.compare("logits", &passes.logits(), &case.floats("logits"), LOGITS);
    passes.record(|rec| model.record_evaluation(rec, acts));
    report.compare("loss_per_token without gradients", &passes.read(&acts.losses), &case.floats("loss_per_token"), LOGITS);
    passes.record(|rec| {
        model.record_clear(rec);
        model.record_trunk(rec, acts);
        model.record_backward(rec, acts, grads);
    });
    let losses = passes.read(&acts.losses);
    report.compare("loss_per_token", &losses, &case.floats("loss_per_token"), LOGITS);
    report.compare("loss", &[mean(&losses, &targets)], &case.floats("loss"), LOGITS);
    let graded = case.names("grad.");
    assert_eq!(graded.len(), model.parameters.iter().len(), "the case holds every gradient");
    for name in &graded {
        report.compare(
            &format!("gradient of {name}"),
            &passes.read(model.parameters.grad(name)),
            &case.floats(&format!("grad.{name}")),
            GRADIENT,
        );
    }

    // Optimizer steps.
    let schedule = case.meta["schedule"].as_array().unwrap();
    let before: Vec<(String, Vec<f32>)> =
        model.parameters.iter().map(|parameter| (parameter.spec.name.clone(), passes.read(parameter.value()))).collect();
    let optimizer = Optimizer::new(
        gpu,
        &model.parameters,
        &OptimizerConfig {
            n_embd: config.n_embd,
            lr_scale: 1.0,
            unembedding_lr: case.number("/optimizer/unembedding_lr"),
            embedding_lr: case.number("/optimizer/embedding_lr"),
            matrix_lr: case.number("/optimizer/matrix_lr"),
            scalar_lr: case.number("/optimizer/scalar_lr"),
        },
    )
    .unwrap();
    let mut step_losses = Vec::new();
    for (step, values) in schedule.iter().enumerate() {
        let targets = case.ids(&format!("batch.{step}.targets"));
        passes.upload(&case.ids(&format!("batch.{step}.idx")), &targets, 1.0);
        let number = |name: &str| values[name].as_f64().unwrap();
        optimizer.set_step(
            StepValues {
                lr_multiplier: number("lr_multiplier"),
                momentum: number("muon_momentum"),
                weight_decay: number("muon_weight_decay"),
            },
            1.0,
            step as u64 + 1,
        );
        passes.record(|rec| {
            model.record_clear(rec);
            model.record_trunk(rec, acts);
            model.record_backward(rec, acts, grads);
            optimizer.record(rec);
        });
        step_losses.push(mean(&passes.read(&acts.losses), &targets));
    }
    report.compare("step_losses", &step_losses, &case.floats("step_losses"), 10.0 * LOGITS);
    let stepped = case.names("stepped.");
    assert_eq!(stepped.len(), before.len(), "the case holds every stepped parameter");
    for (name, old) in &before {
        let update = |new: Vec<f32>| new.iter().zip(old).map(|(new, old)| new - old).collect::<Vec<f32>>();
        let got = update(passes.read(model.parameters.get(name)));
        let want = update(case.floats(&format!("stepped.{name}")));
        report.compare(&format!("update of {name}"), &got, &want, UPDATE);
    }
    // `shaders.rs` translates the variants that are listed: none must be in use that is not.
    let listed: BTreeSet<String> = kernels::variants(passes.gpu.capabilities()).iter().map(Variant::key).collect();
    let unlisted = passes.gpu.pipeline_keys().into_iter().filter(|key| !listed.contains(key));
    report.failures.extend(unlisted.map(|key| format!("kernels::variants does not list {key}")));
    report
}

#[test]
fn golden_models_agree_in_logits_losses_gradients_and_steps() {
    let mut failures = Vec::new();
    for path in golden_models() {
        let report = check(&path);
        println!("{}: worst error is {:.3} of its bar", path.display(), report.worst);
        failures.extend(report.failures.iter().map(|failure| format!("{}: {failure}", path.display())));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
