"""The readers that aren't ours: transformers for a folder, llama.cpp for a GGUF file, each as it is
published and in a process of its own."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from shoestring.errors import BadInput, ShoestringError
from shoestring.release.llama_cpp import LlamaCpp, LlamaServer
from shoestring.release.prompts import Questions
from shoestring.release.reading import Likeliest, Reading
from shoestring.text.tokenizer import Tokenizer

SCRIPT = Path(__file__).with_name("with_transformers.py")
LONGEST_S = 3600.0
SHOWN_FAULTS = 3


def find_transformers(given: str | None) -> str | None:
    """A Python that has it: the one that is given, or this one. Raises BadInput where that one hasn't."""
    if given is None:
        return sys.executable if importlib.util.find_spec("transformers") else None
    place = shutil.which(given)
    if place is None:
        raise BadInput(f"transformers: no program {given}; give a Python that has the package")
    asked = subprocess.run([place, "-c", "import transformers"], capture_output=True, check=False)
    if asked.returncode:
        raise BadInput(f"transformers: {given} can't import it: {given} -m pip install transformers torch")
    return place


def read_with_transformers(
    python: str, folder: Path, asked: Questions, texts: Sequence[Sequence[int]]
) -> Reading:
    """In float32. Raises ShoestringError where it can't load the folder."""
    with tempfile.TemporaryDirectory() as rows:
        given = {
            "folder": str(folder.resolve()),
            "prompts": [one.ids for one in asked.asked],
            "texts": [list(text) for text in texts],
            "said": [one.said for one in asked.asked] if asked.chat else [],
            "rows": rows,
        }
        done = subprocess.run(
            [python, "-W", "ignore", str(SCRIPT)],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
        found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not found:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ShoestringError(f"transformers doesn't run the export: {last}")
        result = json.loads(found[0].removeprefix("RESULT "))
        loaded = [torch.from_numpy(np.load(Path(rows) / f"{i}.npy")) for i in range(len(texts))]
    faults = _rendered_otherwise([one.ids for one in asked.asked] if asked.chat else [], result["prompts"])
    return Reading(f"transformers {result['version']}", "float32", result["tokens"], loaded, faults)


def read_with_llama_cpp(
    program: LlamaCpp,
    model: Path,
    asked: Questions,
    texts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    threads: int,
    cache: str,
) -> Reading:
    """As it computes of itself: in the file's types, with activations as its kernels round them. Raises
    ShoestringError where it can't load the file."""
    longest = max(len(one.ids) for one in asked.asked) + asked.tokens
    told = tokenizer.encode("a")[-1]
    tokens: list[list[int]] = []
    rows: list[Likeliest] = []
    with program.serving(model, longest + 8, threads, cache) as server:
        faults = _read_otherwise(server, asked)
        for one, text in zip(asked.asked, texts, strict=True):
            tokens.append(server.greedy(one.ids, asked.tokens))
            rows.append([server.likeliest([*one.ids, *text[:i]], told) for i in range(len(text))])
    return Reading(program.version(), f"as in the file, cache in {cache}", tokens, rows, faults)


def _read_otherwise(server: LlamaServer, asked: Questions) -> list[str]:
    """Where its template renders or its tokenizer reads a prompt as other ids than ours."""
    ids = [server.tokenize(one.text) for one in asked.asked]
    faults = _rendered_otherwise([one.ids for one in asked.asked], ids, "reads")
    if asked.chat:
        texts = [server.render([{"role": "user", "content": one.said}]) for one in asked.asked]
        faults += _rendered_otherwise([one.text for one in asked.asked], texts)
    return faults


def _rendered_otherwise(ours: Sequence[object], theirs: Sequence[object], what: str = "renders") -> list[str]:
    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    if not wrong:
        return []
    shown = ", ".join(str(i + 1) for i in wrong[:SHOWN_FAULTS])
    return [f"it {what} {len(wrong)} of {len(ours)} prompts otherwise (number {shown})"]
