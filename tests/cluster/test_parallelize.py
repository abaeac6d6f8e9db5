"""What is refused by name, and routing that is replayed through layers made a second time."""

import dataclasses

import pytest
import torch

from ranks import run
from ranks_work import Case, replayed
from shoestring.cluster.parallelize import ParallelSettings, check_fits
from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig
from shoestring.settings import build
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss
from shoestring.train.optim import OptimSettings
from tiny import tiny_lm
from tiny_v3 import V3


@pytest.mark.parametrize(
    ("config", "size", "expert", "line"),
    [
        (V3, 4, 3, "expert 3: 4 ranks can't be parted into groups of 3; write one of 1, 2, 4"),
        (V3, 3, 3, "expert 3: the layer's 8 experts can't be parted into 3; write one of 1, 2, 4, 8"),
        (tiny_lm().config, 2, 2, "expert 2: the model has no experts to share out; leave it at 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(config: ModelConfig, size: int, expert: int, line: str) -> None:
    with pytest.raises(BadInput, match=line):
        check_fits(config, size, ParallelSettings(expert=expert))


def test_a_torch_that_is_too_old_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.distributed.fsdp.FSDPModule.set_force_sum_reduction_for_comms")
    with pytest.raises(BadInput, match=r"needs torch 2\.9 or newer, here is .*pip install --upgrade torch"):
        check_fits(V3, 2, ParallelSettings())


def test_every_other_combination_is_taken() -> None:
    for size in (1, 2, 3, 4, 8):
        for expert in (1, 2, 4, 8):
            if size % expert == 0:
                check_fits(V3, size, ParallelSettings(expert=expert))


@pytest.mark.parametrize("name", ["pipeline", "tensor"])
def test_what_is_only_planned_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadInput, match=f"{name} parallelism is planned .* and not run: leave out '{name}'"):
        build(ParallelSettings, {name: 2}, "--ranks")


def test_an_unknown_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="expert"):
        build(ParallelSettings, {"experts": 2}, "--ranks")


@pytest.mark.slow
@pytest.mark.parametrize("recompute", ["none", "attention", "layers"])
def test_replayed_routing_reaches_every_layer_once(recompute: str) -> None:
    case = Case()
    (batch,) = dataclasses.replace(case, each=8).batches(0)
    generator = torch.Generator().manual_seed(3)
    layers = V3.num_hidden_layers - V3.first_k_dense_replace
    picks = torch.rand(batch.num_tokens, layers, V3.n_routed_experts, generator=generator)
    batch = dataclasses.replace(batch, routing=picks.topk(V3.num_experts_per_tok, dim=-1)[1])
    learner = Learner(case.model(), OptimSettings(), 1)
    wanted = learner.update([batch], sft_loss)
    settings = ParallelSettings(expert=2, recompute=recompute)
    for loss, norm in run(2, replayed, case, settings, batch, expert=2):
        assert loss == pytest.approx(wanted.loss, abs=1e-5)
        assert norm == pytest.approx(wanted.grad_norm, rel=1e-4)
