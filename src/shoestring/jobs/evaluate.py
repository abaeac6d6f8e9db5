"""Evaluate models: each on each suite, in each way of asking, all on the same held-out problems."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from shoestring.engine.engine import Engine
from shoestring.errors import Interrupted
from shoestring.evals.chat_check import chat_check
from shoestring.evals.evaluate import check, evaluate
from shoestring.evals.result import Asking, FewShotStyle
from shoestring.lm import LanguageModel, load
from shoestring.run import Stage, saving, write_atomic
from shoestring.settings import Settings
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import check_room, parse_suite


class Variant(Settings):
    """A way of asking that differs from the stage's own in what is named here."""

    name: str
    max_tokens: int | None = Field(None, ge=1)
    few_shot: int = Field(0, ge=0)
    few_shot_style: FewShotStyle = "answer"
    lenient: bool = False
    system: str | None = None


class EvaluateSettings(Settings):
    """Models named in `best_of` are asked in every variant and shown at their best: so is a base given its due."""

    models: dict[str, str] = Field(min_length=1)  # label -> MODEL
    suites: list[str] = Field(min_length=1)
    n: int = Field(256, ge=1)
    k: int = Field(1, ge=1)
    seed: int = 0
    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(256, ge=1)
    few_shot: int = Field(0, ge=0)
    few_shot_style: FewShotStyle = "answer"
    lenient: bool = False
    system: str | None = None
    best_of: list[str] = []
    variants: list[Variant] = []
    chat_check: bool = False
    chat_max_tokens: int = Field(192, ge=1)
    workers: int = Field(2, ge=1)  # judge processes
    device: str = "cpu"
    dtype: str = "auto"

    @model_validator(mode="after")
    def _known_labels(self) -> "EvaluateSettings":
        strangers = [label for label in self.best_of if label not in self.models]
        if strangers:
            raise ValueError(f"best_of names {strangers[0]!r}, which is not a label in models: {', '.join(self.models)}")
        if bool(self.best_of) != bool(self.variants):
            raise ValueError("best_of and variants go together: which models to ask in which ways")
        names = ["", *(v.name for v in self.variants)]
        if len(set(names)) < len(names):
            raise ValueError("every variant needs a name of its own")
        return self

    def asking(self, variant: Variant | None) -> Asking:
        if variant is None:
            return Asking(
                self.max_tokens, self.temperature, self.few_shot, self.few_shot_style, self.lenient, self.system
            )
        return Asking(
            variant.max_tokens or self.max_tokens,
            self.temperature,
            variant.few_shot,
            variant.few_shot_style,
            variant.lenient,
            variant.system,
        )


@dataclass(frozen=True)
class Unit:
    """One model on one suite, asked in one way: what a kill loses at most."""

    label: str
    suite: str
    variant: str
    asking: Asking


def main(settings: EvaluateSettings, stage: Stage) -> dict[str, Any]:
    """Each unit's result is written when it is done; a resumed stage does what is missing."""
    units = plan(settings)
    folder = stage.folder / "evals"
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    chats: dict[str, Any] = {}
    with Judge(workers=settings.workers) as judge:
        for label, name in settings.models.items():
            bench = Bench(label, name, settings, stage, judge, folder)
            results += [bench.unit(unit) for unit in units if unit.label == label]
            if settings.chat_check:
                chats[label] = bench.chat()
    mark_best(results)
    result = {"evals": results, "chat": chats, "items": join_items(folder, results)}
    return result


def plan(settings: EvaluateSettings) -> list[Unit]:
    """Every unit in order. Bad suites and numbers are refused here, before any model is loaded."""
    units = []
    for label in settings.models:
        ways = settings.variants if label in settings.best_of else [None]
        for text in settings.suites:
            suite = parse_suite(text)
            if suite.name != "file":  # a file is what it is; a level can be widened
                check_room(suite, settings.n)
            for way in ways:
                unit = Unit(label, str(suite), way.name if way else "", settings.asking(way))
                check(settings.n, settings.k, unit.asking)
                units.append(unit)
    return units


