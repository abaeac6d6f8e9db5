"""Which problem comes next: more often one of a suite where groups are mixed, more seldom one that was last
seen all right or all wrong, so that samples teach."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FLOOR = 0.1  # each suite keeps being asked, since a model changes
MEMORY = 0.9  # share of the old estimate that stays after a group
AGAIN = 0.25  # how often a problem is asked again that was last all right or all wrong
REMEMBERED = 50_000  # problems, the latest seen


@dataclass
class Curriculum:
    """Running share of live groups by suite, drawn in proportion. Keyed random numbers: state is the
    shares."""

    suites: Sequence[str]
    seed: int
    live: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.live = dict.fromkeys(self.suites, 0.5)

    def choose(self, index: int, among: int | None = None) -> int:
        """The suite's place for the index-th problem; of the first `among` suites where that is given."""
        suites = self.suites[:among]
        if len(suites) == 1:
            return 0
        weights = [FLOOR + self.live[s] for s in suites]
        rng = random.Random(f"curriculum/{self.seed}/{index}")
        return rng.choices(range(len(suites)), weights)[0]

    def saw(self, suite: str, live: bool) -> None:
        self.live[suite] = MEMORY * self.live[suite] + (1 - MEMORY) * float(live)

    def state_dict(self) -> dict[str, float]:
        return dict(self.live)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.live = {suite: state[suite] for suite in self.suites}


@dataclass
class PassRates:
    """Each problem's share of right samples when it was last asked. Matters where problems come round: small
    levels and files. A problem without a mixed group is passed over three times of four."""

    seed: int
    rates: dict[str, float] = field(default_factory=dict)
    passed_over: int = 0

    def worth(self, problem: str, index: int, again: int) -> bool:
        """Whether to ask it as the index-th problem, at the again-th draw for that place."""
        if self.rates.get(problem, 0.5) not in (0.0, 1.0):
            return True
        if random.Random(f"worth/{self.seed}/{index}/{again}").random() < AGAIN:
            return True
        self.passed_over += 1
        return False

    def saw(self, problem: str, live: bool, solved: float) -> None:
        """solved: share of right samples; a group whose rewards are equal counts as all or nothing."""
        self.rates.pop(problem, None)  # to the end: the oldest are forgotten first
        self.rates[problem] = min(max(solved, 0.01), 0.99) if live else float(solved > 0.5)
        if len(self.rates) > REMEMBERED:
            del self.rates[next(iter(self.rates))]

    def state_dict(self) -> dict[str, Any]:
        return {"rates": dict(self.rates), "passed_over": self.passed_over}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rates, self.passed_over = dict(state["rates"]), state["passed_over"]
