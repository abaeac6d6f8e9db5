"""The verbs beside models: fetching the base, the verifier's errors, this machine."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.app import JsonFile, Set, verb, write_json


@verb
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="smollm2-135m.")] = "smollm2-135m",
) -> None:
    """Fetch the embedded base: its hash is checked, the file kept in the cache."""
    from shoestring.jobs import get as job

    job.main(name)


@verb
def verifier(
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Labelled pairs; ours by default.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="List every pair that either gets wrong.")] = False,
    json_file: JsonFile = None,
) -> None:
    """How often our scoring of answers is wrong, beside math-verify alone."""
    from rich.console import Console

    from shoestring.jobs import verifier as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"show": show} | ({"pairs": pairs} if pairs is not None else {})
    write_json(json_file, job.main(build(job.VerifierSettings, values, "verifier"), console))


@verb
def doctor(json_file: JsonFile = None) -> None:
    """What this machine can do, and the one command that adds what is missing."""
    from rich.console import Console

    from shoestring.jobs import doctor as job

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    write_json(json_file, job.main(job.DoctorSettings(), console))


@verb
def scan(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A .jsonl or .parquet file of conversations, or bilingual."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="identity, cutoff, refusal or personal: drop its rows."),
    ] = None,
    rewrite: Annotated[list[str] | None, typer.Option(metavar="KIND", help="Mend its rows instead.")] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="KIND", help="Count it and do nothing.")] = None,
    name: Annotated[str, typer.Option(help="The student's own name, which it may say.")] = "",
    maker: Annotated[str, typer.Option(help="Who makes the student.")] = "",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write the rows that may be learnt.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the findings, the counts and the diff.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Findings of each kind to show.")] = 3,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Measure the rules on the labelled sentences instead.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="With --labelled: list what the rules get wrong.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """What is in data that shouldn't be learnt: others' names, cut-off dates, refusals, personal data."""
    from rich.console import Console

    from shoestring.errors import BadInput
    from shoestring.jobs import scan as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    if labelled:
        from shoestring.jobs import scan_figures

        write_json(json_file, scan_figures.measure(console, show))
        return
    if data is None:
        raise BadInput("scan: name a file of conversations, or --labelled")
    actions = job.actions_of({"drop": drop or [], "rewrite": rewrite or [], "keep": keep or []})
    values = {"data": data, "samples": samples, "scan": {**actions, "name": name, "maker": maker}}
    values |= {key: place for key, place in (("output", output), ("report", report)) if place is not None}
    write_json(json_file, job.main(build(job.ScanJobSettings, values, "scan"), console))


@verb
def plan(
    target: Annotated[str, typer.Argument(metavar="RECIPE|PRESET", help="A recipe, v3-671b, or a preset.")],
    hardware: Annotated[
        str, typer.Option(metavar="NAME", help="A chip of the table; this machine by default.")
    ] = "",
    hardware_file: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Chips of your own, [chip.NAME] tables.")
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
