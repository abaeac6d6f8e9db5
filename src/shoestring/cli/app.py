"""What the verbs share: the app, their common options, and failures as one line."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from shoestring.errors import BadInput, Interrupted, ShoestringError

app = typer.Typer(
    name="shoestring",
    help="Take a real base model, make it reason measurably better, see the proof and the bill.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OUT_OF_MEMORY = (
    "out of memory: the model and what it works on don't fit beside what else runs here; end that, or take a "
    "smaller model or smaller batches"
)
F = TypeVar("F", bound=Callable[..., None])
Set = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
OutputDir = Annotated[Path | None, typer.Option("--output-dir", metavar="DIR", help="Where the results go.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the output folder stops.")]
JsonFile = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON ('-': to stdout).")
]
ClusterAt = Annotated[
    str | None, typer.Option("--cluster", metavar="ADDRESS|local", help="On a Ray cluster; docs/cluster.md.")
]
RanksGiven = Annotated[
    list[str],
    typer.Option(
        "--ranks", metavar="KEY=VALUE", help="Under torchrun: expert, recompute, ...; may be repeated."
    ),
]
WorkersGiven = Annotated[
    list[str],
    typer.Option(
        "--workers", metavar="KEY=VALUE", help="Of the cluster: generators, trainers, ...; may be repeated."
    ),
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Quantize = Annotated[
    str | None, typer.Option(help="int8, int4 or, as a .gguf has them, file: weights in few bits, to serve.")
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A name, folder, .gguf file, run or stage.")]


def verb(function: F) -> F:
    """A command whose failures are one line and whose exit code says which kind: 1, 2 or 130."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except ShoestringError as error:
            kind = "" if isinstance(error, Interrupted) else "error: "
            print(kind + " ".join(str(error).split()), file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(Interrupted.exit_code) from None
        except (RuntimeError, MemoryError) as error:  # OutOfMemoryError of torch is a RuntimeError
            from shoestring.ops.memory import ran_out

            if not ran_out(error):
                raise
            print(f"error: {OUT_OF_MEMORY}", file=sys.stderr)
            raise typer.Exit(ShoestringError.exit_code) from None

    app.command()(guarded)
    return function


def check_json(target: str | None) -> None:
    """For verbs that work for minutes: said before, not after. Raises BadInput."""
    if target not in (None, "-") and not Path(target).parent.is_dir():
        raise BadInput(f"--json {target}: no such folder {Path(target).parent}")


def write_json(target: str | None, values: Any) -> None:
    if target is None:
        return
    text = json.dumps(values, indent=2, ensure_ascii=False)
    if target == "-":
        print(text)
        return
    from shoestring.run import write_atomic

    check_json(target)
    write_atomic(Path(target), text + "\n")
