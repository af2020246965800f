//! Assembles the parameters of a model from the tensors of imported files, which may have other names, narrower types,
//! or fewer rows. They are converted while they are streamed; what is narrow stays so.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use super::ImportError;
use crate::checkpoint::{Mismatch, Sink, SourceError, StreamError, TensorSource, TensorSpec};
use crate::model::{Config, Group};

/// Elements that are generated at a time.
const PIECE: usize = 1 << 16;

/// Imported tensor files, open for reading.
pub(super) trait ForeignTensors {
    /// Their name in messages.
    fn path(&self) -> &Path;

    /// Names, shapes and formats.
    fn specs(&self) -> Vec<TensorSpec>;

    /// Streams the elements of tensor `index` of [`specs`](Self::specs) to `sink` as f32, row-major.
    fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError>;
}

/// The source of a parameter.
enum Origin {
    /// Tensor `index`, followed by this many zeros.
    Stored { index: usize, padding: usize },
    /// The same value everywhere.
    Filled(f32),
}

/// The parameters of a model in the order of [`Config::param_specs`], as a source for a checkpoint.
pub(super) struct Assembled {
    specs: Vec<TensorSpec>,
    origins: Vec<Origin>,
    tensors: Box<dyn ForeignTensors>,
}

/// How to interpret the tensors of a file.
pub(super) struct Reading<'a> {
    /// Our name for a tensor; none to ignore it.
    pub rename: &'a dyn Fn(&str) -> Option<String>,
    /// Parameters that may be missing, with their default values.
    pub filled: &'a [(&'a str, f32)],
    /// Parameters that may be missing, with the one whose tensor they share.
    pub shared: &'a [(&'a str, &'a str)],
}

impl Assembled {
    /// Finds the tensor of every parameter of `config`, which is valid. There must be no others.
    pub fn new(config: &Config, tensors: Box<dyn ForeignTensors>, reading: &Reading<'_>) -> Result<Self, ImportError> {
        let path = tensors.path().to_path_buf();
        let stored = tensors.specs();
        let mut index: HashMap<String, usize> = HashMap::with_capacity(stored.len());
        for (i, spec) in stored.iter().enumerate() {
            if let Some(name) = (reading.rename)(&spec.name)
                && index.insert(name, i).is_some()
            {
                return Err(ImportError::refused(&path, format!("holds {:?} under two names", spec.name)));
            }
        }

        let mut mismatch = Mismatch { path, missing: Vec::new(), extra: Vec::new(), reshaped: Vec::new() };
        let (mut specs, mut origins) = (Vec::new(), Vec::new());
        let mut used = vec![false; stored.len()];
        for param in config.param_specs() {
            let filled = reading.filled.iter().find(|(name, _)| *name == param.name);
            let shared = reading.shared.iter().find(|(name, _)| *name == param.name);
            let found = index.get(&param.name).or_else(|| shared.and_then(|(_, other)| index.get(*other)));
            let mut spec = TensorSpec::plain(&param.name, &param.shape[..]);
            match (found, filled) {
                (Some(&i), _) => {
                    spec.format = param.format(stored[i].format);
                    used[i] = true;
                    let has = &stored[i].shape;
                    // Tables over the vocabulary were not padded before December 2025.
                    let short = is_table(param.group) && **has == [config.vocab_size, param.shape[1]];
                    if *has != param.shape && !short {
                        mismatch.reshaped.push((param.name.clone(), has.clone(), param.shape.clone()));
                    }
                    let padding = if short { (param.shape[0] - has[0]) * param.shape[1] } else { 0 };
                    origins.push(Origin::Stored { index: i, padding });
                }
                (None, Some(&(_, value))) => origins.push(Origin::Filled(value)),
                (None, None) => mismatch.missing.push(param.name.clone()),
            }
            specs.push(spec);
        }
        let extra = stored.iter().zip(&used).filter(|(spec, used)| !**used && (reading.rename)(&spec.name).is_some());
        mismatch.extra.extend(extra.map(|(spec, _)| spec.name.clone()));
        if mismatch.missing.is_empty() && mismatch.extra.is_empty() && mismatch.reshaped.is_empty() {
            Ok(Self { specs, origins, tensors })
        } else {
            Err(mismatch.into())
        }
    }

    /// Names of the parameters that are in no file.
    pub fn filled(&self) -> impl Iterator<Item = &str> {
        self.specs.iter().zip(&self.origins).filter(|(_, origin)| matches!(origin, Origin::Filled(_))).map(|(spec, _)| spec.name.as_str())
    }

