"""Writes the golden files of CORE's prompts: what the reference's own code makes of a bundle's items.

    python tests/python/core_prompts.py PATH/core_eval.py TOKENIZER.json BUNDLE [--items N] [--whole] > GOLDEN.json

PATH/core_eval.py is nanochat's (its functions `render_prompts_*` and `batch_sequences_*`), of which nothing is kept here. A bundle
without core.yaml has the 22 tasks below. For each task: how many items there are, and of the first N after shuffling a digest of
token ids and spans, or with --whole the ids and spans themselves.
"""

import argparse
import hashlib
import importlib.util
import json
import random
import sys
from pathlib import Path

import yaml
from tokenizers import Tokenizer

ANSWER = "\nAnswer: "
MC, SCHEMA, LM = "multiple_choice", "schema", "language_modeling"
TASKS = [
    ("jeopardy", "world_knowledge/jeopardy_all", LM, 10, ANSWER),
    ("bigbench_qa_wikidata", "world_knowledge/bigbench_qa_wikidata", LM, 10, " "),
    ("arc_easy", "world_knowledge/arc_easy", MC, 10, ANSWER),
    ("copa", "commonsense_reasoning/copa", MC, 0, " "),
    ("commonsense_qa", "commonsense_reasoning/commonsense_qa", MC, 10, " "),
    ("openbook_qa", "commonsense_reasoning/openbook_qa", MC, 0, " "),
    ("lambada_openai", "language_understanding/lambada_openai", LM, 0, " "),
    ("winogrande", "language_understanding/winogrande", SCHEMA, 0, " "),
    ("bigbench_dyck_languages", "symbolic_problem_solving/bigbench_dyck_languages", LM, 10, " "),
    ("agi_eval_lsat_ar", "symbolic_problem_solving/agi_eval_lsat_ar", MC, 3, " "),
    ("bigbench_cs_algorithms", "symbolic_problem_solving/bigbench_cs_algorithms", LM, 10, " "),
    ("bigbench_repeat_copy_logic", "symbolic_problem_solving/bigbench_repeat_copy_logic", LM, 10, " "),
    ("boolq", "reading_comprehension/boolq", MC, 10, ANSWER),
    ("bigbench_language_identification", "language_understanding/bigbench_language_identification", MC, 10, " "),
]


class Tokens:
    """As the reference's tokenizer is called."""

    def __init__(self, path):
        self.inner = Tokenizer.from_file(path)
        # Text that looks like a special token is text.
        self.inner.encode_special_tokens = True

    def get_bos_token_id(self):
        return self.inner.token_to_id("<|bos|>")

    def __call__(self, prompts, prepend):
        return [[prepend, *self.inner.encode(text, add_special_tokens=False).ids] for text in prompts]


def load_module(path):
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tasks_of(bundle):
    if not (bundle / "core.yaml").exists():
        return [(label, f"{uri}.jsonl", kind, shots, delimiter) for label, uri, kind, shots, delimiter in TASKS]
    config = yaml.safe_load((bundle / "core.yaml").read_text("utf-8"))
    return [
        (task["label"], task["dataset_uri"], task["icl_task_type"], task["num_fewshot"][0], task.get("continuation_delimiter", " "))
        for task in config["icl_tasks"]
    ]


def prompts(reference, tokens, data, index, kind, shots, delimiter):
    examples = []
    if shots > 0:
        others = [i for i in range(len(data)) if i != index]
        examples = [data[i] for i in random.Random(1234 + index).sample(others, min(shots, len(others)))]
    render, batch = {
        MC: (reference.render_prompts_mc, reference.batch_sequences_mc),
        SCHEMA: (reference.render_prompts_schema, reference.batch_sequences_schema),
        LM: (reference.render_prompts_lm, reference.batch_sequences_lm),
    }[kind]
    return batch(tokens, render(data[index], delimiter, examples))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reference")
    parser.add_argument("tokenizer")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--items", type=int, default=250)
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    reference, tokens = load_module(args.reference), Tokens(args.tokenizer)
    golden = {}
    for label, uri, kind, shots, delimiter in tasks_of(args.bundle):
        with open(args.bundle / "eval_data" / uri, encoding="utf-8") as file:
            data = [json.loads(line.strip()) for line in file]
        random.Random(1337).shuffle(data)
        items = []
        for index in range(min(args.items, len(data))):
            ids, starts, ends = prompts(reference, tokens, data, index, kind, shots, delimiter)
            if args.whole:
                items.append({"ids": ids, "starts": starts, "ends": ends})
            else:
                text = ";".join(f"{s}:{e}:{','.join(map(str, x))}" for x, s, e in zip(ids, starts, ends))
                items.append(hashlib.sha256(text.encode()).hexdigest()[:16])
        golden[label] = {"kind": kind, "shots": shots, "rows": len(data), "items": items}
    json.dump(golden, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
