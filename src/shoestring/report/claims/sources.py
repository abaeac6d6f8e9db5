"""Where findings are read: a study's committed file or its run folder, or any committed JSON file."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.report import ablation, study
from shoestring.report.ablation_run import Ablation, read_ablation
from shoestring.report.read import read_run
from shoestring.report.run_report import RunReport
from shoestring.settings import nearest, read_toml


class Missing(Exception):
    """What a finding needs hasn't been made yet; the text is the command that makes it."""


class Sources:
    """`home` has studies/, claims/ and benchmarks/; `runs` the folders that studies are run into here. fresh:
    studies of which only those folders are looked at, and not what was committed."""

    def __init__(self, home: Path, runs: Path, fresh: Collection[str] = ()) -> None:
        self.home, self.runs, self.fresh = home, runs, fresh
        self._read: dict[str, StudySource] = {}

    def study(self, name: str) -> "StudySource":
        """Raises Missing where it has no result, BadInput where it has another study's."""
        if name not in self._read:
            self._read[name] = self._find(name)
        return self._read[name]

    def _find(self, name: str) -> "StudySource":
        recipe = self.recipe(name)
        kept, run = self.home / "studies" / "results" / f"{name}.json", self.runs / name
        if kept.exists() and name not in self.fresh:
            source = StudySource(name, kept)
        elif finished(run):
            source = StudySource(name, run)
        else:
            raise Missing(f"shoestring run {recipe.relative_to(self.home)} --output-dir {run} --resume")
        wanted = _recipe_name(recipe)
        if source.study_name != wanted:
            raise BadInput(f"{source.path} holds the study '{source.study_name}', not '{wanted}'")
        return source

    def recipe(self, name: str) -> Path:
        """A study's file. Raises BadInput."""
        path = self.home / "studies" / f"{name}.toml"
        if not path.exists():
            known = [p.stem for p in sorted((self.home / "studies").glob("*.toml"))]
            raise BadInput(f"no such study: {name}{nearest(name, known) if known else ''}")
        return path

    def values(self, file: str, command: str) -> Any:
        path = self.home / file
        if not path.exists():
            raise Missing(command)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"{path} is not valid JSON: {error}") from None


def finished(run: Path) -> bool:
    status = run / "status.json"
    return status.exists() and json.loads(status.read_text(encoding="utf-8")).get("state") == "finished"


def _recipe_name(recipe: Path) -> str:
    return read_toml(recipe).get("recipe", {}).get("name", "")


@dataclass(frozen=True)
class StudySource:
    """One study's result. `path` is its file or folder."""

    name: str
    path: Path

    @cached_property
    def report(self) -> RunReport:
        """Its scores and curves. Raises BadInput where it keeps those of pretraining alone."""
        if self.path.is_dir():
            return read_run(self.path)
        if self._is_ablation:
            raise BadInput(f"{self.path} is a study of pretraining: it has contrasts and no scores")
        return study.parse(self.path)

    @cached_property
    def ablation(self) -> Ablation:
        """What its pretraining came to. Raises BadInput where it has none."""
        if self.path.is_dir():
            return read_ablation(self.path)
        if not self._is_ablation:
            raise BadInput(f"{self.path} is a study of scores: it has no contrasts of pretraining")
        return ablation.parse(self.path)

    @cached_property
    def _is_ablation(self) -> bool:
        try:
            return "contrasts" in json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"{self.path} is not a study's file: {error}") from None

    @property
    def _any(self) -> RunReport | Ablation:
        return self.ablation if self.path.is_file() and self._is_ablation else self.report

    @property
    def study_name(self) -> str:
        return self._any.name

    @property
    def command(self) -> str:
        return self._any.command

    @property
    def environment(self) -> dict[str, str]:
        return dict(self._any.environment)
