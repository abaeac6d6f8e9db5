"""The verbs, in the order in which help lists them. Each imports its one job when it is called, so that
`shoestring --help` is there at once."""

from shoestring.cli import train, evaluate, use, audit, serve, release, cost, tools, claims  # isort: skip
from shoestring.cli.app import app

__all__ = ["app", "audit", "claims", "cost", "evaluate", "main", "release", "serve", "tools", "train", "use"]


def main() -> None:
    app()
