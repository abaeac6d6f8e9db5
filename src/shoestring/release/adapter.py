"""An adapter in peft's format over its base: merged into the weights, and applied apart from them, which is
what the merged model is proven against."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shoestring.errors import BadInput
from shoestring.models.bases import BASES
from shoestring.models.names import Part, linear_parts
from shoestring.models.shards import read_json
from shoestring.models.transformer import Transformer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """factors: A (r, K) and B (N, r) by the matrix's public name, without ".weight"."""

    where: Path
    base: str
    scale: float
    factors: dict[str, tuple[Tensor, Tensor]]


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def read_adapter(folder: Path) -> Adapter:
    """Raises BadInput, one line, on a kind of adapter that isn't plain LoRA."""
    raw = read_json(folder / CONFIG)
    for key in ("use_dora", "fan_in_fan_out", "modules_to_save"):
        if raw.get(key):
            raise BadInput(f"{folder / CONFIG}: {key} is not supported; merge it with peft")
    if raw.get("peft_type") != "LORA" or raw.get("bias", "none") != "none":
        raise BadInput(f"{folder / CONFIG}: only LoRA without biases is supported; merge it with peft")
    try:
        tensors = load_file(folder / WEIGHTS)
        rank, alpha = int(raw["r"]), float(raw["lora_alpha"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{folder} is not a whole adapter: {error}") from None
    names = {name.removeprefix(PREFIX).rsplit(".lora_", 1)[0] for name in tensors}
    try:
        factors = {
            name: tuple(tensors[f"{PREFIX}{name}.lora_{half}.weight"].float() for half in "AB")
            for name in sorted(names)
        }
    except KeyError as error:
        raise BadInput(f"{folder / WEIGHTS}: no tensor {error.args[0]}") from None
    scale = alpha / (math.sqrt(rank) if raw.get("use_rslora") else rank)
    base = str(raw.get("base_model_name_or_path") or "")
    return Adapter(folder, _known_as(base), scale, factors)  # type: ignore[arg-type]


def _known_as(base: str) -> str:
    """An embedded base by our name for it."""
    return next((own.name for own in BASES.values() if own.copy_of == base), base)


@torch.no_grad()
def merge(network: Transformer, adapter: Adapter) -> None:
    """Every weight becomes W + scale B A, in the network's precision. Raises BadInput where a matrix isn't
    the network's."""
    for part, a, b in _placed(network, adapter):
        rows = part.linear.weight[part.start : part.stop]
        rows.copy_(torch.addmm(rows.float(), b, a, alpha=adapter.scale))


@contextmanager
def applied(network: Transformer, adapter: Adapter) -> Iterator[None]:
    """The products W x + scale B (A x), the weights as they are."""
    handles: list[RemovableHandle] = []
    try:
        for part, a, b in _placed(network, adapter):
            handles.append(part.linear.register_forward_hook(_adds(part, a, b, adapter.scale)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _adds(part: Part, a: Tensor, b: Tensor, scale: float) -> Any:
    def hook(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        out = out.clone()
        out[..., part.start : part.stop] += scale * (given[0].float() @ a.T @ b.T).to(out.dtype)
        return out

    return hook


def _placed(network: Transformer, adapter: Adapter) -> list[tuple[Part, Tensor, Tensor]]:
    parts = {part.name: part for part in linear_parts(network)}
    strange = [name for name in adapter.factors if name not in parts]
    if strange:
        raise BadInput(f"{adapter.where}: the base {adapter.base} has no matrix {strange[0]}")
    found = []
    for name, (a, b) in adapter.factors.items():
        part = parts[name]
        if b.shape[0] != part.stop - part.start or a.shape[1] != part.linear.in_features:
            raise BadInput(f"{adapter.where}: the factors of {name} don't fit the base {adapter.base}")
        found.append((part, a, b))
    return found
