"""GGUF files of the llama, qwen2, qwen3 and deepseek2 architectures -> our config and network."""

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig, RopeScaling
from shoestring.models.config_file import FAMILIES
from shoestring.models.gguf_deepseek import ARCHITECTURE, DeepSeekWeights
from shoestring.models.gguf_file import GGUFFile
from shoestring.models.gguf_metadata import Metadata
from shoestring.models.rope import scaled_inverse_frequencies
from shoestring.models.transformer import Transformer
from shoestring.models.weights import WeightSource, empty_network, fill_network

OUTER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ROPE_FACTORS = "rope_freqs.weight"  # Llama 3.1's scaling comes as this tensor instead of metadata


class GGUFWeights:
    """A file's tensors by their public names, each head's rows of q and k in the usual order."""

    def __init__(self, file: GGUFFile) -> None:
        """Raises BadInput, one line, for an architecture that isn't one of ours."""
        self.file, self.config = file, config_from_gguf(file)
        self.stored = {public_name(name): name for name in file.tensors if name != ROPE_FACTORS}

    @property
    def source(self) -> WeightSource:
        shapes = {public: self.file.tensors[name].shape for public, name in self.stored.items()}
        return WeightSource(str(self.file.path), shapes, self.read)

    def read(self, name: str) -> Tensor:
        """Dequantised, float32."""
        return self.in_order(name, torch.from_numpy(self.file.read(self.stored[name])))

    def in_order(self, name: str, rows: Tensor) -> Tensor:
        if self.config.model_type == "llama" and ".q_proj." in name:
            return unpermute(rows, self.config.num_attention_heads)
        if self.config.model_type == "llama" and ".k_proj." in name:
            return unpermute(rows, self.config.num_key_value_heads)
        return rows


def load_gguf(file: GGUFFile, dtype: torch.dtype, device: str) -> Transformer:
    """The file's network, dequantised into `dtype`. Raises BadInput, one line."""
    weights = DeepSeekWeights(file) if is_deepseek(file) else GGUFWeights(file)
    network = empty_network(weights.config, dtype, device)
    fill_network(network, weights.source)
    return network


def is_deepseek(file: GGUFFile) -> bool:
    return file.metadata.get("general.architecture") == ARCHITECTURE


def public_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> "model.layers.3.self_attn.q_proj.weight"; an unknown name stays as it is."""
    parts = name.split(".")
    if len(parts) == 2 and parts[0] in OUTER:
        return f"{OUTER[parts[0]]}.{parts[1]}"
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in INNER:
        return f"model.layers.{parts[1]}.{INNER[parts[2]]}.{parts[3]}"
    return name


def unpermute(rows: Tensor, num_heads: int) -> Tensor:
    """llama.cpp rotates neighbouring pairs (x[2i], x[2i+1]), so its converter interleaves the two halves of
    each head's rows of q and k for the llama architecture. This puts pair i back at (i, i + D/2)."""
    pairs = rows.unflatten(0, (num_heads, -1, 2))
    return pairs.transpose(1, 2).reshape(rows.shape)


def config_from_gguf(file: GGUFFile) -> ModelConfig:
    """Sizes from the metadata; features that GGUF has no key for (biases, tied head) from the tensors'
    names."""
    raw, where = file.metadata, file.path
    arch = raw.get("general.architecture")
    if arch not in FAMILIES:
        known = ", ".join((*FAMILIES, ARCHITECTURE))
        raise BadInput(f"{where}: architecture {arch!r} is not supported; supported: {known}")
    if raw.get(f"{arch}.expert_count"):
        raise BadInput(f"{where}: a mixture of experts in the {arch} architecture is not supported")
    if "token_embd.weight" not in file.tensors:
        raise BadInput(f"{where}: the tensors don't fit a {arch} model; missing: token_embd.weight")
    metadata = Metadata(raw, arch, where)
    heads, hidden = metadata.whole("attention.head_count"), metadata.whole("embedding_length")
    head_dim = metadata.whole("attention.key_length", hidden // max(heads, 1))
    for key in ("attention.value_length", "rope.dimension_count"):
        if metadata.whole(key, head_dim) != head_dim:
            raise BadInput(f"{where}: {arch}.{key} other than the head's size {head_dim} is not supported")
    bias = arch == "qwen2" or "blk.0.attn_q.bias" in file.tensors
    bos, *ends = (raw.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "eot"))
    config = ModelConfig(
        model_type=arch,
        vocab_size=file.tensors["token_embd.weight"].shape[0],
        hidden_size=hidden,
        intermediate_size=metadata.whole("feed_forward_length"),
        num_hidden_layers=metadata.whole("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=metadata.whole("attention.head_count_kv", heads),
        head_dim=head_dim,
        max_position_embeddings=metadata.whole("context_length", 2048),
        rms_norm_eps=metadata.real("attention.layer_norm_rms_epsilon"),
        rope_theta=metadata.real("rope.freq_base", 10000.0),
        rope_scaling=metadata.rope_scaling(),
        tie_word_embeddings="output.weight" not in file.tensors,
        attention_bias=bias,
        attention_output_bias=bias and arch != "qwen2",
        mlp_bias="blk.0.ffn_down.bias" in file.tensors,
        qk_norm=arch == "qwen3",
        bos_token_id=bos if isinstance(bos, int) else None,
        eos_token_id=tuple(dict.fromkeys(end for end in ends if isinstance(end, int))),
    )
    if ROPE_FACTORS not in file.tensors:
        return config
    return scaling_from_factors(config, file.read(ROPE_FACTORS).astype(np.float64).tolist(), str(where))


def scaling_from_factors(config: ModelConfig, factors: list[float], where: str) -> ModelConfig:
    """The Llama 3 scaling whose frequencies are theta^(-2i/d) / factors[i]. The tensor keeps only
    quotients: low and high factors are taken to be Llama's 1 and 4, the original window the power of two
    that gives them."""
    plain = scaled_inverse_frequencies(dataclasses.replace(config, rope_scaling=None))
    if len(factors) != len(plain) or min(factors) <= 0:
        raise BadInput(f"{where}: {ROPE_FACTORS} has {len(factors)} factors, {len(plain)} are wanted")
    if max(abs(f - 1) for f in factors) < 1e-6:
        return config
    for bits in sorted(range(4, 24), key=lambda b: b != 13):  # 8192 first
        scaling = RopeScaling("llama3", float(f"{max(factors):.6g}"), 1.0, 4.0, 2**bits)
        made = dataclasses.replace(config, rope_scaling=scaling)
        pairs = zip(plain, factors, scaled_inverse_frequencies(made), strict=True)
        if all(math.isclose(p / f, s, rel_tol=1e-5) for p, f, s in pairs):
            return made
    raise BadInput(
        f"{where}: {ROPE_FACTORS} doesn't follow Llama 3's scaling; other scalings are not supported"
    )
