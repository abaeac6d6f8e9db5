"""Where a run's next problems come from."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.origin import Origin
from shoestring.rl.curriculum import Curriculum, PassRates
from shoestring.rl.rollout import Asked, Group, ask
from shoestring.tasks.base import Problem
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.suite import parse_suite
from shoestring.tasks.tools import Toolbox

TRIES = 8  # draws for one place before a problem is asked that had nothing to teach when it was last


class Streams:
    """The next problems: the curriculum chooses the suite, the suite's stream the problem. The late suites
    join from step `late_from` on. With `reserve` the problems that a run is watched by are left out."""

    def __init__(
        self,
        suites: list[str],
        seed: int,
        late_suites: Sequence[str] = (),
        late_from: int = 1,
        reserve: bool = False,
    ) -> None:
        self.early, self.late_from = len(suites), late_from
        self.suites = [parse_suite(s) for s in [*suites, *late_suites]]
        self.streams = [ProblemStream(s, seed, reserve) for s in self.suites]
        self.curriculum = Curriculum([str(s) for s in self.suites], seed)
        self.rates = PassRates(seed)
        self.index = 0
        self.origins: dict[Origin, None] = {}  # of the problems taken, distinct, in order

    def take(
        self, count: int, lm: LanguageModel, system: str | None, step: int, tools: Toolbox | None = None
    ) -> list[Asked]:
        asked = []
        among = self.early if step < self.late_from else None
        for _ in range(count):
            place = self.curriculum.choose(self.index, among)
            problem = self._draw(self.streams[place])
            self.origins[problem.origin] = None
            name = f"{self.index}/{problem.id}"
            asked.append(ask(lm.template, problem, str(self.suites[place]), system, name, tools))
            self.index += 1
        return asked

    def saw(self, group: Group) -> None:
        """What the samples of a problem were like, for what is asked next."""
        self.curriculum.saw(group.suite, group.live)
        self.rates.saw(group.problem.id, group.live, group.solved)

    def _draw(self, stream: ProblemStream) -> Problem:
        for again in range(TRIES - 1):
            problem = stream.item(self.index, again)
            if self.rates.worth(problem.id, self.index, again):
                return problem
        return stream.item(self.index, TRIES - 1)

    def state_dict(self) -> dict[str, Any]:
        origins = [dataclasses.asdict(origin) for origin in self.origins]
        return {"index": self.index, "origins": origins, "rates": self.rates.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.origins = {Origin(**origin): None for origin in state["origins"]}
        self.rates.load_state_dict(state["rates"])
