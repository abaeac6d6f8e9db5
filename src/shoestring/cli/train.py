"""The verbs that make models: a recipe, or one of its jobs alone."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.app import (
    ClusterAt,
    JsonFile,
    OutputDir,
    RanksGiven,
    Resume,
    Set,
    WorkersGiven,
    verb,
    write_json,
)
from shoestring.errors import BadInput


@verb
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's .toml file.")],
    set_: Set = [],  # noqa: B006
    scale: Annotated[
        str, typer.Option(help="full, or small: every stage in seconds, mechanics only.")
    ] = "full",
    output_dir: OutputDir = None,
    resume: Resume = False,
    json_file: JsonFile = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, for every stage.")] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also with random, shuffled and format-only rewards.")
    ] = False,
    budget: Annotated[
        str, typer.Option(metavar="2h|5usd|1kWh", help="Stop in order, saved, when this is used up.")
    ] = "",
    cluster: ClusterAt = None,
    workers: WorkersGiven = [],  # noqa: B006
    ranks: RanksGiven = [],  # noqa: B006
) -> None:
    """Run a recipe: every stage in order, each resumable, then the report."""
    from rich.console import Console

    from shoestring.jobs.clustered import read_cluster, read_ranks
    from shoestring.jobs.recipe import run as run_recipe
    from shoestring.jobs.show import run_summary
    from shoestring.settings import parse_assignments

    if scale not in ("full", "small"):
        raise BadInput(f"--scale {scale}: full or small")
    console = Console(stderr=json_file == "-")
    changes = parse_assignments(set_) | ({"recipe.device": device} if device else {})
    size = "small" if scale == "small" else "full"
    where = read_ranks(ranks, cluster) or read_cluster(cluster, workers)
    more = {"controls": controls, "budget": budget, "cluster": where}
    report = run_recipe(recipe, output_dir, changes, resume, size, console, **more)
    write_json(json_file, run_summary(report.folder))


def one_stage(name: str, does: str) -> None:
    """The verb of a recipe's job run alone."""

    def command(
        settings: Annotated[Path, typer.Argument(metavar="SETTINGS.toml")],
        set_: Set = [],  # noqa: B006
        output_dir: OutputDir = None,
        resume: Resume = False,
        json_file: JsonFile = None,
        cluster: ClusterAt = None,
        workers: WorkersGiven = [],  # noqa: B006
        ranks: RanksGiven = [],  # noqa: B006
    ) -> None:
        from shoestring.jobs.clustered import main_on, read_cluster, read_ranks
        from shoestring.jobs.job_table import JOBS
        from shoestring.jobs.one_stage import run_one

        job = JOBS[name]()
        main = main_on(read_ranks(ranks, cluster) or read_cluster(cluster, workers), job, name)
        write_json(json_file, run_one(job.settings, main, settings, set_, output_dir, resume))

    command.__name__, command.__doc__ = name, f"{does}: one stage."
    verb(command)


one_stage("tokenizer", "Learn a tokenizer from a corpus")
one_stage("pretrain", "Train a network from nothing, or go on with one")
one_stage("sft", "Train on worked solutions or conversations")
one_stage("sample", "Rejection sampling: a model's own right and readable replies as rows for sft")
one_stage("grpo", "Reinforcement learning on problems that can be checked")
one_stage("reward", "Train a reward model on pairs or labels of replies")


WAYS = ("outputs", "distribution", "on-policy")


@verb
def distill(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS.toml")],
    way: Annotated[str, typer.Option("--from", help="outputs, distribution or on-policy.")] = "outputs",
    permission: Annotated[
        str | None, typer.Option(metavar="TEXT|FILE", help="A teacher's written one, kept with the rows.")
    ] = None,
    set_: Set = [],  # noqa: B006
    output_dir: OutputDir = None,
    resume: Resume = False,
    json_file: JsonFile = None,
) -> None:
    """Learn from a teacher: rows of its outputs, its distribution, or its word on one's own samples."""
    from shoestring.jobs.job_table import JOBS
    from shoestring.jobs.one_stage import run_one

    if way not in WAYS:
        raise BadInput(f"--from {way}: {', '.join(WAYS[:-1])} or {WAYS[-1]}")
    job = JOBS[f"distill-{way}"]()
    given = [] if permission is None else [f"permission={permission}"]
    write_json(json_file, run_one(job.settings, job.main, settings, [*set_, *given], output_dir, resume))
