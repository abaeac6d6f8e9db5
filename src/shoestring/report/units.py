"""The units of a run that were begun."""

from collections.abc import Iterator
from pathlib import Path

from shoestring.report.scores import UnitReport
from shoestring.run import read_lines
from shoestring.settings import read_toml


def read_units(folder: Path) -> Iterator[tuple[Path, UnitReport]]:
    """Each unit that was begun, in the recipe's order: stages/NN-name[/arm][/seed-S]."""
    found = [path.parent for path in (folder / "stages").rglob("settings.toml")]
    for path in sorted(found, key=lambda p: [_natural(part) for part in p.relative_to(folder).parts]):
        _, stage, *rest = path.relative_to(folder).parts
        number, _, name = stage.partition("-")
        seeds = [int(part.removeprefix("seed-")) for part in rest if part.startswith("seed-")]
        arms = [part for part in rest if not part.startswith("seed-")]
        yield (
            path,
            UnitReport(
                number=int(number),
                stage=name,
                arm=arms[0] if arms else "",
                seed=seeds[0] if seeds else None,
                job=read_toml(path / "settings.toml")["job"],
                finished=(path / "result.json").exists(),
                settings=(path / "settings.toml").read_text(encoding="utf-8"),
                nonfinite=sum(row.get("nonfinite", 0) for row in read_lines(path / "metrics.jsonl")),
            ),
        )


def _natural(part: str) -> tuple[bool, int, str]:
    """Seeds in the order of their numbers, before arms."""
    seed = part.removeprefix("seed-")
    return (False, int(seed), "") if seed != part else (True, 0, part)