class Bench:
    """One model with its engine, loaded when the first unit that isn't done yet needs it."""

    def __init__(
        self, label: str, model: str, settings: EvaluateSettings, stage: Stage, judge: Judge, folder: Path
    ) -> None:
        self.label, self.model, self.settings = label, model, settings
        self.stage, self.judge, self.folder = stage, judge, folder
        self._loaded: tuple[LanguageModel, Engine] | None = None

    def loaded(self) -> tuple[LanguageModel, Engine]:
        if self._loaded is None:
            if self.stage.stop_requested:
                raise Interrupted("stopped between two models; what was finished is saved, go on with --resume")
            lm = load(self.model, dtype=self.settings.dtype, device=self.settings.device)
            self._loaded = lm, Engine(lm)
        return self._loaded

    def unit(self, unit: Unit) -> dict[str, Any]:
        s, asking = self.settings, unit.asking
        identity = {"model": self.model, "n": s.n, "k": s.k, "seed": s.seed, "unit": repr(unit), "dtype": s.dtype}
        path = self._path(f"{unit.label}-{unit.suite}-{unit.variant}", identity)
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        lm, engine = self.loaded()
        result = evaluate(
            lm,
            unit.suite,
            n=s.n,
            k=s.k,
            seed=s.seed,
            temperature=asking.temperature,
            max_tokens=asking.max_tokens,
            few_shot=asking.few_shot,
            lenient=asking.lenient,
            system=asking.system,
            generator=engine,
            judge=self.judge,
            stage=self.stage,
            few_shot_style=asking.few_shot_style,
        )
        with saving(path):
            result.save_items(path.with_suffix(".parquet"))
        names = {"model": unit.label, "variant": unit.variant, "best": True, "rows": path.stem + ".parquet"}
        values = {**result.to_json(), **names}
        write_atomic(path, json.dumps(values, indent=2) + "\n")
        self.stage.say(f"{unit.label}{' / ' + unit.variant if unit.variant else ''}: {result.line()}")
        return values

    def chat(self) -> dict[str, Any]:
        identity = {"model": self.model, "cap": self.settings.chat_max_tokens, "dtype": self.settings.dtype}
        path = self._path(f"{self.label}-chat", identity)
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        lm, engine = self.loaded()
        result = chat_check(lm, engine, self.settings.chat_max_tokens, self.stage)
        with saving(path):
            result.save_rows(path.with_suffix(".parquet"))
        values = {**result.to_json(), "rows": path.stem + ".parquet"}
        write_atomic(path, json.dumps(values, indent=2) + "\n")
        self.stage.say(f"{self.label}: {result.line()}")
        return values

    def _path(self, name: str, identity: dict[str, Any]) -> Path:
        """A readable name, and a hash of all that would change the result: a changed setting is a new unit."""
        mark = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9.=]+', '-', name).strip('-')}-{mark}.json"


def mark_best(results: list[dict[str, Any]]) -> None:
    """`best` stays true for each (model, suite)'s highest score; the variant named first wins a tie."""
    top: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        key = (result["model"], result["suite"])
        result["best"] = False
        if key not in top or result["score"] > top[key]["score"]:
            top[key] = result
    for result in top.values():
        result["best"] = True


def join_items(folder: Path, results: list[dict[str, Any]]) -> str:
    """All replies in one file, with their model, suite and variant, for pairing and the report."""
    tables = []
    for result in results:
        table = pq.read_table(folder / result["rows"])
        for name in ("variant", "suite", "model"):
            table = table.add_column(0, name, pa.array([result[name]] * table.num_rows, pa.string()))
        tables.append(table)
    with saving(folder):
        pq.write_table(pa.concat_tables(tables), folder / "items.parquet")
    return "evals/items.parquet"
