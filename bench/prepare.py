"""Puts both sides in place: nc-core in release, or a binary that is there already, and peers that compute the same."""

import json
import os
import subprocess
import venv
from pathlib import Path

from contestants import LLAMA, model_path
from shell import BENCH, ROOT, BenchError, last_json, say

VENV = BENCH / ".venv"

# The script that computes each part in PyTorch, for the parts whose numbers have golden files.
CHECKED = {"step": "gpt_torch.py", "infer": "infer_torch.py"}


def build_nc_core(burn: bool) -> str:
    """Builds the command in release, with its Burn twin if asked; gives its path."""
    say("building nc-core" + (" with its Burn twin (many minutes, once; --no-burn leaves it out)" if burn else ""))
    features = ["--features", "burn"] if burn else []
    if subprocess.run(["cargo", "build", "--release", "-p", "nc-core", *features], cwd=ROOT).returncode != 0:
        raise BenchError("nc-core does not build; see above")
    metadata = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    name = "nc-core.exe" if os.name == "nt" else "nc-core"
    return str(Path(json.loads(metadata.stdout)["target_directory"]) / "release" / name)


def built_nc_core(binary: Path, burn: bool) -> str:
    """The path of a command that somebody has built, absolute, once it is known to run and to hold what is asked of it."""
    path = str(binary.resolve())

    def told(*arguments: str) -> str:
        return subprocess.run([path, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    try:
        version = told("--version")
    except OSError as error:
        raise BenchError(f"{binary} cannot be run: {error.strerror}; --binary takes the path of nc-core") from error
    if not version.startswith("nc-core "):
        raise BenchError(f"{binary} is not nc-core, by what it says its version is; --binary takes the path of nc-core")
    if burn and "--peer" not in told("bench", "step", "--help"):
        raise BenchError(f"{binary} has no Burn twin; build it with --features burn, or add --no-burn")
    return path


def mesa26_runner() -> list[str]:
    """The prefix that starts a program on Mesa 26."""
    done = subprocess.run([str(ROOT / "scripts/mesa26.sh"), "runner"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise BenchError("Mesa 26 could not be put in place; see above")
    return [done.stdout.strip()]


def peers_python() -> str:
    """Puts the pinned packages into bench/.venv unless they are there; gives its Python."""
    python = str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    requirements = BENCH / "requirements.txt"
    installed = VENV / "installed.txt"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        say("installing the peers into bench/.venv (some minutes, once)")
        venv.create(VENV, clear=True, with_pip=True, symlinks=os.name != "nt")
        if subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", str(requirements)]).returncode != 0:
            raise BenchError("the peers' packages could not be installed; see above")
        installed.write_text(requirements.read_text())
    return python


def has_llama() -> bool:
    """Is llama.cpp there? `scripts/setup.sh --bench` puts it there, and says where it cannot."""
    return (BENCH / "llama/node_modules/installed.json").exists()


def write_models(python: str, depths: list[int], vocab: int, context: int, models: Path) -> list[dict]:
    """Writes the models that llama.cpp decodes; tells how many weights and bytes a token reads of each."""
    written = []
    for depth in depths:
        for weights in LLAMA["CPU"]:
            model = ["--depth", str(depth), "--vocab", str(vocab), "--context", str(context), "--weights", weights]
            command = [python, str(BENCH / "gguf_llama.py"), str(model_path(models, depth, weights)), *model]
            written.append({"depth": depth, "weights": weights, **last_json("model for llama.cpp", command)})
    return written


def check_peers(python: str, parts: list[str]) -> None:
    """A PyTorch model that computes something else would be no peer: compares those that run with the golden files first."""
    golden = sorted(str(path) for path in (ROOT / "tests/golden").glob("*.safetensors"))
    if not golden:
        raise BenchError("there are no golden files in tests/golden to check the PyTorch peers against")
    for script in [CHECKED[part] for part in parts if part in CHECKED]:
        say(f"checking {script} against tests/golden")
        command = [python, str(BENCH / script), "--check", *golden]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise BenchError(f"{script} is off from the golden numbers:\n{done.stdout.strip()[-2000:]}")
