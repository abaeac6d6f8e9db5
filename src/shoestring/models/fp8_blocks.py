"""What a public folder stores for a network, FP8 weights included: E4M3 values under the weight's name, and
beside them NAME_scale_inv, a float32 number for each block of 128 x 128. Despite its name it multiplies."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shoestring.errors import BadInput
from shoestring.models.names import shared_names
from shoestring.models.shards import KINDS, Stored
from shoestring.models.transformer import Transformer
from shoestring.ops.fp8 import BLOCK, E4M3, Scaled, block_scales, dequantize_blocks, quantize_blocks

SCALE = "_scale_inv"
STORED_FP8 = KINDS[E4M3]
QUANTIZATION = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": list(BLOCK),
}
MATRICES = {
    *("q_proj", "k_proj", "v_proj", "o_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"),
    *("gate_proj", "up_proj", "down_proj"),
}


def stored_tensors(network: Transformer, fp8: bool) -> Iterator[Stored]:
    """Every tensor of the network's folder: with the copies of embedding and head that a public one has for
    its MTP modules, and with `fp8` in the precision that it has."""
    live = dict(network.public_tensors())
    for name, tensor in live.items():
        if fp8 and is_fp8_matrix(name):
            rows, columns = tensor.shape
            blocks = (-(-rows // BLOCK[0]), -(-columns // BLOCK[1]))
            yield Stored(name, (rows, columns), E4M3, partial(_values, tensor))
            yield Stored(name + SCALE, blocks, torch.float32, partial(block_scales, tensor))
        else:
            yield Stored(name, tuple(tensor.shape), tensor.dtype, partial(_as_it_is, tensor))
    for name, original in shared_names(network):
        tensor = live[original]
        yield Stored(name, tuple(tensor.shape), tensor.dtype, partial(_as_it_is, tensor))


def is_fp8_matrix(name: str) -> bool:
    """Attention and feed-forward matrices, the experts' too. Embedding, head, norms, routers and eh_proj stay
    as they are."""
    *_, owner, kind = ("", *name.split("."))
    return kind == "weight" and owner in MATRICES


def read_block_size(raw: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of the blocks that a config.json names; None where it has no quantised weights. Raises
    BadInput on any other kind."""
    told = raw.get("quantization_config")
    if told is None:
        return None
    told = told if isinstance(told, Mapping) else {}
    method, kind, size = told.get("quant_method"), told.get("fmt", "e4m3"), told.get("weight_block_size")
    match size:
        case [int(rows), int(columns)] if rows > 0 and columns > 0 and (method, kind) == ("fp8", "e4m3"):
            return rows, columns
    raise BadInput(
        f"quantised weights of quant_method {method!r}, fmt {kind!r}, weight_block_size {size!r} are not "
        "supported; fp8 in e4m3 with blocks such as [128, 128] is"
    )


def without_scales(
    shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, str], block: tuple[int, int] | None, where: str
) -> dict[str, tuple[int, ...]]:
    """The stored tensors but for the scales that FP8 weights need, each of which is there and of the right
    shape. `kinds` are safetensors' dtype names. Raises BadInput, one line."""
    kept = dict(shapes)
    for name in (name for name, kind in kinds.items() if kind == STORED_FP8):
        if block is None:
            raise BadInput(
                f"{where}: tensor {name} is {STORED_FP8} but config.json has no quantization_config"
            )
        found = kept.pop(name + SCALE, None)
        wanted = tuple(-(-size // step) for size, step in zip(shapes[name], block, strict=False))
        if found is None:
            raise BadInput(f"{where}: tensor {name} is {STORED_FP8} but its {name}{SCALE} is missing")
        if found != wanted or len(shapes[name]) != 2:
            raise BadInput(
                f"{where}: {name}{SCALE} is {list(found)}, should be {list(wanted)}: a number for each block "
                f"of {block[0]} x {block[1]} of {list(shapes[name])}"
            )
    return kept


def read_weight(name: str, read: Callable[[str], Tensor], block: tuple[int, int] | None) -> Tensor:
    """A stored tensor; FP8 ones as the float32 that they stand for."""
    tensor = read(name)
    if tensor.dtype != E4M3:
        return tensor
    assert block is not None, "without_scales has refused it"
    return dequantize_blocks(Scaled(tensor, read(name + SCALE)), block)


def _values(tensor: Tensor) -> Tensor:
    return quantize_blocks(tensor).values


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
