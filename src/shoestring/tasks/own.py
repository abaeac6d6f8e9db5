"""A user's own task: a Python file with `problems()` and `score(problem, reply)`, and `worked(problem)` if it
has worked solutions. As a suite: `my_task.py` or `my_task.py:key=value`; keys are `problems`' parameters.

The file is imported where problems are drawn and, to score, in the judge's worker processes. All such files'
problems are of family "own" and keyed by their prompt: where a file lies doesn't decide what is held out.
"""

import dataclasses
import importlib.util
import inspect
import pickle
import random
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import create_model

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.settings import Settings
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.files import as_verdict
from shoestring.tasks.texts import same_text
from shoestring.text.declared import declared, origin_fields, origin_of
from shoestring.text.message import Reply

SUFFIX = ".py"
MOST = 1_000_000  # problems() has to end
FILE = "task_file"  # where in `hidden` a worker reads which file to import


class OwnLevel(Settings):
    """test "all": a benchmark, no problem of it is trained on."""

    test: Literal["tenth", "all"] = "tenth"


class OwnFamily:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path, self._said = path, declared(path)
        self._module = load_task(str(path))
        self._read: dict[str, tuple[list[Problem], dict[str, list[int]]]] = {}
        self.Level = self._make_level()

    def problems(self, level: Settings) -> list[Problem]:
        return self._load(level)[0]

    def refused_rows(self, level: Settings) -> dict[str, list[int]]:
        """The numbers, from 1, of problems that were left out, by reason."""
        return self._load(level)[1]

    def draw(self, level: Settings, rng: random.Random) -> Problem:
        return rng.choice(self.problems(level))

    def count(self, level: Settings) -> int:
        return len(self.problems(level))

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return as_verdict(self._module.score(problem, reply))

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        if not callable(getattr(self._module, "worked", None)):
            raise BadInput(f"{self.name} has no worked solutions: give it a function worked(problem)")
        made = self._module.worked(problem)
        if isinstance(made, Reply):
            return made
        reasoning, answer = made if isinstance(made, tuple) and len(made) == 2 else (None, made)
        if not isinstance(answer, str) or not isinstance(reasoning, str | None):
            raise BadInput(
                f"{self.name}: worked(problem) gave {made!r:.80}, not an answer or (steps, answer)"
            )
        return Reply(reasoning, answer)

    def _make_level(self) -> type[Settings]:
        """Settings of the parameters of `problems`, so that unknown keys are refused and defaults known."""
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(self._module.problems).parameters.items():
            if parameter.default is inspect.Parameter.empty or name in OwnLevel.model_fields:
                raise BadInput(f"{self.name}: problems({name}) needs a default, and another name than 'test'")
            fields[name] = (type(parameter.default), parameter.default)
        return create_model("OwnLevel", __base__=OwnLevel, **fields)

    def _load(self, level: Settings) -> tuple[list[Problem], dict[str, list[int]]]:
        text = level_text(level)
        if text not in self._read:
            self._read[text] = self._problems(level, text)
        return self._read[text]

    def _problems(self, level: Settings, text: str) -> tuple[list[Problem], dict[str, list[int]]]:
        found: dict[str, Problem] = {}
        refused: dict[str, list[int]] = {}
        for number, row in enumerate(self._rows(level.model_dump(exclude={"test"})), start=1):
            if number > MOST:
                raise BadInput(f"{self.name}: problems() gives more than {MOST:,}; it has to end")
            problem = self._problem(row, number, text)
            if problem.key in found:
                refused.setdefault("a repeated question", []).append(number)
            else:
                found[problem.key] = problem
        if not found:
            raise BadInput(f"{self.name}: problems() gives no problem")
        return list(found.values()), refused

    def _rows(self, values: dict[str, Any]) -> Iterator[Any]:
        done = 0
        try:
            for row in self._module.problems(**values):
                yield row
                done += 1
        except BadInput:
            raise
        except Exception as error:  # the file is the user's: it may raise anything
            raise BadInput(
                f"{self.name}: row {done + 1}: problems() raised {_said(error, self._path)}"
            ) from None

    def _problem(self, row: Any, number: int, level: str) -> Problem:
        where = f"{self.name}: row {number}"
        values = _values(row)
        if values is None:
            raise BadInput(f"{where}: neither a dict nor an object with attributes, but {row!r:.60}")
        prompt = values.pop("prompt", None)
        if not isinstance(prompt, str) or not prompt.strip():
            raise BadInput(f"{where}: no prompt")
        hidden = values.pop("hidden", {})
        if not isinstance(hidden, Mapping):
            raise BadInput(f"{where}: its hidden part is {type(hidden).__name__}, not a dict")
        origin = self._origin(values)
        values = {name: value for name, value in values.items() if name not in ("licence", "license")}
        hidden = {**values, **hidden, FILE: str(self._path)}
        try:
            pickle.dumps(hidden)
        except Exception as error:  # what pickling raises is up to the values
            raise BadInput(
                f"{where}: can't go to the judge's process: {type(error).__name__}: {error}"
            ) from None
        return Problem("own", level, same_text(prompt), prompt.strip(), hidden, origin)

    def _origin(self, values: Mapping[str, Any]) -> Origin:
        """What the user's own code makes is theirs to know; what another model wrote needs a licence."""
        origin = origin_of(origin_fields(values), self._path, self._said)
        if origin.licence or origin.teacher:
            return origin
        return dataclasses.replace(origin, licence="unknown")


class OwnScorer:
    """Family "own", as a problem names it: each problem says which file it is of."""

    name = "own"
    Level = OwnLevel

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return own_family(problem.hidden[FILE]).score(problem, reply)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        return own_family(problem.hidden[FILE]).worked(problem, rng)

    def draw(self, level: Settings, rng: random.Random) -> Problem:
        raise BadInput("write the file's name as the suite, e.g. my_task.py")

    def count(self, level: Settings) -> None:
        return None


@cache
def own_family(path: str) -> OwnFamily:
    """Raises BadInput where there is no such file, or it isn't a task."""
    return OwnFamily(Path(path))


@cache
def load_task(path: str) -> ModuleType:
    """The file as a module, with what it has to have. Files beside it can be imported by it."""
    file = Path(path)
    if not file.is_file():
        raise BadInput(f"no such task file: {path}")
    name = f"shoestring_own_{file.stem}_{abs(hash(str(file.resolve())))}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    sys.path.append(str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the user's: importing it may raise anything
        raise BadInput(f"{path} can't be imported: {_said(error, file)}") from None
    for function in ("problems", "score"):
        if not callable(getattr(module, function, None)):
            raise BadInput(
                f"{path} has no function {function}; a task needs problems() and score(problem, reply)"
            )
    return module


def _values(row: Any) -> dict[str, Any] | None:
    if isinstance(row, Mapping):
        return {str(key): value for key, value in row.items()}
    if hasattr(row, "_asdict"):
        return dict(row._asdict())
    return dict(vars(row)) if hasattr(row, "__dict__") and not isinstance(row, type) else None


def _said(error: Exception, file: Path) -> str:
    """What was raised, and the last line of the user's file that it came through."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file
    ]
    return f"{type(error).__name__}: {error}" + (f" (line {lines[-1]})" if lines else "")
