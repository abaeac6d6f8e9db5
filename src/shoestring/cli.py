"""The verbs. Each imports its one job when it is called, so that `shoestring --help` is there at once."""

import functools
import json
import sys
import tempfile
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

F = TypeVar("F", bound=Callable[..., None])
Set = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
OutputDir = Annotated[Path | None, typer.Option("--output-dir", metavar="DIR", help="Where the results go.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the output folder stops.")]
JsonFile = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON ('-': to stdout).")
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
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

    app.command()(guarded)
    return function


def main() -> None:
    app()


def write_json(target: str | None, values: Any) -> None:
    if target is None:
        return
    text = json.dumps(values, indent=2, ensure_ascii=False)
    if target == "-":
        print(text)
        return
    from shoestring.run import write_atomic

    if not Path(target).parent.is_dir():
        raise BadInput(f"--json {target}: no such folder {Path(target).parent}")
    write_atomic(Path(target), text + "\n")


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
) -> None:
    """Run a recipe: every stage in order, each resumable, then the report."""
    from rich.console import Console

    from shoestring.jobs.recipe import run as run_recipe
    from shoestring.jobs.show import run_summary
    from shoestring.settings import parse_assignments

    if scale not in ("full", "small"):
        raise BadInput(f"--scale {scale}: full or small")
    console = Console(stderr=json_file == "-")
    changes = parse_assignments(set_) | ({"recipe.device": device} if device else {})
    size = "small" if scale == "small" else "full"
    report = run_recipe(recipe, output_dir, changes, resume, size, console, controls=controls)
    write_json(json_file, run_summary(report.folder))


def one_stage(name: str, does: str) -> None:
    """The verb of a recipe's job run alone."""

    def command(
        settings: Annotated[Path, typer.Argument(metavar="SETTINGS.toml")],
        set_: Set = [],  # noqa: B006
        output_dir: OutputDir = None,
        resume: Resume = False,
        json_file: JsonFile = None,
    ) -> None:
        from shoestring.jobs.one_stage import run_one
        from shoestring.jobs.recipe import JOBS

        job = JOBS[name]()
        write_json(json_file, run_one(job.settings, job.main, settings, set_, output_dir, resume))

    command.__name__, command.__doc__ = name, f"{does}: one stage."
    verb(command)


one_stage("tokenizer", "Learn a tokenizer from a corpus")
one_stage("pretrain", "Train a network from nothing, or go on with one")
one_stage("sft", "Train on worked solutions or conversations")
one_stage("sample", "Rejection sampling: a model's own right and readable replies as rows for sft")
one_stage("grpo", "Reinforcement learning on problems that can be checked")
one_stage("reward", "Train a reward model on pairs or labels of replies")


@verb
def eval(
    model: Model,
    suite: Annotated[str, typer.Option(help="sums, sums:max_terms=4, gym:NAME or a .jsonl file.")],
    n: Annotated[int, typer.Option("-n", "--n", help="Held-out problems.")] = 256,
    k: Annotated[int, typer.Option("-k", "--k", help="Replies to each.")] = 1,
    seed: Annotated[int, typer.Option()] = 0,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="A reply is cut here.")] = 256,
    few_shot: Annotated[int, typer.Option(help="Worked examples before the question.")] = 0,
    few_shot_style: Annotated[str, typer.Option(help="Examples' answer alone, or reasoning.")] = "answer",
    lenient: Annotated[bool, typer.Option(help="Grant what a kind reader would.")] = False,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    tools: Annotated[
        list[str], typer.Option(help="calculator or python, which replies may call; may be repeated.")
    ] = [],  # noqa: B006
    max_tool_calls: Annotated[int, typer.Option(help="In one reply.")] = 4,
    items: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Keep every reply.")] = None,
    json_file: JsonFile = None,
    device: Device = "cpu",
    dtype: Dtype = "auto",
) -> None:
    """Score a model on held-out problems, with a 95 % interval."""
    from rich.console import Console

    from shoestring.evals.evaluate import evaluate
    from shoestring.lm import load
    from shoestring.run import Stage, saving
    from shoestring.tasks.suite import parse_suite
    from shoestring.tasks.tools import tool_names

    wanted, may_call = parse_suite(suite), tool_names(tools)
    if few_shot_style not in ("answer", "reasoning"):
        raise BadInput(f"--few-shot-style {few_shot_style}: answer or reasoning")
    lm = load(model, dtype=dtype, device=device)
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder), "eval", Console(stderr=True)) as stage:
        result = evaluate(
            lm,
            wanted,
            n=n,
            k=k,
            seed=seed,
            temperature=temperature,
            max_tokens=max_tokens,
            few_shot=few_shot,
            lenient=lenient,
            system=system,
            stage=stage,
            few_shot_style="reasoning" if few_shot_style == "reasoning" else "answer",
            tools=may_call,
            max_tool_calls=max_tool_calls,
        )
    print(
        f"{lm.name}, {result.line()}\n{result.shape.line()}",
        file=sys.stderr if json_file == "-" else sys.stdout,
    )
    if items is not None:
        with saving(items):
            result.save_items(items)
    write_json(json_file, result.to_json())


@verb
def chat(
    model: Model,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    max_tokens: Annotated[int, typer.Option(help="A reply is cut here.")] = 1024,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.6,
    top_p: Annotated[float, typer.Option()] = 0.95,
    seed: Annotated[int, typer.Option()] = 0,
    device: Device = "cpu",
    dtype: Dtype = "auto",
) -> None:
    """Talk to a model in the terminal."""
    from shoestring.jobs import chat as job
    from shoestring.settings import build

    values = {"model": model, "system": system, "max_tokens": max_tokens, "temperature": temperature}
    values |= {"top_p": top_p, "seed": seed, "device": device, "dtype": dtype}
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
    if given:
        raise BadInput(f"--{next(iter(given))} chooses among rollouts: add --rollouts")
    from shoestring.jobs import show as job

    values = {"target": target, "mask": mask, "model": model, "seed": seed, **counted}
    write_json(json_file, job.main(build(job.ShowSettings, values, "show"), console))


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


if __name__ == "__main__":
    main()
