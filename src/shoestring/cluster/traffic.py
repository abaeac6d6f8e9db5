"""What a rank's passes send and wait for: counted, timed, and numbered in each pass.

The numbers are what lets a rank go on whose memory ran out in the middle of a pass, when the others wait for
it in the next collective: it makes the pass a second time with a micro-batch of two tokens, keeps still in
those collectives that it has made already, and takes part in the rest. Which ones there are, and in which
order, depends on the network alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

try:
    from torch.distributed import all_gather_single, reduce_scatter_single
except ImportError:  # as older versions call them
    from torch.distributed import all_gather_into_tensor as all_gather_single
    from torch.distributed import reduce_scatter_tensor as reduce_scatter_single


class Traffic:
    """num_bytes: that came to this rank from others. seconds: in collectives, waiting for others included (on
    a GPU: of launching them)."""

    def __init__(self) -> None:
        self.num_bytes, self.seconds = 0, 0.0
        self.number, self.made_before = 0, 0

    def begin(self, made_before: int = 0) -> None:
        """A pass; its first so many collectives are made."""
        self.number, self.made_before = 0, made_before

    def due(self) -> bool:
        """Whether the next collective is still to be made. Called when all its tensors are there."""
        self.number += 1
        return self.number > self.made_before

    @contextmanager
    def counted(self, num_bytes: int) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began
        self.num_bytes += num_bytes

    def exchange(
        self, out: Tensor, x: Tensor, come: list[int] | None, sent: list[int] | None, group: ProcessGroup
    ) -> bool:
        """All-to-all; None: the same for each. False, and `out` zero, where it was made before."""
        if not self.due():
            out.zero_()
            return False
        own = dist.get_rank(group)
        rest = len(out) - (len(out) // dist.get_world_size(group) if come is None else come[own])
        with self.counted(rest * out[:1].numel() * out.element_size()):
            dist.all_to_all_single(out, x, come, sent, group=group)
        return True


class _Comm:
    """In the form of FSDP2's own."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class CountedAllGather(_Comm):
    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: ProcessGroup, async_op: bool = False
    ) -> dist.Work | None:
        if not self.traffic.due():
            output_tensor.zero_()
            return None
        with self.traffic.counted(
            (output_tensor.numel() - input_tensor.numel()) * input_tensor.element_size()
        ):
            return all_gather_single(output_tensor, input_tensor, group=group, async_op=async_op)


class CountedReduceScatter(_Comm):
    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: ProcessGroup,
        op: dist.ReduceOp.RedOpType,
        async_op: bool = False,
    ) -> dist.Work | None:
        if not self.traffic.due():
            output_tensor.zero_()
            return None
        with self.traffic.counted(
            (input_tensor.numel() - output_tensor.numel()) * input_tensor.element_size()
        ):
            return reduce_scatter_single(output_tensor, input_tensor, op=op, group=group, async_op=async_op)
