//! The reference's own numbers: logits, losses, every gradient and the parameters after a few optimizer steps, for
//! every model case in `tests/golden` and in `NC_GOLDEN_DIR`.
//!
//! Bars, as ‖a − b‖ / ‖b‖ in f32: 1e-5 for logits and losses, 1e-4 for each gradient, 5e-3 for each update.

use std::collections::BTreeSet;
use std::path::Path;

use nc_core::gpu::{Gpu, Recorder, Tensor, Variant};
use nc_core::kernels::{self, embedding};
use nc_core::model::{Activations, Config, Gradients, Keep, Model, Parameters};
use nc_core::optim::{Optimizer, OptimizerConfig, StepValues};
use nc_tests::golden::{Case, Report};
use nc_tests::golden_models;

const LOGITS: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;
const UPDATE: f64 = 5e-3;

struct Setup {
    gpu: Gpu,
    config: Config,
    model: Model,
    acts: Activations,
    grads: Gradients,
}

impl Setup {
    fn new(case: &Case) -> Self {
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let config: Config = serde_json::from_value(case.meta["config"].clone()).unwrap();
        config.validate().unwrap();
        let windows: Vec<usize> = serde_json::from_value(case.meta["window_sizes"].clone()).unwrap();
        assert_eq!(config.window_sizes(), windows);
        assert_eq!(config.padded_vocab() as f64, case.number("/padded_vocab_size"));
        assert_eq!(config.flops_per_token() as f64, case.number("/flops_per_token"));

        let parameters = Parameters::allocate(&gpu, &config).unwrap();
        let model = Model::new(&gpu, &config, parameters).unwrap();
        for name in case.names("param.") {
            let shape = case.shape(&format!("param.{name}"));
            model.parameters.upload(&gpu, &name, &shape, &case.floats(&format!("param.{name}"))).unwrap();
        }
        assert_eq!(model.parameters.iter().len(), case.names("param.").len(), "the case holds every parameter");
        let [batch, seq]: [usize; 2] = serde_json::from_value(case.meta["batch"].clone()).unwrap();
        let acts = Activations::allocate(&gpu, &config, batch, seq, Keep::ForBackward).unwrap();
        let grads = Gradients::allocate(&gpu, &config, batch, seq).unwrap();
        Self { gpu, config, model, acts, grads }
    }

    fn record(&self, commands: impl FnOnce(&mut Recorder)) {
        let mut rec = Recorder::new(&self.gpu);
        commands(&mut rec);
        rec.finish().unwrap().run();
        self.gpu.wait().unwrap();
    }

    fn upload(&self, ids: &[i32], targets: &[i32]) {
        let counted = targets.iter().filter(|target| **target >= 0).count();
        let segments = embedding::segments(ids, self.config.padded_vocab());
        self.gpu.write(&self.acts.ids, ids);
        self.gpu.write(&self.acts.targets, targets);
        self.gpu.write(&self.grads.order, &segments.order);
        self.gpu.write(&self.grads.starts, &segments.starts);
        self.gpu.write(&self.grads.weight, &[1.0 / counted as f32]);
    }

    fn read(&self, tensor: &Tensor) -> Vec<f32> {
        self.gpu.read(tensor).unwrap()
    }

    /// Softcapped logits of the whole batch without padding, `[N, V]`.
    fn logits(&self) -> Vec<f32> {
        let (vocab, padded) = (self.config.vocab_size, self.config.padded_vocab());
        let mut all = Vec::new();
        let rows = self.model.logits_rows(&self.acts);
        self.record(|rec| self.model.record_trunk(rec, &self.acts));
        for first in (0..self.acts.tokens()).step_by(rows) {
            let mut rec = Recorder::new(&self.gpu);
            let logits = self.model.record_logits(&mut rec, &self.acts, first, rows.min(self.acts.tokens() - first));
            rec.finish().unwrap().run();
            all.extend(self.read(&logits).chunks_exact(padded).flat_map(|row| row[..vocab].to_vec()));
        }
        all
    }
}

fn mean(losses: &[f32], targets: &[i32]) -> f32 {
    let counted = targets.iter().filter(|target| **target >= 0).count();
    (losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / counted as f64) as f32
}

fn check(path: &Path) -> Report {
    let case = Case::open(path);
    let setup = Setup::new(&case);
    let Setup { gpu, config, model, acts, grads } = &setup;
    let mut report = Report::default();

    // Forward and backward on batch 0.
    let (ids, targets) = (case.ids("batch.0.idx"), case.ids("batch.0.targets"));
    setup.upload(&ids, &targets);
    report.compare("logits", &setup.logits(), &case.floats("logits"), LOGITS);
    setup.record(|rec| model.record_evaluation(rec, acts));
    report.compare("loss_per_token without gradients", &setup.read(&acts.losses), &case.floats("loss_per_token"), LOGITS);
    setup.record(|rec| {
        model.record_clear(rec);
        model.record_trunk(rec, acts);
        model.record_backward(rec, acts, grads);
    });
    let losses = setup.read(&acts.losses);
    report.compare("loss_per_token", &losses, &case.floats("loss_per_token"), LOGITS);
    report.compare("loss", &[mean(&losses, &targets)], &case.floats("loss"), LOGITS);
    let graded = case.names("grad.");
    assert_eq!(graded.len(), model.parameters.iter().len(), "the case holds every gradient");
    for name in &graded {
        report.compare(
            &format!("gradient of {name}"),
            &setup.read(model.parameters.grad(name)),
            &case.floats(&format!("grad.{name}")),
            GRADIENT,
        );
    }

    // Optimizer steps.
    let schedule = case.meta["schedule"].as_array().unwrap();
    let before: Vec<(String, Vec<f32>)> =
        model.parameters.iter().map(|parameter| (parameter.spec.name.clone(), setup.read(parameter.value()))).collect();
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
        setup.upload(&case.ids(&format!("batch.{step}.idx")), &targets);
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
        setup.record(|rec| {
            model.record_clear(rec);
            model.record_trunk(rec, acts);
            model.record_backward(rec, acts, grads);
            optimizer.record(rec);
        });
        step_losses.push(mean(&setup.read(&acts.losses), &targets));
    }
    report.compare("step_losses", &step_losses, &case.floats("step_losses"), 10.0 * LOGITS);
    let stepped = case.names("stepped.");
    assert_eq!(stepped.len(), before.len(), "the case holds every stepped parameter");
    for (name, old) in &before {
        let update = |new: Vec<f32>| new.iter().zip(old).map(|(new, old)| new - old).collect::<Vec<f32>>();
        let got = update(setup.read(model.parameters.get(name)));
        let want = update(case.floats(&format!("stepped.{name}")));
        report.compare(&format!("update of {name}"), &got, &want, UPDATE);
    }
    // `shaders.rs` translates the variants that are listed: none must be in use that is not.
    let listed: BTreeSet<String> = kernels::variants(setup.gpu.capabilities()).iter().map(Variant::key).collect();
    let unlisted = setup.gpu.pipeline_keys().into_iter().filter(|key| !listed.contains(key));
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
