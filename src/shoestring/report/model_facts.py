"""What a run knows of a model that it made: what that took, and what audits found. For the model's card."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.budget.price import Prices, make_bill
from shoestring.budget.usage import read_usage
from shoestring.evals.audit_record import AUDIT_FILE, read_audit
from shoestring.report.scores import UnitReport
from shoestring.report.stage_costs import REFERENCE
from shoestring.report.units import read_units
from shoestring.settings import build, read_toml


@dataclass(frozen=True)
class Cost:
    """Of the stages that made the model, at whatever remove, and its teachers in the same run, without evals
    and without what the base took elsewhere."""

    stages: tuple[str, ...]
    seconds: float
    kwh: float
    usd: float


@dataclass(frozen=True)
class Audit:
    name: str
    result: str
    detail: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """cost None: no run is known that made it."""

    cost: Cost | None = None
    audits: tuple[Audit, ...] = ()


def model_facts(folder: Path) -> ModelFacts:
    """`folder`: a model's, or that of the stage which made it."""
    folder = folder.resolve()
    run = next((above for above in folder.parents if (above / "recipe.toml").exists()), None)
    if run is None or (found := _unit_of(run, folder)) is None:
        return ModelFacts(audits=tuple(_kept(folder)))
    own, units = found
    recipe = read_toml(run / "recipe.toml")
    stages = _built_by(recipe.get("stage", []), own.stage)
    wanted = {path.relative_to(run).as_posix() for path, unit in units if _belongs(unit, own, units, stages)}
    usage = [line for line in read_usage(run) if line["unit"] in wanted]
    bill = make_bill(usage, build(Prices, recipe.get("prices", {}), str(run)))
    total = bill.total
    cost = Cost(stages, total.seconds, bill.kwh(total), bill.usd(total))
    return ModelFacts(cost, (*_kept(folder), *_audits(units, own)))


def _unit_of(run: Path, folder: Path) -> tuple[UnitReport, list[tuple[Path, UnitReport]]] | None:
    units = list(read_units(run))
    own = next((unit for path, unit in units if path in (folder, folder.parent)), None)
    return None if own is None else (own, units)


def _built_by(stages: Sequence[Mapping[str, Any]], name: str) -> tuple[str, ...]:
    """The stage and those that it refers to, and so on, in the recipe's order."""
    refers = {stage["name"]: REFERENCE.findall(json.dumps(stage)) for stage in stages}
    found, wanted = set(), [name]
    while wanted:
        one = wanted.pop()
        if one in refers and one not in found:
            found.add(one)
            wanted += refers[one]
    return tuple(stage for stage in refers if stage in found)


def _belongs(
    unit: UnitReport, own: UnitReport, units: Sequence[tuple[Path, UnitReport]], stages: Sequence[str]
) -> bool:
    """Of a stage with arms and seeds the unit that is the model's: its own arm and seed where the stage has
    them."""
    if unit.stage not in stages:
        return False
    alike = [other for _, other in units if other.stage == unit.stage]
    arm = own.arm if any(other.arm == own.arm for other in alike) else ""
    seeds = {other.seed for other in alike}
    return unit.arm == arm and (unit.seed == own.seed or own.seed not in seeds)


def _kept(folder: Path) -> Iterator[Audit]:
    """Of the audit in a model's or an audit stage's folder."""
    if (folder / AUDIT_FILE).exists():
        yield from (
            Audit(verdict.on, verdict.outcome, verdict.why) for verdict in read_audit(folder).verdicts
        )


def _audits(units: Sequence[tuple[Path, UnitReport]], own: UnitReport) -> Iterator[Audit]:
    """Of the evals and audits that asked this stage's model, in its own arm and seed."""
    for path, unit in units:
        if unit.job not in ("eval", "audit") or (unit.arm, unit.seed) != (own.arm, own.seed):
            continue
        settings = read_toml(path / "settings.toml")
        if unit.job == "audit":
            if settings.get("model") == f"stage:{own.stage}":
                yield from _kept(path)
            continue
        models = settings.get("models", {})
        labels = [label for label, model in models.items() if model == f"stage:{own.stage}"]
        result = path / "result.json"
        values = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
        for label in labels:
            if (row := values.get("identity", {}).get(label)) is not None:
                yield _identity(row)
            if (row := values.get("chat", {}).get(label)) is not None:
                yield _chat(row)


def _identity(row: Mapping[str, Any]) -> Audit:
    claims = row["claims"].values()
    own, other = (sum(claim[name] + claim["both"] for claim in claims) for name in ("own", "other"))
    families = ", ".join(f"{name} {count}" for name, count in row["families"].items() if count)
    asked = sum(sum(claim.values()) for claim in claims)
    return Audit("identity", f"of {asked} replies {own} claim its own name, {other} another's", families)


def _chat(row: Mapping[str, Any]) -> Audit:
    answered = row.get("answered")
    if answered is None:
        return Audit("ordinary chat", f"{row['stopped']:.0%} of {row['n']} replies end by themselves")
    return Audit(
        "ordinary chat",
        f"{answered:.0%} of {row['n']} prompts answered",
        f"{row['looped']:.0%} went round in circles",
    )
