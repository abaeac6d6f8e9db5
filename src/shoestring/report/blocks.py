"""The pieces a report is made of. Markdown and HTML set them, each in its own way."""

from dataclasses import dataclass

from shoestring.report.curves import Plot
from shoestring.report.ranges import Range
from shoestring.report.rollout_page import RolloutPage
from shoestring.report.run_report import Sample


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """`words` are the columns of text, the others are figures; `strong` the rows to bring out."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = (0,)
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Plots:
    title: str
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Ranges:
    """Values with their intervals, each beside what was claimed of it."""

    rows: tuple[Range, ...]


@dataclass(frozen=True)
class Samples:
    title: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Browser:
    """Rollouts to be looked through, where the rendering can."""

    pages: tuple[RolloutPage, ...]


@dataclass(frozen=True)
class Code:
    """Text to be kept as it is; folded away under its title where it has one."""

    text: str
    title: str = ""
    language: str = "toml"


Block = Heading | Text | Bullets | Table | Plots | Ranges | Samples | Browser | Code


def percent(share: float) -> str:
    """As shares stand in all tables."""
    return f"{100 * share:.1f} %"
