"""A problem with its worked solution as a conversation."""

import random

from shoestring.tasks.base import Problem
from shoestring.tasks.suite import family_named
from shoestring.text.message import Message


def worked_messages(problem: Problem, key: str, system: str | None = None) -> list[Message]:
    """User's question, assistant's thinking and answer. `key` decides the solution's free choices. Raises
    BadInput where the family has no worked solutions."""
    reply = family_named(problem.family).worked(problem, random.Random(f"worked/{key}"))
    turn: Message = {"role": "assistant", "content": reply.answer}
    if reply.reasoning is not None:
        turn["reasoning_content"] = reply.reasoning
    messages: list[Message] = [{"role": "user", "content": problem.prompt}, turn]
    return [{"role": "system", "content": system}, *messages] if system is not None else messages
