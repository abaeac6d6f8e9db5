"""Whole SFT and GRPO runs of a tiny model, a second or so each."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from shoestring.jobs import (
    distill_distribution,
    distill_on_policy,
    grpo,
    pretrain,
    reward,
    sft,
    tokenizer,
)
from shoestring.jobs.pretrain_settings import PretrainSettings
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.settings import Settings, build
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
    rows = ({"question": f"Say something about {i}.", "answer": "", "licence": "CC0-1.0"} for i in range(60))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"{path}:scorer=toy_scorer:{scorer}"


ON_ROWS: dict[str, Any] = {
    "suites": ["sums:max_terms=2,max_digits=1"],
    "steps": 6,
    "rows_per_step": 3,
    "micro_batch_tokens": 150,
    "optim": {"learning_rate": 1e-2, "warmup_steps": 1},
    "save_every": 2,
    "dtype": "float32",
}
ON_SAMPLES: dict[str, Any] = {
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


def sft_settings(base: Path, **changed: Any) -> sft.SFTSettings:
    return build(sft.SFTSettings, {"model": str(base), **ON_ROWS, **changed}, "sft")


def grpo_settings(base: Path, suite: str, **changed: Any) -> grpo.GRPOSettings:
    values: dict[str, Any] = {
        "model": str(base),
        "suites": [suite],
        **ON_SAMPLES,
        "red_team": False,
        "preflight": {"prompts": 0},
        "trips": {
            "drift": {"limit": 100.0}
        },  # a random model of few weights goes far in a step  # the toy's scorers pay for anything
    }
    return build(grpo.GRPOSettings, values | changed, "grpo")


def refreshing_grpo_settings(base: Path, suite: str) -> grpo.GRPOSettings:
    """With all that a GRPO run may have to keep: its reference is another model after step 3."""
    changed = {"loss": {"kl_coefficient": 0.1}, "reference_refresh_steps": 3, "minibatches": 2}
    return grpo_settings(base, suite, **changed)


def reward_settings(base: Path, **changed: Any) -> reward.RewardModelSettings:
    values: dict[str, Any] = {
        "model": str(base),
        "steps": 6,
        "rows_per_step": 4,
        "micro_batch_tokens": 300,
        "optim": {"learning_rate": 1e-2, "warmup_steps": 1},
        "save_every": 2,
        "dtype": "float32",
    }
    return build(reward.RewardModelSettings, values | changed, "reward")


def save_tokenizer(folder: Path) -> Path:
    """The folder of a byte tokenizer with DeepSeek's markers and template."""
    settings = {"corpus": [{"kind": "worked", "suites": ["letters"]}], "vocab_size": 300, "documents": 50}
    with Stage(folder, folder.name, None, False) as stage:
        stage.finish(tokenizer.main(build(tokenizer.TokenizerSettings, settings, "tokenizer"), stage))
    return folder / "model"


# a mixture of experts with MLA and an MTP module, of a few thousand weights
TINY_V3 = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "initializer_range": 0.1,
}


def pretrain_settings(tokenizer_folder: Path, **changed: Any) -> PretrainSettings:
    values: dict[str, Any] = {
        "tokenizer": str(tokenizer_folder),
        "preset": "tiny",
        "architecture": TINY_V3,
        "corpus": [{"kind": "worked", "suites": ["letters"], "share_right": 0.5}],
        "steps": 6,
        "rows_per_step": 3,
        "ramp_rows_from": 1,
        "ramp_steps": 3,
        "sequence_length": 48,
        "micro_batch_tokens": 100,
        "optim": {"learning_rate": 1e-2, "warmup_steps": 1},
        "objectives": {"late_from": 0.5, "balance_weight": 1e-2},
        "validation_every": 3,
        "validation_documents": 4,
        "samples": 2,
        "sample_tokens": 4,
        "save_every": 2,
        "dtype": "float32",
    }
    return build(PretrainSettings, values | changed, "pretrain")


MAINS: dict[type[Settings], Callable[[Any, Stage], dict[str, Any]]] = {
    sft.SFTSettings: sft.main,
    grpo.GRPOSettings: grpo.main,
    PretrainSettings: pretrain.main,
    reward.RewardModelSettings: reward.main,
    distill_distribution.DistributionSettings: distill_distribution.main,
    distill_on_policy.OnPolicySettings: distill_on_policy.main,
}


def run(settings: Settings, folder: Path, resume: bool = False) -> dict[str, Any]:
    with Stage(folder, folder.name, None, resume) as stage:
        result = MAINS[type(settings)](settings, stage)
        stage.finish(result)
    return result


def save_teacher(folder: Path) -> Path:
    """Another random model than `save_base`'s."""
    tiny_lm(seed=7).save(folder)
    return folder


def killed(code: str) -> None:
    """Python `code`, which kills its process, run where tests and what they import are found."""
    tests = Path(__file__).parent
    path = os.pathsep.join((os.environ.get("PYTHONPATH", ""), str(tests), str(tests / "jobs")))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


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
