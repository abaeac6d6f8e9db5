"""A study's run folder as one JSON file that can be committed, and the page that shows it.

    python -m shoestring.report.study runs/NAME studies/results/NAME.json     the file, and NAME.md beside it
    python -m shoestring.report.study studies/results/NAME.json               the page again, from the file

The file keeps every model's mark on every problem, so that each comparison on the page is worked out from it
and not copied. Rollouts and replies stay in the run folder."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoestring.budget.price import Amount, Bill, Prices
from shoestring.errors import BadInput
from shoestring.evals.calibration import Calibration
from shoestring.evals.contamination import Overlap
from shoestring.evals.shape import Shape
from shoestring.evals.statistics import Estimate, Interval
from shoestring.evals.worth import Worth
from shoestring.report.compare import against_base, against_recipe, planned
from shoestring.report.curves import DRAWN
from shoestring.report.kept import keep
from shoestring.report.markdown import render_markdown
from shoestring.report.read import read_run
from shoestring.report.run_report import (
    ChatReport,
    Curve,
    IdentityReport,
    RefusalReport,
    RunReport,
    StageCost,
    Stages,
)
from shoestring.report.scores import Score, UnitReport
from shoestring.settings import build

USAGE = "usage: python -m shoestring.report.study RUN|FILE.json [FILE.json]"


def main(arguments: Sequence[str]) -> int:
    return keep(arguments, USAGE, lambda run: dump(_finished(run)), lambda file: render_markdown(parse(file)))


def _finished(run: Path) -> RunReport:
    report = read_run(run)
    if report.state != "finished":
        raise BadInput(f"{run} is {report.state}: only a finished study is kept")
    return report


def dump(report: RunReport) -> str:
    """One value a line but for the long rows of marks and curves."""
    problems: dict[str, dict[str, int]] = {}
    values = {
        "name": report.name,
        "description": report.description,
        "folder": str(report.folder),
        "base": report.base,
        "state": report.state,
        "command": report.command,
        "environment": dict(report.environment),
        "lacking": report.lacking,
        "comparisons": [{"verdict": c.verdict, **dataclasses.asdict(c)} for c in report.planned],
        **({"stages": dataclasses.asdict(report.stages)} if report.stages else {}),
        "units": [dataclasses.asdict(unit) for unit in report.units],
        "scores": [_score_values(score, report, problems) for score in report.scores],
        "chats": [_of_unit(chat, report) for chat in report.chats],
        **({"identities": [_of_unit(i, report) for i in report.identities]} if report.identities else {}),
        **({"refusals": [_of_unit(r, report) for r in report.refusals]} if report.refusals else {}),
        "curves": [dataclasses.asdict(_rounded(c)) for c in report.curves if c.metric in DRAWN],
        "bill": {
            "used": [[*key, *dataclasses.astuple(amount)] for key, amount in report.bill.used.items()],
            "wasted": {key: dataclasses.astuple(amount) for key, amount in report.bill.wasted.items()},
            "prices": report.bill.prices.model_dump(exclude_unset=True),
        },
        "problems": {suite: " ".join(places) for suite, places in problems.items()},
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def parse(path: Path) -> RunReport:
    """Comparisons are worked out anew from the marks. Raises BadInput."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return _report(values)
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a study's file: {error!r}") from None


def _report(values: Mapping[str, Any]) -> RunReport:
    units = tuple(UnitReport(**unit) for unit in values["units"])
    problems = {suite: text.split() for suite, text in values["problems"].items()}
    scores = tuple(_score(row, units, problems) for row in values["scores"])
    kept = ("of", "against", "suite", "suites", "control")
    wanted = [{key: c[key] for key in kept if key in c} for c in values["comparisons"]]
    bill = values["bill"]
    return RunReport(
        name=values["name"],
        description=values["description"],
        folder=Path(values["folder"]),
        base=values["base"],
        state=values["state"],
        command=values["command"],
        units=units,
        scores=scores,
        against_base=against_base(scores),
        against_recipe=against_recipe(scores),
        planned=planned(scores, wanted),
        chats=tuple(ChatReport(**{**row, "unit": units[row["unit"]]}) for row in values["chats"]),
        curves=tuple(
            Curve(**{**row, "steps": tuple(row["steps"]), "values": tuple(row["values"])})
            for row in values["curves"]
        ),
        samples=(),
        bill=Bill(
            {(stage, kind): Amount(*rest) for stage, kind, *rest in bill["used"]},
            {reason: Amount(*rest) for reason, rest in bill["wasted"].items()},
            build(Prices, bill["prices"], "prices"),
        ),
        environment=values["environment"],
        lacking=tuple(values["lacking"]),
        identities=tuple(
            IdentityReport(**{**row, "unit": units[row["unit"]]}) for row in values.get("identities", [])
        ),
        refusals=tuple(
            RefusalReport(**{**row, "unit": units[row["unit"]]}) for row in values.get("refusals", [])
        ),
        stages=_stages(values["stages"]) if "stages" in values else None,
    )


