//! Detects the architecture of a nanochat checkpoint. It is not recorded, but follows from the tensors.
//!
//! nanochat's formulas changed between October 2025 and March 2026, some of them without a trace in the
//! checkpoint: the base of the rotary embedding, the gain of queries and keys, the gates of the value embeddings. Checkpoints of
//! the first months have the classic architecture, and those since smear and backout (14 March 2026) the current
//! one. Those in between are rejected, because they do not record the formulas that they were trained with.

use crate::model::{Architecture, Config};

/// Parameters that the reference fills in if they are missing, with their values.
pub(super) const FILLED: [(&str, f32); 2] = [("resid_lambdas", 1.0), ("x0_lambdas", 0.0)];

/// The architecture of a checkpoint with these tensors; or why there is none, continuing a sentence after the file's name.
pub(super) fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<Architecture, String> {
    let has = |part: &str| names.clone().any(|name| name.contains(part));
    let value_embeds = has("value_embeds.") || has("ve_gate");
    let (smear, backout, lambdas) = (has("smear_"), has("backout_lambda"), has("resid_lambdas") || has("x0_lambdas"));
    match (smear, value_embeds, backout) {
        (true, true, true) => Ok(Architecture::CURRENT),
        (false, false, false) => Ok(Architecture { lambdas, ..Architecture::CLASSIC }),
        _ => {
            let there = [(value_embeds, "value embeddings"), (smear, "smear"), (backout, "backout"), (lambdas, "residual lambdas")];
            let list = |wanted| there.iter().filter(|(has, _)| *has == wanted).map(|(_, part)| *part).collect::<Vec<_>>().join(", ");
            Err(format!(
                "has {} but no {}: it is of the months between the classic and the current nanochat, whose formulas no version reads any more; retrain it, or convert it with the nanochat that made it",
                list(true),
                list(false)
            ))
        }
    }
}

/// Checks that the windows of `config` are those that the model was trained with: when checkpoints had only lambdas
/// in addition to the classic parts (January 2026), a short window was half the context.
pub(super) fn check_windows(config: &Config) -> Result<(), String> {
    let all_full = config.window_sizes().iter().all(|&window| window >= config.sequence_len);
    let half = config.sequence_len / 2;
    let same = || config.window_sizes().iter().all(|&window| window == config.sequence_len || window == half);
    if !config.architecture.value_embeds && !all_full && !same() {
        return Err(format!(
            "has short attention windows of January 2026, of half the context ({half} tokens), which nc-core does not have"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "transformer.h.0.attn.c_q.weight";

    fn of(names: &[&str]) -> Result<Architecture, String> {
        super::of(names.iter().copied())
    }

    #[test]
    fn the_parts_tell_the_architecture() {
        assert_eq!(of(&[BLOCK]), Ok(Architecture::CLASSIC));
        assert_eq!(of(&[BLOCK, "resid_lambdas", "x0_lambdas"]), Ok(Architecture { lambdas: true, ..Architecture::CLASSIC }));
        let all = ["value_embeds.1.weight", "transformer.h.1.attn.ve_gate.weight", "smear_gate.weight", "smear_lambda", "backout_lambda"];
        assert_eq!(of(&all), Ok(Architecture::CURRENT), "the lambdas are filled in");
        let error = of(&["value_embeds.1.weight", "resid_lambdas", "x0_lambdas"]).unwrap_err();
        assert!(error.contains("has value embeddings, residual lambdas but no smear, backout"), "{error}");
        assert!(of(&all[2..]).is_err() && of(&all[..4]).is_err());
    }

    #[test]
    fn windows_of_half_the_context_are_refused_where_ours_are_others() {
        let config = |sequence_len, pattern: &str| Config {
            sequence_len,
            vocab_size: 100,
            n_layer: 3,
            n_head: 2,
            n_kv_head: 2,
            n_embd: 32,
            window_pattern: pattern.into(),
            architecture: Architecture { lambdas: true, ..Architecture::CLASSIC },
        };
        assert!(check_windows(&config(2048, "SSSL")).unwrap_err().contains("1024 tokens"));
        assert_eq!(check_windows(&config(2048, "L")), Ok(()));
        assert_eq!(check_windows(&config(256, "SSSL")), Ok(()), "128 tokens by either rule");
        let current = Config { architecture: Architecture::CURRENT, ..config(2048, "SSSL") };
        assert_eq!(check_windows(&current), Ok(()));
    }
}
