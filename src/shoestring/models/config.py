"""ModelConfig: the public checkpoint's field names. A feature is a field here, never inferred from a size."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from shoestring.errors import BadInput

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
ROPE_KINDS = ("linear", "llama3", "yarn")
TOPK_METHODS = ("noaux_tc", "group_limited_greedy", "greedy")
SCORINGS = ("sigmoid", "softmax")


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched; `models.rope` applies it. Of the fields after `factor` the first
    two are Llama 3's, the last five YaRN's."""

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 0.0  # 0: not given
    mscale_all_dim: float = 0.0
    attention_factor: float | None = None  # on cos and sin; None: from factor and the two mscales

    def __post_init__(self) -> None:
        if self.rope_type not in ROPE_KINDS:
            kinds = ", ".join(ROPE_KINDS)
            raise BadInput(f"rope type {self.rope_type!r} is not supported; supported: default, {kinds}")
        for name, value in dataclasses.asdict(self).items():
            if name == "rope_type" or value is None or (name.startswith("mscale") and value == 0):
                continue
            if not (math.isfinite(value) and value > 0):
                raise BadInput(f"rope scaling: {name} = {value} must be a finite number above 0")
        if self.low_freq_factor >= self.high_freq_factor:
            raise BadInput("rope scaling: low_freq_factor must be below high_freq_factor")
        if self.beta_slow >= self.beta_fast:
            raise BadInput("rope scaling: beta_slow must be below beta_fast")

    def to_hf(self) -> dict[str, Any]:
        kept = {
            "linear": ("rope_type", "factor"),
            "llama3": tuple(f.name for f in dataclasses.fields(self))[:5],
            "yarn": ("rope_type", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
        }[self.rope_type]
        raw = {name: vars(self)[name] for name in kept}
        if self.rope_type == "yarn":
            given = ("mscale", "mscale_all_dim", "attention_factor")
            raw |= {name: vars(self)[name] for name in given if vars(self)[name]}
        return raw


@dataclass(frozen=True)
class ModelConfig:
    """The dense families need the first block of fields only. `kv_lora_rank` makes attention latent (MLA),
    `n_routed_experts` makes layers from `first_k_dense_replace` on mixtures of experts, and
    `num_nextn_predict_layers` adds modules that predict further tokens (MTP); each stands alone."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int  # of queries and keys; with MLA what of it turns with the position is qk_rope_head_dim
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False  # on q, k, v (Qwen2 always has it); with MLA on q_a_proj and kv_a_proj
    attention_output_bias: bool = False  # on o_proj (Llama puts it there too when attention_bias is set)
    mlp_bias: bool = False
    qk_norm: bool = False  # RMSNorm over each head's q and k before rope (Qwen3)
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    # multi-head latent attention
    q_lora_rank: int | None = None
    kv_lora_rank: int | None = None
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    rope_interleave: bool = False  # pairs (x[2j], x[2j + 1]) rather than (x[j], x[j + d / 2])
    # mixture of experts
    n_routed_experts: int = 0
    n_shared_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    n_group: int = 1
    topk_group: int = 1
    topk_method: str = "noaux_tc"
    scoring_func: str = "sigmoid"
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0
    # multi-token prediction
    num_nextn_predict_layers: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "eos_token_id":
                self._check_kind(field.name, field.type)
        for name in SIZES:
            if vars(self)[name] < 1:
                raise BadInput(f"{name} = {vars(self)[name]} must be at least 1")
        for name in ("rms_norm_eps", "rope_theta", "initializer_range", "routed_scaling_factor"):
            if not (math.isfinite(vars(self)[name]) and vars(self)[name] > 0):
                raise BadInput(f"{name} = {vars(self)[name]} must be a finite number above 0")
        for name in ("num_nextn_predict_layers", "n_routed_experts", "n_shared_experts"):
            if vars(self)[name] < 0:
                raise BadInput(f"{name} = {vars(self)[name]} must not be negative")
        if self.num_attention_heads % self.num_key_value_heads:
            raise BadInput(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.rope_dim % 2:
            name = "qk_rope_head_dim" if self.is_mla else "head_dim"
            raise BadInput(f"{name} {self.rope_dim} must be even for rotary positions")
        if self.is_mla:
            self._check_latent()
        if self.n_routed_experts:
            self._check_experts()

    def _check_kind(self, name: str, kind: Any) -> None:
        """A setting of a recipe is of any kind until here."""
        value, kind = vars(self)[name], int | float if kind is float else kind
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            told = getattr(kind, "__name__", str(kind)).replace(f"{__name__}.", "")
            raise BadInput(f"{name} = {value!r} is of the wrong kind: it should be {told}")

    def _check_latent(self) -> None:
        for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            if (vars(self)[name] or 0) < 1:
                raise BadInput(f"{name} = {vars(self)[name]} must be at least 1 with latent attention")
        if self.q_lora_rank is not None and self.q_lora_rank < 1:
            raise BadInput(f"q_lora_rank = {self.q_lora_rank} must be at least 1, or null for none")
        if self.head_dim != self.qk_nope_head_dim + self.qk_rope_head_dim:
            raise BadInput(
                f"head_dim {self.head_dim} is not qk_nope_head_dim {self.qk_nope_head_dim} + "
                f"qk_rope_head_dim {self.qk_rope_head_dim}"
            )
        if self.num_key_value_heads != self.num_attention_heads:
            raise BadInput(
                f"num_key_value_heads {self.num_key_value_heads} must equal num_attention_heads "
                f"{self.num_attention_heads} with latent attention"
            )
        if self.attention_bias and self.q_lora_rank is None:
            raise BadInput("attention_bias with latent attention is supported with q_lora_rank only")
        if self.qk_norm:
            raise BadInput("qk_norm goes with plain attention, not with latent attention")

    def _check_experts(self) -> None:
        experts, groups = self.n_routed_experts, self.n_group
        if self.moe_intermediate_size < 1:
            raise BadInput(f"moe_intermediate_size = {self.moe_intermediate_size} must be at least 1")
        if self.topk_method not in TOPK_METHODS:
            raise BadInput(f"topk_method {self.topk_method!r} is none of: {', '.join(TOPK_METHODS)}")
        if self.scoring_func not in SCORINGS:
            raise BadInput(f"scoring_func {self.scoring_func!r} is none of: {', '.join(SCORINGS)}")
        if groups < 1 or experts % groups:
            raise BadInput(f"n_routed_experts {experts} is not a multiple of n_group {groups}")
        if not 1 <= self.topk_group <= groups:
            raise BadInput(f"topk_group {self.topk_group} must lie between 1 and n_group {groups}")
        eligible = experts // groups * self.topk_group
        if not 1 <= self.num_experts_per_tok <= eligible:
            raise BadInput(
                f"num_experts_per_tok {self.num_experts_per_tok} must lie between 1 and the {eligible} "
                f"experts of the {self.topk_group} groups that a token may use"
            )
        if self.topk_method == "noaux_tc" and groups > 1 and experts // groups < 2:
            raise BadInput(
                f"n_group {groups} leaves {experts // groups} expert a group; a group's score is the sum of "
                "its best two, so it needs at least 2"
            )
        if self.moe_layer_freq < 1:
            raise BadInput(f"moe_layer_freq = {self.moe_layer_freq} must be at least 1")
        if not 0 <= self.first_k_dense_replace <= self.num_hidden_layers:
            raise BadInput(
                f"first_k_dense_replace {self.first_k_dense_replace} must lie between 0 and "
                f"num_hidden_layers {self.num_hidden_layers}"
            )

    @property
    def is_mla(self) -> bool:
        return self.kv_lora_rank is not None

    @property
    def rope_dim(self) -> int:
        """Numbers of each query and key that turn with the position."""
        return self.qk_rope_head_dim if self.is_mla else self.head_dim

    @property
    def value_dim(self) -> int:
        return self.v_head_dim if self.is_mla else self.head_dim

    @property
    def has_router_bias(self) -> bool:
        return self.n_routed_experts > 0 and self.topk_method == "noaux_tc"

    def is_moe(self, layer: int) -> bool:
        """Whether this layer, or MTP module (numbered on from num_hidden_layers), is a mixture of experts."""
        regular = layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0
        return self.n_routed_experts > 0 and regular

    @property
    def moe_layers(self) -> list[int]:
        """Numbers of the mixture layers, MTP modules after the main ones."""
        return [i for i in range(self.num_hidden_layers + self.num_nextn_predict_layers) if self.is_moe(i)]

    def with_end_ids(self, more: tuple[int, ...]) -> "ModelConfig":
        """With the end ids of a generation_config.json after the config's own."""
        return dataclasses.replace(self, eos_token_id=tuple(dict.fromkeys((*self.eos_token_id, *more))))
