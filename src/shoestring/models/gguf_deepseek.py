"""GGUF files of the deepseek2 architecture: DeepSeek-V2 and V3 models as llama.cpp has them. The latents'
up-projection lies there as two tensors by head, all experts of a layer in one, and MTP modules not at all."""

from typing import TYPE_CHECKING

import gguf
import numpy as np
import torch
from torch import Tensor

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig, RopeScaling
from shoestring.models.gguf_metadata import Metadata
from shoestring.models.weights import WeightSource

if TYPE_CHECKING:
    from shoestring.models.gguf_file import GGUFFile

ARCHITECTURE = "deepseek2"
YARN_LOG = 0.1  # llama.cpp keeps mscale_all_dim times this
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
}
KEYS_UP, VALUES_UP = "attn_k_b.weight", "attn_v_b.weight"  # (H, rank, nope) and (H, value, rank)
KV_UP = "self_attn.kv_b_proj.weight"
ROUTER_BIAS = {"exp_probs_b.bias": "mlp.gate.e_score_correction_bias"}
EXPERTS = {
    "ffn_gate_exps.weight": "gate_proj",
    "ffn_up_exps.weight": "up_proj",
    "ffn_down_exps.weight": "down_proj",
}
SCORINGS = {
    gguf.ExpertGatingFuncType.SOFTMAX.value: "softmax",
    gguf.ExpertGatingFuncType.SIGMOID.value: "sigmoid",
}


class DeepSeekWeights:
    """A file's tensors by their public names. One tensor of all experts is read once a layer and kind."""

    def __init__(self, file: "GGUFFile") -> None:
        """Raises BadInput, one line."""
        self.file, self.config = file, config_from_deepseek2(file)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.stored: dict[str, str] = {}
        for name, tensor in file.tensors.items():
            self._place(name, tensor.shape)
        self._last: tuple[str, Tensor] | None = None

    @property
    def source(self) -> WeightSource:
        return WeightSource(str(self.file.path), self.shapes, self.read)

    def _place(self, name: str, shape: tuple[int, ...]) -> None:
        parts = name.split(".", 2)
        if parts[0] != "blk" or len(parts) != 3:
            kind, _, rest = name.rpartition(".")
            self._add(f"{OUTER.get(kind, kind)}.{rest}", name, shape)
            return
        layer, inner = f"model.layers.{parts[1]}.", parts[2]
        kind, _, rest = inner.rpartition(".")
        if inner == KEYS_UP:
            heads, rank, nope = shape if len(shape) == 3 else (0, 0, 0)
            self._add(layer + KV_UP, name, (heads * (nope + self.config.v_head_dim), rank))
        elif inner == VALUES_UP and f"blk.{parts[1]}.{KEYS_UP}" in self.file.tensors:
            return
        elif inner in EXPERTS:
            for expert in range(shape[0]):
                self._add(f"{layer}mlp.experts.{expert}.{EXPERTS[inner]}.weight", name, shape[1:])
        elif inner in ROUTER_BIAS:
            self._add(layer + ROUTER_BIAS[inner], name, shape)
        else:
            self._add(f"{layer}{INNER.get(kind, kind)}.{rest}", name, shape)

    def _add(self, public: str, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[public], self.stored[public] = shape, name

    def read(self, name: str) -> Tensor:
        """Dequantised, float32."""
        stored = self.stored[name]
        if stored.endswith(KEYS_UP):
            other = stored.replace(KEYS_UP, VALUES_UP)
            if other not in self.file.tensors:
                raise BadInput(f"{self.file.path}: the tensors don't fit; missing: {other}")
            keys, values = self._whole(stored), self._whole(other)
            return torch.cat((keys.transpose(1, 2), values), dim=1).flatten(0, 1)
        if ".mlp.experts." in name:
            if self._last is None or self._last[0] != stored:
                self._last = (stored, self._whole(stored))
            return self._last[1][int(name.split(".experts.")[1].split(".")[0])]
        return self._whole(stored)

    def _whole(self, stored: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.file.read(stored)))


