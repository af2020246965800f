//! The tensor names of Hugging Face's model type `nanochat` for the classic architecture.

use super::ExportError;
use super::weights::Outgoing;
use crate::checkpoint::TensorSpec;
use crate::model::{Config, ParamSpec};
use crate::weights::Format;

/// Names inside a layer: ours and those of transformers.
const IN_A_LAYER: [(&str, &str); 6] = [
    ("attn.c_q", "self_attn.q_proj"),
    ("attn.c_k", "self_attn.k_proj"),
    ("attn.c_v", "self_attn.v_proj"),
    ("attn.c_proj", "self_attn.o_proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

/// The tensors of a classic model under transformers' names, sorted by them. The embedding tables lose the rows that pad the
/// vocabulary: transformers would treat them as ids that can be generated.
pub(super) fn hugging_face(config: &Config, specs: &[ParamSpec], format: Format) -> Result<Vec<Outgoing>, ExportError> {
    let mut tensors = Vec::with_capacity(specs.len());
    for ParamSpec { name, shape, .. } in specs {
        let theirs = rename(name).ok_or_else(|| ExportError::Unwritable(format!("transformers has no name for the tensor {name}")))?;
        let mut shape = shape.clone();
        if shape[0] == config.padded_vocab() && ["transformer.wte.weight", "lm_head.weight"].contains(&name.as_str()) {
            shape[0] = config.vocab_size;
        }
        tensors.push(Outgoing { source: name.clone(), spec: TensorSpec { format, ..TensorSpec::plain(theirs, shape) } });
    }
    tensors.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    Ok(tensors)
}

fn rename(name: &str) -> Option<String> {
    match name {
        "transformer.wte.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "lm_head.weight" => return Some(name.to_owned()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("transformer.h.")?.strip_suffix(".weight")?.split_once('.')?;
    let (_, theirs) = IN_A_LAYER.iter().find(|(ours, _)| *ours == part)?;
    Some(format!("model.layers.{layer}.{theirs}.weight"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    #[test]
    fn every_tensor_of_a_classic_model_has_a_name_and_no_other_model_has() {
        let current = Config::from_depth(2, 64, 32, 64, 300, "L").unwrap();
        let classic = Config { architecture: Architecture::CLASSIC, ..current.clone() };
        let tensors = hugging_face(&classic, &classic.param_specs(), Format::F32).unwrap();
        let names: Vec<(&str, &str, &[usize])> =
            tensors.iter().map(|tensor| (tensor.spec.name.as_str(), tensor.source.as_str(), tensor.spec.shape.as_slice())).collect();
        assert_eq!(names.len(), 14);
        assert_eq!(names[0], ("lm_head.weight", "lm_head.weight", &[300, 128][..]));
        assert_eq!(names[1], ("model.embed_tokens.weight", "transformer.wte.weight", &[300, 128][..]));
        assert_eq!(names[2], ("model.layers.0.mlp.fc1.weight", "transformer.h.0.mlp.c_fc.weight", &[512, 128][..]));
        assert_eq!(names[13], ("model.layers.1.self_attn.v_proj.weight", "transformer.h.1.attn.c_v.weight", &[128, 128][..]));
        assert!(hugging_face(&current, &current.param_specs(), Format::F32).is_err());
    }
}
