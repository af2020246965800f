"""Running programs, and telling what happens: what the other files of the benchmark stand on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent


class BenchError(Exception):
    """A part of the benchmark could not run; the message says which and why."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_within(name: str, command: list[str], limit: int | None) -> subprocess.CompletedProcess:
    """Runs a command from the root of the repository, for at most `limit` seconds if there is a limit."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    if limit is None:
        return subprocess.run(command, cwd=ROOT, **pipes)
    # In a session of its own, so that what the program has started ends with it.
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes) as process:
        try:
            output = process.communicate(timeout=limit)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BenchError(f"{name} did not end within {limit} s") from error
            raise
    return subprocess.CompletedProcess(command, process.returncode, *output)


def last_json(name: str, command: list[str], limit: int | None = None) -> dict:
    """Runs a command and reads the JSON on the last line of its stdout."""
    say(f"  {name}: {' '.join(command)}")
    try:
        done = run_within(name, command, limit)
    except OSError as error:
        raise BenchError(f"{name} cannot be started: {error.strerror}") from error
    if done.returncode < 0:
        raise BenchError(f"{name} was ended by signal {-done.returncode}")
    if done.returncode != 0:
        raise BenchError(f"{name} ended with exit code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    lines = done.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise BenchError(f"{name} printed no JSON on its last line") from error
