"""An adapter's numbers in a plan are those that training makes."""

import pytest

from shoestring.errors import BadInput
from shoestring.jobs.plan_work import adapter_numbers
from shoestring.train.lora import Adapters, LoRASettings
from tiny import tiny_lm
from tiny_v3 import v3_network


@pytest.mark.parametrize("targets", [None, ["o_proj"]])
@pytest.mark.parametrize("make", [lambda: tiny_lm().network, v3_network], ids=["dense", "latent, experts"])
def test_an_adapters_numbers_are_those_that_training_makes(make, targets):
    network, lora = make(), LoRASettings(rank=3, targets=targets)
    assert adapter_numbers(network.config, lora) == Adapters(network, lora, 0).num_trained


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="has no 'q_porj', did you mean 'q_proj'"):
        adapter_numbers(tiny_lm().config, LoRASettings(targets=["q_porj"]))
