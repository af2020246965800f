//! How much GPU memory generation takes in addition to the model: the second formula of `docs/MEMORY.md`, term by term.
//!
//! Like the formula for training, it is derived from the sizes alone, and a test compares it with the device's count.

use std::collections::BTreeSet;

use crate::gpu::{Gpu, Numerics};
use crate::kernels::attention::Cached;
use crate::kernels::attention_decode;

use crate::kernels::matmul::{self, Layout, Product, autotune};
use crate::kernels::matvec;
use crate::kernels::sample::{self, Draw};
use crate::model::{Cache, CachedPass, Config};

use super::decoder::fresh_of_pass;

/// Bytes of a float or a token id.
const WORD: u64 = 4;

/// Bytes of a dispatch's uniforms: they are aligned to 256 bytes.
const UNIFORMS: u64 = 256;

/// GPU memory of a [`Decoder`](super::decoder::Decoder) in bytes, by [`Memory`](crate::gpu::Memory) kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderMemory {
    /// Buffers of the passes.
    pub activations: u64,
    /// Scratch of the passes, and the weights for drawing tokens.
    pub workspace: u64,
    /// Uniforms, and the read-back buffer of the drawn tokens.
    pub staging: u64,
    /// The KV cache.
    pub cache: u64,
}

impl DecoderMemory {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.activations + self.workspace + self.staging + self.cache
    }
}

/// The memory of a decoder of `rows` rows with a capacity of `capacity` tokens each, after it has prefilled prompts of up to
/// `prompt` new tokens.
///
/// It depends on `gpu` through the kernels that are fastest on it, since some need scratch for partial sums or packed operands.
pub fn decoder_memory(gpu: &Gpu, config: &Config, rows: usize, capacity: usize, prompt: usize) -> DecoderMemory {
    let capacity = capacity.min(config.sequence_len);
    let weights = sample::scratch_len(gpu.capabilities(), config.vocab_size, config.padded_vocab());
    let decode = Pass { gpu, config, sequences: rows, fresh: 1, capacity, logits: true };
    let passes: BTreeSet<usize> = (1..=prompt.min(Cache::LONGEST_PASS).min(capacity)).map(|fresh| fresh_of_pass(fresh, capacity)).collect();
    let prefill = |fresh| Pass { gpu, config, sequences: 1, fresh, capacity, logits: false };
    let longest = Cache::LONGEST_PASS.min(capacity);

    // Draws and the tokens that were seen, then the buffers of the passes; all passes of prefill use the longest one's buffers,
    // with one cursor.
    let own = rows * (Draw::WORDS + config.vocab_size.div_ceil(32));
    let longest = if passes.is_empty() { 0 } else { prefill(longest).words() };
    let scratch: usize = passes.iter().map(|&fresh| prefill(fresh).scratch()).sum();
    let dispatches: usize = passes.iter().map(|&fresh| prefill(fresh).dispatches()).sum();
    DecoderMemory {
        activations: WORD * (own + decode.words() + longest) as u64,
        workspace: WORD * (rows * weights + decode.scratch() + scratch) as u64,
        // Drawing is a separate dispatch.
        staging: WORD * rows as u64 + UNIFORMS * (decode.dispatches() + 1 + dispatches) as u64,
        cache: rows as u64 * Cache::bytes_per_row(config, capacity),
    }
}

/// A pass over new tokens.
struct Pass<'a> {
    gpu: &'a Gpu,
    config: &'a Config,
    sequences: usize,
    fresh: usize,
    capacity: usize,
    logits: bool,
}

