"""All layers of a plain decoder in one native call: the same bits as one after the other."""

import copy
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from shoestring.engine.draft import DraftCount
from shoestring.engine.engine import Engine
from shoestring.engine.request import Completion, SamplingParams
from shoestring.lm import LanguageModel
from shoestring.models.layers_call import NetworkCall
from shoestring.models.linear import Linear
from shoestring.models.quantize import Form, quantize_network
from shoestring.models.transformer import Transformer
from shoestring.ops.block import LayersCall
from shoestring.ops.latent_layers import LatentLayersCall
from shoestring.ops.panels import panel_library
from tiny import tiny_lm
from tiny_v3 import tiny_v3
from wide import FAMILIES, LATENT, latent_lm, wide_lm

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")

PROMPTS = [[5 + i, 9, 30 + 2 * i, 7] * (1 + i % 9) for i in range(24)]
PARAMS = SamplingParams(max_tokens=40, temperature=0.8, seed=3, ignore_eos=True)


def generate(lm: LanguageModel, prompts: list[list[int]], engine: Engine | None = None) -> list[Completion]:
    engine = engine or Engine(lm, draft_tokens=0, chunk_tokens=16)
    return [completion for (completion,) in engine.generate(prompts, PARAMS)]


def bits(made: list[Completion]) -> list[tuple[list[int], list[float]]]:
    return [(c.ids, c.logprobs) for c in made]


