"""The layers' matrix product."""

from typing import Literal

import torch
from torch import Tensor, is_grad_enabled, nn
from torch.nn import functional as F

from shoestring.models.low_rank import LowRank
from shoestring.ops.few import FEW_ROWS, few_library, few_linear
from shoestring.ops.fp8 import fp8_linear
from shoestring.ops.linear import can_pack, linear, pack_weight, packed_linear
from shoestring.ops.packed import PackedCopy
from shoestring.ops.panels import Panels, pack_panels, panel_library, panel_linear
from shoestring.ops.quantized import Quantized, quantized_linear


def is_watched(module: nn.Module) -> bool:
    """Whether a hook wants to see what it is given or makes, which a native call of several would pass by."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


class Linear(nn.Linear):
    """(T, in_features) -> (T, out_features). Where `packs` is set and nothing is learned the product reads a
    packed copy of the weight, which costs its memory once more. `numerics` is "weights" (the weights' own
    dtype) or "fp8" (E4M3 operands, learning or not; `models.numerics` sets it). Where `low_rank` is set the
    weight is learned through it alone. Where `quantized` is set it is what products read, and the weight is a
    shape without numbers (`models.quantize`)."""

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.packs = False
        self.numerics: Literal["weights", "fp8"] = "weights"
        self.low_rank: LowRank | None = None
        self.quantized: Quantized | None = None
        self._packed = PackedCopy(pack_weight)
        self._panels = PackedCopy(pack_panels)

    def renew(self) -> None:
        self._packed.renew(self.weight)
        self._panels.renew(self.weight)

    @property
    def reads_panels(self) -> bool:
        """Whether products read a copy of the weight in panels (where nothing is learned)."""
        return self.packs and self.numerics != "fp8" and panel_library(self.weight) is not None

    def panels(self) -> Panels | None:
        return self._panels.of(self.weight) if self.reads_panels else None

    def quantize(self, matrix: Quantized) -> None:
        self.quantized, self.low_rank = matrix, None
        self.weight = nn.Parameter(self.weight.detach().to("meta"), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.quantized is not None:
            return quantized_linear(x, self.quantized, self.bias)
        if self.numerics == "fp8":
            return fp8_linear(x, self.weight, self.bias)
        if self.low_rank is not None and is_grad_enabled():
            return self.low_rank(x, self.weight, self.bias)
        if is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            return linear(x, self.weight, self.bias)
        if self.packs and x.dtype == torch.bfloat16:
            library = panel_library(self.weight)
            if library is not None:
                return panel_linear(library, x, self._panels.of(self.weight), self.bias)
        if x.shape[0] <= FEW_ROWS and x.dtype == torch.bfloat16:
            library = few_library(x, self.weight)
            if library is not None:
                return few_linear(library, x, self.weight, self.bias)
        if self.packs and can_pack(x):
            return packed_linear(x, self._packed.of(self.weight), self.bias)
        return F.linear(x, self.weight, self.bias)
