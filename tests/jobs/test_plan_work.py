"""Generating in a plan; an adapter's numbers are those that training makes."""

import pytest

from budget_machine import QUIET
from shoestring.budget.machine import of_probe
from shoestring.budget.ranges import Range
from shoestring.errors import BadInput
from shoestring.jobs.plan_models import known_model
from shoestring.jobs.plan_work import Reckoner, adapter_of
from shoestring.train.lora import Adapters, LoRASettings
from tiny import tiny_lm
from tiny_v3 import v3_network


@pytest.mark.parametrize("targets", [None, ["o_proj"]])
@pytest.mark.parametrize("make", [lambda: tiny_lm().network, v3_network], ids=["dense", "latent, experts"])
def test_an_adapters_numbers_are_those_that_training_makes(make, targets):
    network, lora = make(), LoRASettings(rank=3, targets=targets)
    assert adapter_of(network.config, lora).learned == Adapters(network, lora, 0).num_trained


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="has no 'q_porj', did you mean 'q_proj'"):
        adapter_of(tiny_lm().config, LoRASettings(targets=["q_porj"]))


def test_examples_that_all_prompts_begin_with_are_counted_in_each_and_computed_once():
    alike, apart = (
        Reckoner(of_probe(QUIET), "a", "a").generate(
            "eval", known_model("smollm2-135m"), 1, 64, 1, 500, Range.exact(20), 20, 256, shown
        )
        for shown in (450, 0)
    )
    assert alike.flops == apart.flops
    assert alike.seconds.mid < apart.seconds.mid / 2
