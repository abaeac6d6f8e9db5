"""Copies of weights in the order in which a product reads them."""

from collections.abc import Callable

from torch import Tensor


class PackedCopy:
    """A second copy of one weight, made by `pack` when first asked for and again whenever the weight has been
    written to since. Whoever writes must do so through the tensor or a `detach()` of it: `.data` hides the
    write."""

    def __init__(self, pack: Callable[[Tensor], Tensor]) -> None:
        self._pack = pack
        self._state: tuple[int, int] | None = None
        self._copy: Tensor | None = None

    def of(self, weight: Tensor) -> Tensor:
        state = (weight.data_ptr(), weight._version)
        if self._copy is None or state != self._state:
            self._copy = None  # the old one's memory first
            self._copy, self._state = self._pack(weight.detach()), state
        return self._copy
