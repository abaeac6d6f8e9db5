"""Problems from a .jsonl or .parquet file, in the shapes that datasets have: prompt, question or problem;
answer, solution or verl's reward_model.ground_truth; or messages. The right answer is read when the file is:
a row whose answer can't be is refused, and counted by its reason, before anything is generated for it."""

import importlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.settings import Settings
from shoestring.tasks import second_opinion
from shoestring.tasks.answers import judge, judge_integer, judge_integer_lenient
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.code import judge_code, sandbox
from shoestring.tasks.file_rows import Refused, answer_of, prompt_of, read_rows
from shoestring.tasks.maths import judge_maths, judge_maths_lenient
from shoestring.tasks.schema import judge_json
from shoestring.tasks.texts import find_choice, find_exact, same_text
from shoestring.text.declared import Declaration, declared, origin_fields, origin_of
from shoestring.text.message import Reply

Scorer = Callable[[Problem, Reply], "float | bool | Verdict"]
Refusals = dict[str, list[int]]  # reason -> the numbers of the rows that were left out for it
FIRST_ROWS = 3  # named where rows are refused


class FileLevel(Settings):
    """answer: how it is compared ("auto" looks at each row's; "open": rows have no right answer and need
    none). percent: 50 % may be said as 1/2. scorer: `module:function` that is called with (problem, reply)
    instead; `problem.hidden["row"]` is the row. test "all": a benchmark, no row is trained on."""

    answer: Literal["auto", "integer", "choice", "maths", "exact", "code", "json", "open"] = "auto"
    percent: bool = False
    scorer: str = Field("", pattern=r"^(|[\w.]+:\w+)$")
    test: Literal["tenth", "all"] = "tenth"


class FileFamily:
    """key: the prompt in one spelling of spaces and case. Every file's problems are of family "file", so a
    question that two files share is held out in both or in neither."""

    Level = FileLevel

    def __init__(self, path: Path | None) -> None:
        self.name = "file" if path is None else str(path)
        self._path = path
        self._read: dict[str, tuple[list[Problem], Refusals]] = {}

    def problems(self, level: FileLevel) -> list[Problem]:
        return self._load(level)[0]

    def refused(self, level: FileLevel) -> dict[str, int]:
        """How many rows were left out, by reason."""
        return {reason: len(rows) for reason, rows in self.refused_rows(level).items()}

    def refused_rows(self, level: FileLevel) -> Refusals:
        """The numbers, from 1, of the rows that were left out, by reason."""
        return self._load(level)[1]

    def draw(self, level: FileLevel, rng: random.Random) -> Problem:
        return rng.choice(self.problems(level))

    def count(self, level: FileLevel) -> int:
        return len(self.problems(level))

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        hidden = problem.hidden
        if hidden["scorer"]:
            return as_verdict(load_scorer(hidden["scorer"])(problem, reply))
        if hidden["kind"] == "open":
            return Verdict(Outcome.OPEN, 0.0)
        if hidden["kind"] == "code":
            return judge_code(reply, hidden["answer"])
        if hidden["kind"] == "json":
            return judge_json(reply, hidden["answer"])
        if hidden["kind"] == "integer":
            return judge_integer(reply, int(hidden["answer"]), problem.prompt)
        if hidden["kind"] == "maths":
            return judge_maths(reply, hidden["answer"], problem.prompt, hidden["percent"])
        find = find_choice if hidden["kind"] == "choice" else find_exact
        return judge(find(reply.answer, problem.prompt), hidden["answer"])

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """Integers and maths: as everywhere. Texts: the last line may be, or end with, the right one."""
        if problem.hidden["kind"] == "integer" and not problem.hidden["scorer"]:
            return judge_integer_lenient(reply, int(problem.hidden["answer"]), problem.prompt)
        if problem.hidden["kind"] == "maths" and not problem.hidden["scorer"]:
            gold, percent = problem.hidden["answer"], problem.hidden["percent"]
            return judge_maths_lenient(reply, gold, problem.prompt, percent)
        strict = self.score(problem, reply)
        if strict.outcome is Outcome.OPEN or problem.hidden["kind"] in ("code", "json"):
            return strict
        lines = reply.answer.strip().splitlines()
        ends = lines and f" {same_text(lines[-1])}".endswith(f" {same_text(problem.hidden['answer'])}")
        return Verdict(Outcome.RIGHT, 1.0) if ends and not problem.hidden["scorer"] else strict

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        raise BadInput(f"{self.name} has no worked solutions; train on its rows with an sft stage instead")

    def answer(self, problem: Problem) -> str:
        """In the spelling that it is compared in."""
        if problem.hidden["kind"] in ("open", "code", "json") or not problem.hidden["answer"]:
            raise BadInput(f"{self.name} has no one answer that could be shown: leave out few_shot")
        return problem.hidden["answer"]

    def _load(self, level: FileLevel) -> tuple[list[Problem], Refusals]:
        text = level_text(level)
        if text not in self._read:
            self._read[text] = self._problems(level)
        return self._read[text]

    def _problems(self, level: FileLevel) -> tuple[list[Problem], Refusals]:
        assert self._path is not None, "a family made for scoring has no rows"
        found: dict[str, Problem] = {}
        refused: Refusals = {}
        said = declared(self._path)
        for number, row in read_rows(self._path):
            try:
                if not isinstance(row, dict):
                    raise Refused("not a JSON object")
                problem = _problem(self._path, level, row, said)
                if problem.key in found:
                    same = found[problem.key].hidden["answer"] == problem.hidden["answer"]
                    raise Refused(
                        "a repeated question" if same else "a repeated question with another answer"
                    )
                found[problem.key] = problem
            except Refused as reason:
                refused.setdefault(str(reason), []).append(number)
        if not found:
            raise BadInput(f"{self._path} holds no usable problem: {reasons(refused) or 'it is empty'}")
        if any(problem.hidden["kind"] == "code" for problem in found.values()):
            sandbox()  # before anything is generated that couldn't be scored
        return list(found.values()), refused


