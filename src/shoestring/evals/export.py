"""A suite as a task of lm-eval or inspect-ai: the same held-out problems, prompts and scorers, as files."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shoestring.errors import BadInput
from shoestring.evals.ask import check_scorable
from shoestring.evals.export_files import (
    INSPECT_COMMAND,
    INSPECT_TASK,
    LM_EVAL_COMMAND,
    LM_EVAL_SCORER,
    LM_EVAL_YAML,
    README,
)
from shoestring.evals.marking import gold_text
from shoestring.tasks.base import Problem
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.outside import to_row
from shoestring.tasks.suite import Suite

Harness = Literal["lm-eval", "inspect"]
HARNESSES: tuple[Harness, ...] = ("lm-eval", "inspect")
ROWS = "problems.jsonl"


@dataclass(frozen=True)
class TaskExport:
    """`files` by name. `command` runs it against a server's model."""

    name: str
    files: Mapping[str, str]
    problems: int
    command: str


def export_task(
    suite: Suite, harness: Harness, n: int, seed: int, max_tokens: int, temperature: float
) -> TaskExport:
    """n held-out problems, those that an eval with the same n and seed asks."""
    check_scorable(suite)
    if n < 1 or max_tokens < 1 or temperature < 0:
        raise BadInput(
            f"n = {n} and max_tokens = {max_tokens} must be at least 1, temperature = {temperature} 0"
        )
    problems = draw_problems(suite, "test", n, seed)
    name = "shoestring_" + re.sub(r"[^A-Za-z0-9]+", "_", str(suite)).strip("_").lower()[:80]
    rows = rows_text(problems)
    if harness == "lm-eval":
        task = LM_EVAL_YAML.format(name=name, suite=json.dumps(str(suite)), seed=seed, n=n)
        task += _generation(max_tokens, temperature)
        command = LM_EVAL_COMMAND.format(name=name)
        files = {f"{name}.yaml": task, "scorer.py": LM_EVAL_SCORER, ROWS: rows}
    else:
        made = INSPECT_TASK.format(
            name=name, suite=str(suite), max_tokens=max_tokens, temperature=temperature
        )
        command = INSPECT_COMMAND
        files = {"task.py": made, ROWS: rows}
    told = README.format(suite=suite, n=n, seed=seed, harness=harness, command=command)
    return TaskExport(name, {**files, "README.md": told}, len(problems), command)


def rows_text(problems: Sequence[Problem]) -> str:
    """One JSON line a problem. `target` is for a reader: the scorer goes by `problem`."""
    rows = [{**to_row(problem), "target": gold_text(problem)} for problem in problems]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _generation(max_tokens: int, temperature: float) -> str:
    sample = "true" if temperature else "false"
    return (
        "generation_kwargs:\n"
        "  until: []\n"
        f"  do_sample: {sample}\n"
        f"  temperature: {temperature:.3g}\n"
        f"  max_gen_toks: {max_tokens}\n"
    )
