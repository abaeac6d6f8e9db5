"""The verb that audits: where rows or a model came from, who a model says it is, whom it refuses."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.app import Device, Dtype, JsonFile, OutputDir, check_json, verb, write_json
from shoestring.errors import BadInput


@verb
def audit(
    target: Annotated[
        str | None, typer.Argument(metavar="DATA|MODEL", help="Rows, a stage of some, a model, a server.")
    ] = None,
    only: Annotated[
        list[str],
        typer.Option(
            metavar="PARTS", help="provenance, identity, refusal, regression, confidence: a,b or again."
        ),
    ] = [],  # noqa: B006
    against: Annotated[str, typer.Option(metavar="MODEL", help="Ask this one the same and compare.")] = "",
    n: Annotated[int, typer.Option("-n", "--n", min=0, help="Probes of each part; 0: all.")] = 0,
    seed: Annotated[int, typer.Option()] = 0,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="A reply is cut here.")] = 96,
    own: Annotated[list[str], typer.Option(metavar="NAME", help="A maker that it may name.")] = [],  # noqa: B006
    output_dir: OutputDir = None,
    row: Annotated[str, typer.Option(metavar="ID", help="The history of this row.")] = "",
    source: Annotated[str, typer.Option(help="Declare where the file or folder was taken from.")] = "",
    licence: Annotated[str, typer.Option(metavar="SPDX", help="Declare its licence.")] = "",
    teacher: Annotated[str, typer.Option(metavar="MODEL", help="Declare the model that wrote it.")] = "",
    teacher_licence: Annotated[str, typer.Option(metavar="SPDX", help="Declare that model's licence.")] = "",
    permission: Annotated[
        str, typer.Option(metavar="TEXT|FILE", help="Declare a permission in writing to train on it.")
    ] = "",
    labelled: Annotated[bool, typer.Option("--labelled", help="Measure the readers' error instead.")] = False,
    show: Annotated[bool, typer.Option("--show", help="With --labelled: list what they get wrong.")] = False,
    json_file: JsonFile = None,
    device: Device = "cpu",
    dtype: Dtype = "auto",
) -> None:
    """Where rows or a model came from; and of a model who it says made it, whom it refuses, whether it
    chats."""
    from rich.console import Console

    from shoestring.jobs import audit_show, provenance
    from shoestring.settings import build

    check_json(json_file)
    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    if labelled:
        write_json(json_file, audit_show.show_errors(console, show))
        return
    if target is None:
        raise BadInput("audit: name a model or a file of rows, or --labelled")
    said = {"source": source, "licence": licence, "teacher": teacher, "teacher_licence": teacher_licence}
    said |= {"permission": permission}
    given = {name: value for name, value in said.items() if value}
    if given and not (source and licence):
        raise BadInput('a declaration needs --source and --licence ("unknown" where nobody says)')
    asked = audit_show.parts_asked(only)
    server = target.startswith(("http://", "https://"))
    found = {}
    if not server and ("provenance" in asked or given or row):
        values = {"target": target, "row": row, "declaration": given or None}
        found = provenance.main(build(provenance.ProvenanceSettings, values, "audit"), console)
        if row or given or "model" not in found:  # rows, or texts: there is nobody to ask
            write_json(json_file, found)
            return
    parts = tuple(part for part in asked if part != "provenance")
    if parts:
        from shoestring.jobs import audit as job
        from shoestring.run import Stage

        values = {"model": target, "against": against, "only": parts, "n": n, "seed": seed, "own": own}
        values |= {"temperature": temperature, "max_tokens": max_tokens, "device": device, "dtype": dtype}
        settings = build(job.AuditSettings, values, "audit")
        folder = output_dir or job.folder_for(settings)
        with (
            tempfile.TemporaryDirectory() as work,
            Stage(Path(work), "audit", Console(stderr=True)) as stage,
        ):
            done = job.audit(settings, stage, folder)
        job.keep(done, folder)
        audit_show.show_audit(done, settings.limits, folder, console)
        found |= {"audit": done.values}
    write_json(json_file, found)
