"""Writes a llama model of random weights as a GGUF file, for llama.cpp to decode beside nc-core.

The model has nc-core's width, layers, head size and vocabulary at a depth. Its MLP has three matrices where ours has
two, so it gets the feed-forward width at which a token reads about as many weights: 3·C·F ≈ 8·C². Prints one line of
JSON: how many weights and bytes that is.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np

HEAD_DIM = 128
# Elements of a block of Q8_0 and Q4_0: rows must be a multiple of it.
BLOCK = 32

# nc-core's names of the formats, and those of GGUF.
FORMATS = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "q8": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}


def width(depth: int) -> int:
    """Channels: 64 per layer, rounded up to whole heads."""
    return -(-64 * depth // HEAD_DIM) * HEAD_DIM


def feed_forward(channels: int) -> int:
    """The multiple of a block nearest to 8/3 of the channels."""
    return round(8 * channels / 3 / BLOCK) * BLOCK


def matrices(depth: int, vocab: int) -> dict[str, tuple[int, int]]:
    """All matrices by GGUF's names, [rows, columns] of a product with a column vector."""
    c = width(depth)
    f = feed_forward(c)
    layer = {"attn_q": (c, c), "attn_k": (c, c), "attn_v": (c, c), "attn_output": (c, c)}
    layer |= {"ffn_gate": (f, c), "ffn_up": (f, c), "ffn_down": (c, f)}
    found = {f"blk.{i}.{name}.weight": shape for i in range(depth) for name, shape in layer.items()}
    return {"token_embd.weight": (vocab, c), **found, "output.weight": (vocab, c)}


def describe(writer: gguf.GGUFWriter, depth: int, vocab: int, context: int, file_type: gguf.LlamaFileType) -> None:
    c = width(depth)
    writer.add_file_type(file_type)
    writer.add_context_length(context)
    writer.add_embedding_length(c)
    writer.add_block_count(depth)
    writer.add_feed_forward_length(feed_forward(c))
    writer.add_head_count(c // HEAD_DIM)
    writer.add_head_count_kv(c // HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    # A loader wants a tokenizer, although the benchmark speaks in token ids.
    special = ["<unk>", "<s>", "</s>"]
    names = special + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    names += [f"t{i}" for i in range(len(names), vocab)]
    types += [gguf.TokenType.NORMAL] * (vocab - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(names)
    writer.add_token_scores([0.0] * vocab)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(path: Path, depth: int, vocab: int, context: int, name: str) -> dict:
    """Writes the model, and tells what a token reads of it: all matrices, and one row of the token table."""
    quantization, file_type = FORMATS[name]
    writer = gguf.GGUFWriter(path, "llama")
    describe(writer, depth, vocab, context, file_type)
    rng = np.random.default_rng(0)
    c = width(depth)
    weights = read_bytes = 0
    for tensor, shape in matrices(depth, vocab).items():
        values = rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[1] ** 0.5)
        stored = gguf.quants.quantize(values, quantization)
        writer.add_tensor(tensor, stored, raw_dtype=quantization)
        if tensor != "token_embd.weight":
            weights += values.size
            read_bytes += stored.nbytes
    norms = [f"blk.{i}.{norm}.weight" for i in range(depth) for norm in ("attn_norm", "ffn_norm")] + ["output_norm.weight"]
    for norm in norms:
        writer.add_tensor(norm, np.ones(c, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"weights_read": weights, "weight_bytes_read": read_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--context", type=int, default=512, help="tokens of the context")
    parser.add_argument("--weights", choices=FORMATS, default="f32")
    args = parser.parse_args()
    if args.vocab < 259:
        parser.error("the tokenizer needs a vocabulary of 259 or more")
    print(json.dumps(write(args.path, args.depth, args.vocab, args.context, args.weights)))


if __name__ == "__main__":
    main()
