"""Multiple choice with four choices and ten examples on a model of depth 4: items a second of nc-core, with and without sharing what
choices have in common, beside PyTorch on the CPU in the reference's way, every choice in full.

    python bench/core_torch.py NC_CORE BUNDLE [--items 48] [--rounds 2]

NC_CORE is the program; PyTorch and tokenizers must be installed (scripts/python.sh). The model is trained for two steps on the sample corpus in a
temporary home with a tokenizer of 4096 ids and a context of 512: what weights it has makes no difference to the speed. Rounds alternate, and the best
of each counts. Times are those of the task alone: rendering, tokens, scoring, without loading.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TASK = ["arc_easy", "world_knowledge/arc_easy.jsonl", "multiple_choice", 10, "\nAnswer: "]
SHAPE = ["--depth", "4", "--max-seq-len", "512", "--device-batch-size", "1", "--total-batch-size", "512", "--num-iterations", "2"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--items", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "NC_HOME": home}

        def program(*words):
            done = subprocess.run([args.program, *words, "--json"], env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"{words}: {done.stderr}")
            return json.loads(done.stdout.splitlines()[-1])

        corpus = str(ROOT / "assets" / "corpus")
        program("tokenizer", "train", "--vocab-size", "4096", "--data", corpus)
        program("train", "--run", "speed", "--data", corpus, *SHAPE, "--eval-every", "-1", "--save-every", "-1")

        def ours(*more):
            evaluate = ["eval", "base", "--eval", "core", "--bundle", str(args.bundle), "--tasks", TASK[0], "-x", str(args.items), "--again"]
            return program(*evaluate, *more)["core"]["tasks"][0]

        question = {"bundle": str(args.bundle), "tasks": [TASK], "items": args.items, "step": 2}

        def theirs():
            script = ROOT / "tests" / "python" / "core_scores.py"
            run = Path(home) / "runs" / "speed"
            done = subprocess.run([sys.executable, "-I", script, run], input=json.dumps(question), capture_output=True, text=True, check=True)
            answer = json.loads(done.stdout)[0]
            right = sum(item["correct"] for item in answer["items"])
            return {"seconds": answer["seconds"], "items": len(answer["items"]), "accuracy": right / len(answer["items"])}

        ways = {"nc-core, shared": ours, "nc-core, every choice whole": lambda: ours("--no-sharing"), "PyTorch, every choice whole": theirs}
        best = {}
        for _ in range(args.rounds):
            for name, way in ways.items():
                result = way()
                if name not in best or result["seconds"] < best[name]["seconds"]:
                    best[name] = result
        for name, result in best.items():
            print(f"{name:<28} {result['items'] / result['seconds']:7.3f} items/s   accuracy {result['accuracy']:.4f}")
        speed = [result["items"] / result["seconds"] for result in best.values()]
        print(f"shared / whole {speed[0] / speed[1]:.2f}   shared / PyTorch {speed[0] / speed[2]:.2f}")


if __name__ == "__main__":
    main()
