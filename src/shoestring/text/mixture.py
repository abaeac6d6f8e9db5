"""What pretraining learns from: documents, where they come from without end, and several of those mixed."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.message import Message


@dataclass(frozen=True)
class Document:
    """Something to learn from: running text, or a conversation that is still to be rendered by the model's
    template. `id` says which one it is, `source` of what kind: "file:notes", "worked:wrong"."""

    text: str | None
    id: str
    source: str
    messages: list[Message] | None = None

    def __post_init__(self) -> None:
        assert (self.text is None) != (self.messages is None), f"{self.id}: either text or messages"


class Source(Protocol):
    """Endless training documents. Document i is the same in every run, so `skip` is as good as reading."""

    origins: tuple[Origin, ...]

    def next(self) -> Document: ...

    def skip(self, count: int) -> None: ...

    def validation(self, limit: int) -> list[Document]:
        """The first `limit` held-out documents, the same ones each time; fewer where there are fewer."""
        ...

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Mixture:
    """Documents of several sources. A number keyed on (seed, i) says which source document i comes from, so
    neither a resume nor the number of readers changes what document i is: reader r of n skips r, reads
    one, skips n - 1 and so on. `drawn` counts the documents each source has given or skipped."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float], seed: int) -> None:
        """`weights` are shares of documents, whatever they add up to. Raises BadInput."""
        if not sources or len(sources) != len(weights):
            raise BadInput(f"a mixture needs one weight per source: {len(weights)} for {len(sources)}")
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise BadInput(f"a mixture's weights must be above 0, not {', '.join(map(str, weights))}")
        self.sources, self.seed, self.index = list(sources), seed, 0
        given = [origin for source in sources for origin in source.origins]
        self.origins: tuple[Origin, ...] = tuple(dict.fromkeys(given))
        self.drawn = [0] * len(sources)
        self._shares = [weight / sum(weights) for weight in weights]

    def next(self) -> Document:
        return self.sources[self._turn()].next()

    def skip(self, count: int) -> None:
        for _ in range(count):
            self.sources[self._turn()].skip(1)

    def validation(self, limit: int) -> list[Document]:
        """Held-out documents of every source by its share, at least one each where it has one."""
        parts = zip(self.sources, self._shares, strict=True)
        return [document for s, share in parts for document in s.validation(max(1, round(limit * share)))]

    def state_dict(self) -> dict[str, Any]:
        states = [dict(source.state_dict()) for source in self.sources]
        return {"index": self.index, "drawn": list(self.drawn), "sources": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["sources"]) != len(self.sources):
            raise BadInput(f"the saved state is of {len(state['sources'])} sources, not {len(self.sources)}")
        for source, saved in zip(self.sources, state["sources"], strict=True):
            source.load_state_dict(saved)
        self.index, self.drawn = int(state["index"]), list(state["drawn"])

    def _turn(self) -> int:
        rng = random.Random(f"mixture:{self.seed}:{self.index}")
        chosen = rng.choices(range(len(self.sources)), self._shares)[0]
        self.index += 1
        self.drawn[chosen] += 1
        return chosen
