"""Hugging Face weight folders both ways: config.json, and safetensors in one file or in shards."""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer
from shoestring.models.weights import WeightSource, empty_network, fill_network

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
GENERATION_CONFIG = "generation_config.json"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
STORED_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
READABLE = {"F64", "F32", "F16", "BF16"}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder. Raises BadInput, one line."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path} is not valid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise BadInput(f"{path} holds {type(raw).__name__}, a JSON object is wanted")
    return raw


def load_checkpoint(folder: Path, dtype: torch.dtype, device: str) -> Transformer:
    """The network of a Hugging Face folder, cast to `dtype` tensor by tensor. Raises BadInput, one line."""
    config = read_config(folder)
    shapes, files = _stored_shapes(folder)
    network = empty_network(config, dtype, device)

    def read(name: str) -> Tensor:
        return files[name].get_tensor(name)

    shapes = {name: shape for name, shape in shapes.items() if not name.endswith(".rotary_emb.inv_freq")}
    if config.tie_word_embeddings and HEAD in shapes:
        if EMBEDDING not in shapes or not torch.equal(read(HEAD), read(EMBEDDING)):
            raise BadInput(
                f"{folder}: config.json says tie_word_embeddings but {HEAD} differs from {EMBEDDING}; "
                "set tie_word_embeddings to false"
            )
        del shapes[HEAD]
    if not config.tie_word_embeddings and HEAD not in shapes and EMBEDDING in shapes:
        raise BadInput(
            f"{folder}: {HEAD} is missing and config.json doesn't say tie_word_embeddings; "
            "set it to true if the head is the embedding"
        )
    fill_network(network, WeightSource(str(folder), shapes, read))
    return network


def read_config(folder: Path) -> ModelConfig:
    """config.json with the end ids of generation_config.json added (chat models keep the full list there)."""
    raw = read_json(folder / CONFIG)
    try:
        config = ModelConfig.from_hf(raw)
    except BadInput as error:
        raise BadInput(f"{folder / CONFIG}: {error}") from None
    more = read_json(folder / GENERATION_CONFIG) if (folder / GENERATION_CONFIG).exists() else {}
    return config.with_end_ids(more.get("eos_token_id"))


def write_checkpoint(network: Transformer, folder: Path, shard_bytes: int = 5_000_000_000) -> None:
    """config.json and the weights into `folder`, streamed tensor by tensor. Weights of an earlier save in
    it are replaced. Putting the folder in place in one move is the caller's."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = list(network.public_tensors())
    dtype = tensors[0][1].dtype
    shards = _shards(tensors, shard_bytes)
    names = [WEIGHTS]
    if len(shards) > 1:
        names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        _write_safetensors(folder / name, shard)
    if len(shards) > 1:
        total = sum(t.numel() * t.element_size() for _, t in tensors)
        where = {key: name for name, shard in zip(names, shards, strict=True) for key, _ in shard}
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
    write_json(folder / CONFIG, network.config.to_hf(DTYPE_NAMES[dtype]))
    for stale in [*folder.glob("model*.safetensors"), folder / INDEX]:
        if stale.name not in names and (stale.name != INDEX or len(shards) == 1):
            stale.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _stored_shapes(folder: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Every stored tensor's shape, and the open file that it is in."""
    shapes: dict[str, tuple[int, ...]] = {}
    files: dict[str, Any] = {}
    for path, expected in _weight_files(folder).items():
        try:
            file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise BadInput(
                f"{path} is cut short or not a safetensors file ({error}); fetch it again"
            ) from None
        for name in file.keys():  # noqa: SIM118 (not a dict)
            part = file.get_slice(name)
            if part.get_dtype() not in READABLE:
                raise BadInput(
                    f"{path}: tensor {name} is {part.get_dtype()}; quantised safetensors aren't supported"
                )
            if expected is None or name in expected:
                shapes[name], files[name] = tuple(part.get_shape()), file
    return shapes, files


def _weight_files(folder: Path) -> dict[Path, set[str] | None]:
    """Weight file -> the names that the index expects in it (None: whatever it holds)."""
    if (folder / WEIGHTS).exists():
        return {folder / WEIGHTS: None}
    if not (folder / INDEX).exists():
        other = next(iter([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]), None)
        hint = f"; {other.name} is a pickle, which is never read: convert it to safetensors" if other else ""
        raise BadInput(f"{folder} has no {WEIGHTS} and no {INDEX}{hint}")
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise BadInput(f"{folder / INDEX} has no weight_map")
    result: dict[Path, set[str] | None] = {}
    for file_name in sorted({str(v) for v in where.values()}):
        path = folder / file_name
        if Path(file_name).name != file_name:
            raise BadInput(f"{folder / INDEX} points outside of its folder: {file_name}")
        if not path.exists():
            raise BadInput(f"{folder} lacks {file_name}, which {INDEX} names; fetch it again")
        result[path] = {name for name, value in where.items() if value == file_name}
    return result


def _shards(tensors: list[tuple[str, Tensor]], shard_bytes: int) -> list[list[tuple[str, Tensor]]]:
    shards: list[list[tuple[str, Tensor]]] = [[]]
    filled = 0
    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append((name, tensor))
        filled += size
    return shards


def _write_safetensors(path: Path, tensors: list[tuple[str, Tensor]]) -> None:
    """Length of the header (8 bytes), JSON header, data. The library's writer copies every tensor first; this
    one holds one. The file gets its name only when it is whole."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors:
        end = at + tensor.numel() * tensor.element_size()
        kind = STORED_NAMES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data starts at a multiple of 8
    half = path.with_name(path.name + ".part")
    try:
        with half.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, tensor in tensors:
                file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)
