"""Two networks tensor by tensor: prompts may never reach an expert, this does."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.models.transformer import Transformer

AsRead = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True)
class WeightsApart:
    """equal: of `compared` tensors, those whose every number is the same. worst: the largest relative error
    (root mean square of the difference over that of the model's tensor) and whose it is. missing: tensors
    that the export lacks; of MTP modules they are left out by design."""

    compared: int
    equal: int
    worst: float
    worst_name: str
    missing: tuple[str, ...]

    @property
    def exact(self) -> bool:
        return self.equal == self.compared

    def line(self) -> str:
        if self.exact:
            return f"all {self.compared} tensors are the model's own"
        return (
            f"{self.equal} of {self.compared} tensors are the model's own; largest error {self.worst:.2g} "
            f"({self.worst_name})"
        )

    def faults(self, limit: float, main_layers: int) -> list[str]:
        told = []
        if not self.worst <= limit:
            told.append(
                f"tensor {self.worst_name} differs from the model's (relative error {self.worst:.2g}, limit "
                f"{limit:g})"
            )
        lost = [name for name in self.missing if not _of_mtp(name, main_layers)]
        return told + ([f"tensors are missing: {', '.join(lost[:3])}"] if lost else [])


@torch.no_grad()
def weights_apart(model: Transformer, export: Transformer, as_read: AsRead | None = None) -> WeightsApart:
    """as_read: how the export's format has a tensor of the model."""
    theirs = dict(export.public_tensors())
    equal, compared, worst, name_of_worst = 0, 0, 0.0, ""
    missing = []
    for name, ours in model.public_tensors():
        if name not in theirs:
            missing.append(name)
            continue
        compared += 1
        a, b = (as_read(name, ours) if as_read else ours).float(), theirs[name].float()
        if torch.equal(a, b):
            equal += 1
            continue
        size = float(a.norm())
        error = float((a - b).norm()) / size if size else float("inf")
        if not error <= worst:  # NaN too
            worst, name_of_worst = error, name
    return WeightsApart(compared, equal, worst, name_of_worst, tuple(missing))


@torch.no_grad()
def changed_tensors(one: Transformer, other: Transformer) -> int:
    """Of those that both have; a tensor of another shape counts as changed."""
    theirs = dict(other.public_tensors())
    pairs = [(ours, theirs[name]) for name, ours in one.public_tensors() if name in theirs]
    return sum(a.shape != b.shape or not torch.equal(a.float(), b.float()) for a, b in pairs)


def _of_mtp(name: str, main_layers: int) -> bool:
    parts = name.split(".")
    return parts[:2] == ["model", "layers"] and int(parts[2]) >= main_layers
