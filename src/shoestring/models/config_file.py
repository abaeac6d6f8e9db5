"""ModelConfig from a public `config.json` and back, as transformers 4 and 5 write and read it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig, RopeScaling

FAMILIES = ("llama", "qwen2", "qwen3")
DEEPSEEK = ("deepseek_v2", "deepseek_v3")
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
}
LATENT = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
EXPERTS = (
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "first_k_dense_replace",
    "moe_layer_freq",
    "n_group",
    "topk_group",
    "topk_method",
    "scoring_func",
    "norm_topk_prob",
    "routed_scaling_factor",
)


def config_from_hf(raw: Mapping[str, Any]) -> ModelConfig:
    """Raises BadInput, one line, on a family or feature that isn't supported and on what is missing."""
    kind = raw.get("model_type")
    supported = (*FAMILIES, *DEEPSEEK)
    if kind not in supported:
        raise BadInput(f"model_type {kind!r} is not supported; supported: {', '.join(supported)}")
    if raw.get("hidden_act", "silu") != "silu":
        raise BadInput(f"hidden_act {raw['hidden_act']!r} is not supported; only 'silu' is")
    if raw.get("use_sliding_window"):
        raise BadInput("use_sliding_window = true is not supported")
    try:
        more = _deepseek(raw, kind) if kind in DEEPSEEK else _dense(raw, kind)
        rope_theta, rope_scaling = _rope(raw)
        return ModelConfig(
            model_type=kind,
            vocab_size=int(raw["vocab_size"]),
            hidden_size=int(raw["hidden_size"]),
            intermediate_size=int(raw["intermediate_size"]),
            num_hidden_layers=int(raw["num_hidden_layers"]),
            num_attention_heads=int(raw["num_attention_heads"]),
            max_position_embeddings=int(raw.get("max_position_embeddings", 2048)),
            rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
            rope_theta=rope_theta,
            rope_scaling=rope_scaling,
            # transformers leaves the key out where it equals the family's default
            tie_word_embeddings=bool(raw.get("tie_word_embeddings", False)),
            initializer_range=float(raw.get("initializer_range", 0.02)),
            bos_token_id=raw.get("bos_token_id"),
            eos_token_id=token_ids(raw.get("eos_token_id")),
            **more,
        )
    except KeyError as error:
        raise BadInput(f"lacks {error.args[0]!r}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"a value is of the wrong kind: {error}") from None


def _dense(raw: Mapping[str, Any], kind: str) -> dict[str, Any]:
    heads = int(raw["num_attention_heads"])
    bias = bool(raw.get("attention_bias", False))
    usual = 128 if kind == "qwen3" else int(raw["hidden_size"]) // max(heads, 1)
    return {
        "num_key_value_heads": int(raw.get("num_key_value_heads") or heads),
        "head_dim": int(raw.get("head_dim") or usual),
        "attention_bias": bias or kind == "qwen2",
        "attention_output_bias": bias and kind in ("llama", "qwen3"),
        "mlp_bias": bool(raw.get("mlp_bias", False)),
        "qk_norm": kind == "qwen3",
    }


def _deepseek(raw: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """transformers leaves out what its class fixes: V3 is sigmoid and noaux_tc, V2 softmax, interleaved rope
    and weights that are never made to sum to one."""
    v3 = kind == "deepseek_v3"
    heads, bias = int(raw["num_attention_heads"]), bool(raw.get("attention_bias", False))
    if v3 and raw.get("scoring_func", "sigmoid") != "sigmoid":
        raise BadInput(
            f"scoring_func {raw['scoring_func']!r} is not deepseek_v3's, which is 'sigmoid'; 'softmax' is "
            "model_type deepseek_v2's"
        )
    more: dict[str, Any] = {
        "attention_bias": bias,
        "attention_output_bias": bias,
        "mlp_bias": bool(raw.get("mlp_bias", False)),
        "num_key_value_heads": int(raw.get("num_key_value_heads") or heads),
        "rope_interleave": bool(raw.get("rope_interleave", True)),
        "num_nextn_predict_layers": int(raw.get("num_nextn_predict_layers", raw.get("num_mtp_layers", 0))),
    }
    if raw.get("kv_lora_rank") is not None:
        more |= {name: int(raw[name]) for name in LATENT[1:]}
        more["q_lora_rank"] = None if raw.get("q_lora_rank") is None else int(raw["q_lora_rank"])
        more["num_key_value_heads"] = heads
        more["head_dim"] = more["qk_nope_head_dim"] + more["qk_rope_head_dim"]
    else:
        more["head_dim"] = int(raw.get("head_dim") or int(raw["hidden_size"]) // max(heads, 1))
    if raw.get("n_routed_experts"):
        kinds: dict[str, Callable[[Any], Any]] = {"topk_method": str, "scoring_func": str}
        kinds |= {"norm_topk_prob": bool, "routed_scaling_factor": float}
        usual = {"first_k_dense_replace": 0, "moe_layer_freq": 1, "routed_scaling_factor": 1.0}
        usual |= {"n_shared_experts": 0, "n_group": 1, "topk_group": 1, "norm_topk_prob": v3}
        usual |= {"topk_method": "noaux_tc" if v3 else "greedy"}
        usual |= {"scoring_func": "sigmoid" if v3 else "softmax"}
        for name in EXPERTS:
            value = raw.get(name)
            value = usual[name] if value is None and name in usual else raw[name] if value is None else value
            more[name] = kinds.get(name, int)(value)
    return more


def config_to_hf(config: ModelConfig, dtype: str = "bfloat16") -> dict[str, Any]:
    """A `config.json` that transformers 4 and 5 read, vLLM too. Raises BadInput on an unknown family."""
    if config.model_type not in ARCHITECTURES:
        raise BadInput(f"model_type {config.model_type!r} is none of: {', '.join(ARCHITECTURES)}")
    eos = list(config.eos_token_id)
    raw: dict[str, Any] = {
        "architectures": [ARCHITECTURES[config.model_type]],
        "model_type": config.model_type,
        "hidden_act": "silu",
        "torch_dtype": dtype,
        "eos_token_id": eos[0] if len(eos) == 1 else (eos or None),
        "rope_scaling": config.rope_scaling.to_hf() if config.rope_scaling else None,
    }
    dropped = {"rope_scaling", "eos_token_id", "model_type", "qk_norm", "attention_output_bias"}
    if config.model_type in FAMILIES:
        dropped |= {*LATENT, *EXPERTS, "rope_interleave", "num_nextn_predict_layers"}
    if config.model_type == "qwen2":
        dropped |= {"attention_bias", "mlp_bias"}
    if config.model_type == "qwen3":
        dropped |= {"mlp_bias"}
    if config.is_mla:
        dropped |= {"head_dim"}  # transformers means the rotary part by it
    raw |= {k: v for k, v in dataclasses.asdict(config).items() if k not in dropped}
    if config.rope_scaling and config.rope_scaling.rope_type == "yarn":
        raw["rope_scaling"]["type"] = "yarn"  # what the public V3 config.json says
    return raw


def _rope(raw: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """transformers 4 writes rope_theta and rope_scaling; 5 writes both inside rope_parameters."""
    params = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    theta = float(params.get("rope_theta", raw.get("rope_theta", 10000.0)))
    kind = str(params.get("rope_type", params.get("type", "default")))
    if float(params.get("partial_rotary_factor", 1.0)) != 1.0:
        raise BadInput("partial_rotary_factor is not supported")
    if kind == "default":
        return theta, None
    if kind == "llama3":
        named = ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    elif kind == "yarn":
        named = ("original_max_position_embeddings",)
        if not params.get("truncate", True):
            raise BadInput("yarn with truncate = false is not supported")
    else:
        named = ()
    given: dict[str, Any] = {name: float(params[name]) for name in named}
    if kind == "yarn":
        more = ("beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor")
        given |= {name: float(params[name]) for name in more if params.get(name) is not None}
    if "original_max_position_embeddings" in given:
        window = given.pop("original_max_position_embeddings")
        factor = _factor(params, raw)
        return theta, RopeScaling(kind, factor, original_max_position_embeddings=int(window), **given)
    return theta, RopeScaling(kind, _factor(params, raw), **given)


def _factor(params: Mapping[str, Any], raw: Mapping[str, Any]) -> float:
    if params.get("factor") is None and params.get("rope_type", params.get("type")) == "yarn":
        return float(raw["max_position_embeddings"]) / float(params["original_max_position_embeddings"])
    return float(params["factor"])


def token_ids(value: Any) -> tuple[int, ...]:
    """Token ids as config files write them: one, a list, or null."""
    if value is None:
        return ()
    return tuple(int(v) for v in value) if isinstance(value, list) else (int(value),)
