"""A run folder, finished or not, into one RunReport."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shoestring.budget.price import Prices, make_bill
from shoestring.budget.ranges import Range
from shoestring.budget.usage import read_usage
from shoestring.errors import BadInput
from shoestring.evals.calibration import Calibration
from shoestring.evals.contamination import Overlap
from shoestring.evals.server_facts import ServerFacts
from shoestring.evals.shape import Shape
from shoestring.evals.statistics import Estimate, Interval
from shoestring.evals.worth import Worth
from shoestring.models.bases import BASES
from shoestring.origin import LINEAGE_FILE, Lineage
from shoestring.report.audits_read import AuditReport, audit_of
from shoestring.report.compare import against_base, against_recipe, planned
from shoestring.report.lacking import what_is_lacking
from shoestring.report.live import curves_of
from shoestring.report.marks import read_marks
from shoestring.report.plan_read import read_amounts
from shoestring.report.rollout_folders import rollouts_of
from shoestring.report.rollout_page import RolloutPage, pick_pages
from shoestring.report.run_report import ChatReport, Finding, IdentityReport, RefusalReport, RunReport
from shoestring.report.samples import pick
from shoestring.report.scores import Score, UnitReport
from shoestring.report.stage_costs import read_stages
from shoestring.report.starts import start_of
from shoestring.report.units import read_units
from shoestring.run import read_lines
from shoestring.settings import build, read_toml

MAKES = ("pretrain", "init")  # jobs that make a base from nothing


def read_run(folder: Path) -> RunReport:
    """Raises BadInput where `folder` is not a run's."""
    if not (folder / "recipe.toml").exists():
        raise BadInput(f"{folder} is not a run folder: it has no recipe.toml")
    recipe = read_toml(folder / "recipe.toml")
    environment = _read_json(folder / "environment.json")
    units = dict(read_units(folder))
    made = {f"stage:{stage['name']}" for stage in recipe["stage"] if stage["job"] in MAKES}
    scores = tuple(score for path, unit in units.items() for score in _scores(path, unit, recipe, made))
    chats = tuple(chat for path, unit in units.items() for chat in _chats(path, unit, made))
    identities = tuple(one for path, unit in units.items() for one in _identities(path, unit, made))
    audits = tuple(audit for path, unit in units.items() for audit in audit_of(path, unit, folder))
    plain = [(path, unit) for path, unit in units.items() if not unit.arm]
    command = environment.pop("command", "")
    usage = read_usage(folder)
    prices = build(Prices, recipe.get("prices", {}), str(folder))
    wanted = recipe.get("comparison", [])
    return RunReport(
        name=recipe["recipe"]["name"],
        description=recipe["recipe"].get("description", ""),
        folder=folder,
        base=_base(folder, recipe),
        state=_read_json(folder / "status.json").get("state", "not started"),
        command=command,
        units=tuple(units.values()),
        scores=scores,
        against_base=against_base(scores),
        against_recipe=against_recipe(scores),
        planned=planned(scores, wanted),
        chats=chats,
        identities=identities,
        audits=audits,
        refusals=tuple(_refusals(audit) for audit in audits if any(r.part == "refusal" for r in audit.rows)),
        curves=tuple(curve for path, unit in units.items() for curve in curves_of(path, unit)),
        samples=tuple(sample for path, unit in _first_seeds(plain) for sample in pick(path, unit)),
        bill=make_bill(usage, prices, _read_json(folder / "machine.json").get("peak")),
        environment={key: _plain(value) for key, value in environment.items()},
        lacking=what_is_lacking(
            tuple(units.values()), scores, chats, command, any(one.get("control") for one in wanted)
        ),
        rollouts=_pages(plain),
        stages=read_stages(recipe, usage, prices),
        plan={name: Range(**r) for name, r in _read_json(folder / "plan.json").get("stages", {}).items()},
        planned_amounts=read_amounts(folder),
        findings=tuple(finding for path, unit in units.items() for finding in _findings(path, unit)),
    )


def _findings(path: Path, unit: UnitReport) -> Iterator[Finding]:
    for row in read_lines(path / "findings.jsonl"):
        yield Finding(unit, row["step"], row["name"], row["text"].strip())


def _pages(plain: Sequence[tuple[Path, UnitReport]]) -> tuple[RolloutPage, ...]:
    folders = [rollouts_of(path, unit) for path, unit in _first_seeds(plain)]
    return pick_pages([folder for folder in folders if folder.judged and folder.steps])


