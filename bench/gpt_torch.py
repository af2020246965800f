"""The same model and optimizer in plain PyTorch, float32 on the CPU: the peer of `nc-core bench step`.

    gpt_torch.py --depth 4 --seq 512 --vocab 4096 --batch 4 --steps 10 [--compile]
    gpt_torch.py --check tests/golden/mha-full.safetensors …

The first form times whole training steps (forward, backward, optimizer) and prints one line of JSON with the median.
The second compares everything that a golden file holds (logits, losses, gradients, parameters after some steps) and
exits with 1 when a number is too far off: a peer that computes something else would be no peer.

Parameters are one dictionary from name to tensor, under the names that checkpoints use. Shapes: B batch, T sequence,
C = n_embd, H heads, K kv heads, D = C/H, V vocabulary.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from optim_torch import Optimizer

Parameters = dict[str, Tensor]

NORM_EPS = 1.1920929e-7
ROPE_BASE = 100_000
SOFTCAP = 15.0
QK_SCALE = 1.2
HEAD_DIM = 128
SMEAR_CHANNELS = 24
VE_GATE_CHANNELS = 12


@dataclass(frozen=True)
class Config:
    """The sizes that a model's config names."""

    sequence_len: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_kv_head: int
    n_embd: int
    window_pattern: str

    @staticmethod
    def of_depth(depth: int, sequence_len: int, vocab_size: int, window_pattern: str) -> "Config":
        """The config that the one dial gives: width 64 a layer, rounded up to whole heads."""
        heads = math.ceil(depth * 64 / HEAD_DIM)
        return Config(sequence_len, vocab_size, depth, heads, heads, heads * HEAD_DIM, window_pattern)

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def padded_vocab(self) -> int:
        return math.ceil(self.vocab_size / 64) * 64

    def has_value_embedding(self, layer: int) -> bool:
        """Every other layer, counted so that the last one has it."""
        return layer % 2 == (self.n_layer - 1) % 2

    def window(self, layer: int) -> int:
        """How many positions before its own a query of this layer sees."""
        letter = self.window_pattern[layer % len(self.window_pattern)]
        if letter == "L" or layer == self.n_layer - 1:
            return self.sequence_len
        return math.ceil(self.sequence_len / 4 / 128) * 128


# Model ---------------------------------------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=NORM_EPS)


def rotary_tables(config: Config, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin, [T, 1, D/2], of position · base^(−2j/D)."""
    inverse = ROPE_BASE ** -(torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
    angles = torch.arange(length, dtype=torch.float32)[:, None, None] * inverse
    return angles.cos(), angles.sin()


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Turns the pairs (j, j + D/2) of x [B, T, heads, D] by minus their angle."""
    cos, sin = tables
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1)


def smear(p: Parameters, x: Tensor) -> Tensor:
    """Mixes a gated part of the previous token's embedding into each token's, x [B, T, C]."""
    gate = p["smear_lambda"] * torch.sigmoid(x[:, 1:, :SMEAR_CHANNELS] @ p["smear_gate.weight"].T)  # [B, T-1, 1]
    return torch.cat((x[:, :1], x[:, 1:] + gate * x[:, :-1]), dim=1)


