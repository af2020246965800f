//! Bits per byte: the loss in a unit that does not depend on the vocabulary.
//!
//! Σ nats / (ln 2 · Σ bytes of the target tokens); special tokens, which have no bytes, and ignored targets do not count.

/// A running sum of nats and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BitsPerByte {
    nats: f64,
    bytes: u64,
}

impl BitsPerByte {
    /// Adds tokens: their losses in nats, their ids (−1 if ignored), and the bytes of every token of the vocabulary.
    pub fn add(&mut self, losses: &[f32], targets: &[i32], token_bytes: &[u32]) {
        for (&loss, &target) in losses.iter().zip(targets) {
            let bytes = usize::try_from(target).ok().and_then(|id| token_bytes.get(id)).copied().unwrap_or(0);
            if bytes > 0 {
                self.nats += f64::from(loss);
                self.bytes += u64::from(bytes);
            }
        }
    }

    /// Bits per byte; infinite if nothing was counted.
    pub fn value(&self) -> f64 {
        if self.bytes == 0 { f64::INFINITY } else { self.nats / (std::f64::consts::LN_2 * self.bytes as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specials_and_ignored_targets_do_not_count() {
        let token_bytes = [1, 3, 0];
        let mut sum = BitsPerByte::default();
        sum.add(&[std::f32::consts::LN_2, 9.0, 9.0, 3.0 * std::f32::consts::LN_2], &[0, 2, -1, 1], &token_bytes);
        assert!((sum.value() - 1.0).abs() < 1e-7);
        assert_eq!(BitsPerByte::default().value(), f64::INFINITY);
    }
}
