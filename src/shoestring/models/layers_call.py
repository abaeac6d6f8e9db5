"""All layers of a network in one native call, where a pass of an engine can be made so."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, is_grad_enabled, nn

from shoestring.models.attention import Attention, AttentionContext
from shoestring.models.block import Block
from shoestring.models.latent_call import latent_call
from shoestring.models.linear import is_watched
from shoestring.models.moe import MoE, Router, RoutingTrace
from shoestring.ops.block import LayersCall
from shoestring.ops.few import FEW_PAIRS
from shoestring.ops.latent_layers import LatentLayersCall

Slot = tuple[Mapping[str, Tensor | None], str]  # a module's own tensors, and the name of one
Call = LayersCall | LatentLayersCall

TRUSTED = 32  # passes over the same sequences in which nobody looks: that took a twelfth of one stream's step


@dataclass
class Known:
    """What serves passes of `trust` of up to `rows` tokens, `left` more; without a call layers go in turn."""

    trust: object
    call: Call | None
    rows: int
    left: int = TRUSTED


class NetworkCall:
    """What `forward` of each layer does in turn, the cache's layer `first` the first of them. The call is
    made when first asked for, and anew when a weight lies elsewhere than before, or was written to. That is
    looked at when a pass has other sequences than the one before, or weights were given
    (`Engine.load_weights`), and else every `TRUSTED` passes: so long may one who writes to a weight while
    sequences run, or hangs a hook, wait for it to be noticed."""

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self._known = Known(None, None, 0)
        self._call: Call | None = None
        self._modules: list[nn.Module] = []
        self._slots: list[Slot] = []
        self._places: list[tuple[int, int]] = []

    def run(
        self,
        modules: Iterable[nn.Module],
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        context: AttentionContext,
        trace: RoutingTrace,
    ) -> tuple[Tensor, Tensor] | None:
        """x (T, hidden) float32, which is written to -> the last layer's sum and branch; None where they have
        to be asked one by one: one can't be taken so, or has a hook that wants to see what it makes."""
        step = context.paged_step()
        if step is None:
            return None
        layers = cast("list[Block]", [*modules])
        rows, known = x.shape[0], self._known  # as one, since another engine's thread may change it
        if known.trust is not step.trust or known.call is None or not known.left or rows > known.rows:
            known = self._known = Known(step.trust, self._looked_at(layers, x, trace), rows)
        known.left -= 1
        call = known.call
        if isinstance(call, LayersCall):
            first = layers[0]
            return call.run(x, rope, step, first.self_attn.scale, first.input_layernorm.dtype)
        if call is None:
            return None
        x, branch, chosen = call.run(x, rope, step, self.first)
        for gate, ids in zip(_mixtures(layers), chosen, strict=True):
            trace.add(ids, gate.config.n_routed_experts, None)
        return x, branch

    def _looked_at(self, layers: Sequence[Block], x: Tensor, trace: RoutingTrace) -> Call | None:
        """The call that stands for them now."""
        if any(map(is_watched, self._modules or layers)):
            return None
        first = layers[0]
        plain = isinstance(first.self_attn, Attention)
        takes = first.native_calls(x) is not None if plain else _takes_latent(x, layers, trace)
        return self._made(layers, x) if takes else None

    def _made(self, layers: Sequence[Block], x: Tensor) -> Call | None:
        places = [_place(slot) for slot in self._slots]
        if not places or places != self._places:
            calls = [call for layer in layers if (call := layer.native_calls(x)) is not None]
            self._call = LayersCall(calls) if len(calls) == len(layers) else latent_call(layers)
            self._modules = [module for layer in layers for module in layer.modules()]
            self._slots = [slot for module in self._modules for slot in _slots(module)]
            self._places = [_place(slot) for slot in self._slots]
            if self._call is not None:
                tensors = [own[name] for own, name in self._slots]
                self._call.held = [t.untyped_storage() for t in tensors if t is not None]
        return self._call


def _takes_latent(x: Tensor, layers: Sequence[Block], trace: RoutingTrace) -> bool:
    top_k = max((gate.config.num_experts_per_tok for gate in _mixtures(layers)), default=1)
    return not is_grad_enabled() and trace.replay is None and x.shape[0] * top_k <= FEW_PAIRS


def _mixtures(layers: Sequence[Block]) -> list[Router]:
    return [layer.mlp.gate for layer in layers if isinstance(layer.mlp, MoE)]


def _slots(module: nn.Module) -> list[Slot]:
    return [(own, name) for own in (module._parameters, module._buffers) for name in own]


def _place(slot: Slot) -> tuple[int, int]:
    """Where it lies, and how often it was written to: a copy that is read in its place must be made anew."""
    tensor = slot[0][slot[1]]
    return (0, 0) if tensor is None else (tensor.data_ptr(), tensor._version)
