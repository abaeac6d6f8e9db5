"""ModelConfig: the public checkpoint's field names. A feature is a field here, never inferred from a size."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shoestring.errors import BadInput

FAMILIES = ("llama", "qwen2", "qwen3")
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's frequency scaling or plain linear interpolation (`rope_type` "llama3" or "linear")."""

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if name != "rope_type" and not (math.isfinite(value) and value > 0):
                raise BadInput(f"rope scaling: {name} = {value} must be a finite number above 0")
        if self.low_freq_factor >= self.high_freq_factor:
            raise BadInput("rope scaling: low_freq_factor must be below high_freq_factor")

    def to_hf(self) -> dict[str, Any]:
        if self.rope_type == "linear":
            return {"rope_type": "linear", "factor": self.factor}
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class ModelConfig:
    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False  # on q, k, v (Qwen2 always has it)
    attention_output_bias: bool = False  # on o_proj (Llama puts it there too when attention_bias is set)
    mlp_bias: bool = False
    qk_norm: bool = False  # RMSNorm over each head's q and k before rope (Qwen3)
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in SIZES:
            if vars(self)[name] < 1:
                raise BadInput(f"{name} = {vars(self)[name]} must be at least 1")
        for name, value in (("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)):
            if not (math.isfinite(value) and value > 0):
                raise BadInput(f"{name} = {value} must be a finite number above 0")
        if self.num_attention_heads % self.num_key_value_heads:
            raise BadInput(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise BadInput(f"head_dim {self.head_dim} must be even for rotary positions")

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any]) -> "ModelConfig":
        """From a `config.json` of the Llama, Qwen2 or Qwen3 family, as written by transformers 4 or 5."""
        kind = raw.get("model_type")
        if kind not in FAMILIES:
            raise BadInput(f"model_type {kind!r} is not supported; supported: {', '.join(FAMILIES)}")
        if raw.get("hidden_act", "silu") != "silu":
            raise BadInput(f"hidden_act {raw['hidden_act']!r} is not supported; only 'silu' is")
        if raw.get("use_sliding_window"):
            raise BadInput("use_sliding_window = true is not supported")
        if "quantization_config" in raw:
            raise BadInput(
                "this folder holds quantised weights (quantization_config); give a bf16 or GGUF copy"
            )
        try:
            heads = int(raw["num_attention_heads"])
            rope_theta, rope_scaling = _rope(raw)
            bias = bool(raw.get("attention_bias", False))
            head_dim = raw.get("head_dim") or (
                128 if kind == "qwen3" else int(raw["hidden_size"]) // max(heads, 1)
            )
            return cls(
                model_type=kind,
                vocab_size=int(raw["vocab_size"]),
                hidden_size=int(raw["hidden_size"]),
                intermediate_size=int(raw["intermediate_size"]),
                num_hidden_layers=int(raw["num_hidden_layers"]),
                num_attention_heads=heads,
                num_key_value_heads=int(raw.get("num_key_value_heads") or heads),
                head_dim=int(head_dim),
                max_position_embeddings=int(raw.get("max_position_embeddings", 2048)),
                rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
                rope_theta=rope_theta,
                rope_scaling=rope_scaling,
                # transformers leaves the key out where it equals the family's default
                tie_word_embeddings=bool(raw.get("tie_word_embeddings", False)),
                attention_bias=bias or kind == "qwen2",
                attention_output_bias=bias and kind in ("llama", "qwen3"),
                mlp_bias=bool(raw.get("mlp_bias", False)),
                qk_norm=kind == "qwen3",
                initializer_range=float(raw.get("initializer_range", 0.02)),
                bos_token_id=raw.get("bos_token_id"),
                eos_token_id=_ids(raw.get("eos_token_id")),
            )
        except KeyError as error:
            raise BadInput(f"lacks {error.args[0]!r}") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"a value is of the wrong kind: {error}") from None

    def with_end_ids(self, more: Any) -> "ModelConfig":
        """With the end ids of a generation_config.json (one, a list or None) after the config's own."""
        return dataclasses.replace(self, eos_token_id=tuple(dict.fromkeys((*self.eos_token_id, *_ids(more)))))

    def to_hf(self, dtype: str = "bfloat16") -> dict[str, Any]:
        """A `config.json` that transformers 4 and 5 read."""
        eos = list(self.eos_token_id)
        raw: dict[str, Any] = {
            "architectures": [ARCHITECTURES[self.model_type]],
            "model_type": self.model_type,
            "hidden_act": "silu",
            "torch_dtype": dtype,
            "eos_token_id": eos[0] if len(eos) == 1 else (eos or None),
            "rope_scaling": self.rope_scaling.to_hf() if self.rope_scaling else None,
        }
        dropped = {"rope_scaling", "eos_token_id", "model_type", "qk_norm", "attention_output_bias"}
        if self.model_type == "qwen2":
            dropped |= {"attention_bias", "mlp_bias"}
        if self.model_type == "qwen3":
            dropped |= {"mlp_bias"}
        raw |= {k: v for k, v in dataclasses.asdict(self).items() if k not in dropped}
        return raw


def _rope(raw: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """transformers 4 writes rope_theta and rope_scaling; 5 writes both inside rope_parameters."""
    params = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    theta = float(params.get("rope_theta", raw.get("rope_theta", 10000.0)))
    kind = params.get("rope_type", params.get("type", "default"))
    if float(params.get("partial_rotary_factor", 1.0)) != 1.0:
        raise BadInput("partial_rotary_factor is not supported")
    if kind == "default":
        return theta, None
    if kind not in ("llama3", "linear"):
        raise BadInput(f"rope type {kind!r} is not supported; supported: default, linear, llama3")
    if kind == "linear":
        return theta, RopeScaling(kind, float(params["factor"]))
    window = int(params["original_max_position_embeddings"])
    low, high = float(params["low_freq_factor"]), float(params["high_freq_factor"])
    return theta, RopeScaling(kind, float(params["factor"]), low, high, window)


def _ids(value: Any) -> tuple[int, ...]:
    """Token ids as config files write them: one, a list, or null."""
    if value is None:
        return ()
    return tuple(int(v) for v in value) if isinstance(value, list) else (int(value),)


def scaled_inverse_frequencies(config: ModelConfig) -> list[float]:
    """theta^(-2i/d) for i in 0..d/2-1, with the config's scaling applied (Llama 3: low frequencies divided by
    `factor`, high ones kept, a linear blend between)."""
    d = config.head_dim
    freqs = [config.rope_theta ** (-2 * i / d) for i in range(d // 2)]
    scaling = config.rope_scaling
    if scaling is None:
        return freqs
    if scaling.rope_type == "linear":
        return [f / scaling.factor for f in freqs]
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    result = []
    for f in freqs:
        turns = scaling.original_max_position_embeddings * f / (2 * math.pi)  # over the original window
        keep = min(max((turns - low) / (high - low), 0.0), 1.0)
        result.append(f * keep + f / scaling.factor * (1 - keep))
    return result
