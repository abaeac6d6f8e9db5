"""A whole recipe on a cluster of this machine, two trainer ranks and two generators, held against one
process: are its scores such as one more seed of the single runs might have had?

    make .venv-ray/.installed
    .venv-ray/bin/python benchmarks/cluster_recipe.py --json benchmarks/results/cluster_recipe.json

The rows are fixed before anything runs: every model, variant and suite of the recipe's last eval stage. Of
each the single runs' seeds give a 95 % prediction interval (Student's t) for the cluster's mean; a row is
called another only where its p value, times what Holm asks of all rows together, is below 5 %. Three seeds
see large differences alone: the interval says how large.

Hours at full scale, and the machine for itself; `--small` takes two minutes, shows that it runs and says
nothing of scores. Stopped in the middle, the same command goes on: every run has its folder under --folder,
and what is done is not done again."""

import argparse
import json
import math
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from common import machine, report, show, start

from shoestring.errors import BadInput, ShoestringError
from shoestring.evals.statistics import holm

ROOT = Path(__file__).parents[1]
LEVEL = 0.05


@dataclass(frozen=True)
class Score:
    """right: of n problems."""

    right: float
    n: int


@dataclass(frozen=True)
class Row:
    """low, high: where one process's runs leave the cluster's mean to be expected. p: of a mean as far off,
    were they alike; holm: that, adjusted for all rows."""

    name: str
    cluster: list[float]
    alone: list[float]
    low: float
    high: float
    p: float
    holm: float = 1.0


def scores(folder: Path, seed: int, clustered: bool, asked: argparse.Namespace) -> dict[str, Score]:
    """Of each model, variant and suite, from the recipe's last eval stage."""
    command = [sys.executable, "-m", "shoestring", "run", asked.recipe]
    command += ["--output-dir", str(folder), "--resume"]
    command += ["--scale", "small"] * asked.small + ["--set", f"recipe.seed={seed}"]
    if clustered:
        workers = {"generators": 2, "trainers": 2, "cpus": 0.5, "store_gib": asked.store_gib}
        command += ["--cluster", "local"]
        command += [word for key, value in workers.items() for word in ("--workers", f"{key}={value}")]
    with folder.with_suffix(".log").open("a") as log:
        code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    if code:
        raise ShoestringError(f"{folder.name} ended with {code}: see {folder}.log; the same command goes on")
    found = json.loads((sorted((folder / "stages").glob("*-eval"))[-1] / "result.json").read_text())
    return {f"{e['model']}, {e['variant']}, {e['suite']}": Score(e["score"], e["n"]) for e in found["evals"]}


def compared(alone: list[dict[str, Score]], led: list[dict[str, Score]]) -> list[Row]:
    rows = [row_of(name, [one[name] for one in alone], [one[name] for one in led]) for name in alone[0]]
    adjusted = holm({row.name: row.p for row in rows})
    return [Row(**asdict(row) | {"holm": adjusted[row.name]}) for row in rows]


def row_of(name: str, alone: list[Score], led: list[Score]) -> Row:
    """The seeds' spread, and never less than that of so many problems: seeds may have the same score."""
    ours, theirs = [one.right for one in led], [one.right for one in alone]
    mean, freedom = statistics.mean(theirs), len(theirs) - 1
    problems = alone[0].n
    share = (mean * problems + 1) / (problems + 2)
    spread = max(statistics.stdev(theirs), math.sqrt(share * (1 - share) / problems))
    scale = spread * math.sqrt(1 / len(theirs) + 1 / len(ours))
    reach = scale * t_beyond(LEVEL, freedom)
    p = t_outside((statistics.mean(ours) - mean) / scale, freedom)
    return Row(name, ours, theirs, mean - reach, mean + reach, p)


def t_outside(t: float, freedom: int) -> float:
    """The chance that Student's t is further from 0. With t = sqrt(freedom) tan(a) its density in a is
    cos(a)^(freedom - 1)."""
    angles = (np.arange(20_000) + 0.5) / 20_000 * math.pi / 2
    weights = np.cos(angles) ** (freedom - 1)
    return float(weights[angles > math.atan(abs(t) / math.sqrt(freedom))].sum() / weights.sum())


def t_beyond(p: float, freedom: int) -> float:
    """The t that leaves p outside."""
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        t = math.sqrt(freedom) * math.tan(middle)
        low, high = (middle, high) if t_outside(t, freedom) > p else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="recipes/tiny-v3.toml")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the single runs: 0 1 2, or 0 where small")
    parser.add_argument("--cluster-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--small", action="store_true", help="mechanics only: every stage in seconds")
    parser.add_argument("--store-gib", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs/cluster-recipe")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    seeds = asked.seeds or ([0] if asked.small else [0, 1, 2])
    if len(seeds) < 2 and not asked.small:
        raise BadInput("--seeds: one seed has no spread to hold the cluster against; give two or more")
    described, folder = machine(), asked.folder / ("small" if asked.small else "full")
    folder.mkdir(parents=True, exist_ok=True)
    led = [scores(folder / f"cluster-{seed}", seed, True, asked) for seed in asked.cluster_seeds]
    alone = [scores(folder / f"alone-{seed}", seed, False, asked) for seed in seeds]
    if asked.small:
        print(f"it runs, on the cluster and in one process: {len(alone[0])} scores each, which say nothing")
        return
    rows = compared(alone, led)
    words = [
        [
            row.name,
            " ".join(f"{score:.3f}" for score in row.cluster),
            " ".join(f"{score:.3f}" for score in row.alone),
            f"{row.low:.3f} to {row.high:.3f}",
            f"{row.holm:.3f}{' OTHER' if row.holm < LEVEL else ''}",
        ]
        for row in rows
    ]
    columns = ["", "cluster", "alone, by seed", "95 % for one more", f"Holm's p of {len(rows)}"]
    show(asked.recipe, columns, words)
    report("cluster_recipe", asked, described, {"scores": [asdict(row) for row in rows]})


if __name__ == "__main__":
    start(main)
