"""What a preset is: its parameters by part, what a token costs, and what its context keeps."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from shoestring.budget.flops import forward_flops, mtp_flops
from shoestring.models.config import ModelConfig
from shoestring.models.parameters import MTP, CachePerToken, Parameters, cache_per_token, count_parameters
from shoestring.models.presets import preset_config

UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def show_preset(name: str, console: Console) -> dict[str, Any]:
    """Raises BadInput on an unknown name."""
    config = preset_config(name)
    parameters, cache, flops = count_parameters(config), cache_per_token(config), token_costs(config)
    console.print(_sizes(name, config), markup=False)
    console.print(_parameter_table(parameters))
    console.print(
        f"weights: {2 * (parameters.total + parameters.mtp) / 1e9:,.2f} GB in bfloat16, MTP included",
        markup=False,
    )
    console.print(_cache_table(cache))
    console.print("FLOPs of a token in all matrices and the head, what it attends to apart:")
    for told, count in flops.items():
        console.print(f"  {told.replace('_', ' ')}: {short(count, flops=True)}FLOP", markup=False)
    return {
        "preset": name,
        "config": asdict(config),
        "parameters": parameters.parts | {"total": parameters.total},
        "active_parameters": parameters.active | {"total": parameters.total_active},
        "cache_bytes_per_token": asdict(cache),
        "flops_per_token": flops,
    }


def token_costs(config: ModelConfig) -> dict[str, int]:
    """FLOPs of one token with its logits, the matrices alone: in a forward pass and in training."""
    forward, further = forward_flops(config, 1, 0, 1), mtp_flops(config, 1, 0, 1)
    return {"forward": forward, "training": 3 * forward, "training_with_MTP": 3 * (forward + further)}


def short(count: float, flops: bool = False) -> str:
    """671026404352 -> "671.03B", as FLOPs "671.03 G"."""
    for size, unit in UNITS:
        if count >= size:
            return (
                f"{count / size:.2f} {'G' if unit == 'B' else unit}" if flops else f"{count / size:.2f}{unit}"
            )
    return f"{count:g} " if flops else f"{count:g}"


def _sizes(name: str, config: ModelConfig) -> str:
    c = config
    return (
        f"{name}: {c.model_type}, {c.num_hidden_layers} layers ({c.first_k_dense_replace} dense), hidden "
        f"{c.hidden_size}, {c.num_attention_heads} heads, latent {c.kv_lora_rank} + {c.qk_rope_head_dim}, "
        f"{c.n_routed_experts} experts of {c.moe_intermediate_size} ({c.num_experts_per_tok} for a token, "
        f"{c.n_shared_experts} shared), vocabulary {c.vocab_size}, context {c.max_position_embeddings}"
    )


def _parameter_table(parameters: Parameters) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("parameters")
    for title in ("all", "of a token", "share of all"):
        table.add_column(title, justify="right")
    main = {part: count for part, count in parameters.parts.items() if count and part != MTP}
    for part, count in main.items():
        share = f"{100 * count / parameters.total:.1f} %"
        table.add_row(part, short(count), short(parameters.active[part]), share)
    table.add_row("total", short(parameters.total), short(parameters.total_active), "", style="bold")
    if parameters.mtp:
        table.add_row("MTP, on top", short(parameters.mtp), short(parameters.active[MTP]), "")
    return table


def _cache_table(cache: CachePerToken) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("cache of a token, bfloat16")
    table.add_column("bytes", justify="right")
    table.add_column("times its own", justify="right")
    rows = (
        ("its own (MLA)", cache.own),
        (f"with {cache.groups} key head{'s' if cache.groups > 1 else ''} (GQA)", cache.grouped),
        ("with all heads (MHA)", cache.full),
    )
    for title, count in rows:
        table.add_row(title, f"{count:,}", f"{count / cache.own:.1f}")
    return table
