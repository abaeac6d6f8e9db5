"""A suite is a family at a level, written "sums:max_terms=3,max_digits=1". draw.py draws its problems."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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
FEW = 8  # numbers of rows that a line names
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
    """The distinct origins of a file of problems, or of those that a user's own Python gives; none for other
    suites: what is made by code here has no licence to ask for, and a benchmark's aren't trained on."""
    if not isinstance(suite.family, FileFamily | OwnFamily):
        return []
    problems = suite.family.problems(cast(Any, suite.level))  # which the family's own Level has made
    return list(dict.fromkeys(problem.origin for problem in problems))


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


def rows_text(refused: Mapping[str, Sequence[int]]) -> str:
    """`no prompt (row 41); not JSON (rows 2, 7)`, of rows by reason."""
    told = []
    for why, rows in refused.items():
        numbers = ", ".join(map(str, rows[:FEW])) + (", ..." if len(rows) > FEW else "")
        told.append(f"{why} (row{'s' if len(rows) > 1 else ''} {numbers})")
    return "; ".join(told)
