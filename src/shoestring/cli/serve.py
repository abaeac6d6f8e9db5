"""The verbs around a server: serving models, and checking any server that says it is OpenAI's kind."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.cli.app import Device, Dtype, JsonFile, Quantize, Set, verb, write_json
from shoestring.errors import BadInput


@verb
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="A name, folder, .gguf file, run or stage, or NAME=one."),
    ] = None,
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="Others than this machine need a key.")] = "127.0.0.1",
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Hashed keys and their limits.")
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print a new key and its lines for --keys; serve nothing."),
    ] = None,
    set: Set = [],  # noqa: B006
    device: Device = "cpu",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
) -> None:
    """The OpenAI-compatible API and the chat page, on this machine. SHOESTRING_API_KEY sets a key."""
    from shoestring.settings import build, parse_assignments

    if new_key is not None:
        from shoestring.serve.keys import new_key as make

        key, lines = make(new_key)
        print(f"the key, shown this once: {key}", file=sys.stderr)
        print(lines, end="")
        return
    if not models:
        raise BadInput("name a model to serve, such as smollm2-135m")
    try:
        from shoestring.jobs import serve as job
    except ModuleNotFoundError as error:
        raise BadInput(
            f"serving needs the extra 'serve' ({error.name} is missing): pip install 'shoestring[serve]'"
        ) from None
    from shoestring.serve.settings import ServeSettings

    values: dict[str, Any] = {"models": models, "port": port, "host": host, "device": device, "dtype": dtype}
    values |= {"quantize": quantize}
    values |= ({"keys": keys} if keys is not None else {}) | parse_assignments(set)
    job.main(build(ServeSettings, values, "serve"), os.environ.get("SHOESTRING_API_KEY", ""))


@verb
def bench(
    what: Annotated[str, typer.Argument(metavar="conformance", help="What to check.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="http://HOST:PORT/v1")],
    model: Annotated[str, typer.Option(help="Its name there; the first that it lists.")] = "",
    only: Annotated[
        list[str], typer.Option(metavar="NAME", help="These checks alone; may be repeated.")
    ] = [],  # noqa: B006
    timeout: Annotated[float, typer.Option(help="Seconds that one reply may take.")] = 120,
    json_file: JsonFile = None,
) -> None:
    """How a server for reasoning models keeps to the API: one line a check. OPENAI_API_KEY is its key."""
    from rich.console import Console

    from shoestring.jobs import conformance as job
    from shoestring.settings import build

    if what != "conformance":
        raise BadInput(f"bench {what}: there is conformance")
    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    values = {"url": url, "model": model, "only": only, "timeout": timeout}
    found = job.main(
        build(job.ConformanceSettings, values, "bench"), console, os.environ.get("OPENAI_API_KEY", "")
    )
    write_json(json_file, found)
