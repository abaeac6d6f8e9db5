"""The verb that scores models, and looks again at scores that were kept."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shoestring.cli.app import (
    ClusterAt,
    Device,
    Dtype,
    JsonFile,
    OutputDir,
    Quantize,
    Resume,
    WorkersGiven,
    verb,
    write_json,
)
from shoestring.errors import BadInput

MODEL_HELP = "A name, folder, .gguf file, run or stage, or http://host:8000/v1#name."


@verb
def eval(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=MODEL_HELP)] = None,
    suite: Annotated[
        list[str],
        typer.Option(help="sums, sums:max_terms=4, gym:NAME, gsm8k:FILE or a .jsonl file; may be repeated."),
    ] = [],  # noqa: B006
    n: Annotated[
        int | None, typer.Option("-n", "--n", help="Held-out problems; 256, or all of a file.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", "--k", help="Replies to each; 1, or the protocol's.")] = None,
    effect: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Choose n to show a difference of so many points.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="A published way of asking: deepseek.")] = "",
    seed: Annotated[int, typer.Option()] = 0,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy, and the default.")] = None,
    top_p: Annotated[float | None, typer.Option(help="1 unless the protocol says otherwise.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="A reply is cut here: 256, or the protocol's.")
    ] = None,
    few_shot: Annotated[int, typer.Option(help="Worked examples before the question.")] = 0,
    few_shot_style: Annotated[str, typer.Option(help="Examples' answer alone, or reasoning.")] = "answer",
    lenient: Annotated[bool, typer.Option(help="Grant what a kind reader would.")] = False,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    tools: Annotated[
        list[str], typer.Option(help="calculator or python, which replies may call; may be repeated.")
    ] = [],  # noqa: B006
    max_tool_calls: Annotated[int, typer.Option(help="In one reply.")] = 4,
    against: Annotated[
        list[str],
        typer.Option(metavar="FILE|DIR", help="Training texts to look for the problems in; may be repeated."),
    ] = [],  # noqa: B006
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Ask after each answer how sure the model is of it.")
    ] = False,
    server: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE",
            help="A server's: key_env, concurrency, price_in, price_out, ...; may be repeated.",
        ),
    ] = [],  # noqa: B006
    price: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE", help="This machine's: watts, usd_per_kwh, usd_per_hour; may be repeated."
        ),
    ] = [],  # noqa: B006
    items: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Keep every reply.")] = None,
    output_dir: OutputDir = None,
    resume: Resume = False,
    rescore: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE", help="Judge kept replies again, without a model.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A B", help="Two kept evaluations: is A better?")
    ] = None,
    json_file: JsonFile = None,
    device: Device = "cpu",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    cluster: ClusterAt = None,
    workers: WorkersGiven = [],  # noqa: B006
) -> None:
    """Score a model on held-out problems, with a 95 % interval and a receipt."""
    from shoestring.jobs import evaluate_verb as job
    from shoestring.jobs.clustered import read_cluster
    from shoestring.settings import parse_assignments

    if sum(given is not None for given in (model, rescore, compare)) != 1:
        raise BadInput("eval takes a MODEL with --suite, or --rescore FOLDER, or --compare A B")
    aloud = job.Aloud(json_file == "-")
    if rescore is not None:
        if len(suite) > 1:
            raise BadInput("--rescore takes one --suite, where the suite's file lies now")
        write_json(json_file, job.rescored(rescore, k, suite[0] if suite else None, aloud))
        return
    if compare is not None:
        write_json(json_file, job.compared(compare[0], compare[1], aloud))
        return
    if not suite:
        raise BadInput(
            "eval needs --suite: a task such as sums, a benchmark such as gsm8k:FILE.jsonl, or a file"
        )
    given: dict[str, Any] = {"n": n, "k": k, "effect": effect, "system": system, "quantize": quantize}
    given |= {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    values = {name: value for name, value in given.items() if value is not None}
    values |= {"suites": suite, "protocol": protocol, "seed": seed, "few_shot": few_shot, "tools": tools}
    values |= {"few_shot_style": few_shot_style, "lenient": lenient, "max_tool_calls": max_tool_calls}
    values |= {"against": against, "device": device, "dtype": dtype, "confidence": confidence}
    stated = job.Stated(parse_assignments(server), parse_assignments(price))
    kept = output_dir, resume, items
    clustered = read_cluster(cluster, workers)
    write_json(json_file, job.scored(str(model), values, stated, *kept, aloud, clustered))
