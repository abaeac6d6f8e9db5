"""Networks with quantised weights: against what the weights stand for, from files and from folders."""

import dataclasses
import shutil

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Q

from gguf_files import FEATURES, network_of, write
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.lm import LanguageModel, load
from shoestring.models import block as block_module
from shoestring.models.config import ModelConfig
from shoestring.models.gguf import load_gguf
from shoestring.models.gguf_blocks import READERS, kept_groups
from shoestring.models.gguf_file import GGUFFile
from shoestring.models.gguf_quantized import load_gguf_quantized
from shoestring.models.linear import Linear
from shoestring.models.moe import Experts
from shoestring.models.presets import from_width
from shoestring.models.quantize import Form, quantize_network, quantized_linears, quantized_share
from shoestring.models.transformer import Transformer
from shoestring.ops.quantized import SIZE, dequantize
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings
from tiny import tiny_lm
from tiny_v3 import tiny_v3

FORMS = pytest.mark.parametrize("form", ["int8", "int4"])
needs_kernels = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
IDS = torch.arange(24).view(2, 12) * 7 % 40
POSITIONS = torch.arange(12).expand(2, 12)


@torch.no_grad()
def logits(network: Transformer, ids: torch.Tensor = IDS) -> torch.Tensor:
    positions = torch.arange(ids.shape[1]).expand(ids.shape)
    return network.head(network(ids, positions).hidden)


