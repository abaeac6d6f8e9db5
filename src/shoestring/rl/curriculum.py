"""Which suite the next problem comes from: more often one where groups are mixed, so that samples teach."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

FLOOR = 0.1  # each suite keeps being asked, since a model changes
MEMORY = 0.9  # share of the old estimate that stays after a group


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
