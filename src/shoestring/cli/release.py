"""The verbs that give a model to others and check what was given."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.app import JsonFile, Model, verb, write_json

Transformers = Annotated[
    str | None, typer.Option(metavar="PYTHON", help="A Python that has transformers; else this one.")
]
LlamaCpp = Annotated[
    str | None,
    typer.Option("--llama-cpp", metavar="PROGRAM", help="llama-server or a Python with xllamacpp."),
]

Base = Annotated[str | None, typer.Option(metavar="MODEL", help="What it was trained from.")]
Tokens = Annotated[int, typer.Option(help="Tokens that the proof makes after each prompt.")]
Threads = Annotated[int, typer.Option(help="Of llama.cpp; more pay where nothing else runs.")]


@verb
def export(
    model: Model,
    format: Annotated[str, typer.Option(help="hf, a folder; gguf, a file for llama.cpp.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="A folder that isn't there yet.")],
    type: Annotated[str | None, typer.Option(help="Of a GGUF file: f32, f16, bf16, q8_0 or q4_0.")] = None,
    base: Base = None,
    tokens: Tokens = 16,
    transformers: Transformers = None,
    llama_cpp: LlamaCpp = None,
    threads: Threads = 1,
    json_file: JsonFile = None,
) -> None:
    """Write a model for others, and prove that what was written is the model."""
    from rich.console import Console

    from shoestring.jobs import export as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"model": model, "format": format, "output": output, "type": type, "base": base}
    values |= {"tokens": tokens, "transformers": transformers, "llama_cpp": llama_cpp, "threads": threads}
    write_json(json_file, job.main(build(job.ExportSettings, values, "export"), console))


@verb
def release(
    model: Model,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="A folder that isn't there yet.")],
    format: Annotated[list[str], typer.Option(help="hf or gguf; may be repeated.")] = ["hf", "gguf"],  # noqa: B006
    type: Annotated[str | None, typer.Option(help="Of the GGUF file: f32, f16, bf16, q8_0 or q4_0.")] = None,
    name: Annotated[str, typer.Option(help="What it is called from now on.")] = "",
    licence: Annotated[str, typer.Option(metavar="SPDX", help="Of the model; else its base's.")] = "",
    base: Base = None,
    evals: Annotated[
        list[Path],
        typer.Option("--eval", metavar="DIR", help="An evaluation made apart from its run."),
    ] = [],  # noqa: B006
    audits: Annotated[
        list[Path], typer.Option("--audit", metavar="DIR", help="An audit made apart from its run.")
    ] = [],  # noqa: B006
    override: Annotated[
        list[str], typer.Option(metavar='GATE="REASON"', help="Release though this gate is closed.")
    ] = [],  # noqa: B006
    tokens: Tokens = 16,
    transformers: Transformers = None,
    llama_cpp: LlamaCpp = None,
    threads: Threads = 1,
    json_file: JsonFile = None,
) -> None:
    """Gather exports, proofs, card, evaluations, audits and bill, if every gate is open."""
    from rich.console import Console

    from shoestring.jobs import release as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"model": model, "output": output, "format": format, "type": type, "name": name, "base": base}
    values |= {"licence": licence, "evals": evals, "audits": audits, "override": override, "tokens": tokens}
    values |= {"transformers": transformers, "llama_cpp": llama_cpp, "threads": threads}
    write_json(json_file, job.main(build(job.ReleaseSettings, values, "release"), console))


@verb
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An export or a release.")],
    rerun: Annotated[bool, typer.Option("--rerun", help="Make the proof again.")] = False,
    transformers: Transformers = None,
    llama_cpp: LlamaCpp = None,
    threads: Threads = 1,
    json_file: JsonFile = None,
) -> None:
    """Check what somebody gave you: hashes, proofs, receipts."""
    from rich.console import Console

    from shoestring.jobs import verify as job
    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"folder": folder, "rerun": rerun, "threads": threads}
    values |= {"transformers": transformers, "llama_cpp": llama_cpp}
    write_json(json_file, job.main(build(job.VerifySettings, values, "verify"), console))
