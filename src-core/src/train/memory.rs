//! How much GPU memory a training step takes: the formula of `docs/MEMORY.md`, term by term.
//!
//! It only depends on the sizes, so that a run can be planned before anything is allocated. A test compares it with
//! the device's count.

use crate::gpu::{Gpu, Numerics};
use crate::kernels::matmul::{self, Layout, Product, autotune};
use crate::kernels::muon::{gram_stride, second_stride, sums_len};
use crate::kernels::reduce::Matrices;
use crate::kernels::{self, muon};
use crate::model::activations::chunk_rows;
use crate::model::{Config, Group, params};
use crate::optim::OptimizerConfig;

/// Bytes of a float, a token id or a target.
const WORD: u64 = 4;

/// Bytes of a dispatch's uniforms: they are aligned to 256 bytes.
const UNIFORMS: u64 = 256;

/// GPU memory of a training step in bytes, by [`Memory`](crate::gpu::Memory) kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepMemory {
    /// Parameters, and the rotary tables.
    pub weights: u64,
    /// One gradient per parameter.
    pub gradients: u64,
    /// Moments of AdamW and Muon.
    pub moments: u64,
    /// What the forward pass saves.
    pub activations: u64,
    /// Gradients of activations, Muon's scratch, partial sums and transposed operands.
    pub workspace: u64,
    /// Uniforms, and the read-back buffers of losses.
    pub staging: u64,
}

impl StepMemory {
    /// All kinds, in the order of [`Memory::ALL`](crate::gpu::Memory::ALL).
    pub fn by_kind(&self) -> [u64; 6] {
        [self.weights, self.gradients, self.moments, self.activations, self.workspace, self.staging]
    }

    /// The step's peak: nothing is freed while a step runs, so it is the sum of all kinds.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().sum()
    }
}

/// The memory of a step of one batch of `rows` rows of `config.sequence_len` tokens.
///
/// It depends on `gpu` through three properties: its memory and its binding limit, which bound the chunk of logits and the
/// stacks of matrices, and the fastest matmul kernels, since some pack their operands first. In the fast numerics class partial
/// sums of products are added, at most 32 MiB each in a batch, in an evaluation and in the update.
pub fn step_memory(gpu: &Gpu, config: &Config, rows: usize) -> StepMemory {
    let sizes = Sizes::new(gpu, config, rows);
    let parameters = sizes.table_floats() + sizes.matrix_floats();
    StepMemory {
        weights: bytes(parameters + sizes.rotary_floats()),
        gradients: bytes(parameters),
        moments: bytes(sizes.moment_floats()),
        activations: bytes(sizes.activation_floats()),
        workspace: bytes(sizes.gradient_floats() + sizes.muon_floats() + sizes.packed_floats(gpu)),
        staging: bytes(sizes.tokens) + UNIFORMS * sizes.dispatches() as u64,
    }
}

fn bytes(words: usize) -> u64 {
    words as u64 * WORD
}

/// The symbols of the formula.
struct Sizes<'a> {
    config: &'a Config,
    /// N = rows · T.
    tokens: usize,
    /// L.
    layers: usize,
    /// C.
    channels: usize,
    /// H.
    heads: usize,
    /// K.
    kv_heads: usize,
    /// K·D.
    kv_channels: usize,
    /// V, padded.
    vocab: usize,
    /// E: layers with a value embedding.
    embeds: usize,
    /// s: 1 if the model has smear, else 0.
    smear: usize,
    /// λ: 1 if it has lambdas, else 0.
    lambdas: usize,
    /// b: 1 if it has backout, else 0.
    backout: usize,
    /// R: rows of logits that exist at a time.
    chunk: usize,
    /// Block matrices of one shape.
    stacks: Vec<Matrices>,
}

impl<'a> Sizes<'a> {
    fn new(gpu: &Gpu, config: &'a Config, rows: usize) -> Self {
        let tokens = rows * config.sequence_len;
        Self {
            config,
            tokens,
            layers: config.n_layer,
            channels: config.n_embd,
            heads: config.n_head,
            kv_heads: config.n_kv_head,
            kv_channels: config.kv_dim(),
            vocab: config.padded_vocab(),
            embeds: (0..config.n_layer).filter(|&i| config.has_value_embed(i)).count(),
            smear: config.architecture.smear.into(),
            lambdas: config.architecture.lambdas.into(),
            backout: config.architecture.backout.into(),
            chunk: chunk_rows(gpu, config, tokens),
            stacks: params::stacks(config, gpu.binding_limit()),
        }
    }

    /// What AdamW steps: 2·V·C of embedding and unembedding, E·V·K·D of value embeddings, and a few scalars.
    fn table_floats(&self) -> usize {
        self.config.param_specs().iter().filter(|spec| spec.group != Group::Matrix).map(|spec| spec.len()).sum()
    }

    /// What Muon steps: L·(10·C² + 2·C·K·D), and the gates of value embeddings.
    fn matrix_floats(&self) -> usize {
        self.over_stacks(|of| of.count * of.stride).sum()
    }

    /// Cosine and sine of every position and pair of channels: T·D.
    fn rotary_floats(&self) -> usize {
        2 * self.config.sequence_len * (self.config.head_dim() / 2)
    }

    /// AdamW: two for each of its parameters. Muon: one for each, and one per neuron.
    fn moment_floats(&self) -> usize {
        2 * self.table_floats() + self.matrix_floats() + self.over_stacks(|of| of.count * second_stride(*of)).sum::<usize>()
    }

