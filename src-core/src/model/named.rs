//! What a pass over a batch computes, by name and in order: to say where the first number arose that is not finite.

use crate::gpu::Tensor;

use super::{Activations, Config, Model};

impl Model {
    /// The parameters, the activations of a pass that keeps them, and the gradients of parameters, each in the order in which
    /// the pass reads or computes them.
    pub fn named_tensors<'a>(&'a self, acts: &'a Activations) -> Vec<(String, &'a Tensor)> {
        let weights = self.parameters.iter().map(|parameter| (format!("the weight {}", parameter.spec.name), parameter.value()));
        let grads = backward_order(&self.config).into_iter().map(|name| {
            let grad = self.parameters.grad(&name);
            (format!("the gradient of {name}"), grad)
        });
        weights.chain(activations(&self.config, acts)).chain(grads).collect()
    }
}

/// What the forward pass leaves behind.
fn activations<'a>(config: &Config, acts: &'a Activations) -> Vec<(String, &'a Tensor)> {
    let mut tensors = vec![("the normed embedding".to_owned(), &acts.embedded)];
    tensors.extend(acts.smear_sigmoid.as_ref().map(|gate| ("the smear gate".to_owned(), gate)));
    for (i, layer) in acts.layers.iter().enumerate() {
        let mut add = |what: &str, tensor: &'a Tensor| tensors.push((format!("{what} of layer {i}"), tensor));
        add("the input of attention", &layer.attn_input);
        add("the queries", &layer.q);
        add("the keys", &layer.k);
        add("the values", &layer.v);
        add("the output of attention", &layer.mixed);
        add("the input of the MLP", &layer.mlp_input);
        add("relu² in the MLP", &layer.hidden);
        // Without lambdas all layers add to one buffer.
        if config.architecture.lambdas || i + 1 == config.n_layer {
            add("the residual stream", acts.stream.before(i + 1));
        }
    }
    tensors.push(("the output of the final norm".to_owned(), &acts.output));
    tensors.push(("the losses".to_owned(), &acts.losses));
    tensors
}

/// The parameters that are trained, in the order in which the backward pass computes their gradients.
fn backward_order(config: &Config) -> Vec<String> {
    let of_layer = |i: usize| {
        let parts = ["mlp.c_proj", "mlp.c_fc", "attn.c_proj", "attn.c_q", "attn.c_k", "attn.c_v", "attn.ve_gate"];
        let matrices = parts.map(|part| format!("transformer.h.{i}.{part}.weight"));
        matrices.into_iter().chain([format!("value_embeds.{i}.weight")])
    };
    let first = ["lm_head.weight", "backout_lambda"].map(str::to_owned);
    let last = ["resid_lambdas", "x0_lambdas", "smear_gate.weight", "smear_lambda", "transformer.wte.weight"].map(str::to_owned);
    let specs = config.param_specs();
    let is_trained = |name: &String| specs.iter().any(|spec| spec.name == *name && !spec.held);
    first.into_iter().chain((0..config.n_layer).rev().flat_map(of_layer)).chain(last).filter(is_trained).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    #[test]
    fn every_trained_parameter_has_its_place_in_the_backward_pass() {
        for architecture in [Architecture::CURRENT, Architecture::CLASSIC] {
            let config = Config {
                sequence_len: 16,
                vocab_size: 50,
                n_layer: 3,
                n_head: 2,
                n_kv_head: 1,
                n_embd: 32,
                window_pattern: "L".into(),
                architecture,
            };
            let mut trained: Vec<String> = config.param_specs().into_iter().filter(|spec| !spec.held).map(|spec| spec.name).collect();
            let mut order = backward_order(&config);
            assert_eq!(order[0], "lm_head.weight");
            assert_eq!(order.last().unwrap(), "transformer.wte.weight");
            trained.sort();
            order.sort();
            assert_eq!(order, trained);
        }
    }
}
