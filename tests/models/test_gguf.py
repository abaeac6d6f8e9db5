"""GGUF files made with the gguf library, against that library's own reader and transformers."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Q
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from gguf_files import FEATURES, network_of, permuted, stored_name, write
from shoestring.errors import BadInput
from shoestring.models.gguf import load_gguf, public_name
from shoestring.models.gguf_file import GGUFFile
from shoestring.models.rope import scaled_inverse_frequencies
from shoestring.models.transformer import Transformer


def load(path, dtype=torch.float32) -> Transformer:
    return load_gguf(GGUFFile(path), dtype, "cpu")


KINDS = [
    *(Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1),
    *(Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_weights_are_the_dequantised_ones(family, kind, tmp_path):
    path = write(tmp_path / "m.gguf", network_of(family), kind)
    c = (network := load(path)).config
    reader = gguf.GGUFReader(path)
    expected = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    loaded = {stored_name(name): tensor.numpy() for name, tensor in network.public_tensors()}
    assert loaded.keys() == expected.keys()
    for name, rows in expected.items():
        got = loaded[name]
        if family == "llama" and ("attn_q" in name or "attn_k" in name):
            got = permuted(got, c.num_attention_heads if "attn_q" in name else c.num_key_value_heads)
        np.testing.assert_array_equal(got, rows.reshape(got.shape), err_msg=name)


@pytest.mark.parametrize("family", FEATURES)
def test_logits_survive_the_trip(family, tmp_path):
    """F32 keeps everything: a wrong permutation, name or feature would show in the logits."""
    network = network_of(family)
    loaded = load(write(tmp_path / "m.gguf", network))
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        expected, got = (n.head(n(ids, ids).hidden) for n in (network, loaded))
    assert expected.std() > 0.5
    assert torch.equal(expected, got)
    assert loaded.config.tie_word_embeddings == network.config.tie_word_embeddings


@pytest.mark.parametrize("family", FEATURES)
def test_transformers_reads_the_same_from_the_same_file(family, tmp_path):
    sizes = {"vocab_size": 40, "attention.key_length": 64, "attention.value_length": 64}
    metadata = {f"{family}.{k}": (v, gguf.GGUFValueType.UINT32) for k, v in sizes.items()}
    path = write(tmp_path / "m.gguf", network_of(family), Q.Q8_0, metadata=metadata)
    config = AutoConfig.from_pretrained(tmp_path, gguf_file="m.gguf")
    config.head_dim = 64  # it leaves Qwen3's at its default
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.load_state_dict(
        load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"], strict=False
    )
    ids = torch.arange(40)[None]
    network = load(path)
    with torch.inference_mode():
        difference = network.head(network(ids, ids).hidden) - model(ids).logits
    assert difference.abs().max() <= 1e-4


def test_header_reads_as_the_library_reads_it(tmp_path):
    kinds = gguf.GGUFValueType
    metadata = {
        "general.name": ("ein Näme", kinds.STRING),
        "x.flag": (True, kinds.BOOL),
        "x.small": (-3, kinds.INT8),
        "x.large": (2**40, kinds.UINT64),
        "x.real": (0.5, kinds.FLOAT64),
        "x.words": (["a", "", "ö"], kinds.ARRAY),
        "x.numbers": ([1, -2, 3], kinds.ARRAY),
    }
    path = write(tmp_path / "m.gguf", network_of("llama"), metadata=metadata, alignment=128)
    file, reader = GGUFFile(path), gguf.GGUFReader(path)
    expected = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    assert file.metadata == expected
    assert {n: (t.offset, t.nbytes) for n, t in file.tensors.items()} == {
        t.name: (t.data_offset, t.n_bytes) for t in reader.tensors
    }


@pytest.mark.parametrize(("factor", "window"), [(8.0, 8192), (32.0, 8192), (4.0, 64)])
def test_llama3_scaling_from_the_tensor_of_factors(factor, window, tmp_path):
    """Factors made as the converter makes them, by transformers' formula."""
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": window,
    }
    config = LlamaConfig(hidden_size=256, num_attention_heads=4, head_dim=64, rope_parameters=scaling)
    scaled = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].double()
    plain = 500000.0 ** (-torch.arange(0, 64, 2).double() / 64)
    factors = (plain / scaled).float().numpy()
    path = write(
        tmp_path / "m.gguf",
        network_of("llama", rope_theta=500000.0),
        change=lambda tensors: tensors | {"rope_freqs.weight": factors},
    )
    got = load(path)
    assert got.config.rope_scaling is not None
    assert got.config.rope_scaling.original_max_position_embeddings == window
    torch.testing.assert_close(got.inv_freq.double(), scaled, rtol=1e-5, atol=0)
    assert got.config.rope_scaling.factor == factor


def test_linear_scaling_from_metadata(tmp_path):
    metadata = {
        "llama.rope.scaling.type": ("linear", gguf.GGUFValueType.STRING),
        "llama.rope.scaling.factor": (4.0, gguf.GGUFValueType.FLOAT32),
    }
    config = load(write(tmp_path / "m.gguf", network_of("llama"), metadata=metadata)).config
    assert scaled_inverse_frequencies(config)[:2] == [0.25, 0.25 * 10000 ** (-1 / 32)]