def rows_of(call: type[LayersCall] | type[LatentLayersCall], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of each pass that went in one call."""
    seen: list[int] = []
    run = call.run

    def counted(self: Any, x: torch.Tensor, *rest):
        seen.append(len(x))
        return run(self, x, *rest)

    monkeypatch.setattr(call, "run", counted)
    return seen


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return rows_of(LayersCall, monkeypatch)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("dtype", "form"),
    [
        (torch.float32, None),
        (torch.bfloat16, None),
        (torch.bfloat16, "int8"),
        (torch.float32, "int4"),
    ],
)
@pytest.mark.parametrize("count", [1, 3, 24])
def test_it_makes_what_the_layers_make_in_turn(
    family: str, dtype: torch.dtype, form: Form | None, count: int, calls: list[int], monkeypatch
) -> None:
    lm = wide_lm(family, dtype, form)
    at_once = generate(lm, PROMPTS[:count])
    few = count <= 3
    if few or form is not None or reads_panels(lm):
        assert max(calls) >= (1 if few else 16)
    monkeypatch.setattr(NetworkCall, "run", lambda *_: None)
    in_turn = generate(lm, PROMPTS[:count])
    assert bits(at_once) == bits(in_turn)


@pytest.fixture
def with_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def broad_lm(kind: str, form: Form | None = None) -> LanguageModel:
    """Wide enough that every part of a layer is shared out among threads."""
    if kind == "v3":
        sizes = {"hidden_size": 512, "intermediate_size": 1024, "q_lora_rank": 128, "kv_lora_rank": 128}
        lm = tiny_v3(**(sizes | {"moe_intermediate_size": 256}))
        return dataclasses.replace(lm, network=lm.network.to(torch.bfloat16))
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "head_dim": 64}
    lm = tiny_lm()
    config = dataclasses.replace(lm.config, **sizes)
    network = Transformer(config)
    network.init_weights(0)
    network.to(torch.bfloat16)
    if form is not None:
        quantize_network(network, form)
    return dataclasses.replace(lm, network=network, config=config)


@pytest.mark.parametrize(("kind", "form"), [("plain", None), ("plain", "int8"), ("v3", None)])
def test_threads_that_stay_together_make_what_one_makes(
    kind: str, form: Form | None, with_threads: Callable[[int], None]
) -> None:
    lm = broad_lm(kind, form)
    with_threads(1)
    alone = bits(generate(lm, PROMPTS[:8]))
    for threads in (2, 7):  # seven are more than most machines have for them: they must sleep
        with_threads(threads)
        assert bits(generate(lm, PROMPTS[:8])) == alone


def test_two_engines_at_work_have_each_their_own_threads(with_threads: Callable[[int], None]) -> None:
    lm = broad_lm("plain")
    with_threads(2)
    alone = bits(generate(lm, PROMPTS[:8]))
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: bits(generate(lm, PROMPTS[:8])), range(2)))
    assert made == [alone, alone]


@pytest.mark.parametrize("kind", LATENT)
@pytest.mark.parametrize(("count", "draft_tokens"), [(1, 0), (1, 2), (3, 1), (24, 0)])
def test_layers_with_latents_make_what_they_make_in_turn(
    kind: str, count: int, draft_tokens: int, monkeypatch
) -> None:
    lm = latent_lm(kind)
    seen = rows_of(LatentLayersCall, monkeypatch)
    asked = dataclasses.replace(PARAMS, record_routing=kind != "dense")

    def made() -> tuple[list[Completion], DraftCount | None]:
        engine = Engine(lm, draft_tokens=draft_tokens)
        return [c for (c,) in engine.generate(PROMPTS[:count], asked)], engine.drafts

    at_once, drafts = made()
    if panel_library(lm.network.layers[0].self_attn.a_proj.weight) is not None:
        assert max(seen) == count * (1 + draft_tokens)
        assert drafts is None or len(seen) >= 2 * drafts.steps // count  # the module's passes too
    monkeypatch.setattr(NetworkCall, "run", lambda *_: None)
    in_turn, drafts_in_turn = made()
    assert bits(at_once) == bits(in_turn)
    assert drafts == drafts_in_turn
    for one, other in zip(at_once, in_turn, strict=True):
        assert (one.routing is None) == (kind == "dense")
        assert one.routing is other.routing or torch.equal(one.routing, other.routing)


def test_new_weights_of_layers_with_latents_are_read() -> None:
    lm, other = latent_lm("v3"), latent_lm("v3")
    with torch.no_grad():
        for parameter in other.network.layers.parameters():
            parameter.mul_(1.3)
        other.network.layers[1].mlp.gate.e_score_correction_bias[2] += 0.5
    engine = Engine(lm, draft_tokens=0)
    wanted, old = bits(generate(other, PROMPTS[:12])), bits(generate(lm, PROMPTS[:12], engine))
    assert old != wanted
    engine.load_weights(other.network.public_tensors(), version=1)
    assert bits(generate(lm, PROMPTS[:12], engine)) == wanted


@pytest.mark.parametrize("kind", ["plain", "int8", "latent"])
def test_a_copy_of_the_network_reads_its_own_weights(kind: str) -> None:
    lm = latent_lm("v3") if kind == "latent" else wide_lm("llama", form="int8" if kind == "int8" else None)
    wanted = bits(generate(lm, PROMPTS[:2]))
    network = copy.deepcopy(lm.network)
    with torch.no_grad():
        for tensor in lm.network.state_dict().values():
            tensor.zero_()
        if kind == "int8":
            for linear in (module for module in lm.network.modules() if isinstance(module, Linear)):
                assert linear.quantized is not None
                linear.quantized.scales.zero_()
    assert bits(generate(dataclasses.replace(lm, network=network), PROMPTS[:2])) == wanted


def reads_panels(lm: LanguageModel) -> bool:
    return panel_library(lm.network.layers[0].mlp.down_proj.weight) is not None


@pytest.mark.parametrize("form", [None, "int8"])
@pytest.mark.parametrize("place", ["layer", "mlp", "down_proj"])
def test_what_has_a_hook_is_asked_itself(place: str, form: Form | None, calls: list[int]) -> None:
    lm = wide_lm("llama", form=form)
    wanted = [c.ids for c in generate(lm, PROMPTS[:2])]
    made = len(calls)
    assert made
    layer = lm.network.layers[1]
    module = {"layer": layer, "mlp": layer.mlp, "down_proj": layer.mlp.down_proj}[place]
    seen: list[int] = []
    hook = module.register_forward_hook(lambda *_: seen.append(1))
    assert [c.ids for c in generate(lm, PROMPTS[:2])] == wanted
    assert len(calls) == made
    assert len(seen) >= PARAMS.max_tokens
    hook.remove()
    generate(lm, PROMPTS[:2])
    assert len(calls) > made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_weights_are_read(dtype: torch.dtype) -> None:
    """Written in place, as training and a hand-over do, and laid elsewhere."""
    lm, other = wide_lm("qwen2", dtype), wide_lm("qwen2", dtype)
    with torch.no_grad():
        for parameter in other.network.layers[1].parameters():
            parameter.mul_(1.5)
    wanted = bits(generate(other, PROMPTS[:12]))
    engine = Engine(lm, draft_tokens=0)
    old = bits(generate(lm, PROMPTS[:12], engine))
    assert old != wanted
    engine.load_weights(other.network.public_tensors(), version=1)
    assert bits(generate(lm, PROMPTS[:12], engine)) == wanted
    linear = lm.network.layers[1].mlp.down_proj
    linear.weight = torch.nn.Parameter(linear.weight.detach() * 0.5)
    moved = bits(generate(lm, PROMPTS[:12], engine))
    with torch.no_grad():
        other.network.layers[1].mlp.down_proj.weight.mul_(0.5)
    assert moved == bits(generate(other, PROMPTS[:12]))
    assert moved != wanted


def test_neighbours_change_no_bit() -> None:
    """Where weights lie in panels one row and many go the same way."""
    lm = wide_lm("llama", torch.bfloat16)
    if not reads_panels(lm):
        pytest.skip("this processor's products don't read panels")
    greedy = dataclasses.replace(PARAMS, temperature=0.0)
    together = Engine(lm, draft_tokens=0).generate(PROMPTS, greedy)
    for prompt, (completion,) in zip(PROMPTS[:6], together, strict=False):
        ((alone,),) = Engine(lm, draft_tokens=0).generate([prompt], greedy)
        assert bits([alone]) == bits([completion])
