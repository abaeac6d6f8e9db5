"""The verbs beside models: fetching the base, the verifier's errors, this machine."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.app import JsonFile, verb, write_json


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
def export_task(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="sums:max_terms=4, gym:NAME, FILE.jsonl.")],
    harness: Annotated[str, typer.Option("--for", metavar="HARNESS", help="lm-eval or inspect.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", metavar="DIR", help="A new folder.")],
    n: Annotated[int, typer.Option("-n", "--n", help="Held-out problems.")] = 256,
    seed: Annotated[int, typer.Option()] = 0,
    max_tokens: Annotated[int, typer.Option(help="A reply is cut here.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    json_file: JsonFile = None,
) -> None:
    """Write a suite as a task that lm-eval or inspect-ai runs: the same problems, prompts and scorer."""
    from rich.console import Console

    from shoestring.jobs import export_task as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"suite": suite, "harness": harness, "output_dir": output_dir, "n": n, "seed": seed}
    values |= {"max_tokens": max_tokens, "temperature": temperature}
    write_json(json_file, job.main(build(job.ExportTaskSettings, values, "export-task"), console))
