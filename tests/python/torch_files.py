"""Reads files of torch.save with Python's own zipfile and pickle, and writes pickles that would run something.

torch itself is not needed: stand-ins for its few globals say what it would be given.

    torch_files.py read FILE                    the tensors of a .pt: name, type, shape, SHA-256 of the elements as f32 or i64
    torch_files.py attacks MARKER               pickles that would make the file MARKER: label, protocol, the pickle in hex
"""

import array, builtins, collections, hashlib, json, os, pickle, subprocess, sys, zipfile


class Storage:
    def __init__(self, name):
        self.name = name


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: arguments
        if module == "torch" and name.endswith("Storage"):
            return Storage(name)
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, identity):
        return identity


def widened(kind, data):
    if kind == "FloatStorage":
        return data
    if kind == "BFloat16Storage":  # the upper half of an f32
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        return bytes(wide)
    if kind == "IntStorage":
        return array.array("q", array.array("i", data)).tobytes()
    raise ValueError(kind)


def read(path):
    archive = zipfile.ZipFile(path)
    folder = archive.namelist()[0].split("/")[0]
    with archive.open(f"{folder}/data.pkl") as file:
        saved = Unpickler(file).load()
    found = []
    for name, tensor in saved.items() if isinstance(saved, dict) else [("", saved)]:
        (_, storage, key, _, count), offset, shape, _, _, _ = tensor
        data = archive.read(f"{folder}/data/{key}")
        size = len(data) // count
        elements = 1
        for length in shape:
            elements *= length
        data = data[offset * size : (offset + elements) * size]
        found.append([name, storage.name, shape, hashlib.sha256(widened(storage.name, data)).hexdigest()])
    return found


def attacks(marker):
    code = f"open({marker!r}, 'w').close()"
    calls = {
        "os.system": (os.system, (f"touch '{marker}'",)),
        "eval": (builtins.eval, (code,)),
        "exec": (builtins.exec, (code,)),
        "Popen": (subprocess.Popen, (["touch", marker],)),
        "open": (builtins.open, (marker, "w")),
        "getattr": (builtins.getattr, ("", "join")),
        "import": (builtins.__import__, ("antigravity",)),
    }
    for label, call in calls.items():
        attack = type("Attack", (), {"__reduce__": lambda self, call=call: call})()
        for protocol in range(6):
            for where, value in {"alone": attack, "in a dict": {"wte": attack}, "as a state": collections.OrderedDict(a=[attack])}.items():
                yield [f"{label} {where}", protocol, pickle.dumps(value, protocol).hex()]


if sys.argv[1] == "read":
    json.dump(read(sys.argv[2]), sys.stdout)
else:
    json.dump(list(attacks(sys.argv[2])), sys.stdout)
