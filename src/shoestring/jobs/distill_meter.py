"""What asking a teacher takes: samples, tokens, time, money, into the stage's usage and its progress line."""

import time
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from shoestring.budget.flops import decode_flops
from shoestring.models.config import ModelConfig
from shoestring.remote.asked import Again, Answer
from shoestring.remote.spending import Budget
from shoestring.remote.store import Store
from shoestring.run import Stage

WRITE_EVERY_S = 10.0  # of usage that a kill loses at most; the samples themselves are never lost


class Meter:
    """`with meter: teacher.ask(..., meter.take, ...)` keeps each sample and counts it. `config`: of a model
    in this process; `budget`: of an endpoint."""

    def __init__(self, stage: Stage, store: Store, config: ModelConfig | None, budget: Budget | None) -> None:
        self.stage, self.store, self.config, self.budget = stage, store, config, budget
        self.done = self.total = self.tokens = 0
        self._new: list[Answer] = []  # not in the usage yet
        self._again: list[Again] = []
        self._lost = 0
        self._began = self._written = time.perf_counter()

    def begin(self, total: int, missing: int) -> None:
        self.total, self.done = total, total - missing

    def take(self, answer: Answer) -> None:
        self.store.add(answer)
        self._new.append(answer)
        self.done += 1
        self.tokens += answer.completion_tokens
        seconds = max(time.perf_counter() - self._began, 1e-9)
        spent = {"spent": f"{self.budget.money:.4f}"} if self.budget and self.budget.money else {}
        self.stage.progress(self.done, self.total, **{"tokens/s": f"{self.tokens / seconds:.0f}"}, **spent)
        if time.perf_counter() - self._written > WRITE_EVERY_S:
            self._write()

    def lose(self, attempt: Answer, fault: str) -> None:
        self.store.lose(attempt, fault)
        self._lost += attempt.completion_tokens

    def redo(self, again: Sequence[Again]) -> None:
        """What was made a second time and thrown away."""
        self._again += again

    def spent(self) -> dict[str, Any]:
        """By the samples' whole life, earlier starts too; nothing for a model in this process."""
        if self.budget is None:
            return {}
        return {"money": round(self.budget.money, 6), "tokens": self.budget.tokens}

    def __enter__(self) -> "Meter":
        self._began = self._written = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def _write(self) -> None:
        now = time.perf_counter()
        again = sum(a.completion_tokens for a in self._again)
        made = sum(a.completion_tokens for a in self._new) + self._lost + again
        cut = sum(a.completion_tokens for a in self._new if a.cut)
        reasons = (("cut", cut), ("lost", self._lost), ("made again", again))
        wasted = {name: tokens for name, tokens in reasons if tokens}
        flops = 0
        if self.config is not None:
            prompts: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
            for a in (*self._new, *self._again):
                prompts[a.key, a.prompt_tokens].append(a.completion_tokens)
            flops = sum(
                decode_flops(self.config, length, several) for (_, length), several in prompts.items()
            )
        paid = self.budget.take_paid() if self.budget is not None else 0.0
        if made or paid:
            self.stage.use("generate", now - self._written, made, flops, wasted or None, paid)
        self._new, self._again, self._lost, self._written = [], [], 0, now