    /// Whether any parameter is padded with rows of zeros.
    pub fn is_padded(&self) -> bool {
        self.origins.iter().any(|origin| matches!(origin, Origin::Stored { padding: 1.., .. }))
    }
}

fn is_table(group: Group) -> bool {
    matches!(group, Group::Wte | Group::LmHead | Group::ValueEmbeds)
}

impl TensorSource for Assembled {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        let mut all = Vec::new();
        let collected = self.stream(index, &mut |piece| {
            all.extend_from_slice(piece);
            Ok(())
        });
        match collected {
            Ok(()) => Ok(Cow::Owned(all)),
            Err(StreamError::Source(error)) => Err(error),
            Err(StreamError::Sink(error)) => Err(error.into()),
        }
    }

    fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError> {
        let (value, mut left) = match self.origins[index] {
            Origin::Stored { index, padding } => {
                self.tensors.stream(index, sink)?;
                (0.0, padding)
            }
            Origin::Filled(value) => (value, self.specs[index].elements().unwrap_or(0)),
        };
        let piece = vec![value; left.min(PIECE)];
        while left > 0 {
            let piece = &piece[..left.min(PIECE)];
            sink(piece).map_err(StreamError::Sink)?;
            left -= piece.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    /// Tensors whose elements are their indices.
    struct Made(Vec<TensorSpec>);

    impl ForeignTensors for Made {
        fn path(&self) -> &Path {
            Path::new("made.pt")
        }

        fn specs(&self) -> Vec<TensorSpec> {
            self.0.clone()
        }

        fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError> {
            let count = self.0[index].elements().unwrap();
            (0..count).try_for_each(|i| sink(&[i as f32])).map_err(StreamError::Sink)
        }
    }

    fn config() -> Config {
        Config {
            sequence_len: 64,
            vocab_size: 70,
            n_layer: 1,
            n_head: 2,
            n_kv_head: 2,
            n_embd: 32,
            window_pattern: "L".into(),
            architecture: Architecture { lambdas: true, ..Architecture::CLASSIC },
        }
    }

    /// Tensors as older versions of nanochat save them: without padding and lambdas, with the prefix of a compiled model.
    fn stored(edit: impl Fn(&mut Vec<TensorSpec>)) -> Result<Assembled, ImportError> {
        let params = config().param_specs().into_iter().filter(|param| !param.name.contains("lambda"));
        let mut specs: Vec<TensorSpec> = params
            .map(|param| {
                let rows = if is_table(param.group) { 70 } else { param.shape[0] };
                TensorSpec::plain(format!("_orig_mod.{}", param.name), [rows, param.shape[1]])
            })
            .collect();
        edit(&mut specs);
        let rename = |name: &str| Some(name.trim_start_matches("_orig_mod.").to_owned());
        let filled = [("resid_lambdas", 1.0), ("x0_lambdas", 0.0)];
        Assembled::new(&config(), Box::new(Made(specs)), &Reading { rename: &rename, filled: &filled, shared: &[] })
    }

    #[test]
    fn what_is_missing_is_filled_and_what_is_short_is_padded() {
        let mut assembled = stored(|_| {}).unwrap();
        assert_eq!((assembled.filled().collect::<Vec<_>>(), assembled.is_padded()), (vec!["resid_lambdas", "x0_lambdas"], true));
        for (i, spec) in assembled.specs().into_iter().enumerate() {
            let values = assembled.fetch(i).unwrap().into_owned();
            assert_eq!(Some(values.len()), spec.elements(), "{}", spec.name);
            let expected = |j: usize| match spec.name.as_str() {
                "resid_lambdas" => 1.0,
                "x0_lambdas" => 0.0,
                "lm_head.weight" | "transformer.wte.weight" if j >= 70 * 32 => 0.0,
                _ => j as f32,
            };
            assert!(values.iter().enumerate().all(|(j, &value)| value == expected(j)), "{}", spec.name);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let refused = |edit: fn(&mut Vec<TensorSpec>)| stored(edit).err().expect("it is refused").to_string();
        assert!(refused(|specs| drop(specs.pop())).contains("\"lm_head.weight\" is missing"));
        assert!(refused(|specs| specs[0].shape = vec![69, 32]).contains("[69, 32] instead of [128, 32]"));
        assert!(refused(|specs| specs[1].shape = vec![32]).contains("[32] instead of [32, 32]"));
        assert!(refused(|specs| specs.push(TensorSpec::plain("engram", [1]))).contains("\"engram\" is not in the model"));
        assert!(refused(|specs| specs.push(TensorSpec::plain("lm_head.weight", [70, 32]))).contains("two names"));
    }
}
