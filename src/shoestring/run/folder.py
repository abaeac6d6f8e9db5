"""A run's folder as a whole: the resolved recipe, where it ran, its units' folders."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.run.environment import environment
from shoestring.run.files import dumps, saving, write_atomic
from shoestring.run.stage import Stage
from shoestring.settings import read_toml


@dataclass(frozen=True)
class RunFolder:
    """`path` holds recipe.toml, environment.json, status.json, usage.jsonl, report.md and .html, and
    stages/NN-name[/arm][/seed-S]."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    def recipe(self) -> dict[str, Any] | None:
        """The resolved recipe of an earlier start, if there was one."""
        return read_toml(self.recipe_file) if self.recipe_file.exists() else None

    def unit_folder(self, number: int, stage: str, arm: str = "", seed: int | None = None) -> Path:
        folder = self.path / "stages" / f"{number:02d}-{stage}"
        folder = folder / arm if arm else folder
        return folder if seed is None else folder / f"seed-{seed}"

    def begin(self, recipe: dict[str, Any], command: str) -> None:
        """Write what will be run and on what."""
        with saving(self.path):
            (self.path / "stages").mkdir(parents=True, exist_ok=True)
        write_atomic(self.recipe_file, tomli_w.dumps(recipe))
        values = {"command": command, **environment()}
        write_atomic(self.path / "environment.json", dumps(values, indent=2) + "\n")

    def status(self, state: str, detail: str = "") -> None:
        """ "finished", "interrupted" or "failed": the last word of status.json."""
        values = {"state": state, "detail": detail, "time": round(time.time(), 3)}
        write_atomic(self.path / "status.json", dumps(values, indent=2) + "\n")

    def stage(
        self,
        folder: Path,
        name: str,
        console: Console | None,
        title: str,
        spent: Callable[[], bool] = lambda: False,
    ) -> Stage:
        return Stage(folder, name, console, resume=True, run_dir=self.path, title=title, spent=spent)


def open_run(path: Path, resume: bool) -> RunFolder:
    """A folder to run into. Raises BadInput where something is in it already and `resume` isn't set."""
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path} is a file; --output-dir wants a folder")
    if path.exists() and any(path.iterdir()):
        if not resume:
            raise BadInput(
                f"{path} is not empty: add --resume to go on with it, or choose another --output-dir"
            )
        if not (path / "recipe.toml").exists():
            raise BadInput(f"{path} is not a run folder (no recipe.toml): choose another --output-dir")
    return RunFolder(path)
