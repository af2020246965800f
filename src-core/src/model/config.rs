//! The configuration of a model. Depth is the one dial: everything else follows from it, and everything about a model
//! (its parameters, its windows, its FLOPs per token) follows from the configuration.

use serde::{Deserialize, Serialize};

use super::Architecture;

/// The sizes of a model, with the reference's names, and its architecture. The JSON form has exactly these keys; without
/// `architecture` it means the current one.
///
/// The values come from a user or a file; [`validate`](Self::validate) checks whether they make a model, and
/// every other method assumes that they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// T: the longest context in training.
    pub sequence_len: usize,
    /// V: vocabulary size, before padding.
    pub vocab_size: usize,
    /// L: transformer blocks.
    pub n_layer: usize,
    /// H: query heads.
    pub n_head: usize,
    /// K: key-value heads; each serves H/K query heads.
    pub n_kv_head: usize,
    /// C: channels of the residual stream.
    pub n_embd: usize,
    /// Attention windows per layer, repeated: `L` sees the full context, `S` a quarter of it. The last layer is always full.
    pub window_pattern: String,
    /// The parts that the model has.
    #[serde(default, skip_serializing_if = "Architecture::is_current")]
    pub architecture: Architecture,
}

/// Channels of the token's embedding that the smear gate reads.
pub const SMEAR_CHANNELS: usize = 24;

/// Channels of a layer's input that the value-embedding gate reads.
pub const VE_GATE_CHANNELS: usize = 12;

/// Rows of the embedding tables are padded to a multiple of this.
const VOCAB_MULTIPLE: usize = 64;

/// Short windows are rounded up to a multiple of this.
const WINDOW_MULTIPLE: usize = 128;

/// Beyond these, tensor sizes or FLOP counts would overflow, long after memory would have run out.
const MOST_LAYERS: usize = 1_000;
const MOST_TOKENS: usize = 1 << 20;
const MOST_ELEMENTS: usize = u32::MAX as usize;

/// The largest matrices are the MLP's, with 4·C² elements, which kernels index with 32 bits.
const MOST_CHANNELS: usize = 32_767;

/// Why a configuration is invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A size that must be positive is zero.
    #[error("{0} is 0; it must be at least 1")]
    Zero(&'static str),
    /// A size below what the architecture needs.
    #[error("{what} is {got}; it must be at least {least}")]
    TooSmall {
        /// Which size.
        what: &'static str,
        /// Its value.
        got: usize,
        /// The minimum.
        least: usize,
    },
    /// A size beyond what tensors can be indexed with.
    #[error("{what} is {got}; nc-core goes up to {most}")]
    TooLarge {
        /// Which size.
        what: &'static str,
        /// Its value.
        got: usize,
        /// The maximum.
        most: usize,
    },
    /// Channels are not divisible by the number of heads.
    #[error("n_embd {n_embd} is not a multiple of n_head {n_head}")]
    Heads {
        /// C.
        n_embd: usize,
        /// H.
        n_head: usize,
    },
    /// Query heads are not divisible by the number of key-value heads.
    #[error("n_kv_head {n_kv_head} does not divide n_head {n_head}")]
    KvHeads {
        /// H.
        n_head: usize,
        /// K.
        n_kv_head: usize,
    },
    /// Kernels cannot read the halves of such heads four channels at a time, or they do not fit in registers.
    #[error("the head dimension is {0}; it must be a multiple of 8, at most 256")]
    HeadDim(usize),
    /// A window pattern that is empty or has letters other than S and L.
    #[error("the window pattern {0:?} must be one or more of the letters S (short) and L (full)")]
    WindowPattern(String),
    /// A constant of the formulas outside its range.
    #[error("{what} is {got}; it must be above 0 and at most {most}")]
    Constant {
        /// Which constant.
        what: &'static str,
        /// Its value.
        got: f64,
        /// The maximum.
        most: f64,
    },
}

impl Config {
    /// The configuration for a depth in the current architecture; see [`from_depth_with`](Self::from_depth_with).
    pub fn from_depth(
        depth: usize,
        aspect_ratio: usize,
        head_dim: usize,
        sequence_len: usize,
        vocab_size: usize,
        window_pattern: &str,
    ) -> Result<Self, ConfigError> {
        Self::from_depth_with(Architecture::CURRENT, depth, aspect_ratio, head_dim, sequence_len, vocab_size, window_pattern)
    }

