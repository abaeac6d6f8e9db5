"""A study of pretraining as values: what each (arm, seed) of a run came to, how large its model is, and which
contrasts the recipe named beforehand."""

import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.budget.flops import token_flops
from shoestring.errors import BadInput
from shoestring.models.checkpoint import read_config
from shoestring.models.parameters import cache_per_token, count_parameters
from shoestring.report.read import read_run
from shoestring.report.scores import UnitReport
from shoestring.run import RunFolder, read_lines
from shoestring.settings import read_toml

LAST = 20  # steps that figures of training itself are taken over: one step's loss is too noisy to compare
# what a contrast may name -> what the page calls it
FIGURES = {
    "val_bpb": "bits per byte, held out",
    "loss": "training loss",
    "mtp_loss": "MTP loss",
    "max_vio": "max_vio",
    "max_vio_worst": "max_vio, worst layer and step",
    "tokens_per_second": "tokens/s",
    "seconds": "seconds",
}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """One pretrained unit. A figure is None where it was not measured or was not finite. curves[name] has a
    value for each of `steps`, the validations: val_bpb over all, and by source."""

    stage: str
    arm: str
    seed: int | None
    settings: Mapping[str, Any]  # that differ from the stage as written, by dotted name
    figures: Mapping[str, float | None]
    sizes: Mapping[str, int]
    steps: tuple[int, ...]
    curves: Mapping[str, tuple[float | None, ...]]

    @property
    def name(self) -> str:
        """As a contrast names it."""
        return f"{self.stage}/{self.arm}" if self.arm else self.stage


@dataclass(frozen=True)
class Wanted:
    """A contrast as the recipe names it; see its `PlannedContrast`."""

    of: str
    against: str
    metric: str
    within: float = 0.0


@dataclass(frozen=True)
class Ablation:
    name: str
    description: str
    command: str
    environment: Mapping[str, str]
    units: tuple[Trained, ...]
    wanted: tuple[Wanted, ...]


def read_ablation(folder: Path) -> Ablation:
    """Raises BadInput where `folder` is not a finished run with pretraining in it."""
    report = read_run(folder)
    if report.state != "finished":
        raise BadInput(f"{folder} is {report.state}: only a finished study is kept")
    pretrained = [unit for unit in report.units if unit.job == "pretrain"]
    if not pretrained:
        raise BadInput(f"{folder} has no pretrain stage; report.study keeps studies of scores")
    usage = read_lines(folder / "usage.jsonl")
    plain = {(unit.stage, unit.seed): _settings(unit) for unit in pretrained if not unit.arm}
    return Ablation(
        name=report.name,
        description=report.description,
        command=report.command,
        environment=report.environment,
        units=tuple(_trained(folder, unit, plain[unit.stage, unit.seed], usage) for unit in pretrained),
        wanted=tuple(Wanted(**one) for one in read_toml(folder / "recipe.toml").get("contrast", [])),
    )


def _trained(folder: Path, unit: UnitReport, plain: Mapping[str, Any], usage: Sequence[Row]) -> Trained:
    own = RunFolder(folder).unit_folder(unit.number, unit.stage, unit.arm, unit.seed)
    rows = read_lines(own / "metrics.jsonl")
    if not rows:
        raise BadInput(f"{own} has no metrics")
    checked = [row for row in rows if "val_bpb" in row]
    names = dict.fromkeys(name for row in checked for name in row if name.startswith("val_bpb"))
    used = [line for line in usage if line["unit"] == own.relative_to(folder).as_posix()]
    return Trained(
        stage=unit.stage,
        arm=unit.arm,
        seed=unit.seed,
        settings={key: value for key, value in _settings(unit).items() if plain.get(key) != value},
        figures=_figures(rows, checked),
        sizes=_sizes(own / "model", rows, used),
        steps=tuple(row["step"] for row in checked),
        curves={name: tuple(row.get(name) for row in checked) for name in names},
    )


def _settings(unit: UnitReport) -> dict[str, Any]:
    return dict(_flat(tomllib.loads(unit.settings)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _figures(rows: Sequence[Row], checked: Sequence[Row]) -> dict[str, float | None]:
    last = rows[-LAST:]
    worst = _known(last, "max_vio_worst")
    speeds = _known(rows, "perf/throughput")
    seconds = _known(rows, "step_time")
    figures = {
        "val_bpb": checked[-1]["val_bpb"] if checked else None,
        **{name: _mean(_known(last, name)) for name in ("loss", "mtp_loss", "max_vio")},
        "max_vio_worst": max(worst) if worst else None,
        "tokens_per_second": statistics.median(speeds) if speeds else None,
        "seconds": sum(seconds) if seconds else None,
    }
    assert figures.keys() == FIGURES.keys()
    return figures


def _known(rows: Sequence[Row], name: str) -> list[float]:
    """The rows' values; none where one is missing or was not finite, since the rest would look too good."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return values if len(values) == len(rows) else []


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _sizes(model: Path, rows: Sequence[Row], used: Sequence[Row]) -> dict[str, int]:
    """flops_per_token: one token forward through the layers' matrices. The training's are as metered: forward
    and backward, attention, heads and MTP modules included."""
    config = read_config(model)
    parameters = count_parameters(config)
    trained = [line for line in used if line["kind"] == "train" and not line.get("redone")]
    tokens = sum(line["tokens"] for line in trained)
    return {
        "parameters": parameters.total,
        "active_parameters": parameters.total_active,
        "mtp_parameters": parameters.mtp,
        "flops_per_token": token_flops(config),
        "training_flops_per_token": round(sum(line["flops"] for line in trained) / max(1, tokens)),
        "cache_bytes_per_token": cache_per_token(config).own,
        "steps": len(rows),
        "tokens": round(sum(row["num_tokens"] for row in rows)),
    }
