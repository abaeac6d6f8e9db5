"""Show what a thing is: a model, a run, a suite of problems, or what is trained of its rows."""

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs.describe import headline, lineage_lines, sizes
from shoestring.jobs.mask import DATA_SUFFIXES, masked, print_row, rows_of
from shoestring.lm import load
from shoestring.report.read import read_run
from shoestring.report.terminal import print_report
from shoestring.settings import Settings
from shoestring.tasks.suite import ROOM, draw_problems, parse_suite


class ShowSettings(Settings):
    target: str
    mask: bool = False
    model: str = "smollm2-135m"  # whose tokenizer and template `mask` uses
    n: int = Field(3, ge=1)
    seed: int = 0


def main(settings: ShowSettings, console: Console) -> dict[str, Any]:
    path = Path(settings.target)
    if settings.mask:
        return show_mask(settings, console)
    if (path / "recipe.toml").is_file():
        return show_run(path, console)
    if path.is_dir() or path.suffix == ".gguf":
        return show_model(settings.target, console)
    if path.suffix in DATA_SUFFIXES and not path.is_file():
        raise BadInput(f"no such file: {path}")
    return show_suite(settings, console)
