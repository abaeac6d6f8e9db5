"""Problems out of a suite: so many for a test, endless ones for training. Whether a problem is held out
depends on the problem alone, never on a seed, a level or a job."""

import random
from collections.abc import Sequence

from shoestring.errors import BadInput
from shoestring.tasks.base import Problem
from shoestring.tasks.suite import Split, Suite, refused_rows, rows_text

ROOM = 20  # a level should have at least this many distinct problems for each one that is tested


def draw_problems(suite: Suite, split: Split, n: int, seed: int) -> list[Problem]:
    """n problems of the split, distinct by key; the first m of n are the same for every n. Raises BadInput
    that says how many there are where the level has fewer."""
    if suite.only_tests and split == "train":
        raise BadInput(f"suite '{suite}' is for testing only (test=all); it has no training problems")
    found: dict[str, Problem] = {}
    index = misses = 0
    while len(found) < n:
        problem = suite.family.draw(suite.level, _rng("draw", seed, index))
        index += 1
        held_out = suite.only_tests or problem.held_out
        if problem.key not in found and held_out == (split == "test"):
            found[problem.key] = problem
            misses = 0
            continue
        misses += 1
        # far past the coupon collector's expectation (M ln M draws for all M, ten times that for a tenth)
        if misses > 5_000 + 200 * len(found):
            kind = "held-out" if split == "test" else "training"
            raise BadInput(
                f"suite '{suite}' has only {len(found)} distinct {kind} problems and {n} are asked for: "
                "ask for fewer or widen the level"
            )
    return list(found.values())


def draw_reserved(suite: Suite, n: int, seed: int) -> list[Problem]:
    """Up to n distinct training problems that streams with `reserve` pass over; fewer where there are no
    more."""
    found: dict[str, Problem] = {}
    for index in range(5_000 + 200 * n):
        problem = suite.family.draw(suite.level, _rng("reserved", seed, index))
        if problem.reserved:
            found.setdefault(problem.key, problem)
        if len(found) == n:
            break
    return list(found.values())


def check_room(suite: Suite, n: int) -> None:
    """Raises BadInput where the level has fewer than 20 n distinct problems: n tested would tell little."""
    count = suite.count
    if count is not None and count < ROOM * n:
        raise BadInput(
            f"suite '{suite}' has {count} distinct problems; {ROOM * n} ({ROOM} times n = {n}) are needed: "
            f"widen the level or test at most {count // ROOM}"
        )


def check_file(suite: Suite, there: int, n: int) -> None:
    """Raises BadInput where a file, which has `there` problems for testing, doesn't have n of them."""
    if 1 <= n <= there:
        return
    few = f"suite '{suite}' has {there} problems for testing: n = {n} can't be asked"
    if not suite.only_tests:
        few += f" (a tenth of a file's {suite.count} is held out; ':test=all' asks all of them)"
    if refused := refused_rows(suite):
        few += f"; left out of the file: {rows_text(refused)}"
    raise BadInput(few)


class ProblemStream:
    """Endless training problems. Item i depends on (seed, i) alone: suites take turns by index, and problems
    of the test split are passed over, and with `reserve` those that a run is watched by. Its whole state is
    the next index."""

    def __init__(self, suites: Suite | Sequence[Suite], seed: int, reserve: bool = False) -> None:
        self.suites = [suites] if isinstance(suites, Suite) else list(suites)
        if not self.suites:
            raise BadInput("a stream of problems needs at least one suite")
        for suite in self.suites:
            if suite.only_tests:
                raise BadInput(f"suite '{suite}' is for testing only (test=all); it has no training problems")
        self.seed = seed
        self.reserve = reserve
        self.index = 0

    def take(self, n: int) -> list[Problem]:
        first, self.index = self.index, self.index + n
        return [self.item(index) for index in range(first, first + n)]

    def item(self, index: int, again: int = 0) -> Problem:
        """The index-th problem; `again` numbers further draws for the same place."""
        suite = self.suites[index % len(self.suites)]
        rng = _rng("stream", self.seed, index, again)
        for _ in range(1000):
            problem = suite.family.draw(suite.level, rng)
            if not problem.held_out and not (self.reserve and problem.reserved):
                return problem
        raise BadInput(
            f"suite '{suite}' has no training problems: all that were drawn are held out; widen the level"
        )

    def state_dict(self) -> dict[str, int]:
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.index = state["index"]


def _rng(use: str, seed: int, index: int, again: int = 0) -> random.Random:
    name = f"{use}:{seed}:{index}" + (f":{again}" if again else "")
    return random.Random(name)  # a string seed is hashed with SHA-512, alike everywhere