def _scores(
    path: Path, unit: UnitReport, recipe: Mapping[str, Any], made: Collection[str]
) -> Iterator[Score]:
    """Those of an eval unit's result.json: an EvalResult's values and the `model` label and `variant`."""
    result = _read_json(path / "result.json")
    models = _models(path)
    bases = _bases(models, made)
    starts = {label: start_of(model, unit.arm, recipe, made) for label, model in models.items()}
    kept = read_marks(path / result["items"]) if result.get("items") else {}
    for row in result.get("evals", []):
        key = (row["model"], row["suite"], row["variant"])
        outcomes = row["outcomes"]
        yield Score(
            unit=unit,
            label=row["model"],
            is_base=row["model"] in bases,
            start=starts.get(row["model"], ""),
            suite=row["suite"],
            variant=row["variant"],
            best=row["best"],
            n=row["n"],
            k=row["k"],
            seed=row["seed"],
            correct=row["correct"],
            score=row["score"],
            ci95=Interval(*row["ci95"]),
            truncated=row["truncated"],
            unparsed=row["unparsed"],
            lost=outcomes["timeout"] + outcomes["error"],
            lower_bound=row["lower_bound"],
            asking=_asking(row["settings"]),
            marks=kept[key].shares if key in kept else {},
            majority=kept[key].majority if key in kept else {},
            shape=Shape(**row["shape"]) if "shape" in row else None,
            pass_at={
                k: Estimate(value, Interval(low, high))
                for k, (value, low, high) in row.get("pass_at", {}).items()
            },
            cons=_estimate(row.get("cons_at_k")),
            scorer=", ".join(f"{n} {v}" for n, v in (row.get("receipt") or {}).get("scorer", {}).items()),
            empty=row.get("empty", 0),
            errors=outcomes["error"],
            overlap=Overlap.of(row["overlap"]) if row.get("overlap") else None,
            calibration=Calibration.of(row["calibration"]) if row.get("calibration") else None,
            worth=Worth.of(row["worth"]) if row.get("worth") else None,
            server=tuple(ServerFacts.of(row["server"]).lines()) if row.get("server") else (),
        )


def _asking(settings: Mapping[str, Any]) -> str:
    """What was set, in words; a top_p of 1 leaves all as it is."""
    said = {name: value for name, value in settings.items() if value and (name, value) != ("top_p", 1.0)}
    return ", ".join(f"{name} {value}" for name, value in said.items())


def _estimate(found: Sequence[float] | None) -> Estimate | None:
    return Estimate(found[0], Interval(found[1], found[2])) if found else None


def _bases(models: Mapping[str, str], made: Collection[str]) -> set[str]:
    """The labels of the models that an eval unit takes from outside the run, or of those that the run has
    made from nothing."""
    return {label for label, model in models.items() if model in made or not model.startswith("stage:")}


def _models(path: Path) -> dict[str, str]:
    """An eval unit's, by label."""
    return read_toml(path / "settings.toml").get("models", {})


def _chats(path: Path, unit: UnitReport, made: Collection[str]) -> Iterator[ChatReport]:
    bases = _bases(_models(path), made)
    for label, row in _read_json(path / "result.json").get("chat", {}).items():
        named = row["identity"]
        yield ChatReport(
            unit=unit,
            label=label,
            is_base=label in bases,
            n=row["n"],
            stopped=row["stopped"],
            empty=row["empty"],
            looped=row["looped"],
            thinks=row["thinks"],
            maths_format=row["maths_format"],
            own=named["own"],
            other=named["other"],
            asked=sum(named.values()),
            tokens=row["tokens"],
            answered=row.get("answered"),
        )


def _identities(path: Path, unit: UnitReport, made: Collection[str]) -> Iterator[IdentityReport]:
    bases = _bases(_models(path), made)
    for label, row in _read_json(path / "result.json").get("identity", {}).items():
        yield IdentityReport(unit, label, label in bases, row["n"], row["claims"], row["families"])


def _refusals(audit: AuditReport) -> RefusalReport:
    """Of all replies, incoherent ones too: who says nothing sensible doesn't refuse."""
    groups: dict[str, Counter[str]] = {}
    for row in audit.rows:
        if row.part == "refusal":
            groups.setdefault(row.group, Counter())[row.does] += 1
    return RefusalReport(audit.unit, {group: dict(counts) for group, counts in groups.items()})


def _first_seeds(units: Sequence[tuple[Path, UnitReport]]) -> list[tuple[Path, UnitReport]]:
    """One unit a stage: seeds differ too little to read ten rollouts of each."""
    return list({unit.stage: (path, unit) for path, unit in reversed(units)}.values())[::-1]


def _base(folder: Path, recipe: Mapping[str, Any]) -> str:
    """Every model that the recipe takes from outside, and what kind of copy it is; or makes from nothing."""
    named: dict[str, None] = {}
    for stage in recipe["stage"]:
        if stage["job"] in MAKES and not stage.get("model"):
            named[f"made from nothing by stage {stage['name']}"] = None
        for name in (stage.get("model", "stage:"), *stage.get("models", {}).values()):
            if not name.startswith("stage:"):
                named[name] = None
    return "; ".join(_base_words(name, folder) for name in named) or "not known"


def _base_words(name: str, folder: Path) -> str:
    if name.startswith("made from nothing"):
        return name
    if name in BASES:
        base = BASES[name]
        return f"{name}, a {base.precision} {base.copy_of}, licence {base.licence}"
    for path in sorted((folder / "stages").rglob(f"model/{LINEAGE_FILE}")):
        first = Lineage.load(path.parent).stages[0]
        detail = [
            str(first.detail[key]) for key in ("copy_of", "precision", "licence") if key in first.detail
        ]
        return ", ".join([name, *detail])
    return name


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
