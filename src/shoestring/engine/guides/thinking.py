"""A budget for the thinking, and a reserve for the answer."""

from torch import Tensor

from shoestring.engine.guides.reading import Closing, Reading
from shoestring.errors import BadInput


class ThinkingBudget:
    """Closes the thinking, in the template's own words, after `budget` tokens of it, or where only `reserve`
    of the reply's `limit` tokens would be left for an answer. None: no budget.

    fired: by sample, "budget" or "reserve" where that closed it."""

    def __init__(self, reading: Reading, limit: int, budget: int | None = None, reserve: int = 0) -> None:
        if (budget is not None and budget < 0) or reserve < 0:
            raise BadInput(f"a thinking budget of {budget} and a reserve of {reserve} must be at least 0")
        if reserve + len(reading.closing) > limit:
            raise BadInput(
                f"{reserve} tokens can't be kept for the answer: with the {len(reading.closing)} that end "
                f"the thinking they are more than the reply's {limit}"
            )
        self.reading, self.budget = reading, budget
        self.last = limit - reserve - len(reading.closing)  # tokens after which it must close
        self.fired: dict[int, str] = {}

    def start(self, sample: int) -> "_Thinking":
        return _Thinking(self, sample)


class _Thinking:
    def __init__(self, budget: ThinkingBudget, sample: int) -> None:
        self._budget, self._sample = budget, sample
        self._reader = budget.reading.start()
        self._made = self._thought = 0
        self._closing = Closing()
        self._look()

    def allowed(self) -> Tensor | None:
        return None

    def forced(self) -> int | None:
        return self._closing.forced

    def take(self, token: int) -> None:
        self._made += 1
        thinking = self._reader.state == "thinking"
        if self._reader.state != "answer":
            self._reader.take(token)
        if self._closing:
            self._closing.take(token, self._reader.state)
        elif self._reader.state == "thinking":
            self._thought += int(thinking)  # what opened it isn't counted
            self._look()

    def stop(self) -> str:
        return ""

    def _look(self) -> None:
        """Whether it must close now."""
        if self._reader.state != "thinking":
            return
        budget = self._budget
        spent = budget.budget is not None and self._thought >= budget.budget
        if spent or self._made >= budget.last:
            budget.fired[self._sample] = "budget" if spent else "reserve"
            self._closing.begin(budget.reading.closing)
