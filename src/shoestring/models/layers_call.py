"""All layers of a plain decoder in one native call, where a pass of an engine can be made so."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from shoestring.models.attention import Attention, AttentionContext
from shoestring.models.block import Block
from shoestring.ops.block import LayersCall

Slot = tuple[Mapping[str, Tensor | None], str]  # a module's own tensors, and the name of one


class PlainLayers:
    """What `forward` of each layer does in turn. The call is made when first asked for, and anew when a
    weight lies elsewhere than before, or was written to."""

    def __init__(self) -> None:
        self._call: LayersCall | None = None
        self._slots: list[Slot] = []
        self._places: list[tuple[int, int]] = []

    def run(
        self, modules: nn.ModuleList, x: Tensor, rope: tuple[Tensor, Tensor], context: AttentionContext
    ) -> tuple[Tensor, Tensor] | None:
        """x (T, hidden) float32, which is written to -> the last layer's sum and branch; None where they have
        to be asked one by one: one isn't plain, or has a hook that wants to see what it makes."""
        layers = cast("list[Block]", [*modules])
        step = context.paged_step()
        if step is None or any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers):
            return None
        first = layers[0]
        if not isinstance(first.self_attn, Attention) or first.native_calls(x) is None:
            return None
        places = [_place(slot) for slot in self._slots]
        if not places or places != self._places:
            calls = [call for layer in layers if (call := layer.native_calls(x)) is not None]
            self._call = LayersCall(calls) if len(calls) == len(layers) else None
            self._slots = [slot for layer in layers for slot in _slots(layer)]
            self._places = [_place(slot) for slot in self._slots]
        if self._call is None:
            return None
        return self._call.run(x, rope, step, first.self_attn.scale, first.input_layernorm.dtype)


def _slots(layer: Block) -> list[Slot]:
    return [(module._parameters, name) for module in layer.modules() for name in module._parameters]


def _place(slot: Slot) -> tuple[int, int]:
    """Where it lies, and how often it was written to: a copy that is read in its place must be made anew."""
    tensor = slot[0][slot[1]]
    return (0, 0) if tensor is None else (tensor.data_ptr(), tensor._version)
