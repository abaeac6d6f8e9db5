"""A recipe as it is written: one TOML file of ordered stages, each a job with its settings, and of arms.

[recipe]             name, seed, device, description
[prices]             watts, usd_per_kwh, ... (`budget.price.Prices`)
[[stage]]            name, job, the job's settings; model = "stage:NAME" is an earlier stage's model
    seeds = [0, 1]   the stage once with each, and what is built on it
    small = {...}    settings of `--scale small`
[[arm]]              name, set = {"zero.reward" = "random"}: a control, beside the recipe as written
[[comparison]]       of, against = "LABEL[/ARM]", suite: fixed before the run, all seeds together
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
from shoestring.settings import Settings, build, nearest, read_toml, with_overrides
from shoestring.tasks.suite import parse_suite

Scale = Literal["full", "small"]
SHIPPED = Path(__file__).resolve().parents[3] / "recipes"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TABLES = ["recipe", "prices", "stage", "arm", "comparison", "contrast"]


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


class PlannedComparison(Settings):
    """[[comparison]]: what a study was made to find out, named before it runs. Models are eval labels, with
    the arm after a slash."""

    of: str
    against: str
    suite: str


class PlannedContrast(Settings):
    """[[contrast]]: what a study of training itself was made to find out, named before it runs: a figure of
    one stage and arm less another's, paired by seed. `within`: claimed is that they differ by no more than
    this share."""

    of: str
    against: str
    metric: str
    within: float = Field(default=0.0, ge=0)


class StageHead(Settings):
    """What [[stage]] holds beside its job's own settings. `seeds` runs it once with each as its `seed`."""

    name: str
    job: str
    seeds: tuple[int, ...] = ()


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

    def to_toml(self) -> dict[str, Any]:
        """As a recipe again, overrides and scale worked in."""
        stages = [stage.head.model_dump(exclude_defaults=True) | stage.values for stage in self.stages]
        return {
            "recipe": self.head.model_dump(),
            "prices": self.prices.model_dump(exclude_unset=True),
            "stage": stages,
            **({"arm": [arm.model_dump() for arm in self.arms]} if self.arms else {}),
            **({"comparison": [c.model_dump() for c in self.comparisons]} if self.comparisons else {}),
            **({"contrast": [c.model_dump() for c in self.contrasts]} if self.contrasts else {}),
        }


def find_recipe(recipe: str | Path) -> Path:
    """A path, or the bare name of a recipe that comes with the code. Raises BadInput."""
    path = Path(recipe)
    if path.exists():
        return path
    known = sorted(p.stem for p in SHIPPED.glob("*.toml"))
    if path.name == str(recipe) and path.stem in known:
        return SHIPPED / f"{path.stem}.toml"
    raise BadInput(f"no such recipe: {recipe}{nearest(path.stem, known) if known else ''}")


def load_recipe(path: Path, overrides: Mapping[str, Any], scale: Scale) -> Recipe:
    """The recipe with `scale` and then `overrides` ("stage.key" -> value) worked in. Raises BadInput."""
    raw = read_toml(path)
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
    return Recipe(
        head=build(RecipeHead, head, f"{path} [recipe]"),
        prices=build(Prices, prices, f"{path} [prices]"),
        stages=tuple(_stage_plan(values, f"{path}, stage '{name}'") for name, values in tables.items()),
        arms=arms,
        comparisons=tuple(
            _comparison(values, tables, {arm.name for arm in arms}, f"{path} [[comparison]]")
            for values in raw.get("comparison", [])
        ),
        contrasts=tuple(
            build(PlannedContrast, values, f"{path} [[contrast]]") for values in raw.get("contrast", [])
        ),
    )


def _comparison(
    values: Mapping[str, Any], stages: Mapping[str, Any], arms: set[str], where: str
) -> PlannedComparison:
    """Raises BadInput where no eval stage will ever have what it names."""
    comparison = build(PlannedComparison, values, where)
    evals = [stage for stage in stages.values() if stage.get("job") == "eval"]
    labels = [label for stage in evals for label in stage.get("models", {})]
    for model in (comparison.of, comparison.against):
        label, slash, arm = model.partition("/")
        if label not in labels:
            raise BadInput(f"{where}: no eval stage has a model '{label}'{nearest(label, labels)}")
        if slash and arm not in arms:
            raise BadInput(f"{where}: no arm '{arm}'{nearest(arm, list(arms))}")
    suites = [str(parse_suite(text)) for stage in evals for text in stage.get("suites", [])]
    suite = str(parse_suite(comparison.suite))
    if suite not in suites:
        raise BadInput(f"{where}: no eval stage asks '{comparison.suite}'{nearest(suite, suites)}")
    return comparison.model_copy(update={"suite": suite})


def _stage_plan(values: dict[str, Any], where: str) -> StagePlan:
    own = set(StageHead.model_fields)
    head = build(StageHead, {k: v for k, v in values.items() if k in own}, where)
    return StagePlan(head, {k: v for k, v in values.items() if k not in own})
