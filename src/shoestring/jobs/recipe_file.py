"""A recipe as it is written: one TOML file of ordered stages, each a job with its settings, and of arms.

[recipe]             name, seed, device, description
[prices]             watts, usd_per_kwh, ... (`budget.price.Prices`)
[[stage]]            name, job, the job's settings; model = "stage:NAME" is an earlier stage's model
    seeds = [0, 1]   the stage once with each, and what is built on it
    small = {...}    settings of `--scale small`
[[arm]]              name, set = {"zero.reward" = "random"}: a control, beside the recipe as written
[[comparison]]       of, against = "LABEL[/ARM]", suite: fixed before the run (`jobs/recipe_planned.py`)
[stage_table]        models, suites, harder: the report's table of one column a stage
[[contrast]]         of, against = "STAGE[/ARM]", metric: two ways of pretraining, paired by seed
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from shoestring.budget.price import Prices
from shoestring.errors import BadInput
from shoestring.jobs.recipe_planned import (
    Evals,
    PlannedComparison,
    StageTable,
    control_arms,
    control_comparisons,
    read_comparison,
    read_stage_table,
)
from shoestring.settings import Settings, build, nearest, read_toml, with_overrides

Scale = Literal["full", "small"]
SHIPPED = Path(__file__).resolve().parents[3] / "recipes"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TABLES = ["recipe", "prices", "stage", "arm", "comparison", "stage_table", "contrast"]


class RecipeHead(Settings):
    """[recipe]. `seed` and `device` are every stage's that has one and doesn't state it."""

    name: str
    seed: int = 0
    device: str = "cpu"
    description: str = ""


class Arm(Settings):
    """[[arm]]: a control or comparison. It runs again the stages it changes and those built on them."""

    name: str
    set: dict[str, Any]  # "stage.key" -> value


class PlannedContrast(Settings):
    """[[contrast]]: what a study of training itself was made to find out, named before it runs: a figure of
    one stage and arm less another's, paired by seed. `within`: claimed is that they differ by no more than
    this share."""

    of: str
    against: str
    metric: str
    within: float = Field(default=0.0, ge=0)


class StageHead(Settings):
    """What [[stage]] holds beside its job's own settings. `seeds` runs it once with each as its `seed`;
    `in_arms = false` leaves it out of arms that would only run it again because of what it is built on."""

    name: str
    job: str
    seeds: tuple[int, ...] = ()
    in_arms: bool = True


@dataclass(frozen=True)
class StagePlan:
    head: StageHead
    values: dict[str, Any]  # the job's settings as written, references unresolved


@dataclass(frozen=True)
class Recipe:
    head: RecipeHead
    prices: Prices
    stages: tuple[StagePlan, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[PlannedComparison, ...] = ()
    contrasts: tuple[PlannedContrast, ...] = ()
    stage_table: StageTable | None = None

    def to_toml(self) -> dict[str, Any]:
        """As a recipe again, overrides and scale worked in."""
        stages = [stage.head.model_dump(exclude_defaults=True) | stage.values for stage in self.stages]
        return {
            "recipe": self.head.model_dump(),
            "prices": self.prices.model_dump(exclude_unset=True),
            "stage": stages,
            **({"arm": [arm.model_dump() for arm in self.arms]} if self.arms else {}),
            **({"comparison": [_written(c) for c in self.comparisons]} if self.comparisons else {}),
            **({"stage_table": _written(self.stage_table)} if self.stage_table else {}),
            **({"contrast": [c.model_dump() for c in self.contrasts]} if self.contrasts else {}),
        }


def _written(values: Settings) -> dict[str, Any]:
    return values.model_dump(mode="json", exclude_defaults=True)


def find_recipe(recipe: str | Path) -> Path:
    """A path, or the bare name of a recipe that comes with the code. Raises BadInput."""
    path = Path(recipe)
    if path.exists():
        return path
    known = sorted(p.stem for p in SHIPPED.glob("*.toml"))
    if path.name == str(recipe) and path.stem in known:
        return SHIPPED / f"{path.stem}.toml"
    raise BadInput(f"no such recipe: {recipe}{nearest(path.stem, known) if known else ''}")


def load_recipe(path: Path, overrides: Mapping[str, Any], scale: Scale, controls: bool = False) -> Recipe:
    """The recipe with `scale` and then `overrides` ("stage.key" -> value) worked in. `controls` adds the arms
    and comparisons that a claim of learning needs. Raises BadInput."""
    raw = read_toml(path)
    if "cluster" in raw:
        raise BadInput(
            f"{path} describes a cluster's run, which is planned and not run: shoestring plan {path.stem}"
        )
    unknown = [key for key in raw if key not in TABLES]
    if unknown:
        raise BadInput(f"{path}: unknown table '{unknown[0]}'{nearest(unknown[0], TABLES)}")
    if not raw.get("stage"):
        raise BadInput(f"{path}: a recipe needs at least one [[stage]]")
    tables = {"recipe": raw.get("recipe", {}), "prices": raw.get("prices", {})}
    for number, stage in enumerate(raw["stage"], start=1):
        name = stage.get("name", "")
        if not isinstance(name, str) or not NAME.fullmatch(name) or name in tables:
            raise BadInput(
                f"{path}: stage {number} needs a name of its own (letters, digits, . _ -), not {name!r}"
            )
        small = stage.pop("small", {})
        tables[name] = with_overrides(stage, small if scale == "small" else {})
    for dotted, value in overrides.items():
        head, _, rest = dotted.partition(".")
        if head not in tables or not rest:
            raise BadInput(
                f"--set {dotted}: write stage.key=value; no stage '{head}'{nearest(head, list(tables))}"
            )
        tables[head] = with_overrides(tables[head], {rest: value})
    head, prices = tables.pop("recipe"), tables.pop("prices")
    arms = tuple(build(Arm, arm, f"{path} [[arm]]") for arm in raw.get("arm", []))
    comparisons = raw.get("comparison", [])
    if controls:
        added = control_arms(tables, [arm.name for arm in arms])
        arms += tuple(build(Arm, arm, "--controls") for arm in added)
        comparisons = [*comparisons, *control_comparisons(tables)]
    evals = Evals(tables, [arm.name for arm in arms])
    table = raw.get("stage_table")
    return Recipe(
        head=build(RecipeHead, head, f"{path} [recipe]"),
        prices=build(Prices, prices, f"{path} [prices]"),
        stages=tuple(_stage_plan(values, f"{path}, stage '{name}'") for name, values in tables.items()),
        arms=arms,
        comparisons=tuple(read_comparison(values, evals, f"{path} [[comparison]]") for values in comparisons),
        contrasts=tuple(
            build(PlannedContrast, values, f"{path} [[contrast]]") for values in raw.get("contrast", [])
        ),
        stage_table=None if table is None else read_stage_table(table, evals, f"{path} [stage_table]"),
    )


def _stage_plan(values: dict[str, Any], where: str) -> StagePlan:
    own = set(StageHead.model_fields)
    head = build(StageHead, {k: v for k, v in values.items() if k in own}, where)
    return StagePlan(head, {k: v for k, v in values.items() if k not in own})
