"""What a model may call while it replies. A tool takes one text and gives one back; what goes wrong is text
that the model can read. See docs/tools.md."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from shoestring.errors import BadInput, ShoestringError
from shoestring.settings import nearest
from shoestring.tasks.calculator import NoValue, calculate
from shoestring.tasks.sandbox import Limits, Sandbox, SandboxFailed, Status
from shoestring.text.tool_calls import ToolCall, ToolCard

ToolName = Literal["calculator", "python"]
RESULT_CHARS = 1_000  # of a result; what is more is cut, and the result says so


class ToolError(ShoestringError):
    """The call failed; the message is for the model."""


class Tool(Protocol):
    """`run` ends by itself within its wall clock, gives the result's text and raises ToolError. A `slow` one
    is run in a thread beside the generating. Any thread may use it."""

    @property
    def card(self) -> ToolCard: ...

    @property
    def slow(self) -> bool: ...

    def run(self, text: str) -> str: ...


class Calculator:
    card = ToolCard("calculator", "exact arithmetic with + - * / ** and brackets", "expression", "12*(7+1)")
    slow = False

    def run(self, text: str) -> str:
        try:
            return calculate(text)
        except NoValue as error:
            raise ToolError(str(error)) from None


class Python:
    """Raises BadInput where this machine can't isolate code."""

    card = ToolCard(
        "python", "runs a Python program and gives what it prints", "code", "print(sum(range(10)))"
    )
    slow = True

    def __init__(self) -> None:
        self._sandbox = Sandbox(Limits(wall_s=2.0, output_kib=64))

    def run(self, text: str) -> str:
        try:
            ran = self._sandbox.run(text)
        except SandboxFailed:
            raise ToolError("the program could not be started") from None
        said = ran.stdout.strip()
        if ran.status is Status.OK:
            return said or "(nothing was printed)"
        why = ran.stderr.strip().rpartition("\n")[2] or f"it ended with {ran.code}"
        if ran.status is Status.TIMEOUT:
            why = f"it ran past {self._sandbox.limits.wall_s:g} s"
        elif ran.status is Status.OUTPUT:
            why = "it printed too much"
        raise ToolError(f"{why}; before that it printed: {_cut(said)}" if said else why)


@dataclass(frozen=True)
class CallMade:
    """A call and what came of it. name is empty where the call couldn't be read."""

    name: str
    text: str
    result: str
    failed: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class Toolbox:
    """The tools of a run, and how often one reply may call."""

    tools: tuple[Tool, ...]
    max_calls: int = 4

    @property
    def cards(self) -> list[ToolCard]:
        return [tool.card for tool in self.tools]

    def slow(self, calls: Sequence[ToolCall]) -> bool:
        return any(tool.slow for tool in self.tools for call in calls if call.name == tool.card.name)

    def run_all(self, calls: Sequence[ToolCall], left: int) -> list[CallMade]:
        """In their order; those past the `left` first are told so and not run."""
        over = ToolError(f"not run: a reply may call at most {self.max_calls} times")
        return [self.run(call) if i < left else _failed(call, over) for i, call in enumerate(calls)]

    def run(self, call: ToolCall) -> CallMade:
        """Never raises for what a model wrote."""
        began = time.perf_counter()
        try:
            result = _cut(self._tool(call).run(call.text))
        except ToolError as error:
            return _failed(call, error, time.perf_counter() - began)
        return CallMade(call.name, call.text, result, False, time.perf_counter() - began)

    def _tool(self, call: ToolCall) -> Tool:
        if call.fault:
            raise ToolError(call.fault)
        found = next((tool for tool in self.tools if tool.card.name == call.name), None)
        if found is None:
            names = ", ".join(card.name for card in self.cards)
            raise ToolError(f"there is no tool {call.name[:40]!r}; there is {names}")
        if call.argument not in ("", found.card.argument):
            raise ToolError(f'{call.name} takes "{found.card.argument}", not "{call.argument[:40]}"')
        return found


def tool_names(texts: Sequence[str]) -> list[ToolName]:
    """Raises BadInput that names the nearest."""
    known = get_args(ToolName)
    for text in texts:
        if text not in known:
            raise BadInput(f"no tool '{text}'{nearest(text, list(known))}")
    return [name for name in known if name in texts]


def open_tools(names: Sequence[ToolName], max_calls: int) -> Toolbox | None:
    """None for no tools. Raises BadInput where this machine can't run one of them."""
    made: dict[ToolName, type[Calculator] | type[Python]] = {"calculator": Calculator, "python": Python}
    return Toolbox(tuple(made[name]() for name in dict.fromkeys(names)), max_calls) if names else None


def _failed(call: ToolCall, error: ToolError, seconds: float = 0.0) -> CallMade:
    return CallMade(call.name, call.text, f"error: {_cut(str(error))}", True, seconds)


def _cut(text: str) -> str:
    if len(text) <= RESULT_CHARS:
        return text
    return f"{text[:RESULT_CHARS]}... (cut: {len(text)} characters in all)"
