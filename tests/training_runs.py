"""Whole SFT and GRPO runs of a tiny model, a second or so each."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from shoestring.jobs import grpo, sft
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.text.template import Template
from tiny import CHATML, tiny_lm


def save_base(folder: Path, short_replies: bool = True) -> Path:
    """A random model; with `short_replies` half of its vocabulary ends a turn."""
    lm = tiny_lm()
    if short_replies:
        ends = (*lm.template.stop_ids, *range(128, 256))
        config = dataclasses.replace(lm.config, eos_token_id=ends)
        lm.network.config = config
        template = Template(lm.tokenizer, CHATML, ends)
        lm = LanguageModel(lm.network, lm.tokenizer, template, config, lm.lineage, lm.name)
    lm.save(folder)
    return folder


def toy_suite(folder: Path, scorer: str = "letters") -> str:
    path = folder / "toy.jsonl"
    rows = ({"question": f"Say something about {i}.", "answer": ""} for i in range(60))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"{path}:scorer=toy_scorer:{scorer}"


def sft_settings(base: Path, **changed: Any) -> sft.SFTSettings:
    values: dict[str, Any] = {
        "model": str(base),
        "suites": ["sums:max_terms=2,max_digits=1"],
        "steps": 6,
        "rows_per_step": 3,
        "micro_batch_tokens": 150,
        "optim": {"learning_rate": 1e-2, "warmup_steps": 1},
        "save_every": 2,
        "dtype": "float32",
    }
    return build(sft.SFTSettings, values | changed, "sft")


def grpo_settings(base: Path, suite: str, **changed: Any) -> grpo.GRPOSettings:
    values: dict[str, Any] = {
        "model": str(base),
        "suites": [suite],
        "steps": 6,
        "prompts_per_step": 3,
        "samples_per_prompt": 6,
        "max_completion_tokens": 8,
        "micro_batch_tokens": 120,
        "max_batch": 8,
        "optim": {"learning_rate": 1e-2, "warmup_steps": 1},
        "save_every": 2,
        "rollouts_every": 2,
        "dtype": "float32",
    }
    return build(grpo.GRPOSettings, values | changed, "grpo")


def run(settings: sft.SFTSettings | grpo.GRPOSettings, folder: Path, resume: bool = False) -> dict[str, Any]:
    with Stage(folder, folder.name, None, resume) as stage:
        if isinstance(settings, sft.SFTSettings):
            result = sft.main(settings, stage)
        else:
            result = grpo.main(settings, stage)
        stage.finish(result)
    return result


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    """The metrics but for the clock's."""
    clock = ("time", "step_time", "perf/throughput")
    return [
        {k: v for k, v in row.items() if k not in clock and not k.startswith("time/")}
        for row in metrics(folder)
    ]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
