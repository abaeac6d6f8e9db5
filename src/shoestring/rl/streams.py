"""Where a run's next problems come from."""

import dataclasses
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.origin import Origin
from shoestring.rl.curriculum import Curriculum, PassRates
from shoestring.rl.rollout import Asked, Group, ask
from shoestring.tasks.base import Problem
from shoestring.tasks.suite import ProblemStream, parse_suite

TRIES = 8  # draws for one place before a problem is asked that had nothing to teach when it was last


class Streams:
    """The next problems: the curriculum chooses the suite, the suite's stream the problem. With `reserve`
    those that a run is watched by are left out."""

    def __init__(self, suites: list[str], seed: int, reserve: bool = False) -> None:
        self.suites = [parse_suite(s) for s in suites]
        self.streams = [ProblemStream(s, seed, reserve) for s in self.suites]
        self.curriculum = Curriculum([str(s) for s in self.suites], seed)
        self.rates = PassRates(seed)
        self.index = 0
        self.origins: dict[Origin, None] = {}  # of the problems taken, distinct, in order

    def take(self, count: int, lm: LanguageModel, system: str | None) -> list[Asked]:
        asked = []
        for _ in range(count):
            place = self.curriculum.choose(self.index)
            problem = self._draw(self.streams[place])
            self.origins[problem.origin] = None
            name = f"{self.index}/{problem.id}"
            asked.append(ask(lm.template, problem, str(self.suites[place]), system, name))
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
