//! Mixed precision: losses and gradients of products from 16-bit inputs beside those from f32, also where numbers are larger
//! than f16, and runs that go on to the bit.

use std::fs;

use nc_core::gpu::Recorder;
use nc_core::kernels::precision::Precision;
use nc_tests::golden::Case;
use nc_tests::passes::Passes;
use nc_tests::workshop::Workshop;
use nc_tests::{golden_models, nc_core};

/// The factor of the loss in f16.
const SCALE: f32 = 1024.0;

fn scale(precision: Precision) -> f32 {
    if precision == Precision::F16 { SCALE } else { 1.0 }
}

/// ‖a − b‖ / ‖b‖.
fn error(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let off: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    (off / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

/// The losses of the case's first batch, and the gradient of each parameter by its name.
fn gradients(passes: &Passes, case: &Case, precision: Precision) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
    let Passes { model, acts, grads, .. } = passes;
    passes.upload(&case.ids("batch.0.idx"), &case.ids("batch.0.targets"), scale(precision));
    passes.record(|rec: &mut Recorder| {
        model.record_clear(rec);
        model.record_trunk(rec, acts);
        model.record_backward(rec, acts, grads);
    });
    let gradient = |name: &str| passes.read(model.parameters.grad(name)).iter().map(|g| g / scale(precision)).collect();
    let named = model.parameters.iter().map(|parameter| (parameter.spec.name.clone(), gradient(&parameter.spec.name)));
    (passes.read(&acts.losses), named.collect())
}

/// The greatest errors of losses and of gradients, in `precision` beside f32; `change` edits the model first.
fn errors(case: &Case, precision: Precision, change: &dyn Fn(&Passes)) -> (f64, (f64, String)) {
    let [(losses, got), (want_losses, want)] = [precision, Precision::F32].map(|precision| {
        let passes = Passes::new(case, precision);
        change(&passes);
        gradients(&passes, case, precision)
    });
    let of_gradients = got.iter().zip(&want).filter(|(_, (_, want))| want.iter().any(|value| *value != 0.0));
    let worst = of_gradients.map(|((name, got), (_, want))| (error(got, want), name.clone())).max_by(|a, b| a.0.total_cmp(&b.0));
    (error(&losses, &want_losses), worst.unwrap())
}

/// Bars for losses and for each gradient: an input is rounded to 11 bits in f16 and to 8 in bf16, and errors of layers add up.
fn bars(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (0.0, 0.0),
        Precision::F16 => (5e-4, 4e-3),
        Precision::Bf16 => (4e-3, 4e-2),
    }
}

#[test]
fn golden_models_keep_their_losses_and_gradients() {
    for path in golden_models() {
        let case = Case::open(&path);
        for precision in Precision::ALL {
            let (of_losses, (of_gradient, name)) = errors(&case, precision, &|_| ());
            println!("{}: {precision}: losses {of_losses:.1e}, gradients up to {of_gradient:.1e} ({name})", path.display());
            let (losses, gradient) = bars(precision);
            assert!(
                of_losses <= losses && of_gradient <= gradient,
                "{}, {precision}: {of_losses}, {of_gradient} of {name}",
                path.display()
            );
        }
    }
}

/// What others found in trained models: relu² of 1e5, and a lambda of 254.7.
#[test]
fn numbers_that_f16_does_not_hold_are_no_trouble() {
    for path in golden_models() {
        let case = Case::open(&path);
        let change = |passes: &Passes| {
            let parameters = &passes.model.parameters;
            let multiply = |name: &str, factor: f32| {
                let values: Vec<f32> = passes.read(parameters.get(name)).iter().map(|value| value * factor).collect();
                passes.gpu.write(parameters.get(name), &values);
            };
            for i in 0..passes.config.n_layer {
                multiply(&format!("transformer.h.{i}.mlp.c_fc.weight"), 512.0);
                multiply(&format!("transformer.h.{i}.mlp.c_proj.weight"), 1.0 / 64.0);
            }
            if passes.config.architecture.lambdas {
                let mut lambdas = passes.read(parameters.get("x0_lambdas"));
                lambdas[0] = 254.7;
                passes.gpu.write(parameters.get("x0_lambdas"), &lambdas);
            }
        };
        let passes = Passes::new(&case, Precision::F32);
        change(&passes);
        gradients(&passes, &case, Precision::F32);
        let named = passes.model.named_tensors(&passes.acts);
        let relu2 = named.iter().filter(|(name, _)| name.starts_with("relu²")).flat_map(|(_, tensor)| passes.read(tensor));
        let largest = relu2.fold(0f32, f32::max);
        assert!((1e5..1e7).contains(&largest), "{}: relu² reaches {largest}", path.display());

        for precision in [Precision::F16, Precision::Bf16] {
            let (of_losses, (of_gradient, name)) = errors(&case, precision, &change);
            println!("{}: {precision}: losses {of_losses:.1e}, gradients up to {of_gradient:.1e} ({name})", path.display());
            let (losses, gradient) = bars(precision);
            assert!(
                of_losses <= losses && of_gradient <= gradient,
                "{}, {precision}: {of_losses}, {of_gradient} of {name}",
                path.display()
            );
        }
    }
}

const STEPS: [&str; 10] =
    ["--num-iterations", "12", "--save-every", "2", "--eval-every", "-1", "--sample-every", "-1", "--warmup-steps", "3"];

/// Killed and resumed, a run ends with the bytes of one that nothing happened to: in f16 the loss scale is part of the state.
#[test]
fn a_killed_run_in_16_bits_ends_with_the_same_bytes() {
    let workshop = Workshop::new(|home| nc_core!(home));
    let text = workshop.text();
    for precision in ["f16", "bf16"] {
        let options: Vec<&str> = STEPS.into_iter().chain(["--precision", precision]).collect();
        let (whole, killed) = (format!("whole-{precision}"), format!("killed-{precision}"));
        workshop.train(&whole, &options);
        let mut running = workshop.start(&workshop.training(&killed, &text, &options));
        running.wait_for("/checkpoints/000004");
        drop(running);
        let mut running = workshop.start(&["train", "--resume", "--run", &killed]);
        assert!(running.line().unwrap().contains("resuming at step"), "the kill came after the end");
        let (code, _, stderr) = running.end();
        assert_eq!(code, Some(0), "{stderr}");
        workshop.assert_same_runs(&whole, &killed);

        let state = fs::read_to_string(workshop.run(&whole).join("checkpoints/000012/state.json")).unwrap();
        assert_eq!(state.contains("\"loss_scale\""), precision == "f16", "{state}");
        let config = fs::read_to_string(workshop.run(&whole).join("config.json")).unwrap();
        assert!(config.contains(&format!("\"precision\": \"{precision}\"")) && config.contains("\"numerics\": \"fast\""), "{config}");
    }
}
