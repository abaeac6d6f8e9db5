"""One call of all layers is trusted from pass to pass, while nobody can have changed what it stands for."""

import gc
import shutil
from collections.abc import Iterator

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.models.layers_call import TRUSTED, NetworkCall
from wide import latent_lm, wide_lm

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")

LONG = 3 * TRUSTED
PARAMS = SamplingParams(max_tokens=LONG, temperature=0.8, seed=3, ignore_eos=True)
PROMPT = [5, 9, 30, 7]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of the passes before which it was looked at."""
    seen: list[int] = []
    looked = NetworkCall._looked_at

    def counted(self, layers, x, trace):
        seen.append(len(x))
        return looked(self, layers, x, trace)

    monkeypatch.setattr(NetworkCall, "_looked_at", counted)
    return seen


def tokens(engine: Engine, params: SamplingParams = PARAMS) -> Iterator[int]:
    return engine.stream(PROMPT, params)


def after(engine: Engine, count: int) -> Iterator[int]:
    made = tokens(engine)
    for _ in range(count):
        next(made)
    return made


@pytest.mark.parametrize("latent", [False, True])
def test_it_is_looked_at_again_after_so_many_passes(latent: bool, looks: list[int]) -> None:
    lm = latent_lm("v3") if latent else wide_lm("llama")
    assert len(list(tokens(Engine(lm, draft_tokens=0)))) == LONG
    if latent and len(looks) == LONG - 1:
        pytest.skip("this processor's products make no call of all layers with latents")
    assert looks == [1] * 3  # of 95 passes after the prompt's


def test_another_sequence_is_reason_to_look(looks: list[int]) -> None:
    engine = Engine(wide_lm("llama"), draft_tokens=0)
    made = after(engine, 5)
    assert looks == [1]
    engine.submit(PROMPT, PARAMS)
    next(made)
    next(made)
    assert looks == [1, 2]


def test_given_weights_are_reason_to_look(looks: list[int]) -> None:
    lm = wide_lm("llama")
    engine = Engine(lm, draft_tokens=0)
    made = after(engine, 5)
    engine.load_weights(lm.network.public_tensors(), version=1)
    next(made)
    assert looks == [1, 1]


def test_a_hook_hung_in_the_middle_is_asked_soon() -> None:
    lm = wide_lm("llama")
    made = after(Engine(lm, draft_tokens=0), 5)
    seen: list[int] = []
    lm.network.layers[0].mlp.down_proj.register_forward_hook(lambda *_: seen.append(1))
    for _ in range(TRUSTED):
        next(made)
    assert seen
    before = len(seen)
    next(made)
    assert len(seen) == before + 1  # and then each time


def test_memory_that_a_weight_no_longer_has_is_still_there_to_read() -> None:
    lm = wide_lm("llama")
    engine = Engine(lm, draft_tokens=0)
    list(tokens(engine))
    wanted = list(tokens(engine))
    made = after(engine, 3)
    for parameter in lm.network.layers.parameters():
        parameter.data = parameter.data.clone()
    gc.collect()
    rubbish = [torch.full((size,), 1e9) for size in (64, 256, 1024, 4096, 16384) for _ in range(50)]
    assert [*wanted[:3], *made] == wanted
    del rubbish
