"""The verb that re-tests what was claimed."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.app import JsonFile, OutputDir, verb, write_json


@verb
def claims(
    scale: Annotated[
        str, typer.Option(help="laptop: run what is missing; small: mechanics only; else read what there is.")
    ] = "",
    anew: Annotated[
        bool, typer.Option("--anew", help="With laptop: also what a committed result answers.")
    ] = False,
    only: Annotated[list[str], typer.Option(metavar="NAME", help="This claim; may be repeated.")] = [],  # noqa: B006
    output_dir: OutputDir = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write the page there too, and its HTML beside it.")
    ] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Claims; ours by default.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="What there is to test, and no more.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Each published claim as a small experiment: holds here, does not hold here, or can't tell."""
    from rich.console import Console

    from shoestring.jobs import claims as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False)
    given = {"scale": scale, "anew": anew, "only": only, "output_dir": output_dir, "page": page, "file": file}
    values = {name: value for name, value in given.items() if value}
    settings = build(job.ClaimsSettings, values, "claims")
    write_json(json_file, job.listed(settings, console) if list_ else job.main(settings, console))
