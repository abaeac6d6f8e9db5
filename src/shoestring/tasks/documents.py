"""Worked solutions as documents for pretraining, without end; some of them wrong where that is asked for.

The base that GRPO starts from should sometimes be right and sometimes wrong, or there is nothing to choose
between. Slips of all kinds leave the right solution the likeliest of all, so greedy decoding finds it and
only samples are wrong; one bad habit in most documents is what greedy decoding learns. A document's `source`
says whether its answer, scored, is right."""

import random
from collections.abc import Sequence
from typing import Literal

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.draw import ProblemStream, draw_problems
from shoestring.tasks.slips import habitual, spoiled
from shoestring.tasks.suite import file_origins, parse_suite, score
from shoestring.tasks.worked import worked_messages
from shoestring.text.message import Message, Reply
from shoestring.text.mixture import Document

RIGHT, WRONG = "worked:right", "worked:wrong"
Slips = Literal["any", "habit"]


class WorkedDocuments:
    """Training problems of `suites` in turn, each a conversation with its worked solution. Document i depends
    on (seed, i) alone. Raises BadInput for a suite whose problems have no worked solutions."""

    def __init__(
        self,
        suites: Sequence[str],
        seed: int,
        share_right: float = 1.0,
        system: str | None = None,
        slips: Slips = "any",
    ) -> None:
        """About `share_right` of the solutions are right, chosen by a number keyed on (seed, i); the others
        have a slip, or are made with the family's habit (and right where it has nothing to spoil)."""
        if not 0 <= share_right <= 1:
            raise BadInput(f"share_right {share_right} is not in [0, 1]")
        parsed = [parse_suite(suite) for suite in suites]
        self.stream = ProblemStream(parsed, seed)
        self.seed, self.share_right, self.system, self.slips = seed, share_right, system, slips
        firsts = [self.stream.item(i) for i in range(len(suites))]
        for problem in firsts:  # what can't be had is refused here, before anything runs
            self._document(problem, "first", right=True)
            if share_right < 1:
                self._document(problem, "first", right=False)
        given = [origin for suite in parsed for origin in file_origins(suite)]
        found = dict.fromkeys([*(problem.origin for problem in firsts), *given])
        self.origins: tuple[Origin, ...] = tuple(found)

    def next(self) -> Document:
        key = f"{self.seed}/{self.stream.index}"
        (problem,) = self.stream.take(1)
        return self._document(problem, key, random.Random(f"share:{key}").random() < self.share_right)

    def skip(self, count: int) -> None:
        self.stream.index += count

    def validation(self, limit: int) -> list[Document]:
        """Right solutions of problems of the test split, the suites in turn. Raises BadInput where a suite
        has fewer."""
        each = -(-limit // len(self.stream.suites))
        drawn = [draw_problems(suite, "test", each, seed=0) for suite in self.stream.suites]
        problems = [problem for turn in zip(*drawn, strict=True) for problem in turn]
        return [self._document(problem, "validation", right=True) for problem in problems[:limit]]

    def state_dict(self) -> dict[str, int]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.stream.load_state_dict(state)

    def _document(self, problem: Problem, key: str, right: bool) -> Document:
        messages = worked_messages(problem, key, self.system)
        if not right:
            messages[-1] = self._wrong(problem, messages[-1], random.Random(f"slip:{key}"))
            right = score(problem, _reply(messages[-1])).outcome is Outcome.RIGHT
        return Document(None, problem.id, RIGHT if right else WRONG, messages)

    def _wrong(self, problem: Problem, turn: Message, rng: random.Random) -> Message:
        made = habitual(problem) if self.slips == "habit" else spoiled(problem, _reply(turn), rng)
        return Message(role="assistant", content=made.answer, reasoning_content=made.reasoning or "")


def _reply(turn: Message) -> Reply:
    return Reply(turn.get("reasoning_content") or "", turn["content"])