    /// The configuration for a depth: `C = depth · aspect_ratio` rounded up to a multiple of `head_dim`, `H = C / head_dim`,
    /// K = H. It is valid.
    pub fn from_depth_with(
        architecture: Architecture,
        depth: usize,
        aspect_ratio: usize,
        head_dim: usize,
        sequence_len: usize,
        vocab_size: usize,
        window_pattern: &str,
    ) -> Result<Self, ConfigError> {
        for (what, value) in [("depth", depth), ("the aspect ratio", aspect_ratio), ("the head dimension", head_dim)] {
            if value == 0 {
                return Err(ConfigError::Zero(what));
            }
        }
        let n_head = depth.saturating_mul(aspect_ratio).div_ceil(head_dim);
        let config = Self {
            sequence_len,
            vocab_size,
            n_layer: depth,
            n_head,
            n_kv_head: n_head,
            n_embd: n_head.saturating_mul(head_dim),
            window_pattern: window_pattern.to_owned(),
            architecture,
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks that the sizes make a model.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let most = |what, got, most| if got > most { Err(ConfigError::TooLarge { what, got, most }) } else { Ok(()) };
        let least = |what, got, least| if got < least { Err(ConfigError::TooSmall { what, got, least }) } else { Ok(()) };
        for (what, value) in [
            ("depth (n_layer)", self.n_layer),
            ("vocab_size", self.vocab_size),
            ("n_head", self.n_head),
            ("n_kv_head", self.n_kv_head),
            ("n_embd", self.n_embd),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(what));
            }
        }
        most("depth (n_layer)", self.n_layer, MOST_LAYERS)?;
        least("sequence_len", self.sequence_len, 2)?;
        most("sequence_len", self.sequence_len, MOST_TOKENS)?;
        most("n_embd", self.n_embd, MOST_CHANNELS)?;
        most("vocab_size", self.vocab_size, (MOST_ELEMENTS / self.n_embd).min(i32::MAX as usize) - VOCAB_MULTIPLE)?;
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(ConfigError::Heads { n_embd: self.n_embd, n_head: self.n_head });
        }
        if !self.n_head.is_multiple_of(self.n_kv_head) {
            return Err(ConfigError::KvHeads { n_head: self.n_head, n_kv_head: self.n_kv_head });
        }
        if !self.head_dim().is_multiple_of(8) || self.head_dim() > 256 {
            return Err(ConfigError::HeadDim(self.head_dim()));
        }
        if self.architecture.smear {
            least("n_embd", self.n_embd, SMEAR_CHANNELS)?;
        }
        if self.architecture.value_embeds {
            least("n_embd", self.n_embd, VE_GATE_CHANNELS)?;
        }
        if self.window_pattern.is_empty() || !self.window_pattern.chars().all(|letter| "SLsl".contains(letter)) {
            return Err(ConfigError::WindowPattern(self.window_pattern.clone()));
        }
        self.architecture.validate()
    }

    /// Rows of the embedding tables: the vocabulary, padded.
    pub fn padded_vocab(&self) -> usize {
        self.vocab_size.next_multiple_of(VOCAB_MULTIPLE)
    }

    /// D: channels per head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// K·D: channels of a layer's keys, and of its values.
    pub fn kv_dim(&self) -> usize {
        self.n_kv_head * self.head_dim()
    }

    /// Window of every layer: the query at row r sees the columns c with 0 ≤ r − c ≤ window.
    pub fn window_sizes(&self) -> Vec<usize> {
        let full = self.sequence_len;
        let short = full.div_ceil(4).next_multiple_of(WINDOW_MULTIPLE);
        let mut windows: Vec<usize> = self
            .window_pattern
            .chars()
            .cycle()
            .take(self.n_layer)
            .map(|letter| if letter.eq_ignore_ascii_case(&'S') { short } else { full })
            .collect();
        if let Some(last) = windows.last_mut() {
            *last = full;
        }
        windows
    }

    /// The layer after which backout keeps the stream, L/2.
    pub fn middle_layer(&self) -> usize {
        self.n_layer / 2
    }

    /// Whether backout only scales the stream, which the final norm undoes: at depths 1 and 2 the middle layer is the last.
    ///
    /// There the gradient of `backout_lambda` is zero except for rounding, and AdamW turns that into full steps. Nothing pulls it
    /// back, and once it exceeds 1 the sign of every logit flips. So training freezes it at these depths.
    pub fn backout_is_scale(&self) -> bool {
        self.architecture.backout && self.middle_layer() + 1 == self.n_layer
    }

    /// Whether layer `i` has a value embedding: if the model has them, every other layer does, counted from the last.
    pub fn has_value_embed(&self, i: usize) -> bool {
        self.architecture.value_embeds && i % 2 == (self.n_layer + 1) % 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Config {
        Config {
            sequence_len: 64,
            vocab_size: 100,
            n_layer: 3,
            n_head: 4,
            n_kv_head: 2,
            n_embd: 64,
            window_pattern: "SL".into(),
            architecture: Architecture::CURRENT,
        }
    }

    #[test]
    fn a_bad_configuration_is_refused_with_a_sentence() {
        type Spoil = fn(&mut Config);
        let cases: [(Spoil, &str); 13] = [
            (|c| c.n_layer = 0, "depth (n_layer) is 0; it must be at least 1"),
            (|c| c.n_layer = 1_000_000, "depth (n_layer) is 1000000; nc-core goes up to 1000"),
            (|c| c.vocab_size = 0, "vocab_size is 0; it must be at least 1"),
            (|c| c.vocab_size = usize::MAX, "nc-core goes up to"),
            (|c| c.sequence_len = 1, "sequence_len is 1; it must be at least 2"),
            (|c| c.sequence_len = usize::MAX, "nc-core goes up to 1048576"),
            (|c| c.n_embd = usize::MAX, "nc-core goes up to 32767"),
            (|c| c.n_embd = 66, "n_embd 66 is not a multiple of n_head 4"),
            (|c| c.n_kv_head = 3, "n_kv_head 3 does not divide n_head 4"),
            (|c| (c.n_head, c.n_kv_head) = (32, 1), "the head dimension is 2; it must be a multiple of 8, at most 256"),
            (|c| (c.n_embd, c.n_head, c.n_kv_head) = (16, 2, 2), "n_embd is 16; it must be at least 24"),
            (|c| c.window_pattern = "SLX".into(), "\"SLX\" must be one or more of the letters S"),
            (|c| c.window_pattern.clear(), "must be one or more of the letters"),
        ];
        assert_eq!(small().validate(), Ok(()));
        for (spoil, words) in cases {
            let mut config = small();
            spoil(&mut config);
            let sentence = config.validate().expect_err(words).to_string();
            assert!(sentence.contains(words), "{sentence:?} does not say {words:?}");
        }
    }

    #[test]
    fn a_depth_out_of_range_is_refused_without_overflow() {
        for (depth, aspect_ratio, head_dim) in [(0, 64, 128), (4, 0, 128), (4, 64, 0), (usize::MAX, 64, 128), (4, usize::MAX, 7)] {
            assert!(Config::from_depth(depth, aspect_ratio, head_dim, 2048, 32768, "L").is_err());
        }
    }

    #[test]
    fn the_width_is_rounded_up_to_whole_heads() {
        let config = Config::from_depth(3, 64, 128, 2048, 50_001, "SSSL").unwrap();
        assert_eq!((config.n_embd, config.n_head, config.n_kv_head, config.head_dim()), (256, 2, 2, 128));
        assert_eq!(config.padded_vocab(), 50_048);
    }

    #[test]
    fn windows_tile_and_the_last_layer_sees_everything() {
        let mut config = small();
        (config.sequence_len, config.n_layer, config.window_pattern) = (1000, 5, "Ssl".into());
        assert_eq!(config.window_sizes(), [256, 256, 1000, 256, 1000]);
        config.n_layer = 1;
        assert_eq!(config.window_sizes(), [1000]);
    }

    #[test]
    fn json_holds_the_keys_of_the_reference_and_no_others() {
        let json = serde_json::to_value(small()).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd", "window_pattern"]);
        assert_eq!(serde_json::from_value::<Config>(json.clone()).unwrap(), small());
        let mut other = json;
        other["n_experts"] = 8.into();
        assert!(serde_json::from_value::<Config>(other).is_err());
        let classic = Config { architecture: Architecture::CLASSIC, ..small() };
        let json = serde_json::to_value(&classic).unwrap();
        assert_eq!((json["architecture"]["smear"].as_bool(), serde_json::from_value::<Config>(json).unwrap()), (Some(false), classic));
    }
}
