"""Weights come by public name, whole or not at all."""

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput, ShoestringError
from tiny import tiny_lm

GREEDY = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
PROMPT = [50, 60, 70, 80]


def test_new_weights_by_name():
    lm, other = tiny_lm(0), tiny_lm(1)
    engine = Engine(lm)
    (old,) = engine.generate([PROMPT], GREEDY)[0]
    assert old.weights_version == 0
    engine.load_weights(((n, t.clone()) for n, t in other.network.public_tensors()), version=7)
    (made,) = engine.generate([PROMPT], GREEDY)[0]
    assert (made.ids, made.weights_version) == (Engine(other).generate([PROMPT], GREEDY)[0][0].ids, 7)
    assert made.ids != old.ids


@pytest.mark.parametrize("fault", ["missing", "shape", "unknown"])
def test_weights_that_do_not_fit_change_nothing(fault):
    lm = tiny_lm(0)
    before = {n: t.clone() for n, t in lm.network.public_tensors()}
    new = {n: t + 1 for n, t in before.items()}
    if fault == "missing":
        del new["model.norm.weight"]
        said = "lack 1 tensors, the first is 'model.norm.weight'"
    elif fault == "shape":
        new["model.norm.weight"] = torch.zeros(5)
        said = r"'model.norm.weight' are \(5,\), should be \(32,\)"
    else:
        new["model.extra"] = torch.zeros(1)
        said = "'model.extra', a tensor that this model doesn't have"
    engine = Engine(lm)
    with pytest.raises(BadInput, match=said):
        engine.load_weights(new.items(), version=1)
    assert engine.weights_version == 0
    assert all(torch.equal(t, before[n]) for n, t in lm.network.public_tensors())


def test_weights_that_are_not_numbers_end_in_one_line():
    lm = tiny_lm(0)
    lm.network.norm.data.fill_(float("nan"))
    for temperature in (0.0, 1.0):
        with pytest.raises(ShoestringError, match="not finite"):
            Engine(lm).generate([PROMPT], SamplingParams(2, temperature))
