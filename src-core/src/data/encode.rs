//! What packing needs from a tokenizer. A trait, so that packing, prefetch and their errors can be tested without one.

use std::sync::Arc;

use crate::tokenizer::Tokenizer;

/// Turns texts into token ids.
pub trait Encode: Send + Sync {
    /// The token ids of each text, without any special token. May use several threads.
    fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>>;

    /// The id of `<|bos|>`.
    fn bos(&self) -> u32;
}

impl Encode for Tokenizer {
    fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>> {
        Tokenizer::encode_batch(self, texts)
    }

    fn bos(&self) -> u32 {
        Tokenizer::bos(self)
    }
}

impl<E: Encode + ?Sized> Encode for Arc<E> {
    fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>> {
        (**self).encode_batch(texts)
    }

    fn bos(&self) -> u32 {
        (**self).bos()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One token per byte.
    pub struct Bytes;

    impl Encode for Bytes {
        fn encode_batch(&self, texts: &[String]) -> Vec<Vec<u32>> {
            texts.iter().map(|text| text.bytes().map(u32::from).collect()).collect()
        }

        fn bos(&self) -> u32 {
            256
        }
    }
}