def config_from_deepseek2(file: "GGUFFile") -> ModelConfig:
    """Raises BadInput, one line, on what isn't there and on what no model of ours has."""
    raw, where = file.metadata, file.path
    if "token_embd.weight" not in file.tensors:
        raise BadInput(f"{where}: the tensors don't fit a deepseek2 model; missing: token_embd.weight")
    if "blk.0.attn_kv_b.weight" in file.tensors:
        raise BadInput(
            f"{where}: made by an old converter, which left attn_kv_b whole: convert the model anew"
        )
    data = Metadata(raw, ARCHITECTURE, where)
    rope, whole_key = data.whole("rope.dimension_count"), data.whole("attention.key_length_mla")
    layers, experts = data.whole("block_count"), data.whole("expert_count", 0)
    scoring = data.whole("expert_gating_func", gguf.ExpertGatingFuncType.SOFTMAX.value)
    if scoring not in SCORINGS:
        raise BadInput(f"{where}: expert_gating_func {scoring} is not supported; supported: softmax, sigmoid")
    biased = any(name.endswith("exp_probs_b.bias") for name in file.tensors)
    groups = data.whole("expert_group_count", 1)
    unbiased = "greedy" if groups == 1 else "group_limited_greedy"
    v3 = SCORINGS[scoring] == "sigmoid"
    bos, *ends = (raw.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "eot"))
    heads = data.whole("attention.head_count")
    mixture = (
        {
            "n_routed_experts": experts,
            "n_shared_experts": data.whole("expert_shared_count", 0),
            "num_experts_per_tok": data.whole("expert_used_count"),
            "moe_intermediate_size": data.whole("expert_feed_forward_length"),
            "first_k_dense_replace": data.whole("leading_dense_block_count", 0),
            "n_group": groups,
            "topk_group": data.whole("expert_group_used_count", 1),
            "topk_method": "noaux_tc" if biased else unbiased,
            "scoring_func": SCORINGS[scoring],
            "norm_topk_prob": data.flag("expert_weights_norm"),
            "routed_scaling_factor": data.real("expert_weights_scale", 1.0),
        }
        if experts
        else {}
    )
    return ModelConfig(
        model_type="deepseek_v3" if v3 or not experts else "deepseek_v2",
        vocab_size=file.tensors["token_embd.weight"].shape[0],
        hidden_size=data.whole("embedding_length"),
        intermediate_size=data.whole("feed_forward_length"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=whole_key,
        max_position_embeddings=data.whole("context_length", 2048),
        rms_norm_eps=data.real("attention.layer_norm_rms_epsilon"),
        rope_theta=data.real("rope.freq_base", 10000.0),
        rope_scaling=_with_temperature(data),
        tie_word_embeddings="output.weight" not in file.tensors,
        bos_token_id=bos if isinstance(bos, int) else None,
        eos_token_id=tuple(dict.fromkeys(end for end in ends if isinstance(end, int))),
        q_lora_rank=data.whole("attention.q_lora_rank", 0) or None,
        kv_lora_rank=data.whole("attention.kv_lora_rank"),
        qk_nope_head_dim=whole_key - rope,
        qk_rope_head_dim=rope,
        v_head_dim=data.whole("attention.value_length_mla"),
        rope_interleave=True,  # as llama.cpp turns this architecture
        **mixture,
    )


def _with_temperature(data: Metadata) -> RopeScaling | None:
    """llama.cpp takes both mscales to be one number."""
    scaling = data.rope_scaling()
    if scaling is None or scaling.rope_type != "yarn":
        return scaling
    both = round(data.real("rope.scaling.yarn_log_multiplier", 0.0) / YARN_LOG, 6)
    return RopeScaling(
        "yarn",
        scaling.factor,
        original_max_position_embeddings=scaling.original_max_position_embeddings,
        beta_fast=scaling.beta_fast,
        beta_slow=scaling.beta_slow,
        mscale=both,
        mscale_all_dim=both,
    )
