import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from shoestring.train.optim import MasterOptimizer, OptimSettings, learning_rate_at
from tiny import tiny_lm


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.25),  # warm-up: peak * (step + 1) / 4
        (2, 0.75),
        (3, 1.0),
        (4, 1.0),  # the cosine's start
        (9, 0.55),  # half way: 0.1 + 0.9 * 0.5
        (14, 0.1),  # the last of 15: the final share
        (20, 0.1),
    ],
)
def test_cosine(step, rate):
    settings = OptimSettings(learning_rate=1.0, warmup_steps=4, schedule="cosine", final_share=0.1)
    assert learning_rate_at(settings, step, 15) == pytest.approx(rate)


def test_constant_and_short_runs():
    settings = OptimSettings(learning_rate=2.0, warmup_steps=2)
    assert [learning_rate_at(settings, s, 5) for s in range(5)] == [1.0, 2.0, 2.0, 2.0, 2.0]
    none = OptimSettings(learning_rate=2.0, warmup_steps=0, schedule="cosine")
    assert learning_rate_at(none, 0, 1) == 2.0  # a run of one step is not without a rate
    assert learning_rate_at(none, 1, 3) == pytest.approx(0.2 + 1.8 * 0.5)


@pytest.mark.parametrize(
    "bad", [{"learning_rate": 0.0}, {"beta1": 1.0}, {"final_share": 2.0}, {"warmup_steps": -1}, {"lr": 1.0}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        OptimSettings(**bad)


def optimizer(network: nn.Module, settings: OptimSettings, native: bool) -> MasterOptimizer:
    made = MasterOptimizer(network, settings)  # type: ignore[arg-type]
    assert made.library is not None
    if not native:
        made.library = None
    return made


def fill_gradients(network: nn.Module, seed: int, size: float) -> None:
    g = torch.Generator().manual_seed(seed)
    loss = sum((p * torch.randn(p.shape, generator=g).to(p.dtype)).sum() for p in network.parameters())
    (loss * size).backward()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_torchs_adamw_step_for_step(decay):
    """Each with clipping (gradients far over the limit) and without (far under)."""
    settings = OptimSettings(learning_rate=1e-2, weight_decay=decay, max_grad_norm=1.0)
    ours, theirs = tiny_lm().network, tiny_lm().network
    master = MasterOptimizer(ours, settings)
    groups = [
        {"params": [p for p in theirs.parameters() if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in theirs.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, lr=0.0)
    for step, size in enumerate((1.0, 1e-4, 3.0, 1e-4)):
        fill_gradients(ours, step, size / 2)
        fill_gradients(ours, step, size / 2)  # two micro-batches
        fill_gradients(theirs, step, size)
        wanted = nn.utils.clip_grad_norm_(theirs.parameters(), 1.0).item()
        for group in adam.param_groups:
            group["lr"] = 1e-2 / (step + 1)
        adam.step()
        adam.zero_grad()
        assert master.step(1e-2 / (step + 1)) == pytest.approx(wanted, rel=1e-5)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("native", [True, False])
def test_the_norm_is_told_and_clipped(native):
    network = tiny_lm().network
    master = optimizer(network, OptimSettings(max_grad_norm=0.5), native)
    size = sum(p.numel() for p in network.parameters())
    sum(p.sum() for p in network.parameters()).backward()  # every gradient is 1
    assert master.step(1e-3) == pytest.approx(math.sqrt(size))
    first = [value / (1 - 0.9) for name, value in master.tensors().items() if name.startswith("exp_avg.")]
    assert math.sqrt(sum((m**2).sum().item() for m in first)) == pytest.approx(0.5, rel=1e-4)
    assert all((g == 0).all() for g in master.grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_s_step_is_torch_s(dtype):
    """Masters, moments and the network's weights after steps with clipping and without, in several
    micro-batches."""
    networks = [tiny_lm().network.to(dtype) for _ in range(2)]
    settings = OptimSettings(weight_decay=0.1)
    ours, torchs = (optimizer(n, settings, native) for n, native in zip(networks, (True, False), strict=True))
    for step, size in enumerate((1.0, 1e-4, 3.0)):
        for network in networks:
            fill_gradients(network, step, size)
            fill_gradients(network, step + 10, size)
        version = networks[0].embed_tokens._version
        assert ours.step(1e-2) == pytest.approx(torchs.step(1e-2), rel=1e-6)
        assert networks[0].embed_tokens._version > version  # packed copies are made anew
    made, wanted = ours.tensors(), torchs.tensors()
    assert made.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(made[name], wanted[name], atol=1e-7, rtol=2e-5, msg=name)
    for m, p in zip(ours.master, ours.params, strict=True):
        assert torch.equal(m.to(dtype), p)


def test_threads_change_no_bit_of_a_step():
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layer = nn.Linear(301, 333).bfloat16()
            with torch.no_grad():
                for number, p in enumerate(layer.parameters()):
                    p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(number)))
            master = optimizer(layer, OptimSettings(max_grad_norm=0), native=True)
            for step in range(3):
                fill_gradients(layer, step, 1.0)
                master.step(1e-2)
            found.append(master.tensors())
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in other)


def test_bf16_masters_keep_steps_that_bf16_would_lose():
    lm = tiny_lm()
    lm.network.to(torch.bfloat16)
    before = lm.network.norm.detach().clone()
    master = MasterOptimizer(lm.network, OptimSettings(max_grad_norm=0))
    steps = 8
    for _ in range(steps):  # each step is 1e-3; between 1 and 2 a bf16 number moves by 1/128
        lm.network.norm.float().sum().backward()
        for p in lm.network.parameters():
            assert p.grad is None  # moved into float32 at once
        master.step(1e-3)
    assert before.eq(1.0).all()
    assert lm.network.norm.float().tolist() == pytest.approx([0.9921875] * 32)  # 1 - 0.008, rounded
    kept = dict(zip(master.names, master.master, strict=True))["norm"]
    assert kept.tolist() == pytest.approx([1 - 0.008] * 32, abs=1e-5)
