"""Which numbers of a parallel network lie in which rank, and where they are in the tensors of public names.

A share is always an unbroken run of a parameter's numbers in their usual order: FSDP2 parts the first
dimension, experts are parted along theirs, and a fused matrix's public parts are rows of it. So everything
here is arithmetic on intervals, and a file can be written or read by every rank for itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from shoestring.cluster.parallelize import local_modules
from shoestring.cluster.world import World
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer


@dataclass(frozen=True)
class Span:
    """A public tensor: numbers begin : begin + its size of a parameter or buffer."""

    parameter: str
    begin: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.begin + torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Share:
    """This rank's numbers begin : end of a parameter of this whole shape; `local` (end - begin,) is a view of
    where they lie."""

    shape: tuple[int, ...]
    begin: int
    end: int
    local: Tensor

    def overlap(self, begin: int, end: int) -> tuple[int, int]:
        """What of begin : end is here; empty where the second is not above the first."""
        return max(begin, self.begin), min(end, self.end)


def public_spans(config: ModelConfig) -> dict[str, Span]:
    """By public name, in the order of `Transformer.public_tensors`."""
    with torch.device("meta"):
        twin = Transformer(config)
    owners = {t.untyped_storage()._cdata: n for n, t in (*twin.named_parameters(), *twin.named_buffers())}
    spans: dict[str, Span] = {}
    for name, tensor in twin.public_tensors():
        assert tensor.is_contiguous(), f"{name} is no run of rows"
        owner = owners[tensor.untyped_storage()._cdata]
        spans[name] = Span(owner, int(tensor.storage_offset()), tuple(tensor.shape))
    return spans


def rows_of(rows: int, parts: int, index: int) -> tuple[int, int]:
    """The rows that FSDP2 gives to part `index`: those of torch.chunk, so the last parts may be empty."""
    each = -(-rows // parts)
    return min(rows, each * index), min(rows, each * (index + 1))


def shares_of(network: Transformer, world: World) -> dict[str, Share]:
    """By the parameter's name in a whole network."""
    experts = local_modules(network)
    shares: dict[str, Share] = {}
    for name, parameter in network.named_parameters():
        assert isinstance(parameter, DTensor)
        rows, *rest = parameter.shape
        each = torch.Size(rest).numel()
        module = next((m for prefix, m in experts.items() if name.startswith(prefix)), None)
        if module is None:
            begin, end = rows_of(rows, world.size, world.rank)
            shape = tuple(parameter.shape)
        else:
            begin, end = (n + module.first for n in rows_of(rows, world.num_replicas, world.replica_rank))
            shape = (module.total, *rest)
        local = _as_shared(parameter.detach()).to_local().view(-1)
        assert len(local) == (end - begin) * each, (name, local.shape, begin, end)
        shares[name] = Share(shape, begin * each, end * each, local)
    return shares


@torch.no_grad()
def take_share(
    shares: dict[str, Share],
    buffers: dict[str, Tensor],
    spans: dict[str, Span],
    tensors: Iterable[tuple[str, Tensor]],
) -> None:
    """Of whole tensors by public name, what belongs here. All names must come; that is the caller's to
    see."""
    for name, tensor in tensors:
        span = spans[name]
        if span.parameter in buffers:
            buffers[span.parameter].copy_(tensor)
            continue
        share = shares[span.parameter]
        begin, end = share.overlap(span.begin, span.end)
        if begin < end:
            own = tensor.reshape(-1)[begin - span.begin : end - span.begin]
            share.local[begin - share.begin : end - share.begin].copy_(own)


@torch.no_grad()
def whole_tensors(
    network: Transformer, world: World, spans: dict[str, Span], dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    """(public name, whole tensor in `dtype`), on every rank, which must all iterate. At most one parameter is
    whole at a time; of experts those of one rank."""
    experts = local_modules(network)
    names: dict[str, list[str]] = {}
    for name, span in spans.items():
        names.setdefault(span.parameter, []).append(name)
    buffers = dict(network.named_buffers())
    for owner, parameter in network.named_parameters():
        assert isinstance(parameter, DTensor)
        whole = _as_shared(parameter.detach().to(dtype)).full_tensor()
        module = next((m for prefix, m in experts.items() if owner.startswith(prefix)), None)
        blocks = [whole] if module is None else _by_rank(whole, world)
        begin = 0
        for block in blocks:
            flat = block.reshape(-1)
            end = begin + len(flat)
            for name in names[owner]:
                span = spans[name]
                if begin <= span.begin < end:
                    yield name, flat[span.begin - begin : span.end - begin].view(span.shape)
            begin = end
    for owner in (owner for owner in names if owner in buffers):
        for name in names[owner]:
            yield name, buffers[owner]


def _as_shared(tensor: Tensor) -> DTensor:
    assert isinstance(tensor, DTensor)  # as what it was made from
    return tensor


def _by_rank(own: Tensor, world: World) -> Iterator[Tensor]:
    """The experts of each rank of the group in turn."""
    for turn in range(world.expert):
        block = own if turn == world.expert_rank else torch.empty_like(own)
        source = world.replica_rank * world.expert + turn
        dist.broadcast(block, src=source, group=world.expert_group)
        yield block


def gathered(world: World, own: Tensor, share: Share) -> Tensor:
    """The whole tensor of such a share on rank 0's CPU; `own` elsewhere."""
    outline = torch.tensor([share.begin, len(own)], device=own.device)
    outlines = [torch.empty_like(outline) for _ in range(world.size)]
    dist.all_gather(outlines, outline, group=world.everyone)
    spans = [tuple(o.tolist()) for o in outlines]
    most = max(count for _, count in spans)
    padded = torch.cat((own, own.new_zeros(most - len(own))))
    parts = [torch.empty_like(padded) for _ in range(world.size)] if world.rank == 0 else None
    dist.gather(padded, parts, dst=0, group=world.everyone)
    if parts is None:
        return own
    whole = torch.empty(torch.Size(share.shape).numel())
    for (begin, count), part in zip(spans, parts, strict=True):
        whole[begin : begin + count] = part[:count]
    return whole.view(share.shape)