impl Pass<'_> {
    fn tokens(&self) -> usize {
        self.sequences * self.fresh
    }

    /// Whether there are so few tokens that each product reads its matrix once for all of them.
    fn few(&self) -> bool {
        self.tokens() <= matvec::MOST_ROWS
    }

    /// N·((8 + 2·λ + b)·C + (H + 2·K)·D + 2) + 4·S, V logits per token, and the padding between projections.
    fn words(&self) -> usize {
        // The first buffer of the stream, its other buffers, its norm, queries, attention's output, and the MLP's 4·C.
        let token = (8 + self.streams()) * self.config.n_embd + self.projected() + 2;
        let logits = if self.logits { self.config.padded_vocab() } else { 0 };
        self.tokens() * (token + logits) + 4 * self.sequences + 128
    }

    /// Buffers of the stream after the first: two that alternate with lambdas, and the one that backout keeps, which
    /// replaces one of the two in its layer.
    fn streams(&self) -> usize {
        let Config { n_layer, architecture, .. } = self.config;
        let kept = |i: usize| architecture.backout && i == self.config.middle_layer();
        let in_turn: BTreeSet<usize> = (0..*n_layer).filter(|&i| architecture.lambdas && !kept(i)).map(|i| i % 2).collect();
        in_turn.len() + usize::from(architecture.backout)
    }

    /// Outputs of the products that give queries, keys and values: one if their matrices have the same shape and so are
    /// contiguous.
    fn projections(&self) -> Vec<usize> {
        let Config { n_head, n_kv_head, n_embd, .. } = *self.config;
        let kept = self.config.kv_dim();
        if n_head == n_kv_head { vec![self.projected()] } else { vec![n_embd, kept, kept] }
    }

    /// (H + 2·K)·D: outputs of the projections.
    fn projected(&self) -> usize {
        (self.config.n_head + 2 * self.config.n_kv_head) * self.config.head_dim()
    }

    /// Elements of both slots of the recorder, each as large as its largest use.
    fn scratch(&self) -> usize {
        let packed = self.layer_products().into_iter().chain(self.head_product()).map(|product| self.packed(&product));
        let [left, right] = packed.fold([0; 2], |most, len| [most[0].max(len[0]), most[1].max(len[1])]);
        let shares = self.over_layers().map(|over| self.shares(&over)).max().unwrap_or(0);
        left.max(shares) + right
    }

    /// The partial results of attention's shares.
    fn shares(&self, over: &Cached) -> usize {
        if self.fresh < CachedPass::SHARED_KEYS { attention_decode::scratch_len(self.gpu.capabilities(), over, self.tokens()) } else { 0 }
    }

    fn packed(&self, product: &Product<'_>) -> [usize; 2] {
        matmul::scratch_len(self.gpu.capabilities(), product, autotune::choose(self.gpu, product, Numerics::Exact))
    }

    /// Each layer's attention.
    fn over_layers(&self) -> impl Iterator<Item = Cached> {
        let Config { n_head, n_kv_head, .. } = *self.config;
        let head_dim = self.config.head_dim();
        let ring = |window: usize| self.capacity.min(window + Cache::LONGEST_PASS);
        let windows = self.config.window_sizes().into_iter();
        windows.map(move |window| Cached { heads: n_head, kv_heads: n_kv_head, head_dim, ring: ring(window), window })
    }

    /// The products of a layer; none if there are few tokens.
    fn layer_products(&self) -> Vec<Product<'static>> {
        let c = self.config.n_embd;
        let others = [[c, c], [4 * c, c], [c, 4 * c]];
        let all = self.projections().into_iter().map(|out| [out, c]).chain(others);
        if self.few() { Vec::new() } else { all.map(|matrix| self.product(matrix)).collect() }
    }

    /// The product with the head, if the pass has one and there are many tokens.
    fn head_product(&self) -> Option<Product<'static>> {
        (self.logits && !self.few()).then(|| self.product([self.config.padded_vocab(), self.config.n_embd]))
    }

    fn product(&self, [out, inner]: [usize; 2]) -> Product<'static> {
        Product::new(Layout::NT, self.tokens(), out, inner)
    }

    /// Dispatches that pack the operands of `products`.
    fn packs(&self, products: &[Product<'_>]) -> usize {
        2 * products.iter().filter(|product| self.packed(product) != [0; 2]).count()
    }

    /// Dispatches, with a block of uniforms each.
    fn dispatches(&self) -> usize {
        let parts = &self.config.architecture;
        let combined = self.over_layers().filter(|over| self.shares(over) > 0).count();
        let packs = self.config.n_layer * self.packs(&self.layer_products()) + self.packs(self.head_product().as_slice());
        // The projections and the MLP's first product include the norm; for many tokens it is a separate dispatch, and so is the
        // activation after the MLP's first product. The others are rotation and storing, attention, and two products.
        let normed = self.projections().len() + 1;
        let layer = usize::from(parts.lambdas) + 4 + if self.few() { normed } else { 2 * normed + 1 };
        let head = if self.logits { usize::from(parts.backout) + if self.few() { 1 } else { 3 } } else { 0 };
        1 + self.config.n_layer * layer + combined + head + packs
    }
}
