"""A parallel learner's model and state on disk, in the files of one process: a Hugging Face folder, and the
`optimizer.safetensors` of `train.state`. So a run goes on with another number of ranks, or with one."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shoestring.cluster.files import Piece, write_together
from shoestring.cluster.optimizer import MOMENTS
from shoestring.cluster.shares import Share, Span, gathered, take_share
from shoestring.errors import ShoestringError
from shoestring.models.checkpoint import checkpoint_names, open_weights, write_config
from shoestring.models.names import shared_names
from shoestring.models.shards import Stored, finish_weights, weight_files
from shoestring.models.transformer import Transformer
from shoestring.models.weights import check_finite
from shoestring.train.state import StateFile, TrainState

if TYPE_CHECKING:
    from shoestring.cluster.learner import ParallelLearner

SHARD_BYTES = 5_000_000_000


def save_model(learner: "ParallelLearner", folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """A Hugging Face folder, its weights written by all ranks, each what it has. An earlier model in it is
    replaced."""
    world, config = learner.world, learner.lm.config
    world.all_well(f"make {folder}", lambda: folder.mkdir(parents=True, exist_ok=True))
    files = weight_files(list(checkpoint_names(config, False, learner.dtype)), shard_bytes)
    repeated = dict(_repeated(learner))
    for file, tensors in files.items():
        write_together(world, folder / file, tensors, _model_pieces(learner, tensors, repeated))

    def finish() -> None:
        if world.rank == 0:
            finish_weights(folder, files)
            write_config(config, learner.dtype, folder)
            learner.lm.save_beside(folder)

    world.all_well(f"finish {folder}", finish)


def _repeated(learner: "ParallelLearner") -> Iterator[tuple[str, str]]:
    with torch.device("meta"):
        yield from shared_names(Transformer(learner.lm.config))


def _model_pieces(
    learner: "ParallelLearner", tensors: list[Stored], repeated: dict[str, str]
) -> Iterator[Piece]:
    buffers = dict(learner.lm.network.named_buffers())
    for tensor in tensors:
        span = learner.spans[repeated.get(tensor.name, tensor.name)]
        if span.parameter in buffers:
            if learner.world.rank == 0:  # the same on all
                yield Piece(tensor.name, 0, buffers[span.parameter].flatten())
            continue
        piece = _of_span(learner.shares[span.parameter], span)
        if piece is not None:
            yield Piece(tensor.name, *piece)


def _of_span(share: Share, span: Span) -> tuple[int, Tensor] | None:
    begin, end = share.overlap(span.begin, span.end)
    if begin >= end:
        return None
    return begin - span.begin, share.local[begin - share.begin : end - share.begin]


def read_model(learner: "ParallelLearner", folder: Path) -> None:
    """The weights of a Hugging Face folder; each rank reads all of it, tensor by tensor, and keeps its share.
    Raises BadInput, one line."""
    with torch.device("meta"):
        network = Transformer(learner.lm.config)
    source = open_weights(network, folder)

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name in learner.spans:
            tensor = source.read(name)
            check_finite(name, tensor, source.where)
            yield name, tensor

    take_share(learner.shares, dict(learner.lm.network.named_buffers()), learner.spans, tensors())


def whole_state(learner: "ParallelLearner") -> TrainState:
    """On rank 0; the others help."""
    world, found = learner.world, dict[str, Tensor]()
    steps = _steps(learner)
    held = learner.shared.tensors()
    for name, share in learner.shares.items():
        for kind in ("master", *MOMENTS) if steps[name] else ("master",):
            own = held.get(kind, {}).get(name, share.local[:0])
            whole = gathered(world, own, share)
            if world.rank == 0:
                found[f"{kind}.{name}"] = whole
        if steps[name] and world.rank == 0:
            found[f"step.{name}"] = torch.tensor(steps[name])
    if world.rank == 0:
        for i, router in enumerate(learner.lm.network.routers()):
            found[f"router.{i}.bias"] = router.e_score_correction_bias.cpu().clone()
    return dataclasses.replace(learner.plain_state(), tensors=found)


def _steps(learner: "ParallelLearner") -> dict[str, float]:
    """Of each parameter, as rank 0 has them, which has a share of every one."""
    with learner.world.phase("the state's outline"):
        return learner.world.from_first({name: learner.shared.steps(name) for name in learner.shares})


def write_state(learner: "ParallelLearner", path: Path) -> None:
    """Masters, moments, steps and routers' biases under the names that `Learner.state_dict` gives them."""
    steps = _steps(learner)
    routers = learner.lm.network.routers()
    stored: list[Stored] = []
    for name, share in learner.shares.items():
        kinds = ("master", *MOMENTS) if steps[name] else ("master",)
        stored += [_stored(f"{kind}.{name}", share.shape) for kind in kinds]
        stored += [_stored(f"step.{name}", ())] * bool(steps[name])
    for i, router in enumerate(routers):
        stored.append(_stored(f"router.{i}.bias", tuple(router.e_score_correction_bias.shape)))

    def pieces() -> Iterator[Piece]:
        for kind, tensors in learner.shared.tensors().items():
            for name, values in tensors.items():
                yield Piece(f"{kind}.{name}", learner.shares[name].begin, values)
        if learner.world.rank == 0:
            for name, count in steps.items():
                if count:
                    yield Piece(f"step.{name}", 0, torch.tensor([count]))
            for i, router in enumerate(routers):
                yield Piece(f"router.{i}.bias", 0, router.e_score_correction_bias)

    write_together(learner.world, path, stored, pieces())


def _stored(name: str, shape: tuple[int, ...]) -> Stored:
    return Stored(name, shape, torch.float32, partial(torch.empty, 0))


def load_state(learner: "ParallelLearner", state: TrainState) -> None:
    """Of any number of ranks, or of one process; each reads its own rows. Raises ShoestringError where the
    state is of another model."""
    try:
        for name, share in learner.shares.items():
            if share.begin == share.end:
                continue
            share.local.copy_(_rows(state, f"master.{name}", share))
            moments: dict[str, Tensor] = {}
            if f"step.{name}" in state.tensors:
                device = share.local.device
                moments = {kind: _rows(state, f"{kind}.{name}", share).to(device) for kind in MOMENTS}
            steps = state.tensors[f"step.{name}"].item() if moments else 0.0
            learner.shared.hold(name, moments, steps)
        for i, router in enumerate(learner.lm.network.routers()):
            router.e_score_correction_bias.copy_(state.tensors[f"router.{i}.bias"])
    except (KeyError, RuntimeError) as error:
        raise ShoestringError(f"the saved state is of another model: {error}") from None


def _rows(state: TrainState, name: str, share: Share) -> Tensor:
    """(share's numbers,), a copy."""
    each = torch.Size(share.shape[1:]).numel()
    begin, end = share.begin // each, share.end // each
    tensors = state.tensors
    rows = tensors.rows(name, begin, end) if isinstance(tensors, StateFile) else tensors[name][begin:end]
    if rows.shape[1:] != share.shape[1:]:
        raise KeyError(f"{name} is {list(rows.shape)}")
    return rows.reshape(-1).clone()
