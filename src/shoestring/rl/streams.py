"""Where a run's next problems come from."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.origin import Origin
from shoestring.rl.curriculum import Curriculum
from shoestring.rl.rollout import Asked, ask
from shoestring.tasks.suite import ProblemStream, parse_suite


class Streams:
    """The next problems: the curriculum chooses the suite, the suite's stream the problem. The late suites
    join from step `late_from` on."""

    def __init__(
        self, suites: list[str], seed: int, late_suites: Sequence[str] = (), late_from: int = 1
    ) -> None:
        self.early, self.late_from = len(suites), late_from
        self.suites = [parse_suite(s) for s in [*suites, *late_suites]]
        self.streams = [ProblemStream(s, seed) for s in self.suites]
        self.curriculum = Curriculum([str(s) for s in self.suites], seed)
        self.index = 0
        self.origins: dict[Origin, None] = {}  # of the problems taken, distinct, in order

    def take(self, count: int, lm: LanguageModel, system: str | None, step: int) -> list[Asked]:
        asked = []
        among = self.early if step < self.late_from else None
        for _ in range(count):
            place = self.curriculum.choose(self.index, among)
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
