"""The layers' matrix product."""

from torch import Tensor, is_grad_enabled, nn
from torch.nn import functional as F

from shoestring.ops.linear import can_pack, linear, pack_weight, packed_linear
from shoestring.ops.packed import PackedCopy


class Linear(nn.Linear):
    """(T, in_features) -> (T, out_features). Where `packs` is set and nothing is learned the product reads a
    packed copy of the weight, which costs its memory once more."""

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.packs = False
        self._packed = PackedCopy(pack_weight)

    def forward(self, x: Tensor) -> Tensor:
        if is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            return linear(x, self.weight, self.bias)
        if self.packs and can_pack(x):
            return packed_linear(x, self._packed.of(self.weight), self.bias)
        return F.linear(x, self.weight, self.bias)
