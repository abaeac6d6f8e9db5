"""Bytes that are said, against hand-worked numbers and measured peaks."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shoestring.budget.memory import (
    Adapter,
    activation_bytes,
    cache_bytes,
    generating_memory,
    layer_activations,
    scoring_memory,
    training_memory,
)
from shoestring.models.parameters import cache_per_token, count_parameters
from shoestring.models.presets import PRESETS, from_width
from tiny_v3 import V3

SCRIPT = Path(__file__).with_name("measured_peak.py")
NATIVE = sys.platform == "linux"


@pytest.mark.slow
@pytest.mark.skipif(not NATIVE, reason="the system's own peak is read from /proc")
@pytest.mark.parametrize(
    "case",
    [
        "train dense 6144 256 bfloat16",
        "train v3 12288 256 bfloat16",
        "train dense 4096 128 float32",
        "adapt dense 6144 256 bfloat16",
    ],
)
def test_a_measured_peak_is_within_a_tenth(case):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *case.split()],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    measured, said = map(int, done.stdout.split())
    assert said == pytest.approx(measured, rel=0.10)


def test_parts_by_hand():
    config = replace(from_width(128, 256), num_nextn_predict_layers=0)
    parameters = count_parameters(config).total
    memory = training_memory(config, 64, 32, width=4)
    assert memory.parts["master weights"] == memory.parts["gradients"] == 4 * parameters
    assert memory.parts["optimizer moments"] == 8 * parameters
    # the gradient of the logits of 32 targets, hidden states twice, one chunk in float32, the head's own
    # gradient
    head = 32 * (256 + 2 * 128) * 4 + 32 * 256 * 4 + 256 * 128 * 4
    assert memory.parts["logits and their gradient"] == head
    assert memory.total == sum(memory.parts.values())


def test_activations_grow_with_tokens_and_not_with_parameters_of_idle_experts():
    assert activation_bytes(V3, 200, 2) == pytest.approx(2 * activation_bytes(V3, 100, 2), rel=1e-4)
    more = replace(V3, n_routed_experts=16)
    per_expert = 5 * 4 * 8 * len([i for i in V3.moe_layers if i < V3.num_hidden_layers])
    assert activation_bytes(more, 100, 2) - activation_bytes(V3, 100, 2) == 100 * per_expert  # its scores
    assert activation_bytes(V3, 100, 2, mtp=True) > activation_bytes(V3, 100, 2)


def test_an_adapter_spares_moments_and_gradients():
    whole, adapted = training_memory(V3, 64, 64), training_memory(V3, 64, 64, adapter=Adapter(1000, 500))
    assert adapted.parts["optimizer moments"] == 8000
    assert adapted.parts["matrices without the adapter"] == 2 * 500
    assert whole.parts["activations"] == adapted.parts["activations"]


def test_scoring_holds_one_layers_tokens_and_nothing_that_learns():
    config = replace(from_width(128, 256), num_nextn_predict_layers=0)
    memory, widest = scoring_memory(config, 64, width=2), layer_activations(config, config.moe_layers[0], 2)
    assert memory.parts == {
        "weights": 2 * count_parameters(config).total,
        "activations": int(64 * (widest + 4 * 128)),
        "logits": 64 * 256 * 4,
    }
    assert memory.total < training_memory(config, 64, 64).total / 4


@pytest.mark.parametrize("name", ["tiny", "small", "v3-16b"])
def test_the_cache_is_the_models_own(name):
    assert cache_bytes(PRESETS[name]) == cache_per_token(PRESETS[name]).own
    one, many = (generating_memory(PRESETS[name], n, 100) for n in (1, 10))
    assert many.parts["cache"] == 10 * one.parts["cache"] >= 1000 * cache_bytes(PRESETS[name])


def test_v3s_latents_are_seventy_kilobytes_a_token():
    assert cache_bytes(PRESETS["v3-671b"]) == 70_272  # 61 layers of 576 numbers in bf16
