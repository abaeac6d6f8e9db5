"""A run folder as jobs write it, with made-up numbers."""

import math
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w

from shoestring.evals.statistics import wilson
from shoestring.rl.store import SCHEMA
from shoestring.run import RunFolder, Stage, open_run

RECIPE = {
    "recipe": {"name": "laptop", "seed": 0, "description": "Three stages, made up."},
    "prices": {"watts": 40.0},
    "stage": [
        {"name": "zero", "job": "grpo", "model": "smollm2-135m", "steps": 20},
        {"name": "cold-start", "job": "sft", "model": "smollm2-135m", "steps": 12},
        {"name": "check", "job": "eval", "models": {"base": "smollm2-135m", "zero": "stage:zero"}},
    ],
    "arm": [{"name": "random", "set": {"zero.reward": "random"}}],
}
# (right by suite) of 256 problems; the base's two ways of being asked
SUITES = ("sums:max_digits=1,max_terms=3", "sums:max_digits=2,max_terms=4")
RIGHT = {
    ("base", "plain"): (56, 8),
    ("base", "longer"): (64, 10),
    ("zero", ""): (130, 12),
}


def begin(path: Path, command: str = "shoestring run laptop --output-dir runs/laptop") -> RunFolder:
    folder = open_run(path, resume=False)
    folder.begin(RECIPE, command)
    return folder


def unit(folder: RunFolder, number: int, stage: dict, arm: str = "") -> Stage:
    own = folder.unit_folder(number, stage["name"], arm)
    own.mkdir(parents=True)
    values = {key: value for key, value in stage.items() if key != "name"}
    (own / "settings.toml").write_text(tomli_w.dumps(values))
    return folder.stage(own, stage["name"], None, stage["name"])


def train_zero(stage: Stage, gain: float) -> None:
    rng = random.Random(7)
    for step in range(1, 21):
        solved = 0.15 + gain * (1 - math.exp(-step / 8)) + rng.uniform(-0.03, 0.03)
        stage.use("rollout", 8.0, 10_000, 3e12, {"dead_groups": 2_000, "cut": 500})
        stage.use("train", 12.0, 8_000, 9e12)
        rows = [
            {
                "prompt": f"What is {a} + {b}?",
                "completion": f"{a} + {b} = {a + b if a % 3 else a + b + 1}",
                "outcome": "right" if a % 3 else "wrong",
                "value": float(a % 3 > 0),
            }
            for a, b in ((rng.randrange(10), rng.randrange(10)) for _ in range(24))
        ]
        stage.rollouts(step, rows)
        metrics = {"reward": solved, "solve_rate": solved, "completions/mean_length": 26 - step / 2}
        metrics |= {"entropy": 1.2 - step / 40, "mismatch_kl": 1e-4 * rng.random()}
        metrics |= {
            "grad_norm": float("nan") if step == 9 else 0.5 + rng.random(),
            "frac_reward_zero_std": 0.4,
        }
        stage.log(step, metrics)
    stage.finish({"steps": 20})


def kept_group(step: int, place: int, problem: str, said: list[tuple[str, float | None]]) -> list[dict]:
    """A group's rows as rl/store.py writes them: (completion, reward); no reward is a scorer's timeout."""
    rewards = [reward for _, reward in said if reward is not None]
    live = bool(rewards) and max(rewards) > min(rewards)
    rows = []
    for number, (text, reward) in enumerate(said):
        outcome = "timeout" if reward is None else "right" if reward == 1 else "wrong"
        thinking, closed, answer = text.removeprefix("<think>").partition("</think>")
        reply = (thinking, answer) if closed else (None, text)
        group = f"{place}/{problem}"
        row = dict.fromkeys(SCHEMA.names) | {"step": step, "group": group, "row_id": f"{group}/{number}"}
        row |= {"problem": problem, "suite": "sums", "prompt": f"What is {problem}?", "completion": text}
        row |= {"reasoning": reply[0], "answer": reply[1].removesuffix("<|im_end|>"), "outcome": outcome}
        row |= {"prompt_ids": [1], "ids": [2] * len(text), "logprobs": [-0.5] * len(text), "seed": 0}
        row |= {"value": float(reward == 1), "reward": reward, "parts": {"format": 0.25}, "live": live}
        advantage = reward - sum(rewards) / len(rewards) if live and reward is not None else None
        row |= {"advantage": advantage, "detail": "", "cut": not closed and "|>" not in text}
        rows.append(row | {"finish_reason": "stop", "tokens": len(text), "version": step - 1})
    return rows


def train_sft(stage: Stage) -> None:
    for step in range(1, 13):
        stage.use("train", 5.0, 4_000, 3e12)
        stage.log(step, {"loss": 2.5 * math.exp(-step / 5), "grad_norm": 1.0})
    stage.finish({"steps": 12})


def item(model: str, suite: str, variant: str, problem: int, right: bool) -> dict:
    outcome = "right" if right else "wrong"
    names = {"model": model, "suite": suite, "variant": variant}
    return names | {"problem": f"{suite}/{problem}", "sample": 0, "outcome": outcome}


def evaluate(stage: Stage, right: dict[tuple[str, str], tuple[int, int]], n: int = 256) -> None:
    """Problem i is right for the first `right` of the problems: nested, so pairs are as alike as can be."""
    rows, items = [], []
    for (model, variant), counts in right.items():
        for suite, count in zip(SUITES, counts, strict=True):
            low_high = wilson(count, n)
            best = count == max(c[SUITES.index(suite)] for (m, _), c in right.items() if m == model)
            rows.append(
                {
                    "model": model,
                    "suite": suite,
                    "variant": variant,
                    "best": best,
                    "n": n,
                    "k": 1,
                    "seed": 0,
                    "correct": count,
                    "score": count / n,
                    "ci95": [low_high.low, low_high.high],
                    "truncated": 3,
                    "unparsed": 9,
                    "outcomes": {"right": count, "timeout": 0, "error": 0},
                    "lower_bound": False,
                    "settings": {"max_tokens": 512 if variant == "longer" else 256, "lenient": True},
                }
            )
            items += [item(model, suite, variant, i, i < count) for i in range(n)]
    (stage.folder / "evals").mkdir()
    pq.write_table(pa.Table.from_pylist(items), stage.folder / "evals/items.parquet")
    chat = {"n": 32, "stopped": 0.97, "empty": 0.0, "looped": 0.03, "thinks": 0.0, "maths_format": 0.06}
    chat |= {"identity": {"own": 3, "other": 0, "both": 0, "none": 1}, "tokens": 61.5}
    stage.use("eval", 200.0, 60_000, 2e13)
    models = dict.fromkeys(model for model, _ in right)
    claims = {
        "en": {"own": 60, "other": 2, "both": 1, "none": 37},
        "zh": {"own": 0, "other": 9, "both": 0, "none": 91},
    }
    who = {"n": 200, "claims": claims, "families": {"smollm": 61, "openai": 12}}
    result = {"evals": rows, "chat": dict.fromkeys(models, chat), "identity": dict.fromkeys(models, who)}
    stage.finish(result | {"items": "evals/items.parquet"})
