"""What is asked of whoever writes samples, in this process or behind an endpoint, and what comes back."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shoestring.text.message import Message

STOPPED = "stopped"
GLANCE_S = 0.2  # how often a wait looks whether it should stop


@dataclass(frozen=True)
class Ask:
    """A prompt and which of its samples are wanted, by number."""

    messages: tuple[Message, ...]
    numbers: tuple[int, ...]

    @property
    def key(self) -> str:
        """The prompt's hash: equal prompts are one, whatever asks them."""
        text = json.dumps(self.messages, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Sampling:
    """How a teacher samples. max_tokens counts the thinking, but where an endpoint counts it apart."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Answer:
    """One sample, whole: what a store keeps. cost is in the money of the endpoint's prices."""

    key: str
    number: int
    reasoning: str | None
    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    date: str  # ISO 8601, UTC
    cost: float = 0.0
    cached_tokens: int = 0  # of the prompt's, as far as the endpoint says
    counted: bool = True  # False: the endpoint gave no usage, and the tokens are guessed from the characters
    said_model: str = ""  # what the endpoint calls the model in its reply
    fingerprint: str = ""  # its system_fingerprint, which changes where what makes the replies does

    @property
    def cut(self) -> bool:
        return self.finish_reason != "stop"


@dataclass(frozen=True)
class Again:
    """A sample that was made anew on the way to another of its prompt."""

    key: str
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Asked:
    """How the asking went. `ended`: why it ended before all was asked; empty where it didn't."""

    ended: str = ""
    unanswered: Counter[str] = field(default_factory=Counter)  # samples not had, by the last fault
    refused: dict[tuple[str, int], str] = field(default_factory=dict)  # of those, whose own prompt was: why
    faults: Counter[str] = field(default_factory=Counter)  # of single attempts, those made good later too
    again: list[Again] = field(default_factory=list)  # what had to be made once more beside what was wanted


Take = Callable[[Answer], None]
Stop = Callable[[], bool]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
