"""What `shoestring eval` does: a model on suites, kept replies judged again, two evaluations compared."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from shoestring.errors import BadInput, Interrupted
from shoestring.evals.compare import Compared, Flipped, compare_all
from shoestring.evals.kept import read_kept
from shoestring.evals.rescore import Rescored, rescore
from shoestring.evals.statistics import Estimate, bootstrap_families, widened
from shoestring.jobs import evaluate as job
from shoestring.jobs.clustered import Clustered, places_of
from shoestring.jobs.evaluate_server import REPLIES, is_server
from shoestring.jobs.evaluate_settings import EvaluateSettings
from shoestring.run import Stage, held, saving
from shoestring.settings import build
from shoestring.tasks.judge import Judge

SHOWN = 8  # changed verdicts and flipped problems that are printed; the JSON has all
CHARS = 240  # of a text that is printed


@dataclass(frozen=True)
class Stated:
    """By the user: a server's settings, this machine's prices."""

    server: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Aloud:
    """Where lines go: to stdout, unless that is for JSON."""

    json_on_stdout: bool

    def __call__(self, text: str) -> None:
        print(text, file=sys.stderr if self.json_on_stdout else sys.stdout)


def scored(
    model: str,
    values: Mapping[str, Any],
    stated: Stated,
    output_dir: Path | None,
    resume: bool,
    items: Path | None,
    aloud: Aloud,
    cluster: Clustered | None = None,
) -> dict[str, Any]:
    """The evaluation's result: of one suite its own, of several all under "evals". Without `output_dir` only
    `items` are kept; of a server, whose replies may be paid for, all is kept in runs/eval-NAME-SUITE."""
    label = Path(model).resolve().name if Path(model).exists() else model.partition("#")[2] or model
    given = {"models": {label: model}, "prices": stated.prices, **values}
    given |= {"servers": {label: stated.server}} if stated.server else {}
    settings = build(EvaluateSettings, given, "eval")
    job.plan(settings)
    if is_server(model):
        output_dir = output_dir or Path("runs") / slug(f"eval-{label}-{'-'.join(settings.suites)}")
        if not resume and any((output_dir / "evals" / REPLIES).glob("*/*.jsonl")):
            raise BadInput(
                f"{output_dir} holds an earlier eval's replies: add --resume, or choose another --output-dir"
            )
    if items is not None and len(settings.suites) > 1:
        raise BadInput("--items is one suite's file: with several use --output-dir")
    said: list[str] = []
    with _folder(output_dir) as folder, held(folder / ".lock", wait=False) as mine:
        if not mine:
            raise BadInput(f"{folder}: another process is at work in it; choose another --output-dir")
        try:
            with (
                places_of(cluster, Console(stderr=True)) as places,
                Stage(folder, "eval", Console(stderr=True), resume) as stage,
                places.of(stage) as handles,
            ):
                result = job.main(settings, stage, handles, said.append)
                stage.finish(result)
        except Interrupted as stopped:
            then = (
                "nothing of it is kept: --output-dir would" if output_dir is None else "go on with --resume"
            )
            raise Interrupted(f"{stopped}; {then}") from None
        if len(settings.suites) > 1:
            mean = _mean([kept.marks for kept in read_kept(folder)])
            result |= {"mean": [mean.value, mean.ci95.low, mean.ci95.high]}
            said.append(f"{label}: mean of {len(settings.suites)} suites, each weighing alike: {mean}")
        if items is not None:
            with saving(items):
                shutil.copyfile(folder / "evals" / result["evals"][0]["rows"], items)
    for line in said:
        aloud(line)
    if output_dir is not None:
        aloud(
            f"kept in {output_dir}: shoestring eval --rescore {output_dir}, or --compare {output_dir} OTHER"
        )
    return result["evals"][0] if len(settings.suites) == 1 else result


def slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=]+", "-", text).strip("-")[:120]


def _mean(suites: Sequence[Mapping[str, float]]) -> Estimate:
    """Over suites, each weighing alike; problems are drawn again within each."""
    marks = [np.array([[*several.values()]]) for several in suites]
    value = float(np.mean([own.mean() for own in marks]))
    interval, _ = bootstrap_families(marks, seed=0)
    return Estimate(value, widened(interval, value, sum(own.size for own in marks)))


@contextmanager
def _folder(output_dir: Path | None) -> Iterator[Path]:
    if output_dir is not None:
        with saving(output_dir):
            output_dir.mkdir(parents=True, exist_ok=True)
        yield output_dir
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def rescored(path: Path, k: int | None, suite: str | None, aloud: Aloud) -> dict[str, Any]:
    """Every kept evaluation there, judged as the scorers judge today. Nothing kept is changed."""
    kept = read_kept(path)
    if suite is not None and len(kept) > 1:
        raise BadInput(f"{path} has {len(kept)} evaluations: name one's JSON file with --suite")
    with Judge() as judge:
        found = [rescore(one, judge, k, suite) for one in kept]
    for one in found:
        for line in _rescored_lines(one):
            aloud(line)
    return {
        "rescored": [
            {**one.result.to_json(), "model": one.kept.label, "changed": [c.to_json() for c in one.changed]}
            for one in found
        ]
    }


def _rescored_lines(one: Rescored) -> Iterator[str]:
    yield f"{one.kept.name}, {one.result.line()}"
    was = one.kept.receipt
    yield (
        f"  it was {was.correct} right of {was.replies} (scored by {_versions(was.scorer)}); "
        f"{len(one.changed)} verdicts are other ones now"
    )
    for changed in one.changed[:SHOWN]:
        yield f"  {changed.line()}"
        yield f"    gold {_short(changed.item.gold)}; reply {_short(changed.item.reply)}"
    if len(one.changed) > SHOWN:
        yield f"  and {len(one.changed) - SHOWN} more (--json has all)"


def compared(a: Path, b: Path, aloud: Aloud) -> dict[str, Any]:
    """A's evaluations less B's, suite by suite."""
    found = compare_all(read_kept(a), read_kept(b))
    for one in found:
        for line in _compared_lines(one):
            aloud(line)
    return {"compared": [one.to_json() for one in found]}


def _compared_lines(one: Compared) -> Iterator[str]:
    yield one.line()
    yield f"  {one.pair.method}"
    if one.settings:
        yield f"  asked otherwise: {one.settings[0]}" + (
            f" (first of {len(one.settings)} differences)" if len(one.settings) > 1 else ""
        )
    yield f"  {one.tokens}"
    for flip in one.flipped[:SHOWN]:
        yield from _flip_lines(flip)
    if len(one.flipped) > SHOWN:
        yield f"  and {len(one.flipped) - SHOWN} more that flipped (--json has all)"


def _flip_lines(flip: Flipped) -> Iterator[str]:
    to, gold = "A" if flip.to_a else "B", _short(flip.a.gold)
    yield f"  {flip.problem} falls to {to}: {_short(flip.a.prompt)} (gold {gold})"
    for side, item in (("A", flip.a), ("B", flip.b)):
        yield f"    {side} {item.outcome}: {_short(item.reply)}"


def _versions(scorer: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in scorer.items())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CHARS else f"{line[: CHARS // 2]} ... {line[-CHARS // 2 :]}"
