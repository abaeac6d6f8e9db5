"""A GGUF file's header, read by hand: the `gguf` library's reader makes an array object of every token and
merge and takes seconds where this takes a tenth. Layout: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
The library still says what each quantised type is and turns blocks into float32."""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from shoestring.errors import BadInput

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class StoredTensor:
    """One tensor's place in the file. shape is the usual row-major one (the file keeps it reversed)."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int  # bytes from the start of the file
    nbytes: int


class _Cursor:
    """Reads little-endian values one after the other; running off the end raises BadInput."""

    def __init__(self, buffer: mmap.mmap, path: Path) -> None:
        self.buffer, self.path, self.at = buffer, path, 0

    def bytes(self, count: int) -> bytes:
        if count > len(self.buffer) - self.at:
            raise BadInput(
                f"{self.path} is cut short: the header goes on past the end of the file; fetch it again"
            )
        self.at += count
        return self.buffer[self.at - count : self.at]

    def scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self.bytes(struct.calcsize("<" + code)))[0]

    def text(self) -> str:
        return self.bytes(self.scalar("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind != ARRAY:
            raise BadInput(f"{self.path} is not a readable GGUF file: metadata of unknown type {kind}")
        inner, count = self.scalar("I"), self.scalar("Q")
        if inner in SCALARS:
            code = SCALARS[inner]
            return list(struct.unpack(f"<{count}{code}", self.bytes(count * struct.calcsize("<" + code))))
        return [self.value(inner) for _ in range(count)]


class GGUFFile:
    """An open GGUF file: `metadata` as plain values, `tensors` by name, and `read` for one as float32."""

    def __init__(self, path: Path) -> None:
        """Raises BadInput, one line, for a file that is missing, of another kind, or half there."""
        self.path = path
        try:
            with path.open("rb") as file:
                if file.read(4) != MAGIC:
                    raise BadInput(f"{path} is not a GGUF file (it doesn't begin with 'GGUF')")
                self._buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise BadInput(f"can't read {path}: {error.strerror}") from None
        cursor = _Cursor(self._buffer, path)
        try:
            self.metadata, self.tensors = _read_header(cursor)
        except (UnicodeDecodeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
            raise BadInput(f"{path} is damaged: {error}; fetch it again") from None
        self._check_whole()

    def raw(self, name: str) -> np.ndarray:
        """The bytes of the tensor `name` as they lie in the file, read-only."""
        tensor = self.tensors[name]
        return np.frombuffer(self._buffer, np.uint8, tensor.nbytes, tensor.offset)

    def read(self, name: str) -> np.ndarray:
        """The tensor `name` as float32 in its row-major shape."""
        tensor, raw = self.tensors[name], self.raw(name)
        block_bytes = GGML_QUANT_SIZES[tensor.kind][1]
        # the library works on 16 rows at a time, so it is given long rows: blocks don't mind where a row ends
        blocks = math.gcd(tensor.nbytes // block_bytes, 4096)
        try:
            with np.errstate(all="ignore"):  # a damaged block is found by its NaN, not by a warning
                values = dequantize(raw.reshape(-1, blocks * block_bytes), tensor.kind)
            return np.require(values.reshape(tensor.shape), requirements=["C", "W"])
        except NotImplementedError:
            raise BadInput(
                f"{self.path}: tensor {name} is of type {tensor.kind.name}, which can't be dequantised here; "
                "use a Q8_0, Q4_K_M or F16 copy"
            ) from None

    def _check_whole(self) -> None:
        size = len(self._buffer)
        for tensor in self.tensors.values():
            if tensor.offset + tensor.nbytes > size:
                need = max(t.offset + t.nbytes for t in self.tensors.values())
                raise BadInput(f"{self.path} is cut short: {size:,} bytes of {need:,}; fetch it again")


def _read_header(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    cursor.bytes(4)
    version = cursor.scalar("I")
    if version not in (2, 3):
        raise BadInput(f"{cursor.path} is GGUF version {version}; versions 2 and 3 can be read")
    num_tensors, num_values = cursor.scalar("Q"), cursor.scalar("Q")
    metadata: dict[str, Any] = {}
    for _ in range(num_values):
        key = cursor.text()
        metadata[key] = cursor.value(cursor.scalar("I"))
    placed: list[tuple[str, tuple[int, ...], GGMLQuantizationType, int]] = []
    for _ in range(num_tensors):
        name, num_dims = cursor.text(), cursor.scalar("I")
        shape = tuple(cursor.scalar("Q") for _ in range(num_dims))[::-1]
        placed.append((name, shape, GGMLQuantizationType(cursor.scalar("I")), cursor.scalar("Q")))
    alignment = int(metadata.get("general.alignment", 32))
    if alignment < 1:
        raise ValueError(f"alignment {alignment}")
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, StoredTensor] = {}
    for name, shape, kind, offset in placed:
        if name in tensors:
            raise ValueError(f"tensor {name} appears twice")
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if not shape or shape[-1] % block:
            raise ValueError(f"tensor {name} of shape {shape} doesn't fill whole blocks of {kind.name}")
        nbytes = math.prod(shape) // block * block_bytes
        tensors[name] = StoredTensor(name, shape, kind, start + offset, nbytes)
    return metadata, tensors
