"""Parallelism put onto a network from outside. Every weight lies once in the whole world: dense ones are
shared out over all ranks (FSDP2), those of experts over the ranks that have these experts. A layer's weights
are put together for its pass, in the dtype that products have, and its gradients are summed in float32."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from shoestring.cluster.expert_parallel import ParallelExperts
from shoestring.cluster.traffic import CountedAllGather, CountedReduceScatter
from shoestring.cluster.world import World
from shoestring.errors import BadInput
from shoestring.models.attention import AttentionContext
from shoestring.models.block import Block
from shoestring.models.config import ModelConfig
from shoestring.models.moe import MoE, RoutingTrace
from shoestring.models.numerics import use_fp8
from shoestring.models.transformer import Transformer
from shoestring.settings import Settings

PLANNED_ONLY = ("pipeline", "tensor")
ASKED_OF_TORCH = (  # newer than the torch that one process does with
    "set_custom_all_gather",
    "set_custom_reduce_scatter",
    "set_force_sum_reduction_for_comms",
    "set_gradient_divide_factor",
)


class ParallelSettings(Settings):
    """recompute: what is made again in the backward pass in place of being kept: nothing, attention (its
    up-projections and heads), or all of a layer."""

    expert: int = Field(default=1, ge=1)  # ranks that share a layer's experts
    recompute: Literal["none", "attention", "layers"] = "none"
    deadline_s: float = Field(default=600.0, gt=0)  # of a collective

    @model_validator(mode="before")
    @classmethod
    def _planned(cls, raw: Any) -> Any:
        for name in PLANNED_ONLY:
            if isinstance(raw, dict) and name in raw:
                raise ValueError(
                    f"{name} parallelism is planned (`shoestring plan`) and not run: leave out '{name}'"
                )
        return raw


def check_fits(config: ModelConfig, size: int, settings: ParallelSettings) -> None:
    """Raises BadInput, one line, for what the model, the ranks or the installed torch don't allow."""
    if not all(hasattr(FSDPModule, name) for name in ASKED_OF_TORCH):
        raise BadInput(
            f"training over ranks needs torch 2.9 or newer, here is {torch.__version__}: "
            "pip install --upgrade torch, or train in one process"
        )
    expert, experts = settings.expert, config.n_routed_experts
    if expert > 1 and not experts:
        raise BadInput(f"expert {expert}: the model has no experts to share out; leave it at 1")
    if size % expert:
        raise BadInput(
            f"expert {expert}: {size} ranks can't be parted into groups of {expert}; write one of "
            f"{_divisors(size)}"
        )
    if expert > 1 and experts % expert:
        raise BadInput(
            f"expert {expert}: the layer's {experts} experts can't be parted into {expert}; write one of "
            f"{_divisors(experts)}"
        )


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)


def parallelize(network: Transformer, world: World, settings: ParallelSettings, dtype: torch.dtype) -> None:
    """In place. network: float32, the weights that the optimizer changes, with numbers that are equal on all
    ranks or without (meta). dtype: of products. Raises BadInput."""
    check_fits(network.config, world.size, settings)
    assert settings.expert == world.expert, "the world was joined for another number"
    policy = MixedPrecisionPolicy(
        param_dtype=dtype if dtype != torch.float32 else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # the residual stream is float32
    )
    for name, block in blocks_of(network).items():
        moe = block.mlp
        if isinstance(moe, MoE) and world.expert > 1:
            moe.experts = ParallelExperts(moe.experts, world, name)
            fully_shard(moe.experts, mesh=world.replicas, mp_policy=policy)
        recompute(block, settings.recompute)
    for module in (*network.layers, *network.mtp):
        fully_shard(module, mesh=world.whole, mp_policy=policy)
    fully_shard(network, mesh=world.whole, mp_policy=policy)
    gather, scatter = CountedAllGather(world.traffic), CountedReduceScatter(world.traffic)
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_custom_all_gather(gather)  # type: ignore[arg-type]  # of the same form
            module.set_custom_reduce_scatter(scatter)  # type: ignore[arg-type]
            # weights of tokens are of the whole step already: sums, never means
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    network.keep_no_copies()


def shared_network(
    config: ModelConfig, dtype: torch.dtype, world: World, parallel: ParallelSettings, fp8: bool = False
) -> Transformer:
    """This rank's share of a network, without numbers; nothing whole is ever made."""
    with torch.device("meta"):
        network = Transformer(config)
    use_fp8(network, fp8)
    parallelize(network, world, parallel, dtype)
    network.to_empty(device=world.device)
    for router in network.routers():
        router.e_score_correction_bias.zero_()
    return network


def blocks_of(network: Transformer) -> dict[str, Block]:
    """By name: the layers, then the blocks of MTP modules."""
    found: dict[str, Block] = {}
    for i, block in enumerate((*network.layers, *(module.block for module in network.mtp))):
        assert isinstance(block, Block)
        found[f"layer {i}"] = block
    return found


def recompute(block: Block, what: Literal["none", "attention", "layers"]) -> None:
    """An instance's own `forward` stands before the class's, and hooks of FSDP stay around it: the weights
    are there again when it runs a second time."""
    if what == "attention":
        attention = block.self_attn
        attention.forward = partial(_attention_again, attention.forward)  # type: ignore[method-assign]
    elif what == "layers":
        block.forward = partial(_layer_again, block.forward)


def _attention_again(forward: Callable[..., Tensor], *args: Any) -> Tensor:
    return (
        checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False)
        if torch.is_grad_enabled()
        else forward(*args)
    )


def _layer_again(
    forward: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    branch: Tensor | None,
    rope: tuple[Tensor, Tensor],
    context: AttentionContext,
    trace: RoutingTrace,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    if not torch.is_grad_enabled():
        return forward(x, branch, rope, context, trace, rows)
    at = len(trace.chosen)
    replay = None if trace.replay is None else trace.replay[:, at : at + 1]
    first: list[RoutingTrace] = []

    def run(x: Tensor, branch: Tensor | None) -> tuple[Tensor, Tensor]:
        own = RoutingTrace(replay, trace.row_of)  # else the second run would count as another layer
        out = forward(x, branch, rope, context, own, rows)
        if not first:
            first.append(own)
        return out

    out = checkpoint(run, x, branch, use_reentrant=False, preserve_rng_state=False)
    for chosen in first[0].chosen:
        trace.add(chosen, first[0].experts, first[0].aux_loss)
    return out  # type: ignore[return-value]


def local_modules(network: nn.Module) -> dict[str, ParallelExperts]:
    """The modules whose parameters are some of a layer's experts, by their prefix."""
    return {f"{n}.": m for n, m in network.named_modules() if isinstance(m, ParallelExperts)}
