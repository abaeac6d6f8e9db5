"""Where a run's next problems come from."""

import dataclasses
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.origin import Origin
from shoestring.rl.curriculum import Curriculum
from shoestring.rl.rollout import Asked, ask
from shoestring.tasks.suite import ProblemStream, parse_suite


class Streams:
    """The next problems: the curriculum chooses the suite, the suite's stream the problem."""

    def __init__(self, suites: list[str], seed: int) -> None:
        self.suites = [parse_suite(s) for s in suites]
        self.streams = [ProblemStream(s, seed) for s in self.suites]
        self.curriculum = Curriculum([str(s) for s in self.suites], seed)
        self.index = 0
        self.origins: dict[Origin, None] = {}  # of the problems taken, distinct, in order

    def take(self, count: int, lm: LanguageModel, system: str | None) -> list[Asked]:
        asked = []
        for _ in range(count):
            place = self.curriculum.choose(self.index)
            problem = self.streams[place].item(self.index)
            self.origins[problem.origin] = None
            name = f"{self.index}/{problem.id}"
            asked.append(ask(lm.template, problem, str(self.suites[place]), system, name))
            self.index += 1
        return asked

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index, "origins": [dataclasses.asdict(origin) for origin in self.origins]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.origins = {Origin(**origin): None for origin in state["origins"]}
