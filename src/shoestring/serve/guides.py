"""What steers a reply beyond numbers, put together for one request from the engine's guides."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.engine.guide import Guide, Guides, Steering
from shoestring.engine.guides import GrammarGuide, LoopGuard, Reading, StopStrings, ThinkingBudget
from shoestring.errors import BadInput
from shoestring.serve.errors import refused
from shoestring.serve.limits import Limits
from shoestring.serve.served import Served
from shoestring.serve.structure import Structure

FAILED = "guide failed"


@dataclass(frozen=True)
class Steered:
    """guide: all of them as the engine takes them; None where nothing steers. The others are those that tell
    afterwards whether they fired."""

    guide: Guide | None = None
    budget: ThinkingBudget | None = None
    loop: LoopGuard | None = None

    def fired(self, sample: int) -> list[str]:
        """What stepped in, by its name in finish_details."""
        names = []
        if self.budget is not None and (why := self.budget.fired.get(sample)):
            names.append({"budget": "thinking_budget", "reserve": "answer_reserve"}[why])
        if self.loop is not None and (where := self.loop.fired.get(sample)):
            names.append(f"loop_in_{where}")
        return names


def steer(
    reading: Reading,
    served: Served,
    limits: Limits,
    stops: Sequence[str],
    structure: Structure | None,
    loop_guard: bool,
) -> Steered:
    """Raises ApiError 400 for a grammar that can't be used."""
    budget = loop = None
    parts: list[Guide] = []
    if reading.state != "answer" and limits.guarded:
        budget = ThinkingBudget(reading, limits.total, limits.budget, limits.reserve)
        parts.append(budget)
    if loop_guard:
        loop = LoopGuard(reading)
        parts.append(loop)
    if stops:
        parts.append(StopStrings(reading, stops))
    if structure is not None:
        parts.append(MustAnswer(reading, served.lm.template.stop_ids, served.lm.config.vocab_size))
        try:
            parts.append(GrammarGuide(served.grammars, reading, structure.kind, structure.text))
        except BadInput as error:
            raise refused(str(error), structure.param, "invalid_grammar") from None
    return Steered(Sealed(Guides(parts)) if parts else None, budget, loop)


class MustAnswer:
    """A turn doesn't end inside its thinking: what has to have a form has to be said first."""

    def __init__(self, reading: Reading, stop_ids: Sequence[int], words: int) -> None:
        """words: rows of the model's head."""
        self.reading = reading
        self.but_stops = torch.ones(words, dtype=torch.bool)
        self.but_stops[list(stop_ids)] = False

    def start(self, sample: int) -> "_MustAnswer":
        return _MustAnswer(self)


class _MustAnswer:
    def __init__(self, guide: MustAnswer) -> None:
        self._but_stops, self._reader = guide.but_stops, guide.reading.start()

    def allowed(self) -> Tensor | None:
        return self._but_stops if self._reader.state == "thinking" else None

    def forced(self) -> int | None:
        return None

    def take(self, token: int) -> None:
        if self._reader.state != "answer":
            self._reader.take(token)

    def stop(self) -> str:
        return ""


class Sealed:
    """A guide that fails ends its own sequence, not the engine."""

    def __init__(self, inner: Guide) -> None:
        self._inner = inner

    def start(self, sample: int) -> Steering:
        return _Sealed(self._inner, sample)


class _Sealed:
    def __init__(self, inner: Guide, sample: int) -> None:
        self._failed = ""
        self._steering: Steering | None = None
        try:
            self._steering = inner.start(sample)
        except Exception as error:  # a guide is this request's own; whatever it does is its own fault
            self._fail(error)

    def allowed(self) -> Tensor | None:
        if self._steering is None:
            return None
        try:
            return self._steering.allowed()
        except Exception as error:
            self._fail(error)
            return None

    def forced(self) -> int | None:
        if self._steering is None:
            return None
        try:
            return self._steering.forced()
        except Exception as error:
            self._fail(error)
            return None

    def take(self, token: int) -> None:
        if self._steering is None:
            return
        try:
            self._steering.take(token)
        except Exception as error:
            self._fail(error)

    def stop(self) -> str:
        if self._steering is None:
            return self._failed
        try:
            return self._steering.stop()
        except Exception as error:
            self._fail(error)
            return self._failed

    def _fail(self, error: Exception) -> None:
        self._steering, self._failed = None, f"{FAILED}: {type(error).__name__}"
