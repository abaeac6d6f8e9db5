"""The verbs of cost: what a run will take, and what a right answer costs."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.app import JsonFile, Set, verb, write_json


@verb
def plan(
    target: Annotated[str, typer.Argument(metavar="RECIPE|PRESET", help="A recipe, v3-671b, or a preset.")],
    hardware: Annotated[
        str, typer.Option(metavar="NAME", help="A chip of the table; this machine by default.")
    ] = "",
    hardware_file: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Chips of your own, \\[chip.NAME] tables.")
    ] = None,
    compare: Annotated[str, typer.Option(metavar="A,B,...", help="The same run on these chips too.")] = "",
    set_: Set = [],  # noqa: B006
    scale: Annotated[str, typer.Option(help="full or small.")] = "full",
    controls: Annotated[bool, typer.Option("--controls", help="With their arms.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="Measure this machine anew.")] = False,
    json_file: JsonFile = None,
) -> None:
    """What a run will take, before it starts: memory, time, tokens, money, energy, disk, each a range."""
    from rich.console import Console

    from shoestring.jobs import plan as job
    from shoestring.settings import build, parse_assignments

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"target": target, "hardware": hardware, "hardware_file": hardware_file, "scale": scale}
    values |= {"compare": [name.strip() for name in compare.split(",") if name.strip()]}
    values |= {"controls": controls, "overrides": parse_assignments(set_), "probe": probe}
    write_json(json_file, job.main(build(job.PlanSettings, values, "plan"), console))


@verb
def answers(
    results: Annotated[list[Path], typer.Argument(metavar="A.json B.json", help="What eval --json wrote.")],
    out: Annotated[
        str, typer.Option(metavar="P,P", help="USD of a million tokens written, one each; or own.")
    ] = "own,own",
    watts: Annotated[float, typer.Option(help="Of one's own machine at work.")] = 65.0,
    usd_per_kwh: Annotated[float, typer.Option(help="Of its electricity.")] = 0.30,
    json_file: JsonFile = None,
) -> None:
    """What a correct answer costs, of models or endpoints that were asked the same problems."""
    from rich.console import Console

    from shoestring.jobs import answers as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"results": results, "out": out.split(","), "watts": watts, "usd_per_kwh": usd_per_kwh}
    write_json(json_file, job.main(build(job.AnswersSettings, values, "answers"), console))
