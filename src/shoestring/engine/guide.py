"""What steers one request beyond numbers: a grammar, a stop string, a thinking budget, a loop guard.

The engine knows these two protocols and nothing of what is behind them. Before each token of a sequence it
asks `forced`, then `allowed`; after it, `take` tells what was made, then `stop` is asked. A guide must not
raise: one that can't go on says so by `stop`."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

LOOP = "loop"  # the stop of a guard that ends a reply that goes round in circles: such a reply is cut


class Steering(Protocol):
    """Of one sample while it runs."""

    def allowed(self) -> Tensor | None:
        """(V,) bool on the CPU, V of the model's head: what may come next. None: anything. Read before the
        next call, never changed."""
        ...

    def forced(self) -> int | None:
        """The token that must come next, whatever the model thinks of it."""
        ...

    def take(self, token: int) -> None:
        """`token` was made, end-of-turn ids among them."""
        ...

    def stop(self) -> str:
        """The name of what ends the sequence now; "" to go on."""
        ...


class Guide(Protocol):
    """Of a request; its samples are steered apart."""

    def start(self, sample: int) -> Steering: ...


class Guides:
    """Several at once: a token must be allowed by all of them, the first that forces one wins, and the first
    that stops names the stop. A forced token that another forbids ends the sequence, as an empty choice
    does."""

    def __init__(self, guides: Sequence[Guide]) -> None:
        self.guides = tuple(guides)

    def start(self, sample: int) -> Steering:
        return _Together([guide.start(sample) for guide in self.guides])


class _Together:
    def __init__(self, parts: list[Steering]) -> None:
        self._parts = parts

    def allowed(self) -> Tensor | None:
        whole: Tensor | None = None
        for part in self._parts:
            mask = part.allowed()
            if mask is not None:
                whole = mask if whole is None else whole & mask
        return whole

    def forced(self) -> int | None:
        return next((token for part in self._parts if (token := part.forced()) is not None), None)

    def take(self, token: int) -> None:
        for part in self._parts:
            part.take(token)

    def stop(self) -> str:
        return next((name for part in self._parts if (name := part.stop())), "")
