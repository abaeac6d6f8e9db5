"""Problems from a .jsonl or .parquet file, in the shapes that datasets have: prompt, question or problem;
answer, solution or verl's reward_model.ground_truth; or messages. The right answer is read when the file is:
a row whose answer can't be is refused, and counted by its reason, before anything is generated for it."""

import importlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.settings import Settings
from shoestring.tasks.answers import BOXED, clean, judge, judge_integer, judge_integer_lenient, numbers
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.texts import find_choice, find_exact, same_text
from shoestring.text.message import Reply

Kind = Literal["integer", "choice", "exact", "open"]
Scorer = Callable[[Problem, Reply], "float | bool | Verdict"]
CHOICE = re.compile(r"\(?([A-H])\)?\.?")


class FileLevel(Settings):
    """answer: how it is compared ("auto" looks at each row's; "open": rows have no right answer and need
    none). scorer: `module:function` that is called with (problem, reply) instead; `problem.hidden["row"]` is
    the row. test "all": a benchmark, no row is trained on."""

    answer: Literal["auto", "integer", "choice", "exact", "open"] = "auto"
    scorer: str = Field("", pattern=r"^(|[\w.]+:\w+)$")
    test: Literal["tenth", "all"] = "tenth"


class Refused(Exception):
    """Why a row can't be a problem; the message is counted, so it doesn't name the row."""


class FileFamily:
    """key: the prompt in one spelling of spaces and case. Every file's problems are of family "file", so a
    question that two files share is held out in both or in neither."""

    Level = FileLevel

    def __init__(self, path: Path | None) -> None:
        self.name = "file" if path is None else str(path)
        self._path = path
        self._read: dict[str, tuple[list[Problem], Counter[str]]] = {}

    def problems(self, level: FileLevel) -> list[Problem]:
        return self._load(level)[0]

    def refused(self, level: FileLevel) -> dict[str, int]:
        """How many rows were left out, by reason."""
        return dict(self._load(level)[1])

    def draw(self, level: FileLevel, rng: random.Random) -> Problem:
        return rng.choice(self.problems(level))

    def count(self, level: FileLevel) -> int:
        return len(self.problems(level))

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        hidden = problem.hidden
        if hidden["scorer"]:
            return _as_verdict(load_scorer(hidden["scorer"])(problem, reply))
        if hidden["kind"] == "open":
            return Verdict(Outcome.OPEN, 0.0)
        if hidden["kind"] == "integer":
            return judge_integer(reply, int(hidden["answer"]), problem.prompt)
        find = find_choice if hidden["kind"] == "choice" else find_exact
        return judge(find(reply.answer, problem.prompt), hidden["answer"])

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """Integers: as everywhere. Texts: the answer's last line may be, or end with, the right one."""
        if problem.hidden["kind"] == "integer" and not problem.hidden["scorer"]:
            return judge_integer_lenient(reply, int(problem.hidden["answer"]), problem.prompt)
        strict = self.score(problem, reply)
        if strict.outcome is Outcome.OPEN:
            return strict
        lines = reply.answer.strip().splitlines()
        ends = lines and f" {same_text(lines[-1])}".endswith(f" {same_text(problem.hidden['answer'])}")
        return Verdict(Outcome.RIGHT, 1.0) if ends and not problem.hidden["scorer"] else strict

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        raise BadInput(f"{self.name} has no worked solutions; train on its rows with an sft stage instead")

    def _load(self, level: FileLevel) -> tuple[list[Problem], Counter[str]]:
        text = level_text(level)
        if text not in self._read:
            self._read[text] = self._problems(level)
        return self._read[text]

    def _problems(self, level: FileLevel) -> tuple[list[Problem], Counter[str]]:
        assert self._path is not None, "a family made for scoring has no rows"
        found: dict[str, Problem] = {}
        refused: Counter[str] = Counter()
        for row in _rows(self._path, refused):
            try:
                problem = _problem(self._path, level, row)
                if problem.key in found:
                    same = found[problem.key].hidden["answer"] == problem.hidden["answer"]
                    raise Refused(
                        "a repeated question" if same else "a repeated question with another answer"
                    )
                found[problem.key] = problem
            except Refused as reason:
                refused[str(reason)] += 1
        if not found:
            reasons = ", ".join(f"{reason} ({n})" for reason, n in refused.most_common())
            raise BadInput(f"{self._path} holds no usable problem: {reasons or 'it is empty'}")
        return list(found.values()), refused


