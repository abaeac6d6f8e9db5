"""A run folder while it is worked on: cheap enough to be read every few seconds, whatever its size."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoestring.budget.price import Amount, Bill, Prices, make_bill
from shoestring.budget.usage import read_usage
from shoestring.report.curves import DRAWN
from shoestring.report.run_report import Curve
from shoestring.report.scores import UnitReport
from shoestring.report.units import read_units
from shoestring.run import read_lines
from shoestring.settings import build, read_toml

DEEPEST = 4  # folders below the root that are looked into for runs
MOST = 200  # runs that are listed
NOT_CURVES = ("step", "time", "nonfinite")


@dataclass(frozen=True)
class Standing:
    """status.json, and what of the run it doesn't say. Times are unix seconds; None: not known."""

    id: str  # the folder below the root
    name: str
    description: str
    state: str  # running, finished, interrupted, failed, not started
    detail: str = ""
    unit: str = ""  # what is worked on: stages/NN-name[/arm][/seed-S]
    done: int | None = None
    total: int | None = None
    shown: Mapping[str, str] = field(default_factory=dict)
    elapsed_seconds: float | None = None
    eta_seconds: float | None = None  # of the unit, not of the run
    updated: float | None = None
    stages_finished: int = 0
    stages: int = 0


def unreadable(name: str, why: str) -> Standing:
    return Standing(name, name.rpartition("/")[2], "", "unreadable", why)


@dataclass(frozen=True)
class StageLine:
    """One stage of the recipe, its arms and seeds together."""

    name: str
    job: str
    units: int  # begun
    finished: int
    used: Amount
    usd: float


@dataclass(frozen=True)
class EvalLine:
    """One model on one suite, asked in one way."""

    model: str
    suite: str
    variant: str
    best: bool
    score: float
    low: float
    high: float
    n: int


def find_runs(root: Path) -> dict[str, Path]:
    """id -> folder of every run at or below `root`, newest first. A run's own folders aren't looked into, nor
    are links followed: what lies outside of `root` stays outside."""
    found: dict[str, Path] = {}
    for folder, inner, files in os.walk(root):
        path = Path(folder)
        if _is_run(files):
            found["." if path == root else path.relative_to(root).as_posix()] = path
            inner.clear()
        elif len(path.relative_to(root).parts) >= DEEPEST:
            inner.clear()
        inner[:] = [name for name in inner if not name.startswith(".")]
    newest = sorted(found, key=lambda name: -(_changed(found[name]) or 0.0))
    return {name: found[name] for name in newest[:MOST]}


def _is_run(files: list[str]) -> bool:
    """A recipe's folder, or that of one stage which was run by itself."""
    return "recipe.toml" in files or ("status.json" in files and "usage.jsonl" in files)


def read_standing(name: str, folder: Path) -> Standing:
    recipe, status = _recipe(folder), _read_json(folder / "status.json")
    units = live_units(folder)
    stages = [stage["name"] for stage in recipe.get("stage", [])] or [unit.stage for _, unit in units]
    done = {stage for stage in stages if _all_finished(units, stage)}
    head = recipe.get("recipe", {})
    return Standing(
        id=name,
        name=folder.resolve().name,
        description=head.get("description", ""),
        state=status.get("state", "not started"),
        detail=status.get("detail", ""),
        unit=status.get("unit", ""),
        done=status.get("done"),
        total=status.get("total"),
        shown={key: str(value) for key, value in status.get("shown", {}).items()},
        elapsed_seconds=status.get("elapsed_seconds"),
        eta_seconds=status.get("eta_seconds"),
        updated=status.get("time") or _changed(folder),
        stages_finished=len(done),
        stages=len(stages),
    )


def live_units(folder: Path) -> list[tuple[Path, UnitReport]]:
    """Those that were begun; a stage that was run by itself is one."""
    if (folder / "recipe.toml").exists():
        return list(read_units(folder))
    name, finished = folder.resolve().name, (folder / "result.json").exists()
    return [(folder, UnitReport(1, name, "", None, "", finished, "", 0))]


def read_stage_lines(folder: Path, bill: Bill) -> list[StageLine]:
    """In the recipe's order, those that haven't begun too."""
    units = live_units(folder)
    stages = [(stage["name"], stage["job"]) for stage in _recipe(folder).get("stage", [])]
    lines = []
    for name, job in stages or [(unit.stage, unit.job) for _, unit in units]:
        own = [unit for _, unit in units if unit.stage == name]
        used = bill.of_stage(name)
        lines.append(StageLine(name, job, len(own), sum(u.finished for u in own), used, bill.usd(used)))
    return lines


def read_bill(folder: Path) -> Bill:
    prices = build(Prices, _recipe(folder).get("prices", {}), str(folder))
    return make_bill(read_usage(folder), prices)


def read_curves(folder: Path) -> Iterator[Curve]:
    """Of every unit, first the metrics that the report draws, in its order, then all others."""
    for path, unit in live_units(folder):
        yield from curves_of(path, unit)


def curves_of(path: Path, unit: UnitReport) -> Iterator[Curve]:
    rows = read_lines(path / "metrics.jsonl")
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_CURVES)
    line = unit.title.removeprefix(unit.stage).strip()
    for name in [*(n for n in DRAWN if n in names), *(n for n in names if n not in DRAWN)]:
        points = [(row["step"], row[name]) for row in rows if name in row]
        yield Curve(unit.stage, name, line, tuple(s for s, _ in points), tuple(v for _, v in points))


def read_evals(folder: Path) -> list[EvalLine]:
    found = []
    for path, unit in live_units(folder):
        for row in _read_json(path / "result.json").get("evals", []):
            low, high = row["ci95"]
            name, best = unit.name_of(row["model"]), row["best"]
            found.append(
                EvalLine(name, row["suite"], row["variant"], best, row["score"], low, high, row["n"])
            )
    return found


def read_findings(folder: Path) -> list[tuple[str, int, str, str]]:
    """(unit, step, name, text) as they were said."""
    return [
        (unit.title, row["step"], row["name"], row["text"].strip())
        for path, unit in live_units(folder)
        for row in read_lines(path / "findings.jsonl")
    ]


def read_environment(folder: Path) -> dict[str, str]:
    raw = _read_json(folder / "environment.json")
    return {key: _words(value) for key, value in raw.items()}


def _all_finished(units: list[tuple[Path, UnitReport]], stage: str) -> bool:
    own = [unit.finished for _, unit in units if unit.stage == stage]
    return bool(own) and all(own)


def _recipe(folder: Path) -> dict[str, Any]:
    path = folder / "recipe.toml"
    return read_toml(path) if path.exists() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _changed(folder: Path) -> float | None:
    for name in ("status.json", "recipe.toml"):
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            continue
    return None


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return str(value)
