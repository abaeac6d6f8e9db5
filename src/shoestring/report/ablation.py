"""A study of pretraining as one JSON file that can be committed, and the page that shows it.

    python -m shoestring.report.ablation runs/NAME studies/results/NAME.json   the file, and NAME.md beside it
    python -m shoestring.report.ablation studies/results/NAME.json             the page again, from the file

The file keeps what each (arm, seed) came to. The contrasts in it are for other readers: the page works them
out anew."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.report.ablation_page import document, title
from shoestring.report.ablation_run import Ablation, Trained, Wanted, read_ablation
from shoestring.report.contrast import Contrast, contrasts
from shoestring.report.kept import keep
from shoestring.report.markdown import page

USAGE = "usage: python -m shoestring.report.ablation RUN|FILE.json [FILE.json]"


def main(arguments: Sequence[str]) -> int:
    return keep(arguments, USAGE, lambda run: dump(read_ablation(run)), lambda file: render(parse(file)))


def render(ablation: Ablation) -> str:
    return page(title(ablation), document(ablation))


def dump(ablation: Ablation) -> str:
    """Six figures of everything measured are kept, and contrasts are of what is kept."""
    units = tuple(_rounded(unit) for unit in ablation.units)
    values = {
        "name": ablation.name,
        "description": ablation.description,
        "command": ablation.command,
        "environment": dict(ablation.environment),
        "contrasts": [_contrast_values(c) for c in contrasts(units, ablation.wanted)],
        "units": [dataclasses.asdict(unit) for unit in units],
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def parse(path: Path) -> Ablation:
    """Raises BadInput."""
    try:
        return _ablation(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a study of pretraining: {error!r}") from None


def _ablation(values: Mapping[str, Any]) -> Ablation:
    names = [field.name for field in dataclasses.fields(Wanted)]
    return Ablation(
        name=values["name"],
        description=values["description"],
        command=values["command"],
        environment=values["environment"],
        units=tuple(_unit(row) for row in values["units"]),
        wanted=tuple(Wanted(**{name: c[name] for name in names}) for c in values["contrasts"]),
    )


def _unit(row: Mapping[str, Any]) -> Trained:
    curves = {name: tuple(values) for name, values in row["curves"].items()}
    return Trained(**{**row, "steps": tuple(row["steps"]), "curves": curves})


def _contrast_values(contrast: Contrast) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    if contrast.compared:
        interval = contrast.ci95
        measured = {
            "pairs": contrast.pairs,
            "differences": contrast.differences,
            "shares": contrast.shares,
            "mean": contrast.mean,
            "ci95": dataclasses.astuple(interval) if interval else None,
            "p_value": contrast.p_value,
            "adjusted": contrast.adjusted,
        }
    return {**dataclasses.asdict(contrast.wanted), "verdict": contrast.verdict, **measured}


def _rounded(unit: Trained) -> Trained:
    return dataclasses.replace(
        unit,
        figures={name: _six(value) for name, value in unit.figures.items()},
        curves={name: tuple(map(_six, values)) for name, values in unit.curves.items()},
    )


def _six(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
