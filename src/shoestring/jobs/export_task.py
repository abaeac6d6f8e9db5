"""A suite written as a folder that lm-eval or inspect-ai runs."""

from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.evals.export import HARNESSES, Harness, export_task
from shoestring.run import saving, write_atomic
from shoestring.settings import Settings, nearest
from shoestring.tasks.suite import parse_suite


class ExportTaskSettings(Settings):
    suite: str
    harness: str
    output_dir: Path
    n: int = Field(256, ge=1)
    seed: int = 0
    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0)


def main(settings: ExportTaskSettings, console: Console) -> dict[str, Any]:
    """Raises BadInput where the folder holds something already."""
    folder = settings.output_dir
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is there already: choose another --output-dir")
    suite = parse_suite(settings.suite)
    how = settings.n, settings.seed, settings.max_tokens, settings.temperature
    made = export_task(suite, known_harness(settings.harness), *how)
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.files.items():
        write_atomic(folder / name, text)
    console.print(f"{made.problems} problems of {suite} in {folder}; there:\n{made.command}", markup=False)
    return {"task": made.name, "folder": str(folder), "files": list(made.files), "problems": made.problems}


def known_harness(text: str) -> Harness:
    for harness in HARNESSES:
        if text == harness:
            return harness
    raise BadInput(f"no harness '{text}'{nearest(text, list(HARNESSES))}")
