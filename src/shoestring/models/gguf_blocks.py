"""A GGUF file's quantised blocks as groups of 32 under a scale: kept number for number where the kind is one
of ours, else through float32. Layouts: github.com/ggml-org/ggml/blob/master/src/ggml-common.h."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from torch import Tensor

from shoestring.ops.quantized import SIZE, Groups

Blocks = np.ndarray  # (blocks, bytes of one) uint8


def kept_groups(raw: np.ndarray, kind: Kind, shape: Sequence[int]) -> Groups | None:
    """The blocks of a matrix (N, K) as they are stored -> the same numbers and scales. None for kinds that
    only float32 can say: a scale for 16 numbers, or a minimum beside more than 4 bits."""
    if kind not in READERS:
        return None
    block_bytes, read = READERS[kind]
    numbers, scales, mins = read(raw.reshape(-1, block_bytes))
    rows = shape[0]

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x.reshape(rows, -1)))

    return Groups(tensor(numbers), tensor(scales), None if mins is None else tensor(mins))


Parts = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _halves(blocks: Blocks, at: int) -> np.ndarray:
    """The float16 at byte `at` of each block."""
    return blocks[:, at : at + 2].copy().view(np.float16)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """(blocks, 16) -> (blocks, 32): low halves, then high ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=1).astype(np.int8)


def _q8_0(blocks: Blocks) -> Parts:
    return blocks[:, 2:].copy().view(np.int8), _halves(blocks, 0), None


def _q4_0(blocks: Blocks) -> Parts:
    scales = _halves(blocks, 0)
    return _nibbles(blocks[:, 2:]), scales, np.float16(-8) * scales


def _q4_1(blocks: Blocks) -> Parts:
    return _nibbles(blocks[:, 4:]), _halves(blocks, 0), _halves(blocks, 2)


def _q5_0(blocks: Blocks) -> Parts:
    """Five bits without a minimum fit into eight."""
    fifth = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little")
    numbers = _nibbles(blocks[:, 6:]) + (fifth << 4).astype(np.int8) - np.int8(16)
    return numbers, _halves(blocks, 0), None


def _q4_k(blocks: Blocks) -> Parts:
    """256 numbers: two float16 and eight pairs of 6-bit factors. Their products are rounded to float16, a
    relative error of at most 2^-11 in the scale and in the minimum."""
    packed = blocks[:, 4:16]
    first, second, mixed = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    factors = np.concatenate((first & 63, (mixed & 15) | (first >> 6 << 4)), axis=1)
    lows = np.concatenate((second & 63, (mixed >> 4) | (second >> 6 << 4)), axis=1)
    scales = _halves(blocks, 0).astype(np.float32) * factors
    mins = -_halves(blocks, 2).astype(np.float32) * lows
    pairs = blocks[:, 16:].reshape(-1, 4, 1, SIZE)
    numbers = np.concatenate((pairs & 15, pairs >> 4), axis=2).astype(np.int8)
    return numbers, scales.astype(np.float16), mins.astype(np.float16)


READERS: dict[Kind, tuple[int, Callable[[Blocks], Parts]]] = {
    Kind.Q8_0: (34, _q8_0),
    Kind.Q4_0: (18, _q4_0),
    Kind.Q4_1: (20, _q4_1),
    Kind.Q5_0: (22, _q5_0),
    Kind.Q4_K: (144, _q4_k),
}
