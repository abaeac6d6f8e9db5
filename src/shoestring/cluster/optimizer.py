"""AdamW on this rank's share of the weights, which are the float32 masters themselves."""

import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from shoestring.cluster.shares import Share
from shoestring.cluster.world import World
from shoestring.train.optim import OptimSettings, adamw

MOMENTS = ("exp_avg", "exp_avg_sq")


class SharedOptimizer:
    """What `train.optim.MasterOptimizer` does, each rank for its own numbers; only the gradient's norm is
    everybody's."""

    def __init__(
        self, network: nn.Module, shares: dict[str, Share], world: World, settings: OptimSettings
    ) -> None:
        self.settings, self.world, self.shares = settings, world, shares
        self.params = dict(network.named_parameters())
        # the share is flat, so whether weight decay meets it is asked of the whole shape
        self.master = {name: share.local for name, share in shares.items() if len(share.local)}
        matrices = [m for name, m in self.master.items() if len(shares[name].shape) > 1]
        vectors = [m for name, m in self.master.items() if len(shares[name].shape) == 1]
        self.adam = adamw(matrices, vectors, settings)

    @torch.no_grad()
    def step(self, learning_rate: float) -> float:
        """Clip, update, clear. Returns the norm before clipping, the same on all ranks; one that isn't finite
        skips the update."""
        for name, master in self.master.items():
            grad = self.params[name].grad
            if grad is not None:
                assert isinstance(grad, DTensor)
                master.grad = grad.to_local().view(-1)
        grads = [m.grad for m in self.master.values() if m.grad is not None]
        square = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for grad in grads:
            square += torch.linalg.vector_norm(grad).double().square()
        norm = math.sqrt(self.world.sum(square).item())
        limit = self.settings.max_grad_norm
        if math.isfinite(norm):
            if limit and norm > limit:
                torch._foreach_mul_(grads, limit / (norm + 1e-6))  # pyright: ignore
            for group in self.adam.param_groups:
                group["lr"] = learning_rate
            self.adam.step()
        self.clear()
        return norm

    def clear(self) -> None:
        for parameter in self.params.values():
            parameter.grad = None
        for master in self.master.values():
            master.grad = None

    @torch.no_grad()
    def move(self, network: nn.Module, shares: dict[str, Share]) -> None:
        """To another network of the same shares, whose numbers become these; gradients stay behind."""
        moments = {name: self.adam.state.get(master, {}) for name, master in self.master.items()}
        for name, share in self.shares.items():
            shares[name].local.copy_(share.local)
        self.__init__(network, shares, self.world, self.settings)
        for name, kept in moments.items():
            if kept:
                self.adam.state[self.master[name]] = kept

    @torch.no_grad()
    def try_out(self) -> None:
        """Hold what a first step holds, its moments beside the gradients, and drop both."""
        assert not self.adam.state, "a rehearsal comes before the first step"
        moments = [torch.empty_like(m).fill_(0.0) for m in self.master.values() for _ in range(2)]
        moments.clear()
        self.clear()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """This rank's numbers by what they are and by parameter: master, and once stepped the moments."""
        found: dict[str, dict[str, Tensor]] = {"master": dict(self.master)}
        for name, master in self.master.items():
            for key in MOMENTS:
                if key in self.adam.state.get(master, {}):
                    found.setdefault(key, {})[name] = self.adam.state[master][key]
        return found

    def steps(self, name: str) -> float:
        """Taken by this parameter; one that got no gradient waits (MTP modules that aren't trained yet)."""
        if name not in self.master:
            return 0.0
        state = self.adam.state.get(self.master[name])
        return float(state["step"]) if state else 0.0

    @torch.no_grad()
    def hold(self, name: str, moments: dict[str, Tensor], steps: float) -> None:
        """Put back what `tensors` gave of a parameter, masters apart; no moments: as before a first step."""
        master = self.master[name]
        self.adam.state.pop(master, None)
        if moments:
            count = torch.tensor(steps, dtype=torch.float32, device=master.device)
            self.adam.state[master] = {"step": count, **moments}
