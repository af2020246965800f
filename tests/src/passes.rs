//! A golden case's model on a GPU, and passes over its batches.

use nc_core::gpu::{Gpu, Recorder, Tensor};
use nc_core::kernels::embedding;
use nc_core::kernels::precision::Precision;
use nc_core::model::{Activations, Config, Gradients, Keep, Model, Parameters};

use crate::golden::Case;

/// The model of a golden case, and what its passes read and write.
pub struct Passes {
    /// The device.
    pub gpu: Gpu,
    /// The configuration.
    pub config: Config,
    /// The model.
    pub model: Model,
    /// Activations of a batch.
    pub acts: Activations,
    /// Their gradients.
    pub grads: Gradients,
}

impl Passes {
    /// The model of `case` with its parameters, for batches of its size, on the tests' adapter.
    pub fn new(case: &Case, precision: Precision) -> Self {
        let gpu = Gpu::open(std::env::var("NC_ADAPTER").ok().as_deref()).unwrap();
        let config: Config = serde_json::from_value(case.meta["config"].clone()).unwrap();
        config.validate().unwrap();
        let windows: Vec<usize> = serde_json::from_value(case.meta["window_sizes"].clone()).unwrap();
        assert_eq!(config.window_sizes(), windows);
        assert_eq!(config.padded_vocab() as f64, case.number("/padded_vocab_size"));
        assert_eq!(config.flops_per_token() as f64, case.number("/flops_per_token"));

        let parameters = Parameters::allocate(&gpu, &config).unwrap();
        let model = Model::new(&gpu, &config, parameters).unwrap().in_precision(precision);
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

    /// Records commands and runs them.
    pub fn record(&self, commands: impl FnOnce(&mut Recorder)) {
        let mut rec = Recorder::new(&self.gpu);
        commands(&mut rec);
        rec.finish().unwrap().run();
        self.gpu.wait().unwrap();
    }

    /// Uploads a batch; its loss is multiplied with `scale`.
    pub fn upload(&self, ids: &[i32], targets: &[i32], scale: f32) {
        let counted = targets.iter().filter(|target| **target >= 0).count();
        let segments = embedding::segments(ids, self.config.padded_vocab());
        self.gpu.write(&self.acts.ids, ids);
        self.gpu.write(&self.acts.targets, targets);
        self.gpu.write(&self.grads.order, &segments.order);
        self.gpu.write(&self.grads.starts, &segments.starts);
        self.gpu.write(&self.grads.weight, &[scale / counted as f32]);
    }

    /// The values of a tensor.
    pub fn read(&self, tensor: &Tensor) -> Vec<f32> {
        self.gpu.read(tensor).unwrap()
    }

    /// Softcapped logits of the whole batch without padding, `[N, V]`.
    pub fn logits(&self) -> Vec<f32> {
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
