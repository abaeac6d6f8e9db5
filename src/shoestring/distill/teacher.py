"""Who writes the rows: a model in this process, or one behind an endpoint (`teacher_http.py`)."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel, weights_sha256
from shoestring.text.message import Message

STOPPED = "stopped"


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

    @property
    def cut(self) -> bool:
        return self.finish_reason != "stop"


@dataclass
class Asked:
    """How the asking went. `ended`: why it ended before all was asked; empty where it didn't."""

    ended: str = ""
    unanswered: Counter[str] = field(default_factory=Counter)  # samples not had, by the last fault
    faults: Counter[str] = field(default_factory=Counter)  # of single attempts, those made good later too


Take = Callable[[Answer], None]
Stop = Callable[[], bool]


class Teacher(Protocol):
    """`sha256` is of the weights, "" where they are not at hand; `where` an endpoint's address, "" for this
    process; samples of teachers with different `identity` are never mixed."""

    name: str
    sha256: str
    where: str
    identity: tuple[str, ...]

    def ask(self, asks: Sequence[Ask], sampling: Sampling, take: Take, stop: Stop) -> Asked:
        """Hand each sample to `take` as it comes, in this thread. Once `stop` says so nothing more is begun,
        and what is under way is still taken."""
        ...


class LocalTeacher:
    """A model in this process, at the engine's full speed: all prompts are in its queue at once."""

    where = ""

    def __init__(self, lm: LanguageModel, generator: Generator) -> None:
        self.lm, self.generator = lm, generator
        self.name, self.sha256 = name_of(lm), weights_sha256(lm)
        self.identity = (self.name, self.sha256)

    def ask(self, asks: Sequence[Ask], sampling: Sampling, take: Take, stop: Stop) -> Asked:
        waiting: dict[int, Ask] = {}
        lengths: dict[int, int] = {}
        try:
            for ask in asks:
                prompt = self.lm.template.render(list(ask.messages), add_generation_prompt=True).ids
                params = SamplingParams(
                    sampling.max_tokens,
                    sampling.temperature,
                    sampling.top_p,
                    n=max(ask.numbers) + 1,  # a sample's numbers are keyed by its place among n
                    seed=sampling.seed,
                )
                request = self.generator.submit(prompt, params, f"distill/{ask.key}")
                waiting[request], lengths[request] = ask, len(prompt)
            for request, completions in self.generator.completed():
                ask = waiting.pop(request)
                for number in ask.numbers:
                    made = completions[number]
                    reply = self.lm.template.parse(made.ids, made.cut)
                    reason, lent = made.finish_reason.value, (lengths[request], len(made.ids))
                    take(Answer(ask.key, number, reply.reasoning, reply.answer, reason, *lent, date=now()))
                if waiting and stop():
                    return Asked(STOPPED)
        finally:
            for request in waiting:
                self.generator.abort(request)
        return Asked()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def name_of(lm: LanguageModel) -> str:
    """The model's life in names."""
    return " > ".join(stage.name for stage in lm.lineage.stages) or lm.name
