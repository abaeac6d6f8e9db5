"""Problems whose answers can be checked: the types that every family, judge and job shares."""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from shoestring.origin import Origin
from shoestring.settings import Settings
from shoestring.text.message import Reply

TEST_SHARE = 10  # one problem in ten is held out
RESERVED_SHARE = 20  # one of twenty others may be kept back to watch a run by
GOLD = "gold"  # in `hidden`: what a reader is shown as the right answer, where that is too long to show
SCORING_S = "scoring_s"  # in `hidden`: seconds that scoring may take beyond the judge's own clock


class Outcome(StrEnum):
    RIGHT = "right"  # the scorer's full mark
    WRONG = "wrong"  # an answer was found and it is not the one
    UNPARSED = "unparsed"  # no answer was found
    OPEN = "open"  # no right answer exists: only shape and preference judge it; counted in no score
    TIMEOUT = "timeout"  # the scorer ran past its wall clock; left out of the loss and counted
    ERROR = "error"  # the scorer raised; left out of the loss and counted


@dataclass(frozen=True)
class Verdict:
    """value is 1 when right and 0 otherwise, unless a recipe names partial credit. parts are named
    rewards. said is the one answer that was read, in one spelling, by which samples can be counted as votes;
    "" where none was, or where the family has no such thing (code, a text that follows instructions)."""

    outcome: Outcome
    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""
    said: str = ""


@dataclass(frozen=True)
class Problem:
    """prompt is what the model is asked; hidden is what only the scorer sees; key is the normalised problem
    (equal problems have equal keys, whatever their wording) and decides train or test."""

    family: str
    level: str  # canonical text of the level, e.g. "max_digits=1,max_terms=3"
    key: str
    prompt: str
    hidden: Mapping[str, Any]
    origin: Origin

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.family}\n{self.key}".encode()).hexdigest()[:16]

    @property
    def held_out(self) -> bool:
        """Whether the problem belongs to the test tenth: a hash of the problem itself decides, so no seed,
        level or job can ever train on it."""
        return int(self.id[:8], 16) % TEST_SHARE == 0

    @property
    def reserved(self) -> bool:
        """Whether a training problem is one that a run may be watched and chosen by, if it asks for that: it
        is then not trained on. The test tenth is for evals alone."""
        return not self.held_out and int(self.id[8:16], 16) % RESERVED_SHARE == 0


def level_text(level: Settings) -> str:
    """The level as a suite's text: what differs from the default, sorted, e.g. "max_digits=1,max_terms=3"."""
    changed = level.model_dump(exclude_defaults=True)
    return ",".join(f"{key}={_value_text(changed[key])}" for key in sorted(changed))


def _value_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | list | tuple) else str(value)


class Family(Protocol):
    """One kind of problem. `draw` may return any problem of the level; the caller keeps the split."""

    name: str

    @property
    def Level(self) -> type[Settings]: ...

    def draw(self, level: Any, rng: random.Random) -> Problem: ...

    def count(self, level: Any) -> int | None:
        """How many distinct problems the level has; None where it isn't known (a gym family)."""
        ...

    def score(self, problem: Problem, reply: Reply) -> Verdict: ...

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """As `score`, but right in any way a kind reader would grant, thinking included. For measuring a base
        at its best; never a reward. Where a family has no such reading it is `score`."""
        ...

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """A worked solution, stepwise and correct by construction. Raises BadInput where there is none."""
        ...


@runtime_checkable
class Answered(Protocol):
    """A family whose problems come with an answer and without the steps that lead to it."""

    def answer(self, problem: Problem) -> str:
        """As it may be shown to a model. Raises BadInput where that isn't one text."""
        ...
