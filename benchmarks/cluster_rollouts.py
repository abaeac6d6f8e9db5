"""The same GRPO stage with samples of our engine and of vLLM's, from the same start: does it learn alike, and
how far apart are sampler and trainer?

    make .venv-ray/.installed base; bash benchmarks/install_peers.sh vllm
    .venv-ray/bin/python benchmarks/cluster_rollouts.py --json benchmarks/results/cluster_rollouts.json

`alone` is one process without Ray; `shoestring` and `vllm-server` sample in a process of Ray's. Equal:
problems, their order, the trainer, its seeds. Not equal: which tokens are drawn, for vLLM draws with numbers
of its own. Stopped in the middle, the same command goes on: each run's folder is kept under --folder."""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from common import arguments, machine, report, show, start

from shoestring.errors import BadInput, ShoestringError

ROOT = Path(__file__).parents[1]
ENGINES = ("alone", "shoestring", "vllm-server")
SHOWN = ("reward", "solve_rate", "completions/mean_length", "mismatch_kl", "mismatch_max", "time/generate")


def settings_of(asked: argparse.Namespace) -> str:
    """The RL stage of the recipe, with fewer and smaller steps."""
    recipe = tomllib.loads((ROOT / asked.recipe).read_text(encoding="utf-8"))
    found = [stage for stage in recipe["stage"] if stage["name"] == asked.stage]
    if not found:
        raise BadInput(f"{asked.recipe} has no stage '{asked.stage}'")
    given = {k: v for k, v in found[0].items() if k not in ("name", "job", "small")}
    given |= {"model": asked.model, "steps": asked.steps, "seed": asked.seed, "dtype": asked.dtype}
    given |= {"prompts_per_step": asked.prompts, "samples_per_prompt": asked.samples}
    given |= {"preflight": {"prompts": 0}, "rehearsal": False, "red_team": False}  # only the steps
    return "".join(f"{name} = {_toml(value)}\n" for name, value in given.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def trained(engine: str, settings: Path, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Metrics of each step; what was trained before is not trained again."""
    folder = asked.folder / engine
    command = [sys.executable, "-m", "shoestring", "grpo", str(settings)]
    command += ["--output-dir", str(folder), "--resume"]
    if engine != "alone":
        workers = {"generators": asked.generators, "engine": engine, "cache_gib": asked.cache_gib}
        workers |= {"deadline_s": 1800, "store_gib": asked.store_gib}
        if engine == "vllm-server":
            workers["vllm_python"] = asked.vllm.absolute()
        command += ["--cluster", "local"]
        command += [word for key, value in workers.items() for word in ("--workers", f"{key}={value}")]
    with (asked.folder / f"{engine}.log").open("a") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False, env=os.environ).returncode
    if code:
        raise ShoestringError(f"{engine} ended with {code}: see {asked.folder / engine}.log")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def in_short(steps: list[dict[str, Any]]) -> dict[str, Any]:
    half = len(steps) // 2
    first, last = ([s["solve_rate"] for s in part] for part in (steps[:half], steps[half:]))
    return {
        "solve_rate_first_half": statistics.mean(first) if first else math.nan,
        "solve_rate_second_half": statistics.mean(last),
        "mismatch_kl": statistics.mean(s["mismatch_kl"] for s in steps),
        "mismatch_max": max(s["mismatch_max"] for s in steps),
        "generate_s": statistics.median(s["time/generate"] for s in steps),
        "weights_s": statistics.median(s["time/weights"] for s in steps),
    }


def main() -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--recipe", default="recipes/laptop.toml")
    parser.add_argument("--stage", default="zero")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=["alone", "vllm-server"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--cache-gib", type=float, default=0.5)
    parser.add_argument("--store-gib", type=float, default=1.5)
    parser.add_argument("--vllm", type=Path, default=ROOT / ".venv-vllm/bin/python", help="vLLM's Python")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cluster-rollouts")
    asked = parser.parse_args()
    described = machine()
    asked.folder.mkdir(parents=True, exist_ok=True)
    settings = asked.folder / "grpo.toml"
    settings.write_text(settings_of(asked), encoding="utf-8")
    found = {engine: trained(engine, settings, asked) for engine in asked.engines}
    for engine, steps in found.items():
        rows = [[str(s["step"]), *(f"{s[name]:.4g}" for name in SHOWN)] for s in steps]
        show(engine, ["step", *SHOWN], rows)
    short = {engine: in_short(steps) for engine, steps in found.items()}
    names = list(next(iter(short.values())))
    show("in short", ["", *short], [[n, *(f"{s[n]:.4g}" for s in short.values())] for n in names])
    kept = {e: [{n: s[n] for n in ("step", *SHOWN, "time/weights")} for s in v] for e, v in found.items()}
    report("cluster_rollouts", asked, described, {"steps": kept, "in_short": short})


if __name__ == "__main__":
    start(main)