    /// L·N·(8·C + 2·K·D + 2·H + K + 2) in layers, E·N·K of gates, X·N·C of the stream, N·(3·C + 5 + s) outside the layers, and
    /// R·V logits.
    fn activation_floats(&self) -> usize {
        let Self { tokens, layers, channels, heads, kv_heads, kv_channels, embeds, smear, .. } = *self;
        // Two norms' outputs, queries, attention's output, and the MLP's hidden 4·C; keys and values; scales and
        // log-sum-exp by query head; a scale by key head; scales of two norms.
        let layer = 8 * channels + 2 * kv_channels + 2 * heads + kv_heads + 2;
        // X: with lambdas the stream in every layer, and before the first if smear makes it different from the embedding;
        // without them one buffer for all, and one for the middle layer with backout.
        let stream = if self.lambdas == 1 { layers + smear } else { 1 + self.backout };
        // Embedding, its norm, and the final norm; two scales, the smear gate, ids, targets and losses.
        let rest = 3 * channels + 5 + smear;
        tokens * (layers * layer + embeds * kv_heads + stream * channels + rest) + self.chunk * self.vocab
    }

    /// Of the backward pass, whose layers share buffers: N·((8 + λ + b)·C + 2·K·D + H + 1), V + 2, and partial sums.
    fn gradient_floats(&self) -> usize {
        let Self { tokens, channels, heads, kv_heads, kv_channels, vocab, lambdas, backout, .. } = *self;
        // The stream, a norm's output, attention's output, queries, and the MLP's 4·C; x0 for lambdas, the middle of the
        // stream for backout; keys and values; attention's delta by head; the order of tokens.
        let token = (8 + lambdas + backout) * channels + 2 * kv_channels + heads + 1;
        tokens * token + vocab + 2 + kernels::scratch_len(tokens, kv_heads)
    }

    /// Of the optimizer: each part as large as the largest stack needs it, and four numbers per rule.
    fn muon_floats(&self) -> usize {
        let largest = |len: &dyn Fn(&Matrices) -> usize| self.over_stacks(len).max().unwrap_or(0);
        let direction = largest(&|of| of.count * of.stride);
        let gram = largest(&|of| of.count * gram_stride(of));
        let neuron = largest(&|of| of.count * of.rows.max(of.columns));
        let sums = largest(&sums_len);
        let partial = largest(&Matrices::column_scratch);
        let numbers = 4 * (OptimizerConfig::ADAMW.len() + self.stacks.len());
        direction + 2 * gram + neuron + 2 * sums + partial + numbers
    }

    /// Packed operands, if a product's kernel needs them: the largest left and the largest right one of a
    /// batch, of an evaluation, and of the update, which are separate recordings.
    fn packed_floats(&self, gpu: &Gpu) -> usize {
        let largest = |products: &[Product<'_>]| {
            let sizes = products
                .iter()
                .map(|product| matmul::scratch_len(gpu.capabilities(), product, autotune::choose(gpu, product, Numerics::Exact)));
            let [left, right] = sizes.fold([0; 2], |most, size| [most[0].max(size[0]), most[1].max(size[1])]);
            left + right
        };
        let evaluation = self.products(|tokens, out, inner| vec![Product::new(Layout::NT, tokens, out, inner)]);
        // For y = x·Wᵀ: y, and the gradients of x and of W.
        let batch = self.products(|tokens, out, inner| {
            let gradients = [Product::new(Layout::NN, tokens, inner, out), Product::new(Layout::TN, out, inner, tokens)];
            [&[Product::new(Layout::NT, tokens, out, inner)], &gradients[..]].concat()
        });
        let update: Vec<_> = self.stacks.iter().flat_map(|&of| muon::products(of)).collect();
        largest(&batch) + largest(&evaluation) + largest(&update)
    }

    /// The results of `of` for each product of activations with a matrix: called with tokens, outputs and inputs.
    fn products(&self, of: impl Fn(usize, usize, usize) -> Vec<Product<'static>>) -> Vec<Product<'static>> {
        let matrices = self.config.param_specs().into_iter().filter(|spec| spec.group == Group::Matrix && !spec.name.contains("ve_gate"));
        let mut products: Vec<_> = matrices.flat_map(|spec| of(self.tokens, spec.shape[0], spec.shape[1])).collect();
        for first in (0..self.tokens).step_by(self.chunk) {
            products.extend(of(self.chunk.min(self.tokens - first), self.vocab, self.channels));
        }
        products
    }

    /// Dispatches of a batch, of an evaluation and of the update, with a block of uniforms each. Packing is not
    /// counted: its blocks are small.
    fn dispatches(&self) -> usize {
        let Self { layers, embeds, smear, lambdas, backout, .. } = *self;
        let chunks = self.tokens.div_ceil(self.chunk);
        let forward = 3 + smear + backout + (12 + lambdas) * layers + embeds;
        let backward = 3 + 4 * smear + lambdas + 3 * backout + (20 + 3 * lambdas) * layers + 4 * embeds;
        let batch = forward + backward + 4 * chunks;
        let evaluation = forward + 2 * chunks;
        let tables = self.config.param_specs().iter().filter(|spec| spec.group != Group::Matrix).count();
        // Six kernels and fifteen products; each symmetric product is followed by a copy of its upper half.
        let stack = |of: &Matrices| 22 + 5 * muon::products(*of).iter().filter(|product| product.symmetric).count();
        batch + evaluation + tables + self.over_stacks(stack).sum::<usize>()
    }

    fn over_stacks(&self, len: impl Fn(&Matrices) -> usize) -> impl Iterator<Item = usize> {
        self.stacks.iter().map(len)
    }
}
