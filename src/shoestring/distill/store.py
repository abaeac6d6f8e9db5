"""Teacher's logprobs on the disk, so that the teacher need not be in memory with the student.

FOLDER/manifest.json says whose they are; each FOLDER/shard-NNNNNN.safetensors has some rows, of each four
arrays named KEY/ids (N, K) uint16 or uint32, KEY/logprobs (N, K) float16, KEY/tail and KEY/chosen (N,)
float32. A shard is written whole or not at all, rows that are there are never made again, and one row is
read without the others of its shard.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError, safe_open

from shoestring.distill.live import Kept
from shoestring.errors import BadInput, ShoestringError
from shoestring.run.files import dumps, saving, write_atomic
from shoestring.text.message import Rendered

MANIFEST = "manifest.json"
SHARDS = "shard-*.safetensors"
PARTS = ("ids", "logprobs", "tail", "chosen")


@dataclass(frozen=True)
class Manifest:
    """What must be the same for logprobs to be these. tokenizer: fingerprint of the one that made the rows'
    ids; vocab: rows of the student's head; sha256: of the teacher's weights."""

    teacher: str
    sha256: str
    tokenizer: str
    vocab: int
    temperature: float
    k: int
    format: int = 1


NAMES = {
    "sha256": "weights of the teacher",
    "tokenizer": "tokenizer",
    "vocab": "size of the student's vocabulary",
    "temperature": "temperature",
    "k": "number of tokens kept",
    "format": "format",
}


class LogprobStore:
    """Rows by key. Raises BadInput where the folder holds another teacher's, tokenizer's or temperature's."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._shard_of: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        with saving(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if (folder / MANIFEST).exists():
            _refuse_another(folder, manifest)
        else:
            write_atomic(folder / MANIFEST, dumps(dataclasses.asdict(manifest), indent=2) + "\n")
        for path in sorted(folder.glob(SHARDS)):
            self._take_in(path)

    def __len__(self) -> int:
        return len(self._shard_of)

    def __contains__(self, key: str) -> bool:
        return key in self._shard_of

    def write(self, rows: Mapping[str, Kept]) -> int:
        """One shard of these rows, of keys that aren't here. Returns its bytes. Raises ShoestringError where
        the disk refuses; what was written before is whole."""
        last = max((int(p.stem.removeprefix("shard-")) for p in self.folder.glob(SHARDS)), default=-1)
        path = self.folder / f"shard-{last + 1:06}.safetensors"
        narrow = np.uint16 if self.manifest.vocab <= 1 << 16 else np.uint32
        arrays: dict[str, np.ndarray] = {}
        for key, row in rows.items():
            arrays[f"{key}/ids"] = row.ids.numpy().astype(narrow)
            arrays[f"{key}/logprobs"] = row.logprobs.numpy().astype(np.float16)
            arrays[f"{key}/tail"] = row.tail.numpy().astype(np.float32)
            arrays[f"{key}/chosen"] = row.chosen.numpy().astype(np.float32)
        raw = safetensors.numpy.save(arrays)
        write_atomic(path, raw)
        self._take_in(path)
        return len(raw)

    def read(self, key: str) -> Kept:
        """Raises ShoestringError where there is no such row."""
        if key not in self._shard_of:
            raise ShoestringError(f"{self.folder} has no logprobs of row {key}: make them anew")
        shard = self._opened(self._shard_of[key])
        ids, logprobs, tail, chosen = (shard.get_tensor(f"{key}/{part}") for part in PARTS)
        wide = torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(logprobs.astype(np.float32))
        return Kept(*wide, torch.from_numpy(tail), torch.from_numpy(chosen))

    def _take_in(self, path: Path) -> None:
        for name in self._opened(path).keys():  # noqa: SIM118 (no dict)
            self._shard_of[name.partition("/")[0]] = path

    def _opened(self, path: Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="np")
            except (SafetensorError, OSError) as error:
                raise BadInput(f"{path} can't be read ({error}): remove it, its rows are made anew") from None
        return self._open[path]


def read_manifest(folder: Path) -> Manifest:
    """Raises BadInput where the folder is no store."""
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadInput(f"{folder} holds no teacher's logprobs: it has no {MANIFEST}") from None
    except (ValueError, TypeError) as error:
        raise BadInput(f"{folder / MANIFEST} can't be read: {error}") from None


def _refuse_another(folder: Path, wanted: Manifest) -> None:
    found = read_manifest(folder)
    for field, name in NAMES.items():
        there, here = getattr(found, field), getattr(wanted, field)
        if there != here:
            raise BadInput(
                f"{folder} holds the logprobs of '{found.teacher}' and not what this run asks for: {name} "
                f"there {_short(there)}, here {_short(here)} ('{wanted.teacher}'). Name another folder, or "
                "remove that one"
            )


def _short(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) else f"{value}"


def row_key(row: Rendered) -> str:
    """Of the ids and of which of them are trained, nothing else: a row is made once, whatever its id."""
    made = hashlib.sha256(np.asarray(row.ids, dtype="<i8").tobytes())
    made.update(np.asarray(row.trained, dtype=np.uint8).tobytes())
    return made.hexdigest()[:32]


def bytes_per_token(k: int, vocab: int) -> int:
    """Of arrays; the names of rows come to some hundred bytes a row."""
    return k * ((2 if vocab <= 1 << 16 else 4) + 2) + 8
