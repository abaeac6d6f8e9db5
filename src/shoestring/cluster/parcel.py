"""Weights on their way: one buffer of bytes with a list of what lies where in it, and a fingerprint that
whoever takes it can compute again from what it then holds."""

import hashlib
import json
import shutil
import uuid
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from shoestring.errors import ShoestringError
from shoestring.run import saving

KEPT = 2  # files of weights that lie on the shared disk: the newest and the one that may still be read
ALIGN = 64


@dataclass(frozen=True)
class Entry:
    """begin: of its bytes in the buffer. crc: of its bytes."""

    name: str
    dtype: str  # torch's word: "bfloat16"
    shape: tuple[int, ...]
    begin: int
    crc: int

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * getattr(torch, self.dtype).itemsize


@dataclass(frozen=True)
class Manifest:
    entries: tuple[Entry, ...]

    @property
    def nbytes(self) -> int:
        last = self.entries[-1]
        return last.begin + last.nbytes

    @property
    def fingerprint(self) -> str:
        """Equal for equal names, shapes, precisions and bits, wherever they lie."""
        facts = sorted((e.name, e.dtype, list(e.shape), e.crc) for e in self.entries)
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Parcel:
    """carried: Ray's reference to the buffer, or the file that holds the tensors."""

    manifest: Manifest
    version: int
    carried: Any

    @property
    def way(self) -> str:
        return "disk" if isinstance(self.carried, Path) else "store"


class LostParcel(ShoestringError):
    """The weights didn't come, or not as they were sent."""


def entries_of(weights: Iterable[tuple[str, Tensor]]) -> Manifest:
    return Manifest(tuple(entry for entry, _ in _laid_out(weights)))


def packed(weights: Iterable[tuple[str, Tensor]]) -> tuple[np.ndarray, Manifest]:
    """The buffer (uint8) and what lies in it."""
    laid = list(_laid_out(weights))
    manifest = Manifest(tuple(entry for entry, _ in laid))
    buffer = np.zeros(manifest.nbytes, np.uint8)
    for entry, data in laid:
        buffer[entry.begin : entry.begin + len(data)] = data
    return buffer, manifest


def unpacked(buffer: np.ndarray, manifest: Manifest) -> Iterator[tuple[str, Tensor]]:
    """Views of the buffer."""
    if len(buffer) != manifest.nbytes:
        raise LostParcel(f"{len(buffer):,} bytes of weights came of {manifest.nbytes:,}")
    whole = _as_tensor(buffer)
    for entry in manifest.entries:
        part = whole[entry.begin : entry.begin + entry.nbytes]
        yield entry.name, part.view(getattr(torch, entry.dtype)).view(entry.shape)


class Shelf:
    """The files of one run's generators, in a folder of their own below one that every host sees: several
    runs may share that one. What was written last is kept, whatever its version: a resume and a roll-back
    go to lower ones."""

    def __init__(self, below: Path) -> None:
        self.folder = below / f"weights-{uuid.uuid4().hex[:12]}"
        self._lie: list[Path] = []  # oldest first

    def write(self, buffer: np.ndarray, manifest: Manifest, version: int) -> Path:
        """weights-000012.safetensors, whole or not at all; all but the last two that were written go. Raises
        ShoestringError, one line, where the disk refuses it."""
        path = self.folder / f"weights-{version:06d}.safetensors"
        temporary = path.with_suffix(".tmp")
        with saving(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                save_file(dict(unpacked(buffer, manifest)), temporary)
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)  # half of it would keep a full disk full
            self._lie = [*(other for other in self._lie if other != path), path]
            for old in self._lie[:-KEPT]:
                old.unlink(missing_ok=True)
            self._lie = self._lie[-KEPT:]
        return path

    def close(self) -> None:
        """Nobody reads them any more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lie = []


def read(path: Path) -> list[tuple[str, Tensor]]:
    """Raises LostParcel where it isn't there or isn't whole."""
    try:
        with safe_open(path, "pt") as file:
            return [(name, file.get_tensor(name)) for name in file.keys()]  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise LostParcel(f"the weights in {path} can't be read ({error})") from None


def first_difference(sent: Manifest, held: Manifest) -> str:
    """ "" where both are the same weights, else which tensor differs."""
    if sent.fingerprint == held.fingerprint:
        return ""
    have = {e.name: (e.dtype, e.shape, e.crc) for e in held.entries}
    for entry in sent.entries:
        if have.get(entry.name) != (entry.dtype, entry.shape, entry.crc):
            return entry.name
    return "a tensor too many"


def _laid_out(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[Entry, np.ndarray]]:
    begin = 0
    for name, tensor in weights:
        whole = tensor.detach().cpu().contiguous()
        data = whole.reshape(-1).view(torch.uint8).numpy() if whole.numel() else np.zeros(0, np.uint8)
        dtype = str(tensor.dtype).removeprefix("torch.")
        yield Entry(name, dtype, tuple(tensor.shape), begin, zlib.crc32(data.data)), data
        begin += -(-len(data) // ALIGN) * ALIGN


def _as_tensor(buffer: np.ndarray) -> Tensor:
    """Memory that is only to be read, as Ray's store gives it: torch can't know that and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(buffer)
