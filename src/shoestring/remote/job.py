"""One sample to be had from an endpoint, as a request."""

import dataclasses
import random
from dataclasses import dataclass, field
from typing import Any

from shoestring.remote.asked import Ask, Sampling
from shoestring.remote.call import CHARS_PER_TOKEN

TURN_TOKENS = 16  # what a template adds to a message, at most


@dataclass(order=True)
class Job:
    at: float  # not before this moment
    place: int
    ask: Ask = field(compare=False)
    number: int = field(compare=False)
    tries: int = field(compare=False, default=0)

    @property
    def num_bytes(self) -> int:
        return sum(len(message["content"].encode()) for message in self.ask.messages)

    @property
    def most_tokens(self) -> int:
        """Of the prompt: a token is a byte at least."""
        return self.num_bytes + TURN_TOKENS * (1 + len(self.ask.messages))

    @property
    def likely_tokens(self) -> int:
        return -(-self.num_bytes // CHARS_PER_TOKEN) + TURN_TOKENS

    @property
    def name(self) -> str:
        """The same whenever it is asked for."""
        return f"{self.ask.key}-{self.number}"

    def body(self, sampling: Sampling) -> dict[str, Any]:
        """The request's. Servers that know a seed then give each sample of a prompt its own."""
        seed = random.Random(f"{sampling.seed}:{self.name}").getrandbits(31)
        return {"messages": list(self.ask.messages), **dataclasses.asdict(sampling), "seed": seed}
