"""Replies, whoever made them, to the rows that an evaluation keeps: judged, and measured for their form."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.evals.item import Item
from shoestring.evals.shape import reply_shape
from shoestring.tasks.base import GOLD, Outcome, Problem
from shoestring.tasks.judge import Judge
from shoestring.tasks.language import detect
from shoestring.text.message import Reply


@dataclass(frozen=True)
class Spoken:
    """One reply. written: with its tags, as its form is judged by; kept: as a reader finds it later; opened:
    whether the prompt had opened the thinking; prompt_sha256 and ids: a server tells neither. refused: why
    there is no reply, e.g. that a server wouldn't take the prompt; such a one isn't judged."""

    problem: Problem
    sample: int
    reply: Reply
    written: str
    kept: str
    opened: bool
    prompt_tokens: int
    tokens: int
    finish_reason: str
    tool_calls: int = 0
    prompt_sha256: str = ""
    ids: tuple[int, ...] = ()
    refused: str = ""

    @property
    def name(self) -> str:
        return f"{self.problem.id}/{self.sample}"


def items_of(spoken: Sequence[Spoken], lenient: bool, judge: Judge | None) -> list[Item]:
    """One row for each, in their order."""
    asked = [(one.name, one.problem, one.reply) for one in spoken if not one.refused]
    if judge is not None:
        verdicts = judge.score(asked, lenient=lenient)
    else:
        with Judge() as own:
            verdicts = own.score(asked, lenient=lenient)
    asked_in = {one.problem.id: detect(one.problem.prompt) for one in spoken}
    items: list[Item] = []
    for one in spoken:
        verdict = verdicts.get(one.name)
        shape = reply_shape(one.written, one.opened, one.reply, asked_in[one.problem.id])
        items.append(
            Item(
                problem=one.problem.id,
                sample=one.sample,
                prompt=one.problem.prompt,
                gold=gold_text(one.problem),
                reply=one.kept,
                outcome=Outcome.ERROR.value if verdict is None else verdict.outcome.value,
                detail=f"refused: {one.refused}" if verdict is None else verdict.detail,
                prompt_tokens=one.prompt_tokens,
                tokens=one.tokens,
                finish_reason=one.finish_reason,
                tool_calls=one.tool_calls,
                format=shape.format,
                language_thinking=shape.language_thinking,
                language_answer=shape.language_answer,
                disagreed=verdict is not None and bool(verdict.parts.get("disagreed")),
                reasoning=one.reply.reasoning,
                answer=one.reply.answer,
                cut=one.reply.cut,
                said="" if verdict is None else verdict.said,
                parts={} if verdict is None else dict(verdict.parts),
                prompt_sha256=one.prompt_sha256,
                ids=one.ids,
            )
        )
    return items


def gold_text(problem: Problem) -> str:
    """What the scorer compares with, for a reader: the answer where there is one, else all that is hidden."""
    if GOLD in problem.hidden:
        return problem.hidden[GOLD]
    if "answer" in problem.hidden:
        return str(problem.hidden["answer"])
    return json.dumps(dict(problem.hidden), default=str, ensure_ascii=False)
