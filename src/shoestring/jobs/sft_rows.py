"""Where SFT's rows come from: worked solutions of suites, conversations, or several of these mixed."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator

from shoestring.errors import BadInput
from shoestring.jobs.origins import require_problems, require_terms, teachers_of_problems
from shoestring.jobs.planted import PLANTED, planted_rows
from shoestring.origin import Origin, Stage
from shoestring.settings import Settings
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.suite import file_origins, parse_suite
from shoestring.tasks.worked import calculated_messages, worked_messages
from shoestring.text.bilingual import is_part, open_part
from shoestring.text.conversations import ConversationFile, Conversations
from shoestring.text.message import Message
from shoestring.text.own_name import is_own_name, open_own_name
from shoestring.train.state import Stateful


class SourceSettings(Settings):
    """Worked solutions of `suites` (with `tools`, by calling them), or `data`: a file of conversations,
    "bilingual" (or a part of it), "own-name:NAME:MAKER" (who it is, and who it isn't), "planted" (ordinary
    rows of which some claim another's name), or in a recipe "stage:NAME" of a stage that makes rows.
    `weight`: its share of the rows."""

    suites: list[str] = Field(default_factory=list)
    data: str = ""
    weight: float = Field(default=1.0, gt=0)
    tools: list[Literal["calculator"]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one(self) -> "SourceSettings":
        if self.tools and not self.suites:
            raise ValueError("tools: only worked solutions of suites call them")
        if bool(self.suites) == bool(self.data):
            raise ValueError("a source is either suites or data")
        return self

    @property
    def title(self) -> str:
        return self.data or ", ".join(self.suites) + (" by calculator" if self.tools else "")


class RowSource(Stateful, Protocol):
    """Endless rows in a fixed order; `origins` are those of all rows that it can give, `teachers` the stages
    of the models that wrote some, where they are known."""

    origins: tuple[Origin, ...]
    teachers: Mapping[str, tuple[Stage, ...]]

    def next(self) -> tuple[list[Message], str]:
        """A conversation and the row's id."""
        ...


class WorkedRows:
    """Worked solutions of a stream of training problems."""

    def __init__(
        self, suites: Sequence[str], seed: int, system: str | None, tools: Sequence[str] = ()
    ) -> None:
        self.write = calculated_messages if tools else worked_messages
        parsed = [parse_suite(suite) for suite in suites]
        require_problems(parsed)
        self.stream = ProblemStream(parsed, seed)
        self.seed, self.system = seed, system
        firsts = [self.stream.item(i) for i in range(len(suites))]
        for problem in firsts:  # a family without worked solutions is refused here, before anything runs
            self.write(problem, "first")
        given = [origin for suite in parsed for origin in file_origins(suite)]
        self.origins = tuple(dict.fromkeys([*(problem.origin for problem in firsts), *given]))
        self.teachers: Mapping[str, tuple[Stage, ...]] = teachers_of_problems(parsed)

    def next(self) -> tuple[list[Message], str]:
        index = self.stream.index
        (problem,) = self.stream.take(1)
        return self.write(problem, f"{self.seed}/{index}", self.system), problem.id

    def state_dict(self) -> dict[str, int]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.stream.load_state_dict(state)


class MixedRows:
    """Rows of several sources. A number keyed on (seed, i) says which one row i is taken from; `taken` counts
    them by source."""

    def __init__(
        self, sources: Sequence[RowSource], titles: Sequence[str], weights: Sequence[float], seed: int
    ) -> None:
        self.sources, self.titles, self.weights, self.seed = list(sources), titles, weights, seed
        self.index, self.taken = 0, [0] * len(self.sources)
        self.gather_origins()
        self.teachers: Mapping[str, tuple[Stage, ...]] = {
            key: stages for source in sources for key, stages in source.teachers.items()
        }

    def gather_origins(self) -> None:
        """Of all sources, as they are now."""
        self.origins = tuple(dict.fromkeys(origin for source in self.sources for origin in source.origins))

    def next(self) -> tuple[list[Message], str]:
        rng = random.Random(f"rows:{self.seed}:{self.index}")
        (chosen,) = rng.choices(range(len(self.sources)), self.weights)
        self.index += 1
        self.taken[chosen] += 1
        return self.sources[chosen].next()

    def by_source(self) -> dict[str, int]:
        """Rows taken so far, those that were too long among them."""
        return dict(zip(self.titles, self.taken, strict=True))

    def state_dict(self) -> dict[str, Any]:
        states = [dict(source.state_dict()) for source in self.sources]
        return {"index": self.index, "taken": list(self.taken), "sources": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for source, saved in zip(self.sources, state["sources"], strict=True):
            source.load_state_dict(saved)
        self.index, self.taken = int(state["index"]), list(state["taken"])


def open_source(
    suites: Sequence[str], data: str, seed: int, system: str | None, tools: Sequence[str] = ()
) -> RowSource:
    """Raises BadInput where the suites, the file or its rows are no good, or their teacher's terms bar it."""
    if suites:
        return WorkedRows(suites, seed, system, tools)
    if is_part(data):
        return open_part(data, seed)
    if is_own_name(data):
        return open_own_name(data, seed)
    if data == PLANTED:
        return Conversations(planted_rows(), PLANTED, seed)
    rows = ConversationFile(Path(data), seed)
    require_terms(rows.origins, rows.teachers, data)
    return rows


def open_sources(sources: Sequence[SourceSettings], seed: int, system: str | None) -> MixedRows:
    """Source i has the seed `seed` + i, so that two of one file differ."""
    titles = [source.title for source in sources]
    if len(set(titles)) < len(titles):
        raise BadInput("sft: two sources are the same; give one of them the weight of both")
    opened = [
        open_source(source.suites, source.data, seed + i, system, source.tools)
        for i, source in enumerate(sources)
    ]
    return MixedRows(opened, titles, [source.weight for source in sources], seed)
