"""What a recipe will take before it starts, on this machine or on chips of the table; what a preset takes to
train and to serve; what a cluster's run takes."""

from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.budget.cluster_file import read_cluster
from shoestring.budget.hardware import load_hardware
from shoestring.budget.headline import headline
from shoestring.budget.machine import Machine, of_chip, of_probe
from shoestring.budget.price import Prices
from shoestring.budget.probe import BUSY, probe
from shoestring.errors import BadInput
from shoestring.jobs.plan_cluster import plan_cluster, print_cluster
from shoestring.jobs.plan_preset import plan_preset
from shoestring.jobs.plan_print import print_compared, print_headline, print_plan
from shoestring.jobs.plan_recipe import plan_loaded
from shoestring.jobs.recipe_file import SHIPPED, Scale, find_recipe, load_recipe
from shoestring.models.presets import PRESETS
from shoestring.settings import Settings, nearest


class PlanSettings(Settings):
    target: str  # a recipe or a preset
    hardware: str = ""  # of the table; "": this machine, as the probe measured it
    hardware_file: Path | None = None
    compare: list[str] = Field(default_factory=list)
    scale: Scale = "full"
    controls: bool = False
    overrides: dict[str, Any] = Field(default_factory=dict)
    probe: bool = False  # measure this machine anew


def main(settings: PlanSettings, console: Console) -> dict[str, Any]:
    hardware = load_hardware(settings.hardware_file)
    chips = [hardware.find(name) for name in settings.compare]  # refused before anything is measured
    path = _recipe_of(settings.target)
    cluster = read_cluster(path) if path is not None else None
    if cluster is not None:
        if settings.overrides or settings.controls or settings.scale != "full":
            raise BadInput(
                f"{settings.target} is a cluster's: edit its file instead of --set, --scale, --controls"
            )
        chip = hardware.find(settings.hardware or cluster.hardware)
        result = plan_cluster(cluster, chip, hardware, settings.compare)
        print_cluster(result, console)
        return result
    chosen = of_chip(hardware.find(settings.hardware)) if settings.hardware else None
    if path is None:
        _refuse_for_a_preset(settings)
        places = [chosen or this_machine(settings.probe, Prices(), console), *map(of_chip, chips)]
        first, *rest = (plan_preset(settings.target, machine, hardware, console) for machine in places)
        return first | ({"compare": rest} if rest else {})
    recipe = load_recipe(path, settings.overrides, settings.scale, settings.controls)
    plan = plan_loaded(recipe, chosen or this_machine(settings.probe, recipe.prices, console))
    print_plan(plan, console)
    result = plan.to_json()
    if chips:
        others = [plan_loaded(recipe, of_chip(chip)) for chip in chips]
        result["compare"] = [other.to_json() for other in others]
        result["beside"] = headline().to_json()
        print_compared([plan, *others], console)
        print_headline(result["beside"], console)
    return result


def _refuse_for_a_preset(settings: PlanSettings) -> None:
    given = {
        "--set": settings.overrides,
        "--controls": settings.controls,
        "--scale": settings.scale != "full",
    }
    named = [name for name, value in given.items() if value]
    if named:
        raise BadInput(f"{settings.target} is a preset and has no stages: leave out {', '.join(named)}")


def this_machine(anew: bool, prices: Prices, console: Console) -> Machine:
    """At the watts of `prices`, as `run` plans for it."""
    found = probe(anew)
    if found.busy > BUSY:
        console.print(
            f"this machine is busy ({found.busy:.0%} taken by others): the range is wider, and the "
            "measurement isn't kept",
            markup=False,
        )
    return of_probe(found, watts=prices.watts)


def _recipe_of(target: str) -> Path | None:
    """None for a preset. A recipe of a preset's name goes before it."""
    known = list(dict.fromkeys([*PRESETS, *(path.stem for path in SHIPPED.glob("*.toml"))]))
    shipped = SHIPPED / f"{target}.toml"
    if Path(target).exists() or shipped.exists() or target.endswith(".toml"):
        return find_recipe(target)
    if target in PRESETS:
        return None
    raise BadInput(f"nothing to plan: no recipe and no preset '{target}'{nearest(target, known)}")
