"""A suite is a family at a level, written "sums:max_terms=3,max_digits=1". Drawing keeps train and test apart
by problem: whether a problem is held out depends on the problem alone, never on a seed, a level or a job."""

import random
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.settings import Settings, build, nearest, parse_assignments
from shoestring.tasks import FAMILIES
from shoestring.tasks.base import Family, Problem, Verdict, level_text
from shoestring.tasks.benchmark import BenchmarkFamily, BenchmarkLevel, benchmark_family
from shoestring.tasks.benchmarks import BENCHMARKS
from shoestring.tasks.chat import CHAT
from shoestring.tasks.files import FileFamily, FileLevel, file_family, prepare
from shoestring.tasks.own import OwnFamily, OwnLevel, OwnScorer, own_family
from shoestring.tasks.suite_text import split_commas, split_name
from shoestring.text.message import Reply

Split = Literal["train", "test"]
ROOM = 20  # a level should have at least this many distinct problems for each one that is tested
ROWS_SUFFIXES = (".jsonl", ".parquet")
TASK_SUFFIX = ".py"


@dataclass(frozen=True)
class Suite:
    """str(suite) is its canonical text, which parses back to an equal suite."""

    family: Family
    level: Settings

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def count(self) -> int | None:
        """How many distinct problems the level has; None where nobody knows."""
        return self.family.count(self.level)

    @property
    def only_tests(self) -> bool:
        """Whether every problem is held out: a file that is a benchmark."""
        if isinstance(self.level, BenchmarkLevel):
            return True
        return isinstance(self.level, FileLevel | OwnLevel) and self.level.test == "all"

    @property
    def num_tested(self) -> int | None:
        """How many problems a file has for testing; None where they are made: a level can be widened."""
        if not isinstance(self.family, FileFamily | OwnFamily | BenchmarkFamily):
            return None
        problems = self.family.problems(cast(Any, self.level))  # which the family's own Level has made
        return len(problems) if self.only_tests else sum(problem.held_out for problem in problems)

    @property
    def is_open(self) -> bool:
        """Whether its prompts have no right answer, so that there is no score to give."""
        return self.name == CHAT or (isinstance(self.level, FileLevel) and self.level.answer == "open")

    def __str__(self) -> str:
        level = level_text(self.level)
        return f"{self.family.name}:{level}" if level else self.family.name


def parse_suite(text: str) -> Suite:
    """`FAMILY`, `FAMILY:key=value,...`, `gym:NAME:...`, `BENCHMARK:FILE:...`, or a .jsonl, .parquet or .py
    file with `:key=value,...` after it. Raises BadInput that names the nearest family or level key."""
    name, level = split_name(text.strip())
    if name in BENCHMARKS:
        raise BadInput(f"{name} is a benchmark's name: say which file holds it, {name}:FILE.jsonl")
    family = family_named(name)
    values = parse_assignments(split_commas(level))
    return Suite(family, build(family.Level, values, f"suite '{text}'"))


def same_suites(wanted: Collection[str], texts: Iterable[str]) -> list[str]:
    """Of `texts` those that spell one of `wanted`, which are canonical. No suite of another family is parsed:
    it may be of an extra that isn't installed."""
    families = {split_name(text)[0] for text in wanted}
    own = (text for text in texts if split_name(text.strip())[0] in families)
    return [text for text in own if str(parse_suite(text)) in wanted]


def file_origins(suite: Suite) -> list[Origin]:
    """The distinct origins of a file of problems; none for other suites: what is made by code here or by a
    user's own Python has no licence to ask for, and a benchmark's aren't trained on."""
    if not isinstance(suite.family, FileFamily) or not isinstance(suite.level, FileLevel):
        return []
    return list(dict.fromkeys(problem.origin for problem in suite.family.problems(suite.level)))


def family_named(name: str) -> Family:
    """The family of a suite, or of a problem that says `problem.family`."""
    if name in FAMILIES:
        return FAMILIES[name]
    if name.startswith("gym:"):
        from shoestring.tasks.gym import gym_family

        return gym_family(name.removeprefix("gym:"))
    kind, _, file = name.partition(":")
    if kind in BENCHMARKS:
        return _benchmark(kind, file)
    if file and not Path(name).exists() and re.fullmatch(r"\w+", kind):
        raise BadInput(f"no benchmark '{kind}' to read {file} as{nearest(kind, [*BENCHMARKS])}")
    if name == "file" or name.endswith(ROWS_SUFFIXES):
        return file_family(None if name == "file" else Path(name))
    if name == "own" or name.endswith(TASK_SUFFIX):
        return OwnScorer() if name == "own" else own_family(name)
    known = [*FAMILIES, *BENCHMARKS, "gym:NAME", "FILE.jsonl", "FILE.parquet", "FILE.py"]
    raise BadInput(f"no task family '{name}'{nearest(name, known)}")


@cache
def _benchmark(kind: str, file: str) -> BenchmarkFamily:
    """Read once: LiveCodeBench's tests are gigabytes. No file: only for scoring."""
    return benchmark_family(BENCHMARKS[kind], Path(file) if file else None)


def names_a_suite(text: str) -> bool:
    """Whether the text is meant as a suite's: a family's name, or a file of problems or a task."""
    name = split_name(text)[0]
    if name in FAMILIES or name.startswith("gym:") or name.partition(":")[0] in BENCHMARKS:
        return True
    return name.endswith((*ROWS_SUFFIXES, TASK_SUFFIX))


def refused_rows(suite: Suite) -> dict[str, list[int]]:
    """The numbers, from 1, of a file's rows that aren't problems, by reason; empty for other families."""
    if isinstance(suite.family, FileFamily) and isinstance(suite.level, FileLevel):
        return suite.family.refused_rows(suite.level)
    if isinstance(suite.family, BenchmarkFamily) and isinstance(suite.level, BenchmarkLevel):
        return suite.family.refused_rows(suite.level)
    return suite.family.refused_rows(suite.level) if isinstance(suite.family, OwnFamily) else {}


def ready_family(problem: Problem) -> Family:
    """The family that scores `problem`, with all that scoring needs imported. Raises BadInput where it can't
    be."""
    if problem.family == "file":
        prepare(problem)
    if problem.family == "own":
        own_family(problem.hidden["task_file"])
    if problem.family in BENCHMARKS:
        BENCHMARKS[problem.family].prepare()
    return family_named(problem.family)


def score(problem: Problem, reply: Reply) -> Verdict:
    """The verdict of the problem's own family, in this process: it may raise or hang, so jobs use Judge."""
    return family_named(problem.family).score(problem, reply)


def score_lenient(problem: Problem, reply: Reply) -> Verdict:
    return family_named(problem.family).score_lenient(problem, reply)


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
