"""A run's own watch: problems that it never trains on, asked every so often. They are not the evals' either,
so the step that did best on them can be kept without choosing by the test."""

from typing import Any, Literal

from pydantic import Field

from shoestring.engine.episode import num_made
from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.rl.rollout import Asked, ask, judge_groups, sample
from shoestring.settings import Settings
from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import draw_reserved
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import Suite
from shoestring.tasks.tools import Toolbox


class HeldOutSettings(Settings):
    """every 0: no watch, and no problem is kept back. keep "best": the stage's model is the one that did best
    on them, the earliest of equals."""

    every: int = Field(default=0, ge=0)
    n: int = Field(default=64, ge=1)
    keep: Literal["last", "best"] = "last"


class HeldOut:
    """Greedy replies to the same problems each time. State: the best solve rate and its step."""

    def __init__(
        self,
        settings: HeldOutSettings,
        suites: list[Suite],
        seed: int,
        max_tokens: int,
        system: str | None,
        tools: Toolbox | None = None,
    ) -> None:
        self.settings, self.system, self.tools = settings, system, tools
        self.params = SamplingParams(max_tokens=max_tokens, temperature=0.0, seed=seed)
        each = -(-settings.n // len(suites))
        self.problems = [(str(s), p) for s in suites for p in draw_reserved(s, each, seed)]
        if not self.problems:
            raise BadInput("held_out: no problem of the suites can be kept back: widen a level, or every = 0")
        self.best, self.best_step = -1.0, 0

    def due(self, step: int, last: int) -> bool:
        return bool(self.settings.every) and (step % self.settings.every == 0 or step == last)

    def measure(self, lm: LanguageModel, generator: Generator, judge: Judge, step: int) -> dict[str, float]:
        """Ask and judge; remembers the step if it is the best so far."""
        asked: list[Asked] = [
            ask(lm.template, problem, suite, self.system, f"held-out/{problem.id}", self.tools)
            for suite, problem in self.problems
        ]
        completions = sample(generator, asked, self.params, lm, self.tools)
        judged = judge_groups(judge, lm.template, asked, completions)
        samples = [row for _, rows in judged for row in rows]
        right = sum(verdict.outcome is Outcome.RIGHT for _, _, verdict in samples) / len(samples)
        if right > self.best:
            self.best, self.best_step = right, step
        return {
            "held_out/solve_rate": right,
            "held_out/clipped_ratio": sum(reply.cut for _, reply, _ in samples) / len(samples),
            "held_out/mean_length": sum(num_made(c) for c, _, _ in samples) / len(samples),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_step = state["best"], state["best_step"]
