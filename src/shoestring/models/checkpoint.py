"""Hugging Face model folders both ways: config.json and the weights under their public names."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import config_from_hf, config_to_hf, token_ids
from shoestring.models.fp8_blocks import (
    QUANTIZATION,
    read_block_size,
    read_weight,
    stored_tensors,
    without_scales,
)
from shoestring.models.generation import GENERATION_CONFIG
from shoestring.models.names import EMBEDDING, HEAD, shared_names
from shoestring.models.shards import Folder, Stored, open_folder, read_json, write_json, write_weights
from shoestring.models.transformer import Transformer
from shoestring.models.weights import WeightSource, check_names, empty_network, fill_network

CONFIG = "config.json"
DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
LAYER = re.compile(r"model\.layers\.(\d+)\.")


def load_checkpoint(
    folder: Path, dtype: torch.dtype, device: str, say: Callable[[str], None] = lambda _: None
) -> Transformer:
    """The network of a Hugging Face folder, cast to `dtype` tensor by tensor; FP8 weights are multiplied out
    on the way. `say` gets a line on what of the folder and its config doesn't meet. Raises BadInput, one
    line."""
    network = empty_network(config_of(folder, say), dtype, device)
    fill_network(network, open_weights(network, folder))
    return network


def config_of(folder: Path, say: Callable[[str], None] = lambda _: None) -> ModelConfig:
    """As the folder's weights are, which may lack the MTP modules that its config.json counts. Weights in a
    form that isn't read are refused here, before any memory is taken."""
    _read_block_size(folder)
    return _meet_mtp(read_config(folder), open_folder(folder).shapes, say)[0]


def open_weights(network: Transformer, folder: Path) -> WeightSource:
    """Of a network made by `config_of`, which may be without numbers; nothing is read yet. Raises BadInput,
    one line, naming what doesn't fit."""
    stored = open_folder(folder)
    _, ignored = _meet_mtp(network.config, stored.shapes, lambda _: None)
    source = source_for(network, stored, _read_block_size(folder), ignored)
    check_names(dict(network.public_tensors()), source)
    return source


def source_for(
    network: Transformer, stored: Folder, block: tuple[int, int] | None, ignored: Sequence[str] = ()
) -> WeightSource:
    """The stored tensors as the network wants them: scales multiplied in, and without what repeats another
    tensor. Raises BadInput, one line."""
    shapes = without_scales(stored.shapes, stored.kinds, block, stored.where)
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith(".rotary_emb.inv_freq")}
    for name in ignored:
        shapes.pop(name, None)
    _check_head(network.config, shapes, stored)
    for name, original in shared_names(network):
        found = shapes.pop(name, None)
        if found is None or original not in shapes:
            continue
        if found != shapes[original]:
            raise BadInput(
                f"{stored.where}: {name} is {list(found)}, {original}, which it repeats, "
                f"is {list(shapes[original])}"
            )
        copy, own = stored.read(name), stored.read(original)
        if not copy.is_meta and not torch.equal(copy.to(own.dtype), own):
            raise BadInput(
                f"{stored.where}: {name} differs from {original}; MTP modules here have the model's own"
            )
    return WeightSource(stored.where, shapes, lambda name: read_weight(name, stored.read, block))


def _check_head(config: ModelConfig, shapes: dict[str, tuple[int, ...]], stored: Folder) -> None:
    """A tied model's head may be stored too, if it is the embedding; it is taken out of `shapes`."""
    if config.tie_word_embeddings and HEAD in shapes:
        if EMBEDDING not in shapes or not torch.equal(stored.read(HEAD), stored.read(EMBEDDING)):
            raise BadInput(
                f"{stored.where}: config.json says tie_word_embeddings but {HEAD} differs from {EMBEDDING}; "
                "set tie_word_embeddings to false"
            )
        del shapes[HEAD]
    if not config.tie_word_embeddings and HEAD not in shapes and EMBEDDING in shapes:
        raise BadInput(
            f"{stored.where}: {HEAD} is missing and config.json doesn't say tie_word_embeddings; "
            "set it to true if the head is the embedding"
        )


def _meet_mtp(
    config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], say: Callable[[str], None]
) -> tuple[ModelConfig, list[str]]:
    """MTP modules are extras, which many copies of a model lack. Where the folder has none the network has
    none; those that config.json doesn't count are left alone -> config, names to ignore."""
    parts = {name: LAYER.match(name) for name in shapes}
    layer_of = {name: int(part[1]) for name, part in parts.items() if part is not None}
    wanted, main = config.num_nextn_predict_layers, config.num_hidden_layers
    if wanted and not any(layer >= main for layer in layer_of.values()):
        say(f"the folder has none of the {wanted} MTP layers of its config.json; loaded without")
        return dataclasses.replace(config, num_nextn_predict_layers=0), []
    modules = {layer for name, layer in layer_of.items() if name.endswith(".eh_proj.weight")}
    extra = {layer for layer in modules if layer >= main + wanted}
    ignored = [name for name, layer in layer_of.items() if layer in extra]
    if ignored:
        count = f"{len(ignored)} tensors of {len(extra)} MTP layer{'s' if len(extra) > 1 else ''}"
        say(f"ignored {count}: config.json says num_nextn_predict_layers = {wanted}")
    return config, ignored


def read_config(folder: Path) -> ModelConfig:
    """config.json with the end ids of generation_config.json added (chat models keep the full list there)."""
    raw = read_json(folder / CONFIG)
    try:
        config = config_from_hf(raw)
    except BadInput as error:
        raise BadInput(f"{folder / CONFIG}: {error}") from None
    more = read_json(folder / GENERATION_CONFIG) if (folder / GENERATION_CONFIG).exists() else {}
    return config.with_end_ids(token_ids(more.get("eos_token_id")))


def _read_block_size(folder: Path) -> tuple[int, int] | None:
    try:
        return read_block_size(read_json(folder / CONFIG))
    except BadInput as error:
        raise BadInput(f"{folder / CONFIG}: {error}") from None


def write_checkpoint(
    network: Transformer, folder: Path, shard_bytes: int = 5_000_000_000, fp8: bool = False
) -> None:
    """config.json and the weights into `folder`, streamed tensor by tensor; with `fp8` in the public V3
    checkpoint's precision, else in the network's. Weights of an earlier save in it are replaced. Putting the
    folder in place in one move is the caller's."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, list(stored_tensors(network, fp8)), shard_bytes)
    write_config(network.config, network.embed_tokens.dtype, folder, fp8)


def write_config(config: ModelConfig, dtype: torch.dtype, folder: Path, fp8: bool = False) -> None:
    raw = config_to_hf(config, DTYPE_NAMES[dtype])
    write_json(folder / CONFIG, raw | ({"quantization_config": QUANTIZATION} if fp8 else {}))


def checkpoint_names(config: ModelConfig, fp8: bool, dtype: torch.dtype = torch.bfloat16) -> Iterator[Stored]:
    """Name, shape and dtype of every tensor that a network's folder holds; nothing is allocated."""
    return stored_tensors(empty_network(config, dtype, "meta"), fp8)
