"""The verbs that talk to models and look at runs."""

from typing import Annotated

import typer

from shoestring.cli.app import Device, Dtype, JsonFile, Model, Quantize, verb, write_json
from shoestring.errors import BadInput


@verb
def chat(
    model: Model,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    max_tokens: Annotated[int, typer.Option(help="A reply is cut here.")] = 1024,
    temperature: Annotated[
        float | None, typer.Option(help="0: greedy. Else the model's own, or 0.6.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Else the model's own, or 0.95.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    device: Device = "cpu",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
) -> None:
    """Talk to a model in the terminal."""
    from shoestring.jobs import chat as job
    from shoestring.settings import build

    values = {"model": model, "system": system, "max_tokens": max_tokens, "temperature": temperature}
    values |= {"top_p": top_p, "seed": seed, "device": device, "dtype": dtype}
    values |= {"quantize": quantize}
    job.main(build(job.ChatSettings, values, "chat"))


@verb
def show(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A model, preset, run, suite or data file.")
    ],
    mask: Annotated[bool, typer.Option("--mask", help="Show which tokens of its rows are trained.")] = False,
    model: Annotated[str, typer.Option(help="Whose tokenizer and template --mask uses.")] = "smollm2-135m",
    n: Annotated[int | None, typer.Option("-n", "--n", help="How many rows, examples or rollouts.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    rollouts: Annotated[bool, typer.Option("--rollouts", help="Read what a run's model wrote.")] = False,
    stage: Annotated[str | None, typer.Option(help="Rollouts of this stage.")] = None,
    step: Annotated[str | None, typer.Option(metavar="N|A:B", help="Of this step or these.")] = None,
    problem: Annotated[str | None, typer.Option(help="Of this problem: its id or a piece of it.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Whose prompt has this text.")] = None,
    verdict: Annotated[
        str | None, typer.Option(help="right, wrong, unparsed, timeout, error or cut.")
    ] = None,
    live: Annotated[bool | None, typer.Option("--live/--dead", help="Groups with a difference.")] = None,
    sort: Annotated[str | None, typer.Option(help="reward, length or advantage, largest first.")] = None,
    since: Annotated[int | None, typer.Option(metavar="STEP", help="What changed since.")] = None,
    cost: Annotated[bool, typer.Option("--cost", help="What a run cost, or all runs of a folder.")] = False,
    json_file: JsonFile = None,
) -> None:
    """What a model or preset is, what a run did and wrote, what a suite asks, what of a row is trained."""
    from rich.console import Console

    from shoestring.settings import build

    console = Console(stderr=json_file == "-", highlight=False, soft_wrap=True)
    filters = {"stage": stage, "step": step, "problem": problem, "prompt": prompt, "verdict": verdict}
    filters |= {"live": live, "sort": sort, "since": since}
    given = {name: value for name, value in filters.items() if value is not None}
    counted = {} if n is None else {"n": n}
    if rollouts:
        from shoestring.jobs import show_rollouts

        settings = build(show_rollouts.ShowRolloutsSettings, {"run": target, **given, **counted}, "show")
        write_json(json_file, show_rollouts.main(settings, console))
        return
    if cost:
        from pathlib import Path

        from shoestring.jobs.show_cost import show_cost

        write_json(json_file, show_cost(Path(target), console))
        return
    if given:
        raise BadInput(f"--{next(iter(given))} chooses among rollouts: add --rollouts")
    from shoestring.jobs import show as job

    values = {"target": target, "mask": mask, "model": model, "seed": seed, **counted}
    write_json(json_file, job.main(build(job.ShowSettings, values, "show"), console))
