"""A model as one GGUF file, through the library that llama.cpp's own converter uses. Tensors are made, put
into their type and written one at a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf.quants import quantize

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.release.gguf_fields import add_fields, architecture
from shoestring.release.gguf_tensors import Piece, left_out, pieces

GGUFType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
KINDS: Mapping[GGUFType, Kind] = {
    "f32": Kind.F32,
    "f16": Kind.F16,
    "bf16": Kind.BF16,
    "q8_0": Kind.Q8_0,
    "q4_0": Kind.Q4_0,
}
FILE_TYPES: Mapping[GGUFType, gguf.LlamaFileType] = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
ENDS = ("token_embd.weight", "output.weight")  # an error in these reaches every token: 8 bits where all is 4
LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Written:
    """kinds: tensors of each type. widened: those that the asked type can't take, since their rows aren't
    whole blocks of it. notes: what the file doesn't have, in words."""

    kinds: Mapping[str, int]
    widened: tuple[str, ...]
    notes: tuple[str, ...]


def write_gguf(lm: LanguageModel, path: Path, wanted: GGUFType) -> Written:
    """Raises BadInput where llama.cpp has no such architecture or tokenizer. A half-written file is the
    caller's to remove."""
    arch = architecture(lm.config)
    writer = gguf.GGUFWriter(path, arch)
    notes = add_fields(writer, lm)
    writer.add_file_type(FILE_TYPES[wanted])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    found = list(pieces(lm.network))
    kinds = {piece.name: kind_of(piece, wanted) for piece in found}
    for piece in found:
        _announce(writer, piece, kinds[piece.name])
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for piece in found:
            writer.write_tensor_data(_converted(piece, kinds[piece.name]))
    finally:
        writer.close()
    if skipped := left_out(lm.network):
        modules = lm.config.num_nextn_predict_layers
        notes.append(f"left out: {skipped} tensors of {modules} MTP module{'s' if modules > 1 else ''}")
    widened = tuple(p.name for p in found if p.is_matrix and kinds[p.name] != _asked(p, wanted))
    return Written(dict(Counter(kind.name for kind in kinds.values())), widened, tuple(notes))


def kind_of(piece: Piece, wanted: GGUFType) -> Kind:
    """Vectors and routers stay in float32; rows that aren't whole blocks become F16."""
    if not piece.is_matrix:
        return Kind.F32
    asked = _asked(piece, wanted)
    return Kind.F16 if piece.shape[-1] % gguf.GGML_QUANT_SIZES[asked][0] else asked


def _asked(piece: Piece, wanted: GGUFType) -> Kind:
    return Kind.Q8_0 if wanted == "q4_0" and piece.name in ENDS else KINDS[wanted]


def _announce(writer: gguf.GGUFWriter, piece: Piece, kind: Kind) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count = int(np.prod(piece.shape))
    writer.add_tensor_info(
        piece.name, piece.shape, np.dtype(np.float32), count // block * size, raw_dtype=kind
    )


def _converted(piece: Piece, kind: Kind) -> np.ndarray:
    """Raises BadInput where a number is beyond what the type holds."""
    tensor = piece.make()
    if not torch.isfinite(tensor.sum()):
        raise BadInput(f"tensor {piece.name} holds NaN or infinite numbers: there is nothing to export")
    if kind is Kind.F16 and float(tensor.abs().max()) > LARGEST_HALF:
        raise BadInput(f"tensor {piece.name} has numbers beyond F16's {LARGEST_HALF:g}; write --type bf16")
    rows = tensor.contiguous().numpy()
    return rows if kind is Kind.F32 else quantize(rows, kind)
