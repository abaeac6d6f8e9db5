"""A safetensors file that several ranks write at once, each its own numbers at their place. Nothing travels
between them and nowhere is a tensor whole; the folder must be one that all ranks see."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shoestring.cluster.world import World
from shoestring.errors import ShoestringError
from shoestring.models.shards import Stored, file_header

AT_ONCE = 64 << 20  # numbers that are cast and copied at a time


@dataclass(frozen=True)
class Piece:
    """The numbers of a tensor from `begin` on that this rank has."""

    name: str
    begin: int
    values: Tensor  # flat


def write_together(world: World, path: Path, tensors: Sequence[Stored], pieces: Iterator[Piece]) -> None:
    """tensors: all of the file's, the same on every rank; `make` isn't asked. pieces: this rank's. The file
    gets its name only when all have written. Raises ShoestringError on all ranks where one of them can't."""
    half = path.with_name(path.name + ".part")
    header = file_header(list(tensors))
    places: dict[str, tuple[int, Stored]] = {}
    at = len(header)
    for tensor in tensors:
        places[tensor.name] = at, tensor
        at += tensor.num_bytes
    if world.rank == 0:
        world.all_well(f"begin {path}", lambda: _begin(half, header, at))
    else:
        world.all_well(f"begin {path}", lambda: None)
    try:
        world.all_well(f"write {path}", lambda: _write(half, at, places, pieces))
    except ShoestringError:
        if world.rank == 0:
            half.unlink(missing_ok=True)  # half of it would keep a full disk full
        raise
    world.all_well(f"end {path}", lambda: os.replace(half, path) if world.rank == 0 else None)


def _begin(path: Path, header: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size)


def _write(path: Path, size: int, places: dict[str, tuple[int, Stored]], pieces: Iterator[Piece]) -> None:
    if not path.exists() or path.stat().st_size != size:
        raise OSError(f"{path} isn't the file that rank 0 began: all ranks must see one folder")
    with path.open("r+b") as file:
        for piece in pieces:
            start, tensor = places[piece.name]
            file.seek(start + piece.begin * tensor.dtype.itemsize)
            for values in piece.values.split(AT_ONCE):
                own = values.detach().to(tensor.dtype).cpu().contiguous()
                file.write(own.view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
