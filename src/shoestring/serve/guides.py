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
ANSWERED = "max_answer_tokens"  # the stop of an answer that has all the tokens that it may


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
    if budget is not None or structure is not None:  # a form says itself what an answer is, be it nothing
        stop_ids, words = served.lm.template.stop_ids, served.lm.config.vocab_size
        parts.append(MustAnswer(reading, stop_ids, words, says=structure is None))
    if limits.answer is not None:
        parts.append(AnswerLimit(reading, limits.answer))
    if loop_guard:
        loop = LoopGuard(reading)
        parts.append(loop)
    if stops:
        parts.append(StopStrings(reading, stops))
    if structure is not None:
        try:
            parts.append(GrammarGuide(served.grammars, reading, structure.kind, structure.text))
        except BadInput as error:
            raise refused(str(error), structure.param, "invalid_grammar") from None
    return Steered(Sealed(Guides(parts)) if parts else None, budget, loop)


class MustAnswer:
    """A turn that thinks doesn't end inside its thinking, nor right after it: an answer comes."""

    def __init__(self, reading: Reading, stop_ids: Sequence[int], words: int, says: bool = True) -> None:
        """words: rows of the model's head. says: the answer has to say something, white space aside."""
        self.reading, self.says = reading, says
        self.but_stops = torch.ones(words, dtype=torch.bool)
        self.but_stops[list(stop_ids)] = False

    def start(self, sample: int) -> "_MustAnswer":
        return _MustAnswer(self)


class _MustAnswer:
    def __init__(self, guide: MustAnswer) -> None:
        self._guide, self._reader = guide, guide.reading.start()
        self._owed = self._reader.state == "thinking"
        self._over = self._reader.state == "answer"

    def allowed(self) -> Tensor | None:
        return self._guide.but_stops if self._owed else None

    def forced(self) -> int | None:
        return None

    def take(self, token: int) -> None:
        if self._over:
            return
        said, state = self._reader.take(token), self._reader.state
        if state == "thinking":
            self._owed = True
        elif state == "answer":
            self._owed = self._owed and self._guide.says and not said.strip()
            self._over = not self._owed

    def stop(self) -> str:
        return ""


class AnswerLimit:
    """Ends the reply after so many tokens of its answer, from the first that says something of it."""

    def __init__(self, reading: Reading, most: int) -> None:
        self.reading, self.most = reading, most

    def start(self, sample: int) -> "_AnswerLimit":
        return _AnswerLimit(self)


class _AnswerLimit:
    def __init__(self, limit: AnswerLimit) -> None:
        self._most, self._reader, self._made = limit.most, limit.reading.start(), 0

    def allowed(self) -> Tensor | None:
        return None

    def forced(self) -> int | None:
        return None

    def take(self, token: int) -> None:
        self._made += bool(self._made or self._reader.take(token))

    def stop(self) -> str:
        return ANSWERED if self._made >= self._most else ""


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