def file_family(path: Path | None) -> FileFamily:
    """Raises BadInput where there is no such file. None: only for scoring."""
    if path is not None and not path.is_file():
        raise BadInput(f"no such file of problems: {path}")
    return FileFamily(path)


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


def _as_verdict(result: float | bool | Verdict) -> Verdict:
    """A number is a mark: 1 is right, anything less is wrong and worth nothing."""
    if isinstance(result, Verdict):
        return result
    mark = float(result)
    if not math.isfinite(mark):
        raise ValueError(f"the scorer's mark is {mark}")
    if mark >= 1.0:
        return Verdict(Outcome.RIGHT, 1.0)
    return Verdict(Outcome.WRONG, 0.0, {"mark": mark}, f"the scorer's mark is {mark:g}")


def _rows(path: Path, refused: Counter[str]) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            yield from pyarrow.parquet.read_table(path).to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise BadInput(f"{path} is not a Parquet file: {error}") from None
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in filter(str.strip, lines):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                yield row
            else:
                refused["not a JSON object"] += 1


def _problem(path: Path, level: FileLevel, row: dict[str, Any]) -> Problem:
    prompt = _prompt(row)
    kind, answer = ("exact", "") if level.scorer else _answer(row, level.answer)
    hidden = {"kind": kind, "answer": answer, "scorer": level.scorer, "row": row}
    origin = Origin(f"file:{path.name}", str(row.get("licence") or row.get("license") or "unknown"))
    return Problem("file", level_text(level), same_text(prompt), prompt, hidden, origin)


def _prompt(row: dict[str, Any]) -> str:
    for name in ("prompt", "question", "problem", "messages"):
        if row.get(name):
            prompt = _turns(row[name]) if isinstance(row[name], list) else row[name]
            if isinstance(prompt, str) and prompt.strip():
                return prompt.strip()
    raise Refused("no prompt, question, problem or messages")


def _turns(messages: list[Any]) -> str:
    """The user's one turn, after the system's; what the assistant says is no part of the question."""
    turns = [(str(m.get("role")), str(m.get("content") or "")) for m in messages if isinstance(m, dict)]
    asked = [content for role, content in turns if role in ("system", "user")]
    if sum(role == "user" for role, _ in turns) != 1:
        raise Refused("not exactly one user turn")
    return "\n\n".join(asked)


def _answer(row: dict[str, Any], wanted: str) -> tuple[Kind, str]:
    """The kind of answer and its text in one spelling."""
    if wanted == "open":
        return "open", ""
    reward = row.get("reward_model")
    known = [reward.get("ground_truth")] if isinstance(reward, dict) else []
    known += [row.get(name) for name in ("answer", "solution", "ground_truth")]
    raw = next((str(value).strip() for value in known if value is not None and str(value).strip()), "")
    boxed = BOXED.findall(raw)
    text = (boxed[-1] if boxed else raw.rpartition("####")[2]).strip()  # GSM8K puts the answer after ####
    if not text:
        raise Refused("no answer, solution or ground truth")
    found = numbers(clean(text))
    if (
        wanted in ("auto", "integer")
        and len(found) == 1
        and re.fullmatch(r"\s*[-+]?\s?[\d,]+(?:\.0+)?\s*", clean(text))
    ):
        return "integer", found[0]
    if wanted == "integer":
        raise Refused("its answer is not an integer")
    choice = CHOICE.fullmatch(text)
    if wanted in ("auto", "choice") and choice:
        return "choice", choice[1]
    if wanted == "choice":
        raise Refused("its answer is not a letter from A to H")
    return "exact", same_text(text)
