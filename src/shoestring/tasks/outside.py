"""Our problems in somebody else's harness: a problem as a row that travels, and a reply's text to the verdict
that we give it. Exported tasks call this; it needs no torch."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.tasks.base import Problem, Verdict
from shoestring.tasks.judge import Judge
from shoestring.text.message import Reply
from shoestring.text.stream import split_thinking


def to_row(problem: Problem) -> dict[str, str]:
    """`problem` is JSON, so that rows of all families have the same columns. Raises BadInput where what only
    the scorer sees can't be written as JSON."""
    hidden, origin = dict(problem.hidden), problem.origin.to_json()
    whole = {
        "family": problem.family,
        "level": problem.level,
        "key": problem.key,
        "hidden": hidden,
        "origin": origin,
    }
    try:
        text = json.dumps(whole, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"a problem of {problem.family} can't be written to a file: {error}") from None
    return {"id": problem.id, "prompt": problem.prompt, "problem": text}


def from_row(row: Mapping[str, Any]) -> Problem:
    told = json.loads(row["problem"])
    origin = Origin(**told.pop("origin"))
    return Problem(prompt=row["prompt"], origin=origin, **told)


def verdict_of(row: Mapping[str, Any], text: str, thinking: str | None = None) -> Verdict:
    """What the problem's own scorer says, in a process of its own that may be killed. `thinking`: where the
    harness has it apart; else what stands in <think> tags is told apart here, and is no answer."""
    answer = text
    if thinking is None:
        thinking, answer = split_thinking(text)
    return _judge().score([("one", from_row(row), Reply(thinking, answer))])["one"]


@functools.cache
def _judge() -> Judge:
    """One for the harness's whole run: a worker takes a second to start."""
    return Judge(workers=1)
