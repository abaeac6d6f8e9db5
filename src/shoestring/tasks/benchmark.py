"""Public benchmarks from local files, in the shapes in which they are published: `aime:FILE`, `gpqa:FILE`...

A benchmark is whole or it is another benchmark: a row that can't be read refuses the file, by its number and
the reason, unless the level says `skip=true`. All of its problems are for testing; none is trained on.
"""

import csv
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from shoestring.errors import BadInput
from shoestring.settings import Settings
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.file_rows import Refused, read_rows
from shoestring.tasks.texts import same_text
from shoestring.text.declared import declared, origin_of
from shoestring.text.message import Reply

Row = Mapping[str, Any]  # by field name in small letters with _ for spaces: files differ in no more than that
SUFFIXES = (".jsonl", ".parquet", ".csv")
NAMED = 3  # bad rows that an error names
ORIGIN_FIELDS = ("licence", "license")


class BenchmarkLevel(Settings):
    """skip: leave rows out that can't be read (counted and named), where otherwise the file is refused."""

    skip: bool = False


class Benchmark(Protocol):
    """How one benchmark's rows are read and its replies judged."""

    @property
    def name(self) -> str: ...

    @property
    def Level(self) -> type[BenchmarkLevel]: ...

    def question(self, row: Row) -> str:
        """What the row asks, as the file has it. Raises Refused."""
        ...

    def read(self, row: Row, level: Any) -> tuple[str, dict[str, Any]] | None:
        """What a model is asked, and what only the scorer sees; None where the level doesn't want the row.
        Raises Refused."""
        ...

    def prepare(self) -> None:
        """What scoring needs. Raises BadInput where it can't be had."""
        ...

    def score(self, problem: Problem, reply: Reply) -> Verdict: ...

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict: ...


class BenchmarkFamily:
    def __init__(self, kind: Benchmark, path: Path | None) -> None:
        self.name = kind.name if path is None else f"{kind.name}:{path}"
        self.kind, self.Level, self._path = kind, kind.Level, path
        self._read: dict[str, tuple[list[Problem], dict[str, list[int]]]] = {}

    def problems(self, level: BenchmarkLevel) -> list[Problem]:
        """In the file's order."""
        return self._load(level)[0]

    def refused_rows(self, level: BenchmarkLevel) -> dict[str, list[int]]:
        """The numbers, from 1, of the rows that were left out, by reason."""
        return self._load(level)[1]

    def draw(self, level: BenchmarkLevel, rng: random.Random) -> Problem:
        return rng.choice(self.problems(level))

    def count(self, level: BenchmarkLevel) -> int:
        return len(self.problems(level))

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return self.kind.score(problem, reply)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return self.kind.score_lenient(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        raise BadInput(f"{self.kind.name} is a benchmark: it has no worked solutions to show or to train on")

    def _load(self, level: BenchmarkLevel) -> tuple[list[Problem], dict[str, list[int]]]:
        text = level_text(level)
        if text not in self._read:
            self._read[text] = self._problems(level, text)
        return self._read[text]

    def _problems(self, level: BenchmarkLevel, text: str) -> tuple[list[Problem], dict[str, list[int]]]:
        assert self._path is not None, "a family made for scoring has no rows"
        said = declared(self._path)
        found: dict[str, Problem] = {}
        refused: dict[str, list[int]] = {}
        for number, raw in _rows(self._path):
            try:
                row = _fields(raw)
                made = self.kind.read(row, level)
                if made is None:
                    continue
                # a question that the file has twice is asked twice: the published number of problems stands
                key = same_text(self.kind.question(row))
                key = next(k for k in _numbered(key) if k not in found)
            except Refused as reason:
                refused.setdefault(str(reason), []).append(number)
                continue
            origin = origin_of({name: row[name] for name in ORIGIN_FIELDS if name in row}, self._path, said)
            found[key] = Problem(self.kind.name, text, key, made[0], made[1], origin)
        if refused and not level.skip:
            raise BadInput(f"{self._path}: {_told(refused)}; mend the file, or leave them out with skip=true")
        if not found:
            raise BadInput(f"{self._path} holds no problem of {self.name}:{text}")
        return list(found.values()), refused


def benchmark_family(kind: Benchmark, path: Path | None) -> BenchmarkFamily:
    """Raises BadInput where there is no such file. None: only for scoring."""
    if path is not None and not path.is_file():
        raise BadInput(f"{kind.name}: no such file: {path}")
    if path is not None and path.suffix not in SUFFIXES:
        raise BadInput(f"{kind.name}: {path} is none of {', '.join(SUFFIXES)}")
    return BenchmarkFamily(kind, path)


def text_of(row: Row, *names: str) -> str:
    """The first of these fields that has a text, or a number. Raises Refused."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    raise Refused(f"no {' or '.join(names)}")


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row with its number: a line of the file, or a record of a table, from 1."""
    if path.suffix != ".csv":
        yield from read_rows(path)
        return
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            yield from enumerate(reader, start=1)
        except csv.Error as error:
            raise BadInput(f"{path}, line {reader.line_num}: {error}") from None


def _fields(raw: Any) -> Row:
    if not isinstance(raw, dict):
        raise Refused("not a JSON object")
    return {str(name).strip().lower().replace(" ", "_"): value for name, value in raw.items()}


def _numbered(key: str) -> Iterator[str]:
    yield key
    number = 2
    while True:
        yield f"{key} ({number})"
        number += 1


def _told(refused: Mapping[str, list[int]]) -> str:
    """ "row 3: no answer; row 7: ...; and 4 more rows"."""
    each = sorted((number, why) for why, numbers in refused.items() for number in numbers)
    more = f"; and {len(each) - NAMED} more bad rows" if len(each) > NAMED else ""
    return "; ".join(f"row {number}: {why}" for number, why in each[:NAMED]) + more
