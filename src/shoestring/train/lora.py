"""Training an adapter in place of the model: its factors, the one network that holds them, and peft's files.

Which of the two ways to apply an adapter: its product is summed into the served weights after each update.
The forward pass, sampler's and trainer's, is then the plain one with all its kernels, and both see the same
numbers; `models.low_rank` has the backward pass."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from shoestring.errors import BadInput
from shoestring.models.linear import Linear
from shoestring.models.low_rank import Factors, LowRank
from shoestring.models.names import Part, linear_parts
from shoestring.models.transformer import Transformer
from shoestring.ops.sample import stream_key
from shoestring.settings import Settings, nearest

EXPERTS = ("gate_proj", "up_proj", "down_proj")


class LoRASettings(Settings):
    """y = W x + (alpha / rank) B A x with W frozen."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    targets: list[str] | None = None  # names of matrices, such as "q_proj"; None: all that a model can have


class Adapters:
    """The factors of a network's matrices. They are parameters of the network, the only ones that learn."""

    def __init__(self, network: Transformer, settings: LoRASettings, seed: int) -> None:
        """A as peft draws it, uniform within 1 / sqrt(K), keyed on (seed, matrix); B zero, so that nothing
        changes yet. Raises BadInput, one line, on a target that the model hasn't."""
        self.network, self.settings = network, settings
        self.targets = chosen_targets(network, settings.targets)
        network.requires_grad_(False)
        self.found: list[tuple[Part, Factors]] = []
        for part in linear_parts(network):
            kind = part.name.rsplit(".", 1)[-1]
            if kind not in self.targets:
                continue
            assert part.linear.numerics == "weights", "low-rank products are made in the weights' dtype"
            if part.linear.low_rank is None:
                part.linear.low_rank = LowRank(settings.alpha / settings.rank)
            factors = Factors(part.linear.weight[part.start : part.stop], part.start, settings.rank)
            _draw(factors.A, seed, part.name)
            part.linear.low_rank.parts[kind] = factors
            self.found.append((part, factors))

    @property
    def num_trained(self) -> int:
        return sum(factors.A.numel() + factors.B.numel() for _, factors in self.found)

    def merge(self) -> None:
        """Every weight becomes base + (alpha / rank) B A."""
        for linear in self._linears():
            assert linear.low_rank is not None
            linear.low_rank.merge(linear.weight)

    @contextmanager
    def off(self) -> Iterator[None]:
        """The network as it was before, bit for bit; afterwards with the adapters again."""
        for linear in self._linears():
            assert linear.low_rank is not None
            linear.low_rank.unmerge(linear.weight)
        try:
            yield
        finally:
            self.merge()

    def tensors(self) -> dict[str, Tensor]:
        """Under peft's names, float32."""
        found: dict[str, Tensor] = {}
        for part, factors in self.found:
            found[f"base_model.model.{part.name}.lora_A.weight"] = factors.A.detach()
            found[f"base_model.model.{part.name}.lora_B.weight"] = factors.B.detach()
        return found

    def save(self, folder: Path, base: str) -> None:
        """adapter_config.json and adapter_model.safetensors into `folder`, which is made; `base` names the
        model that they belong to. Putting the folder in place in one move is the caller's."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": self.settings.rank,
            "lora_alpha": self.settings.alpha,
            "target_modules": self.targets,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "use_rslora": False,
            "use_dora": False,
            "init_lora_weights": True,
            "inference_mode": True,
        }
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def _linears(self) -> list[Linear]:
        return list({id(part.linear): part.linear for part, _ in self.found}.values())


def chosen_targets(network: Transformer, wanted: list[str] | None) -> list[str]:
    """The names of matrices to adapt, in the model's order. Without `wanted` all of them; in a mixture of
    experts attention's alone, since a name such as "up_proj" means every expert there to whoever reads the
    adapter, and experts lie in one tensor that has no adapter here. Raises BadInput, one line."""
    names = dict.fromkeys(part.name.rsplit(".", 1)[-1] for part in linear_parts(network))
    mixture = bool(network.config.n_routed_experts)
    known = [name for name in names if not (mixture and name in EXPERTS)]
    if wanted is None:
        return known
    if not wanted:
        raise BadInput(f"lora.targets is empty; leave it out or choose from {', '.join(known)}")
    for name in wanted:
        if mixture and name in EXPERTS:
            raise BadInput(
                f"lora.targets: '{name}' is a matrix of experts, which have no adapters here; "
                f"choose from {', '.join(known)}"
            )
        if name not in known:
            raise BadInput(
                f"lora.targets: this model has no '{name}'{nearest(name, known)}; "
                f"choose from {', '.join(known)}"
            )
    return [name for name in known if name in wanted]


@torch.no_grad()
def _draw(a: Tensor, seed: int, name: str) -> None:
    generator = torch.Generator(device="cpu").manual_seed(stream_key(seed, name, 0) % 2**63)
    bound = 1 / math.sqrt(a.shape[1])
    a.copy_(torch.rand(a.shape, generator=generator) * (2 * bound) - bound)