def attention(p: Parameters, config: Config, layer: int, h: Tensor, tokens: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Causal attention of one layer on its normed input h [B, T, C]."""
    name = f"transformer.h.{layer}.attn"
    batch, length, _ = h.shape
    heads = (batch, length, -1, config.head_dim)
    q = (h @ p[f"{name}.c_q.weight"].T).view(heads)  # [B, T, H, D]
    k = (h @ p[f"{name}.c_k.weight"].T).view(heads)  # [B, T, K, D]
    v = (h @ p[f"{name}.c_v.weight"].T).view(heads)  # [B, T, K, D]
    if config.has_value_embedding(layer):
        gate = 3 * torch.sigmoid(h[..., :VE_GATE_CHANNELS] @ p[f"{name}.ve_gate.weight"].T)  # [B, T, K]
        v = v + gate[..., None] * F.embedding(tokens, p[f"value_embeds.{layer}.weight"]).view(heads)
    q = QK_SCALE * norm(rotate(q, tables))
    k = QK_SCALE * norm(rotate(k, tables))
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [B, heads, T, D]
    grouped = config.n_kv_head != config.n_head
    if config.window(layer) >= length:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    else:
        age = torch.arange(length)[:, None] - torch.arange(length)
        seen = (age >= 0) & (age <= config.window(layer))  # [T, T]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=grouped)
    return y.transpose(1, 2).reshape(batch, length, config.n_embd) @ p[f"{name}.c_proj.weight"].T


def mlp(p: Parameters, layer: int, h: Tensor) -> Tensor:
    name = f"transformer.h.{layer}.mlp"
    return F.relu(h @ p[f"{name}.c_fc.weight"].T).square() @ p[f"{name}.c_proj.weight"].T


def forward(p: Parameters, config: Config, tokens: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Logits [B, T, V] for tokens [B, T]."""
    x = smear(p, norm(F.embedding(tokens, p["transformer.wte.weight"])))
    x0 = middle = x
    for layer in range(config.n_layer):
        x = p["resid_lambdas"][layer] * x + p["x0_lambdas"][layer] * x0
        x = x + attention(p, config, layer, norm(x), tokens, tables)
        x = x + mlp(p, layer, norm(x))
        if layer == config.n_layer // 2:
            middle = x
    x = norm(x - p["backout_lambda"] * middle)
    logits = x @ p["lm_head.weight"][: config.vocab_size].T
    return SOFTCAP * torch.tanh(logits / SOFTCAP)


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each token [B, T]; 0 where the target is −1."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
    return losses.view_as(targets)


def mean_loss(p: Parameters, config: Config, tokens: Tensor, targets: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy over the targets that count."""
    return token_losses(forward(p, config, tokens, tables), targets).sum() / (targets >= 0).sum()


def initial_parameters(config: Config) -> Parameters:
    """Random parameters as training starts with, except that the projections that start at zero get small values:
    a step on zeros would be a step on special numbers."""
    c, v = config.n_embd, config.padded_vocab
    kv = config.n_kv_head * config.head_dim
    bound = math.sqrt(3 / c)

    def uniform(rows: int, columns: int, low: float, high: float) -> Tensor:
        return torch.empty(rows, columns).uniform_(low, high)

    depths = torch.arange(config.n_layer) / max(config.n_layer - 1, 1)
    p = {
        "transformer.wte.weight": 0.8 * torch.randn(v, c),
        "lm_head.weight": 0.001 * torch.randn(v, c),
        "resid_lambdas": 1.15 - 0.10 * depths,
        "x0_lambdas": 0.20 - 0.15 * depths,
        "smear_gate.weight": uniform(1, SMEAR_CHANNELS, 0, 0.02),
        "smear_lambda": torch.zeros(1),
        "backout_lambda": torch.full((1,), 0.2),
    }
    for layer in range(config.n_layer):
        name = f"transformer.h.{layer}"
        p[f"{name}.attn.c_q.weight"] = uniform(c, c, -bound, bound)
        p[f"{name}.attn.c_k.weight"] = uniform(kv, c, -bound, bound)
        p[f"{name}.attn.c_v.weight"] = uniform(kv, c, -bound, bound)
        p[f"{name}.attn.c_proj.weight"] = uniform(c, c, -0.1 * bound, 0.1 * bound)
        p[f"{name}.mlp.c_fc.weight"] = uniform(4 * c, c, -0.4 * bound, 0.4 * bound)
        p[f"{name}.mlp.c_proj.weight"] = uniform(c, 4 * c, -0.1 * bound, 0.1 * bound)
        if config.has_value_embedding(layer):
            p[f"{name}.attn.ve_gate.weight"] = uniform(config.n_kv_head, VE_GATE_CHANNELS, 0, 0.02)
            p[f"value_embeds.{layer}.weight"] = uniform(v, kv, -bound, bound)
    return {name: tensor.requires_grad_() for name, tensor in p.items()}


# Timing --------------------------------------------------------------------------------------------------------------


def time_steps(config: Config, batch: int, steps: int, warm_up: int, compiled: bool) -> list[float]:
    """Seconds of each of `steps` training steps on random tokens, after `warm_up` untimed ones."""
    torch.manual_seed(0)
    p = initial_parameters(config)
    optimizer = Optimizer(p, config.n_embd, compiled=compiled)
    tables = rotary_tables(config, config.sequence_len)
    loss_of = torch.compile(mean_loss, dynamic=False) if compiled else mean_loss
    tokens = torch.randint(config.vocab_size, (batch, config.sequence_len + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    seconds = []
    for step in range(warm_up + steps):
        start = time.perf_counter()
        loss = loss_of(p, config, inputs, targets, tables)
        loss.backward()
        optimizer.step(lr_multiplier=1.0, momentum=0.95, weight_decay=0.28)
        loss.item()
        if step >= warm_up:
            seconds.append(time.perf_counter() - start)
    return seconds


# Checking ------------------------------------------------------------------------------------------------------------

# The largest relative distance that passes, per kind of number. Two float32 programs that sum in different orders
# differ by the noise floor that tests/golden/README.md states; the bars are ten times that. The floor of an update is
# wide because a few tensors are ill-conditioned, so that a slightly wrong constant would hide in it: the median over
# the tensors has a bar of its own.
BARS = {"logits": 2e-6, "loss": 1e-6, "gradient": 1e-5, "scalar gradient": 1e-4, "update": 1e-3, "median update": 2e-5}


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors (float32 and int32) and the JSON under `meta` of a safetensors file."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    meta = json.loads(header.pop("__metadata__")["meta"])
    types = {"F32": torch.float32, "I32": torch.int32}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        # A copy, because the slice may start at an odd address.
        flat = torch.frombuffer(data[8 + length + begin : 8 + length + end], dtype=types[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, meta


def distance(ours: Tensor, theirs: Tensor, scale: Tensor | None = None) -> float:
    """‖ours − theirs‖ / ‖scale‖ in float64; the scale is `theirs` unless given."""
    scale = theirs if scale is None else scale
    return ((ours.double() - theirs.double()).norm() / scale.double().norm().clamp_min(1e-30)).item()


def check(path: Path) -> bool:
    """Compares this twin with a golden file; prints the worst distance of each kind and every failure."""
    golden, meta = read_safetensors(path)
    config = Config(**meta["config"])
    p = {name[len("param.") :]: t.clone().requires_grad_() for name, t in golden.items() if name.startswith("param.")}
    start = {name: t.detach().clone() for name, t in p.items()}
    batches = [(golden[f"batch.{i}.idx"].long(), golden[f"batch.{i}.targets"].long()) for i in range(len(meta["schedule"]))]
    tables = rotary_tables(config, batches[0][0].shape[1])

    found: list[tuple[str, str, float]] = []  # kind, tensor, distance
    tokens, targets = batches[0]
    logits = forward(p, config, tokens, tables)
    found.append(("logits", "logits", distance(logits.detach(), golden["logits"])))
    found.append(("loss", "loss_per_token", distance(token_losses(logits, targets).detach(), golden["loss_per_token"])))
    loss = mean_loss(p, config, tokens, targets, tables)
    found.append(("loss", "loss", distance(loss.detach(), golden["loss"].squeeze())))
    loss.backward()
    for name, tensor in p.items():
        kind = "gradient" if tensor.dim() == 2 and tensor.shape[0] > 1 else "scalar gradient"
        found.append((kind, name, distance(tensor.grad, golden[f"grad.{name}"])))
        tensor.grad = None

    # Muon's weight decay comes step by step with the schedule.
    rates = {name: value for name, value in meta["optimizer"].items() if name != "weight_decay"}
    optimizer = Optimizer(p, config.n_embd, **rates)
    for i, ((tokens, targets), now) in enumerate(zip(batches, meta["schedule"])):
        loss = mean_loss(p, config, tokens, targets, tables)
        loss.backward()
        found.append(("loss", f"step_losses[{i}]", distance(loss.detach(), golden["step_losses"][i])))
        optimizer.step(now["lr_multiplier"], now["muon_momentum"], now["muon_weight_decay"])
    for name, tensor in p.items():
        theirs = golden[f"stepped.{name}"]
        found.append(("update", name, distance(tensor.detach(), theirs, scale=theirs - start[name])))
    found.append(("median update", "all tensors", statistics.median(d for kind, _, d in found if kind == "update")))

    print(path)
    for kind, bar in BARS.items():
        worst = max((d, name) for k, name, d in found if k == kind)
        print(f"  {kind:16} worst {worst[0]:.1e} ({worst[1]}), bar {bar:.0e}")
    failures = [(kind, name, d) for kind, name, d in found if not d <= BARS[kind]]
    for kind, name, d in failures:
        print(f"  FAILED: {kind} of {name} is off by {d:.1e}")
    return not failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", type=Path, nargs="+", metavar="FILE", help="compare with golden files instead of timing")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--seq", type=int, default=512, help="tokens in a row")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=4, help="rows in a batch")
    parser.add_argument("--window-pattern", default="SSSL", help="S for short and L for full context, tiled over the layers")
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before them")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(cores)
    if args.check:
        return 0 if all([check(path) for path in args.check]) else 1
    config = Config.of_depth(args.depth, args.seq, args.vocab, args.window_pattern)
    seconds = statistics.median(time_steps(config, args.batch, args.steps, args.warm_up, args.compile))
    result = {
        "step_seconds": seconds,
        "tokens_per_second": args.batch * args.seq / seconds,
        "window_pattern": args.window_pattern,
        "compiled": args.compile,
        "threads": cores,
        "torch": torch.__version__,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
