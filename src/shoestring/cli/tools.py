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
