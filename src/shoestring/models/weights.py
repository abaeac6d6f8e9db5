"""Filling a network tensor by tensor: memory is the model and the one tensor on its way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer


@dataclass(frozen=True)
class WeightSource:
    """Tensors by public name: their shapes are known before any is read. `where` names the file in errors."""

    where: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]


def empty_network(config: ModelConfig, dtype: torch.dtype, device: str | torch.device) -> Transformer:
    """A network whose weights are not set; nothing is computed or copied to make it."""
    with torch.device("meta"):
        network = Transformer(config)
    return network.to(dtype).to_empty(device=device)


def fill_network(network: Transformer, source: WeightSource) -> None:
    """Copy every tensor of `source` into the network. Raises BadInput, one line, naming what doesn't fit."""
    wanted = dict(network.public_tensors())
    check_names(wanted, source)
    for name, target in wanted.items():
        fill(name, target, source)


def fill(name: str, target: Tensor, source: WeightSource) -> None:
    """One tensor of `source`. Raises BadInput where it holds what is no number."""
    tensor = source.read(name)
    check_finite(name, tensor, source.where)
    target.copy_(tensor)


def check_finite(name: str, tensor: Tensor, where: str) -> None:
    if not torch.isfinite(tensor.sum(dtype=torch.float32)):  # one NaN or infinity makes the sum one
        raise BadInput(f"{where}: tensor {name} holds NaN or infinite numbers")


def check_names(wanted: Mapping[str, Tensor], source: WeightSource) -> None:
    """Raises BadInput, one line, naming what doesn't fit."""
    shapes = source.shapes
    wrong = [
        f"{name} is {_by(shapes[name])}, should be {_by(tuple(target.shape))}"
        for name, target in wanted.items()
        if name in shapes and shapes[name] != tuple(target.shape)
    ]
    faults = (
        ("missing", [name for name in wanted if name not in shapes]),
        ("not part of this model", [name for name in shapes if name not in wanted]),
        ("wrong shape", wrong),
    )
    told = [f"{what}: {_some(names)}" for what, names in faults if names]
    if told:
        raise BadInput(f"{source.where}: the tensors don't fit the model's config; " + "; ".join(told))


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
