"""A data file's rows as prompts and right answers, in the shapes that datasets have: prompt, question or
problem; answer, solution or verl's reward_model.ground_truth; tests; a schema; or messages."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from shoestring.errors import BadInput
from shoestring.tasks.answers import boxed, clean, numbers
from shoestring.tasks.code_tests import checked_tests, has_tests
from shoestring.tasks.maths import gold_fault, looks_like_maths
from shoestring.tasks.schema import schema_text
from shoestring.tasks.texts import same_text

Kind = Literal["integer", "choice", "maths", "exact", "code", "json", "open"]
CHOICE = re.compile(r"\(?([A-H])\)?\.?")


class Refused(Exception):
    """Why a row can't be a problem; the message is counted, so it doesn't name the row."""


def read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row with its number, from 1; None where a line is no JSON."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            yield from enumerate(pyarrow.parquet.read_table(path).to_pylist(), start=1)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise BadInput(f"{path} is not a Parquet file: {error}") from None
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, None


def prompt_of(row: dict[str, Any]) -> str:
    for name in ("prompt", "question", "problem", "messages"):
        if row.get(name):
            prompt = _turns(row[name]) if isinstance(row[name], list) else row[name]
            if isinstance(prompt, str) and prompt.strip():
                return prompt.strip()
    raise Refused("no prompt, question, problem or messages")


def _checked(read: Callable[[dict[str, Any]], str], row: dict[str, Any]) -> str:
    try:
        return read(row)
    except ValueError as why:
        raise Refused(str(why)) from None


def _turns(messages: list[Any]) -> str:
    """The user's one turn, after the system's; what the assistant says is no part of the question."""
    turns = [(str(m.get("role")), str(m.get("content") or "")) for m in messages if isinstance(m, dict)]
    asked = [content for role, content in turns if role in ("system", "user")]
    if sum(role == "user" for role, _ in turns) != 1:
        raise Refused("not exactly one user turn")
    return "\n\n".join(asked)


def answer_of(row: dict[str, Any], wanted: str) -> tuple[Kind, str]:
    """The kind of answer and its text in one spelling."""
    if wanted == "open":
        return "open", ""
    if wanted == "code" or (wanted == "auto" and has_tests(row)):
        return "code", _checked(checked_tests, row)
    if wanted == "json" or (wanted == "auto" and row.get("schema")):
        return "json", _checked(schema_text, row)
    reward = row.get("reward_model")
    known = [reward.get("ground_truth")] if isinstance(reward, dict) else []
    known += [row.get(name) for name in ("answer", "solution", "ground_truth")]
    raw = next((str(value).strip() for value in known if value is not None and str(value).strip()), "")
    boxes = boxed(raw)
    text = (boxes[-1] if boxes else raw.rpartition("####")[2]).strip()  # GSM8K puts the answer after ####
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
    if wanted == "maths" and (fault := gold_fault(text)):
        raise Refused(fault)
    if wanted == "maths" or (wanted == "auto" and looks_like_maths(text)):
        return "maths", text
    return "exact", same_text(clean(text))