def _stages(values: Mapping[str, Any]) -> Stages:
    costs = tuple(
        StageCost(tuple(cost["stages"]), Amount(**cost["used"]), Amount(**cost["wasted"]))
        for cost in values["costs"]
    )
    models, suites, harder = (tuple(values[name]) for name in ("models", "suites", "harder"))
    return Stages(models, suites, harder, costs)


def _of_unit(row: Score | ChatReport | IdentityReport | RefusalReport, report: RunReport) -> dict[str, Any]:
    """With the unit as its place among the report's."""
    values = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    return {**values, "unit": report.units.index(row.unit)}


def _score_values(score: Score, report: RunReport, problems: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Marks as places in the suite's list of problems: those right (of k = 1), else each one's share."""
    known = problems.setdefault(score.suite, {})
    for problem in score.marks:
        known.setdefault(problem, len(known))
    marks = {known[problem]: share for problem, share in score.marks.items()}
    shares = " ".join(f"{place}:{share:g}" for place, share in sorted(marks.items()) if share not in (0, 1))
    right = " ".join(str(place) for place, share in sorted(marks.items()) if share == 1)
    asked = _ranges(sorted(marks))
    return _of_unit(score, report) | {
        "ci95": dataclasses.astuple(score.ci95),
        "shape": dataclasses.asdict(score.shape) if score.shape else None,
        "pass_at": {k: dataclasses.asdict(found) for k, found in score.pass_at.items()},
        "cons": dataclasses.asdict(score.cons) if score.cons else None,
        "overlap": score.overlap.to_json() if score.overlap else None,
        "calibration": score.calibration.to_json() if score.calibration else None,
        "worth": score.worth.to_json() if score.worth else None,
        "marks": {"asked": asked, "right": right, "shares": shares},
        "majority": " ".join(f"{known[problem]}:{mark:g}" for problem, mark in score.majority.items()),
    }


def _score(row: Mapping[str, Any], units: Sequence[UnitReport], problems: Mapping[str, list[str]]) -> Score:
    names, kept = problems[row["suite"]], row["marks"]
    marks = {}
    for part in kept["asked"].split():
        first, _, last = part.partition("-")
        marks |= dict.fromkeys(range(int(first), int(last or first) + 1), 0.0)
    marks |= {int(place): 1.0 for place in kept["right"].split()}
    marks |= {int(place): float(share) for place, share in (s.split(":") for s in kept["shares"].split())}
    own = {"unit": units[row["unit"]], "ci95": Interval(*row["ci95"])}
    votes = (vote.split(":") for vote in row.get("majority", "").split())
    own["majority"] = {names[int(place)]: float(mark) for place, mark in votes}
    own["shape"] = Shape(**row["shape"]) if row.get("shape") else None
    own["pass_at"] = {
        k: Estimate(found["value"], Interval(**found["ci95"])) for k, found in row.get("pass_at", {}).items()
    }
    if cons := row.get("cons"):
        own["cons"] = Estimate(cons["value"], Interval(**cons["ci95"]))
    if overlap := row.get("overlap"):
        own["overlap"] = Overlap.of(overlap)
    if found := row.get("calibration"):
        own["calibration"] = Calibration.of(found)
    if taken := row.get("worth"):
        own["worth"] = Worth.of(taken)
    own["server"] = tuple(row.get("server", ()))
    return Score(**{**row, **own, "marks": {names[place]: share for place, share in marks.items()}})


def _ranges(places: Sequence[int]) -> str:
    """'0-1023 1030' of sorted places."""
    parts: list[list[int]] = []
    for place in places:
        if parts and place == parts[-1][-1] + 1:
            parts[-1][1:] = [place]
        else:
            parts.append([place])
    return " ".join("-".join(map(str, part)) for part in parts)


def _rounded(curve: Curve) -> Curve:
    values = tuple(None if value is None else float(f"{value:.4g}") for value in curve.values)
    return dataclasses.replace(curve, values=values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
