"""The Generator handle: jobs ask it for completions and never ask where it runs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from shoestring.engine.request import Completion, SamplingParams


class Generator(Protocol):
    """submit / completed / abort is the contract; generate is a wrapper. `key` names a request for its random
    numbers (a problem's id and a step), so that equal keys give equal samples."""

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        """Queue a prompt; returns the request's id."""
        ...

    def completed(self) -> Iterator[tuple[int, list[Completion]]]:
        """Work until the queue is empty, giving each request's n completions as they finish."""
        ...

    def abort(self, request: int) -> None:
        """Drop a request; `completed` won't give it."""
        ...

    def generate(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams, keys: Sequence[str] | None = None
    ) -> list[list[Completion]]:
        """Each prompt's n completions, in the prompts' order."""
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Take new weights by public tensor name, buffers included."""
        ...
