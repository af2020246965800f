"""CORE's items scored with PyTorch, independently of nc-core's code: the other side of tests/core_scores.rs and bench/core_torch.py.

    echo QUESTION | python tests/python/core_scores.py RUN

RUN is the folder of a run of nc-core. The question is JSON: {"bundle": DIR, "tasks": [[label, uri, kind, shots, delimiter], …], "items": N,
"step": S}. The answer is a list for each task: for each of its first N items after shuffling
{"correct": …, "picked": …, "means": [mean loss of each choice]}. Every choice is computed in full, in one batch padded on the right, as
nanochat does. The model follows docs/FORMAT.md.
"""

import json
import math
import random
import struct
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer


def read_tensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    kinds = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = bytearray(data[8 + length + begin : 8 + length + end])
        tensors[name] = torch.frombuffer(raw, dtype=kinds[entry["dtype"]]).reshape(entry["shape"]).float()
    return tensors


class Model:
    """The forward pass of docs/FORMAT.md, of the current architecture and the classic one."""

    def __init__(self, run, step, reach=10):
        config = json.loads((run / "config.json").read_text())["model"]
        self.w = read_tensors(run / "checkpoints" / f"{step:06d}" / "model.safetensors")
        parts = {"smear": True, "value_embeds": True, "lambdas": True, "backout": True, "qk_gain": 1.2, "rope_base": 100000.0,
                 "norm_eps": 1.1920928955078125e-07, "softcap": 15.0}  # fmt: skip
        parts.update(config.get("architecture") or {})
        self.parts, self.vocab = parts, config["vocab_size"]
        self.layers, self.heads, self.kv_heads = config["n_layer"], config["n_head"], config["n_kv_head"]
        self.channels, self.context = config["n_embd"], config["sequence_len"]
        self.dim = self.channels // self.heads
        short = -(-(-(-self.context // 4)) // 128) * 128
        pattern = config["window_pattern"].upper()
        self.windows = [short if pattern[i % len(pattern)] == "S" else self.context for i in range(self.layers)]
        self.windows[-1] = self.context
        frequency = 1.0 / parts["rope_base"] ** (torch.arange(0, self.dim, 2).double() / self.dim)
        angles = torch.outer(torch.arange(reach * self.context).double(), frequency)
        self.cos, self.sin = angles.cos().float(), angles.sin().float()

    def norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.parts["norm_eps"])

    def rotate(self, x):
        t, half = x.shape[1], self.dim // 2
        cos, sin = self.cos[None, :t, None], self.sin[None, :t, None]
        a, b = x[..., :half], x[..., half:]
        x = torch.cat([a * cos + b * sin, b * cos - a * sin], -1)
        return self.norm(x) * self.parts["qk_gain"]

    def attention(self, i, ids, x):
        b, t, _ = x.shape
        w = lambda name: self.w[f"transformer.h.{i}.attn.{name}.weight"]
        q = (x @ w("c_q").T).view(b, t, self.heads, self.dim)
        k = (x @ w("c_k").T).view(b, t, self.kv_heads, self.dim)
        v = (x @ w("c_v").T).view(b, t, self.kv_heads, self.dim)
        table = self.w.get(f"value_embeds.{i}.weight")
        if table is not None:
            gate = 3.0 * torch.sigmoid(x[..., :12] @ w("ve_gate").T)
            v = v + gate[..., None] * table[ids].view(b, t, self.kv_heads, self.dim)
        q, k = self.rotate(q), self.rotate(k)
        position = torch.arange(t)
        distance = position[:, None] - position[None, :]
        mask = (distance >= 0) & (distance <= self.windows[i])
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        if self.windows[i] >= t:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=self.heads != self.kv_heads)
        return y.transpose(1, 2).reshape(b, t, -1) @ w("c_proj").T

    @torch.inference_mode()
    def logits(self, ids):
        parts = self.parts
        x = self.norm(self.w["transformer.wte.weight"][ids])
        if parts["smear"]:
            gate = torch.sigmoid(x[:, 1:, :24] @ self.w["smear_gate.weight"].T.reshape(24, 1))
            x = torch.cat([x[:, :1], x[:, 1:] + self.w["smear_lambda"] * gate * x[:, :-1]], 1)
        x0, middle = x, None
        for i in range(self.layers):
            if parts["lambdas"]:
                x = self.w["resid_lambdas"][i] * x + self.w["x0_lambdas"][i] * x0
            x = x + self.attention(i, ids, self.norm(x))
            hidden = F.relu(self.norm(x) @ self.w[f"transformer.h.{i}.mlp.c_fc.weight"].T).square()
            x = x + hidden @ self.w[f"transformer.h.{i}.mlp.c_proj.weight"].T
            if i == self.layers // 2:
                middle = x
        if parts["backout"]:
            x = x - self.w["backout_lambda"] * middle
        z = self.norm(x) @ self.w["lm_head.weight"][: self.vocab].T
        cap = parts["softcap"]
        return cap * torch.tanh(z / cap)


class Items:
    """The items of a task, and their prompts: concatenation where nanochat has templates."""

    def __init__(self, bundle, task, tokenizer):
        self.label, uri, self.kind, self.shots, self.delimiter = task
        lines = (bundle / "eval_data" / uri).read_text("utf-8").splitlines()
        self.data = [json.loads(line) for line in lines]
        random.Random(1337).shuffle(self.data)
        self.encode = lambda text: [tokenizer.token_to_id("<|bos|>"), *tokenizer.encode(text, add_special_tokens=False).ids]

    def cut(self, most):
        self.data = self.data[:most]

    def solved(self, item):
        if self.kind == "multiple_choice":
            return item["query"] + self.delimiter + item["choices"][item["gold"]]
        if self.kind == "schema":
            return item["context_options"][item["gold"]] + self.delimiter + item["continuation"]
        return item["context"].strip() + self.delimiter + item["continuation"]

    def prompts(self, index):
        """Sequences of ids, and the first scored position of each."""
        item, before = self.data[index], ""
        if self.shots:
            others = [i for i in range(len(self.data)) if i != index]
            for other in random.Random(1234 + index).sample(others, min(self.shots, len(others))):
                before += self.solved(self.data[other]) + "\n\n"
        if self.kind == "multiple_choice":
            all_ids = [self.encode(before + item["query"] + self.delimiter + choice) for choice in item["choices"]]
            start = next((i for i, column in enumerate(zip(*all_ids)) if len(set(column)) > 1), min(map(len, all_ids)))
            return all_ids, [start] * len(all_ids)
        if self.kind == "schema":
            all_ids = [self.encode(before + context + self.delimiter + item["continuation"]) for context in item["context_options"]]
            back = zip(*(ids[::-1] for ids in all_ids))
            alike = next((i for i, column in enumerate(back) if len(set(column)) > 1), min(map(len, all_ids)))
            return all_ids, [len(ids) - alike for ids in all_ids]
        text = before + item["context"].strip() + self.delimiter
        short, whole = self.encode(text.strip()), self.encode(text + item["continuation"])
        assert whole[: len(short)] == short and len(short) < len(whole), (self.label, index)
        return [whole], [len(short)]


def answer(model, items, index, bos):
    all_ids, starts = items.prompts(index)
    longest = max(map(len, all_ids))
    padded = torch.tensor([ids + [bos] * (longest - len(ids)) for ids in all_ids])
    logits = model.logits(padded)
    means, right = [], True
    for row, (ids, start) in enumerate(zip(all_ids, starts)):
        at = logits[row, start - 1 : len(ids) - 1]
        wanted = torch.tensor(ids[start:])
        means.append(F.cross_entropy(at, wanted).item() if len(wanted) else math.nan)
        right = right and bool((at.argmax(-1) == wanted).all())
    if items.kind == "language_modeling":
        return {"correct": right, "picked": None, "means": means}
    picked = means.index(min(means))
    return {"correct": picked == items.data[index]["gold"], "picked": picked, "means": [None if math.isnan(m) else m for m in means]}


def main():
    run, question = Path(sys.argv[1]), json.load(sys.stdin)
    torch.set_num_threads(question.get("threads", torch.get_num_threads()))
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    model, bos = Model(run, question["step"]), tokenizer.token_to_id("<|bos|>")
    answers = []
    for task in question["tasks"]:
        items = Items(Path(question["bundle"]), task, tokenizer)
        items.cut(question["items"])
        start = time.perf_counter()
        given = [answer(model, items, index, bos) for index in range(len(items.data))]
        answers.append({"task": task[0], "seconds": time.perf_counter() - start, "items": given})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
