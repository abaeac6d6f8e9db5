"""The figures that the press compared, and what a headline leaves out, from headline.toml."""

from pathlib import Path

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


def headline() -> Headline:
    return build(Headline, read_toml(FILE), str(FILE))