def test_small_numbers_of_the_config_are_not_float32_noise(tmp_path):
    config = load(write(tmp_path / "m.gguf", network_of("llama", rms_norm_eps=1e-5))).config
    assert config.rms_norm_eps == 1e-5
    assert config.max_position_embeddings == 64


def test_names():
    assert public_name("blk.3.attn_q.weight") == "model.layers.3.self_attn.q_proj.weight"
    assert public_name("output.weight") == "lm_head.weight"
    assert public_name("blk.0.ffn_gate_inp.weight") == "blk.0.ffn_gate_inp.weight"


# ------------------------------------------------------------ what can't be read


def refusal(path) -> str:
    with pytest.raises(BadInput) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def bytes_of_a_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    return write(path, network_of("llama"), Q.Q8_0).read_bytes()


def test_half_files(bytes_of_a_file, tmp_path):
    path, whole = tmp_path / "half.gguf", bytes_of_a_file
    for size in (4, 9, 23, 24, 60, 500, 1500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "cut short" in refusal(path)


def test_files_of_another_kind(bytes_of_a_file, tmp_path):
    path = tmp_path / "other.gguf"
    for start in (b"", b"GGM", b"PK\x03\x04" + b"x" * 99):
        path.write_bytes(start)
        assert "is not a GGUF file" in refusal(path)
    path.write_bytes(b"GGUF" + (1).to_bytes(4, "little") + bytes_of_a_file[8:])
    assert "GGUF version 1" in refusal(path)


def test_damaged_headers_never_end_in_a_traceback(bytes_of_a_file, tmp_path):
    """Any byte of the header changed: it loads or is refused in one line."""
    path, rng = tmp_path / "damaged.gguf", np.random.default_rng(0)
    refused = 0
    for at in rng.integers(4, 1800, 150):
        damaged = bytearray(bytes_of_a_file)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path)
        except BadInput as error:
            refused += "\n" not in str(error)
    assert refused > 50


def test_tensors_that_do_not_fit(tmp_path):
    path, network = tmp_path / "m.gguf", network_of("llama")
    write(path, network, change=lambda t: {k: v for k, v in t.items() if k != "blk.1.ffn_up.weight"})
    assert "missing: model.layers.1.mlp.up_proj.weight" in refusal(path)
    write(path, network, change=lambda t: t | {"blk.0.ffn_gate_inp.weight": np.zeros((4, 4), np.float32)})
    assert "not part of this model: blk.0.ffn_gate_inp.weight" in refusal(path)
    write(path, network, change=lambda t: t | {"output_norm.weight": np.zeros(7, np.float32)})
    assert "wrong shape: model.norm.weight is 7, should be 256" in refusal(path)
    write(path, network, change=lambda t: t | {"output_norm.weight": np.full(256, np.nan, np.float32)})
    assert "tensor model.norm.weight holds NaN" in refusal(path)
    write(path, network, change=lambda t: {k: v for k, v in t.items() if k != "token_embd.weight"})
    assert "missing: token_embd.weight" in refusal(path)
    write(path, network, change=lambda t: t | {"rope_freqs.weight": np.linspace(1, 9, 32, dtype=np.float32)})
    assert "rope_freqs.weight doesn't follow Llama 3's scaling" in refusal(path)


def test_kinds_without_dequantisation_are_named(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(write(path, network_of("llama"), Q.Q8_0).read_bytes())
    name = b"blk.0.ffn_up.weight"
    raw = bytearray(path.read_bytes())
    at = (
        raw.index(name) + len(name) + 4 + 16
    )  # after the name: number of dimensions, two sizes, then the kind
    assert raw[at] == Q.Q8_0
    raw[at] = Q.Q8_K
    path.write_bytes(raw)
    assert "Q8_K" in refusal(path)


@pytest.mark.parametrize(
    ("family", "metadata", "says"),
    [
        ("llama", {"llama.expert_count": 8}, "mixture of experts"),
        (
            "llama",
            {"llama.rope.dimension_count": 32},
            "llama.rope.dimension_count other than the head's size 64",
        ),
        ("llama", {"llama.attention.value_length": 32}, "llama.attention.value_length"),
        ("qwen2", {"qwen2.rope.scaling.type": "longrope"}, "rope scaling 'longrope' is not supported"),
    ],
)
def test_features_we_do_not_have(family, metadata, says, tmp_path):
    kinds = gguf.GGUFValueType
    typed = {k: (v, kinds.STRING if isinstance(v, str) else kinds.UINT32) for k, v in metadata.items()}
    assert says in refusal(write(tmp_path / "m.gguf", network_of(family), metadata=typed))


def test_metadata_that_is_missing(tmp_path):
    path = write(tmp_path / "m.gguf", network_of("llama"), skip=["feed_forward_length"])
    assert "metadata llama.feed_forward_length is missing" in refusal(path)
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "gemma")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        step()
    writer.close()
    assert "architecture 'gemma' is not supported; supported: llama, qwen2, qwen3" in refusal(
        tmp_path / "other.gguf"
    )
