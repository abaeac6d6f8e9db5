"""GGUF files made with the gguf library from a small random network."""

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q

from shoestring.models.config import ModelConfig
from shoestring.models.gguf import INNER, OUTER
from shoestring.models.transformer import Transformer

SIZES = {
    "vocab_size": 40,
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 64,
}
FEATURES = {
    "llama": {},
    "qwen2": {"attention_bias": True, "tie_word_embeddings": True, "rope_theta": 1e6},
    "qwen3": {"qk_norm": True},
}
STORED_NAMES = {public: name for name, public in (OUTER | INNER).items()}


def network_of(family: str, **features) -> Transformer:
    config = ModelConfig(family, **SIZES | FEATURES[family] | {"initializer_range": 0.1} | features)
    network = Transformer(config)
    network.init_weights(seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in network.parameters():
            if p.dim() == 1:
                p.add_(torch.randn(p.shape, generator=generator) * 0.3)
    return network


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to q and k of the llama architecture."""
    return (
        rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        .swapaxes(1, 2)
        .reshape(rows.shape)
    )


def stored_name(public: str) -> str:
    parts = public.split(".")
    if parts[:2] == ["model", "layers"]:
        return f"blk.{parts[2]}.{STORED_NAMES['.'.join(parts[3:-1])]}.{parts[-1]}"
    return f"{STORED_NAMES['.'.join(parts[:-1])]}.{parts[-1]}"


def stored_tensors(network: Transformer) -> dict[str, np.ndarray]:
    c = network.config
    result = {}
    for name, tensor in network.public_tensors():
        rows = tensor.float().numpy()
        if c.model_type == "llama" and ("q_proj" in name or "k_proj" in name):
            rows = permuted(rows, c.num_attention_heads if "q_proj" in name else c.num_key_value_heads)
        result[stored_name(name)] = np.ascontiguousarray(rows)
    return result


def write(
    path,
    network: Transformer,
    kind: Q = Q.F32,
    change=lambda tensors: tensors,
    metadata=None,
    skip=(),
    alignment=32,
    others=None,
):
    """`kind` for matrices, F32 for vectors as llama.cpp does; `others` names matrices of other kinds by a
    piece of their names. `change` edits the tensors that are stored."""
    c, arch = network.config, network.config.model_type
    writer = gguf.GGUFWriter(path, arch)
    writer.add_custom_alignment(alignment)
    values = {
        "block_count": c.num_hidden_layers,
        "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size,
        "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads,
        "attention.head_count_kv": c.num_key_value_heads,
    }
    for key, value in values.items():
        if key not in skip:
            writer.add_uint32(f"{arch}.{key}", value)
    writer.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", c.rms_norm_eps)
    writer.add_float32(f"{arch}.rope.freq_base", c.rope_theta)
    for key, value in (metadata or {}).items():
        writer.add_key_value(key, *value)
    for name, rows in change(stored_tensors(network)).items():
        own = next((k for piece, k in (others or {}).items() if piece in name), kind)
        if rows.ndim == 1 or own is Q.F32:
            writer.add_tensor(name, rows.astype(np.float32))
        else:
            writer.add_tensor(name, quantized(rows, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def quantized(rows: np.ndarray, kind: Q) -> np.ndarray:
    """By the library where it can; else random blocks with sensible scales: any block is a valid one."""
    try:
        return gguf.quants.quantize(rows, kind)
    except NotImplementedError:
        pass
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(rows.size)
    raw = rng.integers(0, 256, (rows.size // block, size), dtype=np.uint8)
    scales = {Q.Q2_K: (80, 84), Q.Q3_K: (108, 110), Q.Q4_K: (0, 4), Q.Q5_K: (0, 4), Q.Q6_K: (208, 210)}[kind]
    halves = (scales[1] - scales[0]) // 2
    raw[:, scales[0] : scales[1]] = (
        rng.uniform(1e-4, 1e-3, (raw.shape[0], halves)).astype(np.float16).view(np.uint8)
    )
    return raw.reshape(rows.shape[0], -1)
