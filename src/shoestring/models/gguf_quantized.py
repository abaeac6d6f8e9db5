"""A GGUF file's network with quantised weights, without a whole copy of it in any wider dtype."""

import torch
from torch import Tensor, nn

from shoestring.errors import BadInput
from shoestring.models.gguf import GGUFWeights, is_deepseek, load_gguf
from shoestring.models.gguf_blocks import kept_groups
from shoestring.models.gguf_file import GGUFFile
from shoestring.models.linear import Linear
from shoestring.models.names import EMBEDDING, HEAD, Part, linear_parts
from shoestring.models.quantize import Form, groups_of, quantize_network, set_ends
from shoestring.models.transformer import Transformer
from shoestring.models.weights import check_finite, check_names, fill
from shoestring.ops.quantized import SIZE, Groups, Quantized, pack, quantize_8


def load_gguf_quantized(
    file: GGUFFile, dtype: torch.dtype, device: str, form: Form | None
) -> tuple[Transformer, str]:
    """form None: as the file has them, 4-bit kinds in 4 bits and all else in 8. -> the network, and in words
    which tensors were kept and which rounded anew. Raises BadInput, one line."""
    if is_deepseek(file):
        if form is None:
            raise BadInput(f"{file.path}: deepseek2's own blocks can't be kept; write int8 or int4")
        whole = load_gguf(file, dtype, device)
        quantize_network(whole, form)
        return whole, "all rounded anew"
    reader = _Reader(GGUFWeights(file), form)
    config = reader.weights.config
    narrow = sorted({size for size in (config.hidden_size, config.intermediate_size) if size % SIZE})
    if narrow:
        raise BadInput(
            f"{file.path}: rows of {narrow[0]} numbers are not whole groups of {SIZE}: load it plain"
        )
    with torch.device("meta"):
        network = Transformer(config)
    network.to(dtype)
    source, wanted = reader.weights.source, dict(network.public_tensors())
    check_names(wanted, source)
    matrices = _products(network)
    _settle(network, matrices, device)
    quantised = {part.name + ".weight" for parts in matrices.values() for part in parts} | {EMBEDDING, HEAD}
    for name, target in network.public_tensors():
        if name not in quantised:
            fill(name, target, source)
    for linear, parts in matrices.items():
        linear.quantize(reader.matrix([part.name + ".weight" for part in parts], device))
    head = None if network.lm_head is None else reader.end(HEAD, device)
    set_ends(network, reader.end(EMBEDDING, device), head)
    return network, reader.told()


def _products(network: Transformer) -> dict[Linear, list[Part]]:
    """The parts of each product in the order of its rows."""
    matrices: dict[Linear, list[Part]] = {}
    for part in linear_parts(network):
        matrices.setdefault(part.linear, []).append(part)
    return matrices


def _settle(network: Transformer, matrices: dict[Linear, list[Part]], device: str) -> None:
    """Memory for all that isn't quantised; the others stay shapes without numbers."""
    owners: list[tuple[nn.Module, str]] = [(linear, "weight") for linear in matrices]
    owners += [(network, "embed_tokens"), (network, "lm_head")]
    shapes = [getattr(owner, name) for owner, name in owners]
    for owner, name in owners:
        setattr(owner, name, None)
    network.to_empty(device=device)
    for (owner, name), shape in zip(owners, shapes, strict=True):
        setattr(owner, name, shape)


class _Reader:
    def __init__(self, weights: GGUFWeights, form: Form | None) -> None:
        self.weights = weights
        self.form: Form | None = form
        self._kept: dict[str, int] = {}  # tensors of each kind
        self._rounded: dict[str, int] = {}

    def matrix(self, names: list[str], device: str) -> Quantized:
        """Tensors whose rows lie in one product: all in one form, so where the file has several kinds the
        rows are in 8 bits."""
        kept = [self._as_stored(name) for name in names]
        four = all(groups is not None and groups.bits == 4 for groups in kept)
        form: Form = self.form or ("int4" if four else "int8")
        bits = 4 if form == "int4" else 8
        parts = [
            groups if groups is not None and groups.bits == bits else groups_of(self._read(name), form)
            for name, groups in zip(names, kept, strict=True)
        ]
        for name, groups, used in zip(names, kept, parts, strict=True):
            self._count(name, used is groups)
        return _packed(parts, device)

    def end(self, name: str, device: str) -> Quantized:
        """Embedding or head: in 8 bits, but as the file has it where that is asked for."""
        groups = self._as_stored(name)
        keeps = groups is not None and (groups.bits == 8 or self.form is None)
        self._count(name, keeps)
        used = groups if keeps and groups is not None else quantize_8(self._read(name))
        return _packed([used], device)

    def told(self) -> str:
        parts = [
            f"{what} {', '.join(f'{count} x {kind}' for kind, count in sorted(found.items()))}"
            for what, found in (("kept", self._kept), ("rounded anew", self._rounded))
            if found
        ]
        return "; ".join(parts)

    def _count(self, name: str, kept: bool) -> None:
        kind = self.weights.file.tensors[self.weights.stored[name]].kind.name
        counts = self._kept if kept else self._rounded
        counts[kind] = counts.get(kind, 0) + 1

    def _as_stored(self, name: str) -> Groups | None:
        stored, weights = self.weights.stored[name], self.weights
        tensor = weights.file.tensors[stored]
        groups = kept_groups(weights.file.raw(stored), tensor.kind, tensor.shape)
        if groups is None:
            return None
        for factors in (groups.scales, groups.mins):
            if factors is not None:
                check_finite(name, factors, str(weights.file.path))
        return Groups(*(None if t is None else weights.in_order(name, t) for t in groups))  # type: ignore[arg-type]

    def _read(self, name: str) -> Tensor:
        values = self.weights.read(name)
        check_finite(name, values, str(self.weights.file.path))
        return values


def _packed(parts: list[Groups], device: str) -> Quantized:
    numbers, scales = (torch.cat(tensors) for tensors in zip(*(part[:2] for part in parts), strict=True))
    mins = [part.mins for part in parts if part.mins is not None]
    groups = Groups(numbers, scales, torch.cat(mins) if mins else None)
    return pack(Groups(*(None if t is None else t.to(device) for t in groups)))  # type: ignore[arg-type]
