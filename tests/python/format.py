"""A second reader of nc-core's own format: the other side of tests/export/main.rs.

Written from docs/FORMAT.md alone, one token after the other and without a cache, so that the page is known to say enough.
Takes a folder; reads from standard input {"ids": [[id, ...], ...]} and writes {"logits": [[[...], ...], ...]}.
"""

import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
assert config["model_type"] == "nc-core" and config["format_version"] == 1
model = config["nc_core"]
parts = model["architecture"]
stored = load_file(folder / "model.safetensors")


def read(name):
    """A tensor as floats: those of integers have a scale for each 32 of a row."""
    tensor = stored[name]
    if tensor.dtype == torch.uint8:
        halves = torch.stack((tensor & 15, tensor >> 4), -1).flatten(1).to(torch.int8)
        tensor = torch.where(halves > 7, halves - 16, halves)
    elif tensor.dtype != torch.int8:
        return tensor.float()
    scales = stored[f"{name}.scales"].float()
    assert scales.shape == (tensor.shape[0], tensor.shape[1] // 32)
    return tensor.float() * scales.repeat_interleave(32, 1)


weights = {name: read(name) for name in stored if not name.endswith(".scales")}
layers, channels, heads, kv_heads = (model[key] for key in ("n_layer", "n_embd", "n_head", "n_kv_head"))
head_dim = channels // heads


def norm(x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + parts["norm_eps"])


def rotated(x):
    """Turns `[T, heads, D]` by the angles of the positions 0 to T - 1."""
    half = head_dim // 2
    angles = torch.arange(x.shape[0]).double()[:, None] * parts["rope_base"] ** (-torch.arange(half).double() * 2 / head_dim)
    cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos + second * sin, second * cos - first * sin), -1)


def window(layer):
    """How far back a layer sees."""
    full = model["sequence_len"]
    letter = model["window_pattern"][layer % len(model["window_pattern"])].upper()
    return full if letter == "L" or layer == layers - 1 else -(-math.ceil(full / 4) // 128) * 128


def has_value_embedding(layer):
    return parts["value_embeds"] and layer % 2 == (layers - 1) % 2


def attention(x, layer, ids):
    length = len(ids)
    matrix = {name: weights[f"transformer.h.{layer}.attn.{name}.weight"] for name in ("c_q", "c_k", "c_v", "c_proj")}
    q = (x @ matrix["c_q"].T).view(length, heads, head_dim)
    k = (x @ matrix["c_k"].T).view(length, kv_heads, head_dim)
    v = (x @ matrix["c_v"].T).view(length, kv_heads, head_dim)
    if has_value_embedding(layer):
        gate = 3 * torch.sigmoid(x[:, :12] @ weights[f"transformer.h.{layer}.attn.ve_gate.weight"].T)
        v = v + gate[:, :, None] * weights[f"value_embeds.{layer}.weight"][ids].view(length, kv_heads, head_dim)
    q, k = (norm(rotated(part)) * parts["qk_gain"] for part in (q, k))
    back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    seen = (back >= 0) & (back <= window(layer))
    outputs = []
    for head in range(heads):
        of = head // (heads // kv_heads)
        scores = (q[:, head] @ k[:, of].T / math.sqrt(head_dim)).masked_fill(~seen, -math.inf)
        outputs.append(torch.softmax(scores, -1) @ v[:, of])
    return torch.cat(outputs, -1) @ matrix["c_proj"].T


def logits(ids):
    ids = torch.tensor(ids)
    x = norm(weights["transformer.wte.weight"][ids])
    if parts["smear"]:
        gate = weights["smear_lambda"] * torch.sigmoid(x[1:, :24] @ weights["smear_gate.weight"].T)
        x = torch.cat((x[:1], x[1:] + gate * x[:-1]))
    first = x
    middle = None
    for layer in range(layers):
        if parts["lambdas"]:
            x = weights["resid_lambdas"][layer] * x + weights["x0_lambdas"][layer] * first
        x = x + attention(norm(x), layer, ids)
        hidden = norm(x) @ weights[f"transformer.h.{layer}.mlp.c_fc.weight"].T
        x = x + torch.relu(hidden) ** 2 @ weights[f"transformer.h.{layer}.mlp.c_proj.weight"].T
        if layer == layers // 2:
            middle = x
    if parts["backout"]:
        x = x - weights["backout_lambda"] * middle
    scores = norm(x) @ weights["lm_head.weight"][: model["vocab_size"]].T
    return parts["softcap"] * torch.tanh(scores / parts["softcap"])


asked = json.load(sys.stdin)
json.dump({"logits": [logits(ids).tolist() for ids in asked["ids"]]}, sys.stdout)
