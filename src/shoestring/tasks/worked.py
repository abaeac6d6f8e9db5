"""A problem with its worked solution as a conversation."""

import random

from shoestring.errors import BadInput
from shoestring.tasks.base import Problem
from shoestring.tasks.calculator import calculate
from shoestring.tasks.spoken import language_of
from shoestring.tasks.suite import family_named
from shoestring.tasks.tools import Calculator
from shoestring.text.message import Message
from shoestring.text.tool_calls import ToolCall

PLANS = {"en": "I let the calculator work out {}.", "zh": "用计算器算 {}。"}


def worked_messages(problem: Problem, key: str, system: str | None = None) -> list[Message]:
    """User's question, assistant's thinking and answer. `key` decides the solution's free choices. Raises
    BadInput where the family has no worked solutions."""
    reply = family_named(problem.family).worked(problem, random.Random(f"worked/{key}"))
    turn: Message = {"role": "assistant", "content": reply.answer}
    if reply.reasoning is not None:
        turn["reasoning_content"] = reply.reasoning
    messages: list[Message] = [{"role": "user", "content": problem.prompt}, turn]
    return [{"role": "system", "content": system}, *messages] if system is not None else messages


def calculated_messages(problem: Problem, key: str, system: str | None = None) -> list[Message]:
    """User's question, the assistant's call of the calculator, its result, and the answer as a worked
    solution states it. Raises BadInput where the family has no such solution."""
    sum_ = calculation(problem)
    answer = worked_messages(problem, key)[-1]["content"]
    call = ToolCall(Calculator.card.name, sum_, Calculator.card.argument)
    plan = PLANS[language_of(problem)].format(sum_)
    return [
        Message(role="system", content=system or "", tools=[Calculator.card]),
        Message(role="user", content=problem.prompt),
        Message(role="assistant", content="", reasoning_content=plan, tool_calls=[call]),
        Message(role="tool", content=calculate(sum_)),
        Message(role="assistant", content=answer),
    ]


def calculation(problem: Problem) -> str:
    """The one calculation whose value is the answer: "17+5+42"."""
    hidden = problem.hidden
    if problem.family == "sums":
        return "".join(f"{sign}{term}" for sign, term in hidden["steps"]).removeprefix("+")
    if problem.family == "products":
        return f"{hidden['a']}*{hidden['b']}"
    raise BadInput(
        f"family '{problem.family}' has no worked solutions with the calculator; sums and products have"
    )
