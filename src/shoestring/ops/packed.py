"""Copies of weights in the order in which a product reads them."""

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

Copy = TypeVar("Copy")


class PackedCopy(Generic[Copy]):
    """A second copy of one weight, or several, made by `pack` when first asked for and again whenever the
    weight has been written to since. Whoever writes must do so through the tensor or a `detach()` of it:
    `.data` hides the write. Where `keeps` is false each call packs anew: weights that are put together for a
    pass and taken apart after it may come to lie where others lay."""

    def __init__(self, pack: Callable[[Tensor], Copy]) -> None:
        self._pack = pack
        self.keeps = True
        self._state: tuple[int, int] | None = None
        self._copy: Copy | None = None

    def of(self, weight: Tensor) -> Copy:
        if not self.keeps:
            return self._pack(weight.detach())
        state = (weight.data_ptr(), weight._version)
        if self._copy is None or state != self._state:
            self._copy = None  # the old one's memory first
            self._copy, self._state = self._pack(weight.detach()), state
        return self._copy

    def renew(self, weight: Tensor) -> None:
        """Where there is a copy, see that it is of the weight as it is now, and not first when it is read."""
        if self._copy is not None:
            self.of(weight)
