"""What a model with mixture layers and MTP modules learns beside its main loss (arXiv 2412.19437, 2.1.2 and
2.2): the modules' own prediction, and an even load of the experts."""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from shoestring.models.transformer import Output, Transformer
from shoestring.settings import Settings
from shoestring.text.message import PackedBatch


class Objectives(Settings):
    """Weights of the published recipe by default; all 0 leaves MTP modules and routers' biases alone."""

    mtp_weight: float = Field(default=0.0, ge=0)  # lambda: of the mean of the modules' losses
    balance_weight: float = Field(default=0.0, ge=0)  # alpha: of the sequence-wise balance loss
    bias_update_speed: float = Field(default=0.0, ge=0)  # gamma: of the routers' biases, a step


@dataclass(frozen=True)
class Further:
    """The targets of MTP module `depth` (from 0) in a packed batch: the state at predict_from[i], which has
    read the token after it too, predicts targets[i], the batch's target number `kept[i]`."""

    next_ids: Tensor  # (T,) the token depth + 1 after each; 0 where the row has ended
    predict_from: Tensor  # (M,)
    targets: Tensor  # (M,)
    kept: Tensor  # (M,)


def further_targets(packed: PackedBatch, depth: int) -> Further:
    """Only within a row. Behind a shared beginning a row's second target (for depth 0) would be predicted
    from the beginning's last token together with the row's first one, a state that no row has: it is left
    out."""
    shift = depth + 1
    next_ids = np.zeros_like(packed.ids)
    next_ids[:-shift] = packed.ids[shift:]
    first = np.zeros_like(packed.ids)  # where each token's row begins
    for start, length in zip(packed.starts.tolist(), packed.lengths.tolist(), strict=True):
        first[start : start + length] = start
        next_ids[max(start, start + length - shift) : start + length] = 0
    origin = packed.predict_from - shift
    kept = np.flatnonzero(origin >= first[packed.predict_from])
    columns = (next_ids, origin[kept], packed.targets[kept], kept)
    return Further(*(torch.from_numpy(column) for column in columns))


class LoadCount:
    """Tokens that each expert got in one optimizer step, (layers, E), summed over its micro-batches."""

    def __init__(self) -> None:
        self.loads: Tensor | None = None

    def add(self, outputs: list[Output]) -> None:
        found = [output.loads for output in outputs if output.loads is not None]
        if found:
            loads = torch.cat(found)
            self.loads = loads if self.loads is None else self.loads + loads

    def max_violation(self) -> Tensor | None:
        """(layers,) float32: how far the busiest expert's load is above the mean, as a share of the mean."""
        if self.loads is None:
            return None
        loads = self.loads.float()
        return loads.amax(-1) / loads.mean(-1).clamp(min=1e-9) - 1


@torch.no_grad()
def balance_biases(network: Transformer, loads: Tensor, speed: float) -> None:
    """Each expert's bias one step of `speed` down where it had more than the mean, up where less; only the
    choice of experts sees it. loads (layers, E) of the routers that ran, the first ones."""
    for router, load in zip(network.routers(), loads.float(), strict=False):
        router.e_score_correction_bias += speed * torch.sign(load.mean() - load)
