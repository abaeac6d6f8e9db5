"""Weights on disk: safetensors, in one file or in shards with an index. Read lazily, written as a stream."""

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shoestring.errors import BadInput

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
KINDS = {  # safetensors' names
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
}
READABLE = {"F64", *KINDS.values()}


@dataclass(frozen=True)
class Stored:
    """A tensor to write; `make` gives its values when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def num_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True)
class Folder:
    """What the weight files hold: shapes and safetensors' dtype names, read before any tensor is."""

    where: str
    shapes: dict[str, tuple[int, ...]]
    kinds: dict[str, str]
    read: Callable[[str], Tensor]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder. Raises BadInput, one line."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path} is not valid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise BadInput(f"{path} holds {type(raw).__name__}, a JSON object is wanted")
    return raw


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _Reader:
    """Keeps the last file open alone: an open file's tensors are mapped, and what was read of it counts as
    memory until it is closed. With all shards open the peak was twice the model."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """files: where each tensor lies."""
        self.files = files
        self.path: Path | None = None
        self.open: Any = None

    def __call__(self, name: str) -> Tensor:
        if self.path != self.files[name]:
            self.path = self.files[name]
            self.open = _opened(self.path)
        return self.open.get_tensor(name)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} is cut short or not a safetensors file ({error}); fetch it again") from None


def open_folder(folder: Path) -> Folder:
    shapes: dict[str, tuple[int, ...]] = {}
    kinds: dict[str, str] = {}
    files: dict[str, Path] = {}
    for path, expected in _weight_files(folder).items():
        file = _opened(path)
        for name in file.keys():  # noqa: SIM118 (not a dict)
            part = file.get_slice(name)
            if part.get_dtype() not in READABLE:
                raise BadInput(
                    f"{path}: tensor {name} is {part.get_dtype()}; quantised safetensors aren't supported"
                )
            if expected is None or name in expected:
                shapes[name], kinds[name], files[name] = tuple(part.get_shape()), part.get_dtype(), path
    return Folder(str(folder), shapes, kinds, _Reader(files))


def _weight_files(folder: Path) -> dict[Path, set[str] | None]:
    """Weight file -> the names that the index expects in it (None: whatever it holds)."""
    if (folder / WEIGHTS).exists():
        return {folder / WEIGHTS: None}
    if not (folder / INDEX).exists():
        other = next(iter([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]), None)
        hint = f"; {other.name} is a pickle, which is never read: convert it to safetensors" if other else ""
        raise BadInput(f"{folder} has no {WEIGHTS} and no {INDEX}{hint}")
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise BadInput(f"{folder / INDEX} has no weight_map")
    result: dict[Path, set[str] | None] = {}
    for file_name in sorted({str(v) for v in where.values()}):
        path = folder / file_name
        if Path(file_name).name != file_name:
            raise BadInput(f"{folder / INDEX} points outside of its folder: {file_name}")
        if not path.exists():
            raise BadInput(f"{folder} lacks {file_name}, which {INDEX} names; fetch it again")
        result[path] = {name for name, value in where.items() if value == file_name}
    return result


def write_weights(folder: Path, tensors: list[Stored], shard_bytes: int) -> None:
    """One file, or shards of at most `shard_bytes` and their index; those of an earlier save are removed once
    these are whole."""
    files = weight_files(tensors, shard_bytes)
    for name, shard in files.items():
        _write_safetensors(folder / name, shard)
    finish_weights(folder, files)


def weight_files(tensors: list[Stored], shard_bytes: int) -> dict[str, list[Stored]]:
    """By file name, what each of them is to hold."""
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        return {WEIGHTS: shards[0]}
    return {f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors": shard for i, shard in enumerate(shards)}


def finish_weights(folder: Path, files: Mapping[str, list[Stored]]) -> None:
    """Write the index, where there are several, and remove an earlier save's files."""
    if len(files) > 1:
        total = sum(tensor.num_bytes for shard in files.values() for tensor in shard)
        where = {t.name: name for name, shard in files.items() for t in shard}
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
    for stale in [*folder.glob("model*.safetensors"), folder / INDEX]:
        if stale.name not in files and (stale.name != INDEX or len(files) == 1):
            stale.unlink(missing_ok=True)


def _shards(tensors: list[Stored], shard_bytes: int) -> list[list[Stored]]:
    shards: list[list[Stored]] = [[]]
    filled = 0
    for tensor in tensors:
        if shards[-1] and filled + tensor.num_bytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.num_bytes
    return shards


def file_header(tensors: list[Stored]) -> bytes:
    """What a file of these begins with; their numbers follow it end to end."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        end = at + tensor.num_bytes
        kind, shape = KINDS[tensor.dtype], list(tensor.shape)
        header[tensor.name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data starts at a multiple of 8
    return struct.pack("<Q", len(text)) + text


def _write_safetensors(path: Path, tensors: list[Stored]) -> None:
    """Length of the header (8 bytes), JSON header, data. The library's writer copies every tensor first; this
    one holds one. The file gets its name only when it is whole."""
    half = path.with_name(path.name + ".part")
    try:
        with half.open("wb") as file:
            file.write(file_header(tensors))
            for tensor in tensors:
                values = tensor.make().detach().cpu().contiguous()
                file.write(values.flatten().view(torch.uint8).numpy().data)
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)
