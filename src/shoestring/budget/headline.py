"""The figures that the press compared, and what a headline leaves out, from headline.toml."""

from pathlib import Path
from typing import Any

from pydantic import Field

from shoestring.settings import Settings, build, read_toml

FILE = Path(__file__).with_name("headline.toml")


class Reported(Settings):
    """musd: millions of USD, low and high."""

    name: str
    musd: tuple[float, float]
    includes: str
    source: str
    date: str


class LeftOut(Settings):
    name: str
    musd: tuple[float, float]
    how: str
    source: str
    date: str


class Headline(Settings):
    figure: tuple[Reported, ...] = Field(min_length=1)
    left_out: tuple[LeftOut, ...] = Field(min_length=1)

    def to_json(self) -> dict[str, Any]:
        figures = [
            {"name": f.name, "musd": list(f.musd), "includes": f.includes, "source": f.source, "date": f.date}
            for f in self.figure
        ]
        lines = [
            {"name": f.name, "musd": list(f.musd), "how": f.how, "source": f.source, "date": f.date}
            for f in self.left_out
        ]
        return {"figure": figures, "left_out": lines}


def headline() -> Headline:
    return build(Headline, read_toml(FILE), str(FILE))