def reasons(refused: Mapping[str, Sequence[int]]) -> str:
    """ "no answer (2) in rows 3, 7": the most frequent first, and each one's first rows."""
    most = sorted(refused.items(), key=lambda item: -len(item[1]))
    return ", ".join(f"{why} ({len(rows)}) in {_numbers(rows)}" for why, rows in most)


def _numbers(rows: Sequence[int]) -> str:
    first = ", ".join(map(str, rows[:FIRST_ROWS]))
    return f"row{'s' if len(rows) > 1 else ''} {first}{', ...' if len(rows) > FIRST_ROWS else ''}"


def file_family(path: Path | None) -> FileFamily:
    """Raises BadInput where there is no such file. None: only for scoring."""
    if path is not None and not path.is_file():
        raise BadInput(f"no such file of problems: {path}")
    return FileFamily(path)


def prepare(problem: Problem) -> None:
    """What scoring the problem needs. Raises BadInput where it can't be had."""
    if problem.hidden["scorer"]:
        load_scorer(problem.hidden["scorer"])
    elif problem.hidden["kind"] == "code":
        sandbox()
    elif problem.hidden["kind"] == "maths":
        second_opinion.load()


def load_scorer(name: str) -> Scorer:
    """The function `module:function` names. Raises BadInput where it can't be had."""
    module, _, function = name.partition(":")
    try:
        found = vars(importlib.import_module(module)).get(function)
    except Exception as error:  # the module is the user's: importing it may raise anything
        raise BadInput(f"scorer '{name}' can't be imported: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise BadInput(f"scorer '{name}': module '{module}' has no function '{function}'")
    return cast(Scorer, found)


def as_verdict(result: float | bool | Verdict) -> Verdict:
    """A number is a mark: 1 is right, anything less is wrong and worth nothing. Raises ValueError where it
    is neither."""
    if isinstance(result, Verdict):
        return result
    if result is None:
        raise ValueError("the scorer gave nothing back")
    mark = float(result)
    if not math.isfinite(mark):
        raise ValueError(f"the scorer's mark is {mark}")
    if mark >= 1.0:
        return Verdict(Outcome.RIGHT, 1.0)
    return Verdict(Outcome.WRONG, 0.0, {"mark": mark}, f"the scorer's mark is {mark:g}")


def _problem(path: Path, level: FileLevel, row: dict[str, Any], said: Declaration | None) -> Problem:
    prompt = prompt_of(row)
    kind, answer = ("exact", "") if level.scorer else answer_of(row, level.answer)
    hidden = {"kind": kind, "answer": answer, "percent": level.percent, "scorer": level.scorer, "row": row}
    origin = origin_of(origin_fields(row), path, said)
    return Problem("file", level_text(level), same_text(prompt), prompt, hidden, origin)