@torch.no_grad()
def put_back(network: Transformer, original: Transformer) -> None:
    """Into `original` what the quantised network's weights stand for."""
    for own, other in zip(quantized_linears(original), quantized_linears(network), strict=True):
        assert other.quantized is not None
        own.weight.copy_(dequantize(other.quantized))
    assert network.quantized_embedding is not None
    assert network.quantized_head is not None
    original.embed_tokens.copy_(dequantize(network.quantized_embedding))
    if original.lm_head is not None:
        original.lm_head.copy_(dequantize(network.quantized_head))


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative. Random networks make much of little: their logits move by some times what a product is
    off."""
    return float((found - wanted).norm() / wanted.norm())


@FORMS
@pytest.mark.parametrize("family", FEATURES)
def test_a_quantised_network_is_the_one_its_weights_stand_for(family: str, form: Form) -> None:
    network, original = network_of(family), network_of(family)
    before = logits(original)
    quantize_network(network, form)
    put_back(network, original)
    made, wanted = logits(network), logits(original)
    assert distance(made, wanted) < 0.05  # of the activations' 8 bits
    assert distance(wanted, before) < (0.05 if form == "int8" else 0.6)


@FORMS
def test_without_kernels_it_is_the_same(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of("llama")
    quantize_network(network, form)
    made = logits(network)
    monkeypatch.setattr("shoestring.ops.quantized.library_for", lambda *_: None)
    monkeypatch.setattr(block_module, "library_for", lambda *_: None)
    for layer in network.layers:
        layer._lasting, layer._places = None, ()
    assert distance(logits(network), made) < 0.01


@needs_kernels
@FORMS
@pytest.mark.parametrize("family", FEATURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_in_two_calls_is_the_block(
    family: str, dtype: torch.dtype, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(family).to(dtype)
    quantize_network(network, form)
    in_calls = logits(network)
    assert all(layer._lasting is not None for layer in network.layers)
    monkeypatch.setattr(block_module.Block, "native_calls", lambda *_: None)
    assert distance(in_calls, logits(network)) < (1e-5 if dtype == torch.float32 else 1e-2)


@needs_kernels
@pytest.mark.parametrize("family", FEATURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_weights_take_the_two_calls_too(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, ids = network_of(family).to(dtype), IDS[:1, :3]
    in_calls = logits(network, ids)
    assert all(layer._calls is not None for layer in network.layers)
    monkeypatch.setattr(block_module.Block, "native_calls", lambda *_: None)
    wanted = logits(network, ids)
    assert distance(in_calls, wanted) < (1e-5 if dtype == torch.float32 else 1e-2)


@needs_kernels
def test_the_calls_read_weights_that_changed_place() -> None:
    network, ids = network_of("llama"), IDS[:1, :2]
    logits(network, ids)
    with torch.no_grad():
        network.layers[0].mlp.down_proj.weight = torch.nn.Parameter(
            network.layers[0].mlp.down_proj.weight * 2
        )
    changed = logits(network, ids)
    for layer in network.layers:
        layer._places = ()
    assert torch.equal(changed, logits(network, ids))


def wide_lm(form: Form | None) -> LanguageModel:
    """Of heads and widths that the kernels take."""
    lm = tiny_lm()
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
    config = dataclasses.replace(lm.config, **sizes)
    network = Transformer(config)
    network.init_weights(0)
    if form is not None:
        quantize_network(network, form)
    return dataclasses.replace(lm, network=network, config=config)


@FORMS
def test_neighbours_change_no_token(form: Form) -> None:
    engine = Engine(wide_lm(form))
    prompts = [[5 + i, 9, 30 + 2 * i, 7] * (1 + i % 5) for i in range(24)]
    params = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
    together = engine.generate(prompts, params)
    for i in (0, 7, 23):
        (alone,) = engine.generate([prompts[i]], params)
        assert alone[0].ids == together[i][0].ids
        np.testing.assert_allclose(alone[0].logprobs, together[i][0].logprobs, atol=1e-5)


def test_it_is_for_serving_only(tmp_path) -> None:
    lm = wide_lm("int8")
    for attempt in (
        lambda: Learner(lm, OptimSettings(), 10),
        lambda: lm.save(tmp_path),
        lambda: Engine(lm).load_weights([], 1),
    ):
        with pytest.raises(
            BadInput, match="tiny was loaded with quantised weights, which are for serving only"
        ):
            attempt()
    assert not [*tmp_path.iterdir()]


def test_rows_that_are_not_whole_groups() -> None:
    config = ModelConfig(
        "llama", vocab_size=20, hidden_size=24, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, head_dim=12, max_position_embeddings=32,
    )  # fmt: skip
    network = Transformer(config)
    with pytest.raises(BadInput, match="hidden size 24 is not a multiple of 32"):
        quantize_network(network, "int8")
    assert not network.is_quantized


def test_latent_attention_keeps_what_it_absorbs() -> None:
    lm_config = from_width(128, vocab_size=64)
    network = Transformer(lm_config)
    network.init_weights(1)
    before = logits(network)
    quantize_network(network, "int8")
    plain = [name for name, m in network.named_modules() if isinstance(m, Linear) and m.quantized is None]
    assert any("kv_b_proj" in name for name in plain)
    assert distance(logits(network), before) < 0.1


def test_shares_are_told() -> None:
    network = network_of("llama")
    quantize_network(network, "int4")
    share = quantized_share(network)
    whole = sum(p.numel() for p in network_of("llama").parameters())
    assert share.in_8 + share.in_4 + share.plain == whole
    assert share.in_8 == 2 * 40 * 256
    assert "in 4 bits" in share.line()


# files


def farthest(network: Transformer, whole: Transformer) -> float:
    """Of the matrices of the layers, the largest distance between what is stored and what it stands for."""
    pairs = zip(quantized_linears(network), quantized_linears(whole), strict=True)
    return max(
        distance(dequantize(own.quantized), other.weight.detach()) for own, other in pairs if own.quantized
    )


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.name)
def test_blocks_are_kept_as_they_are(kind: Q) -> None:
    rng = np.random.default_rng(0)
    size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (6 * 512 // size, block_bytes), dtype=np.uint8)
    factors = {Q.Q8_0: 2, Q.Q4_0: 2, Q.Q5_0: 2, Q.Q4_1: 4, Q.Q4_K: 4}[kind]
    scales = rng.uniform(1e-3, 1e-2, (len(raw), factors // 2)).astype(np.float16)
    raw[:, :factors] = scales.view(np.uint8)
    groups = kept_groups(raw.reshape(-1), kind, (6, 512))
    assert groups is not None
    found = groups.numbers.float() * groups.scales.float().repeat_interleave(SIZE, 1)
    if groups.mins is not None:
        found += groups.mins.float().repeat_interleave(SIZE, 1)
    wanted = torch.from_numpy(gguf.quants.dequantize(raw, kind).reshape(6, 512).copy())
    bound = 2.0**-10 if kind == Q.Q4_K else 1e-6
    torch.testing.assert_close(found, wanted, rtol=bound, atol=bound * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("kind", "form", "told"),
    [
        (Q.Q8_0, "int8", "kept 16 x Q8_0"),
        (Q.Q8_0, None, "kept 16 x Q8_0"),
        (Q.Q4_1, "int4", "kept 14 x Q4_1; rounded anew 2 x Q4_1"),  # embedding and head
        (Q.Q4_1, None, "kept 16 x Q4_1"),
        (Q.Q4_K, None, "kept 16 x Q4_K"),
        (Q.Q4_0, "int8", "rounded anew 16 x Q4_0"),
        (Q.Q6_K, None, "rounded anew 16 x Q6_K"),
        (Q.F16, "int4", "rounded anew 16 x F16"),
    ],
)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_file_is_loaded_without_a_whole_copy(
    family: str, kind: Q, form: Form | None, told: str, tmp_path
) -> None:
    path = write(tmp_path / "m.gguf", network_of(family, tie_word_embeddings=False), kind)
    network, said = load_gguf_quantized(GGUFFile(path), torch.float32, "cpu", form)
    assert said == told
    assert all(p.is_meta for p in network.parameters() if p.dim() == 2)
    whole = load_gguf(GGUFFile(path), torch.float32, "cpu")
    assert farthest(network, whole) < (1e-3 if told.startswith("kept") else 0.1 if form == "int4" else 0.01)
    if told.startswith("kept"):
        assert distance(logits(network), logits(whole)) < 0.06


def test_parts_of_one_product_in_several_kinds_go_to_eight_bits(tmp_path) -> None:
    network = network_of("llama", tie_word_embeddings=True)
    path = write(tmp_path / "m.gguf", network, Q.Q4_K, others={"attn_v": Q.Q6_K, "token_embd": Q.Q8_0})
    made, said = load_gguf_quantized(GGUFFile(path), torch.float32, "cpu", None)
    assert said == "kept 8 x Q4_K, 1 x Q8_0; rounded anew 4 x Q4_K, 2 x Q6_K"
    first = made.layers[0]
    assert first.self_attn.qkv_proj.quantized.bits == 8
    assert first.mlp.gate_up_proj.quantized.bits == 4
    assert farthest(made, load_gguf(GGUFFile(path), torch.float32, "cpu")) < 0.01


def test_a_damaged_file_is_refused(tmp_path) -> None:
    path = write(tmp_path / "m.gguf", network_of("llama"), Q.Q8_0)
    file, data = GGUFFile(path), bytearray(path.read_bytes())
    at = file.tensors["blk.1.ffn_up.weight"].offset
    data[at : at + 2] = np.float16(np.nan).tobytes()
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"model\.layers\.1\.mlp\.up_proj\.weight holds NaN"):
        load_gguf_quantized(GGUFFile(path), torch.float32, "cpu", "int8")


def test_bad_input(tmp_path) -> None:
    lm = tiny_lm()
    lm.save(tmp_path)
    with pytest.raises(BadInput, match="quantize 'int5' is not supported, did you mean 'int"):
        load(tmp_path, quantize="int5")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"'file' is for .gguf files"):
        load(tmp_path, quantize="file")
    made = load(tmp_path, quantize="int8", dtype="float32")
    assert made.quantized.startswith("int8: ")
    assert made.network.is_quantized
    assert distance(made.logits([[1, 2, 3]]), lm.logits([[1, 2, 3]])) < 0.05


def wide_v3(**sizes: int) -> LanguageModel:
    whole = {"hidden_size": 64, "moe_intermediate_size": 32, "intermediate_size": 64, "q_lora_rank": 32}
    return tiny_v3(**(whole | sizes))


@FORMS
def test_a_v3_is_the_one_its_weights_stand_for_its_experts_too(form: Form) -> None:
    network, original = wide_v3().network, wide_v3().network
    before = logits(original)
    plain = quantized_share(network)
    quantize_network(network, form)
    put_back(network, original)
    with torch.no_grad():
        for own, other in zip(experts_of(original), experts_of(network), strict=True):
            assert other.quantized is not None
            for weight, matrix in (
                (own.gate_up_proj, other.quantized.gate_up),
                (own.down_proj, other.quantized.down),
            ):
                weight.copy_(dequantize(matrix).view(weight.shape))
    with torch.no_grad():  # the same experts in both: a score that is off may choose another
        routing = original(IDS, POSITIONS).routing
        made, wanted = (
            side.head(side(IDS, POSITIONS, routing=routing).hidden) for side in (network, original)
        )
    assert distance(made, wanted) < 0.05
    assert distance(wanted, before) < (0.05 if form == "int8" else 0.6)
    share = quantized_share(network)
    assert share.in_8 + share.in_4 + share.plain == plain.plain  # every weight once
    assert share.nbytes < 0.45 * plain.nbytes


def experts_of(network: Transformer) -> list[Experts]:
    return [module for module in network.modules() if isinstance(module, Experts)]


def test_experts_whose_rows_are_no_whole_groups_stay() -> None:
    network = wide_v3(moe_intermediate_size=24).network
    quantize_network(network, "int8")
    assert all(experts.quantized is None for experts in experts_of(network))
    assert logits(network).isfinite().all()


@FORMS
@needs_kernels
def test_a_quantised_v3_says_nearly_the_same_alone_and_among_others(form: Form) -> None:
    """Not bit for bit: what of attention isn't quantised may round otherwise, and then a number that goes
    into a product falls to the other of two."""
    lm = wide_v3()
    quantize_network(lm.network, form)
    prompts = [[5 + i, 9, 30, 7] * (1 + i % 5) for i in range(9)]
    params = SamplingParams(max_tokens=2, temperature=0.0, top_logprobs=5, ignore_eos=True)
    together = Engine(lm, draft_tokens=1).generate(prompts, params)
    for prompt, (wanted,) in zip(prompts, together, strict=True):
        ((alone,),) = Engine(lm, draft_tokens=0).generate([prompt], params)
        for one, other in zip(alone.top_logprobs, wanted.top_logprobs, strict=True):
            assert one.keys() == other.keys()
            assert all(abs(one[token] - other[token]) < 0.05 for token in one)
