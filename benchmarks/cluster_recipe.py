"""A whole recipe on a cluster of this machine, two trainer ranks and two generators, held against one
process: are its scores within the spread of the single runs' seeds?

    make peers
    .venv-ray/bin/python benchmarks/cluster_recipe.py --json benchmarks/results/cluster_recipe.json

Hours at full scale, and the machine for itself. Stopped in the middle, the same command goes on: every run
has its folder under --folder, and what is done is not done again."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import machine, report, show, start

from shoestring.errors import ShoestringError

ROOT = Path(__file__).parents[1]


def scores(folder: Path, seed: int, clustered: bool, asked: argparse.Namespace) -> dict[str, float]:
    """Of each model and suite, from the recipe's last eval stage."""
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
    return {f"{e['model']}, {e['variant']}, {e['suite']}": e["score"] for e in found["evals"]}


def compared(alone: list[dict[str, float]], led: list[dict[str, float]]) -> list[dict[str, Any]]:
    rows = []
    for name in alone[0]:
        ours, theirs = [one[name] for one in led], [one[name] for one in alone]
        within = min(theirs) <= sum(ours) / len(ours) <= max(theirs)
        rows.append({"name": name, "cluster": ours, "alone": theirs, "mean_within_spread": within})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="recipes/tiny-v3.toml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the single runs")
    parser.add_argument("--cluster-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--small", action="store_true", help="mechanics only: every stage in seconds")
    parser.add_argument("--store-gib", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs/cluster-recipe")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    described = machine()
    asked.folder.mkdir(parents=True, exist_ok=True)
    led = [scores(asked.folder / f"cluster-{seed}", seed, True, asked) for seed in asked.cluster_seeds]
    alone = [scores(asked.folder / f"alone-{seed}", seed, False, asked) for seed in asked.seeds]
    rows = compared(alone, led)
    words = [
        [
            row["name"],
            " ".join(f"{score:.3f}" for score in row["cluster"]),
            " ".join(f"{score:.3f}" for score in row["alone"]),
            "yes" if row["mean_within_spread"] else "NO",
        ]
        for row in rows
    ]
    show(asked.recipe, ["", "cluster", "alone, by seed", "within their spread"], words)
    report("cluster_recipe", asked, described, {"scores": rows})


if __name__ == "__main__":
    start(main)
