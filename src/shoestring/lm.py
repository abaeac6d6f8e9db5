"""LanguageModel: a network with its tokenizer, template and lineage. Load and save."""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from shoestring.errors import BadInput, ShoestringError
from shoestring.model_files import file_sha256, gguf_lineage, load_template, model_folder, name_of
from shoestring.models.bases import BASES, EmbeddedBase
from shoestring.models.checkpoint import load_checkpoint, write_checkpoint, write_json
from shoestring.models.config import ModelConfig
from shoestring.models.generation import GENERATION_CONFIG, R1S_OWN, GenerationDefaults, generation_defaults
from shoestring.models.gguf import load_gguf
from shoestring.models.gguf_file import GGUFFile
from shoestring.models.gguf_quantized import load_gguf_quantized
from shoestring.models.quantize import quantize_network, quantized_share
from shoestring.models.transformer import Transformer
from shoestring.ops.hardware import native_bf16
from shoestring.ops.hostmemory import keep_freed_memory
from shoestring.origin import Lineage
from shoestring.settings import nearest
from shoestring.text.declared import lineage_of
from shoestring.text.gguf_vocab import tokenizer_from_gguf
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer
from shoestring.text.tokenizer_files import load_tokenizer

Quantize = Literal["int8", "int4", "file"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
QUANTIZE: tuple[Quantize, ...] = ("int8", "int4", "file")


@dataclass
class LanguageModel:
    network: Transformer
    tokenizer: Tokenizer
    template: Template
    config: ModelConfig
    lineage: Lineage
    name: str
    quantized: str = ""  # in words, where the weights are quantised: for serving only
    generation: GenerationDefaults = R1S_OWN

    @property
    def dtype(self) -> torch.dtype:
        return self.network.dtype

    @property
    def device(self) -> torch.device:
        return self.network.device

    def refuse_quantized(self, purpose: str) -> None:
        """Raises BadInput where only whole weights will do."""
        if self.network.is_quantized:
            raise BadInput(
                f"{self.name} was loaded with quantised weights, which are for serving only; to {purpose} it "
                "load it without quantize"
            )

    @torch.inference_mode()
    def logits(self, ids: Tensor | list[list[int]]) -> Tensor:
        """ids (B, T) -> (B, T, V) float32, each row plain causal text. The engine is what generates."""
        ids = torch.as_tensor(ids, device=self.device)
        positions = torch.arange(ids.shape[1], device=self.device).expand(ids.shape)
        return self.network.head(self.network(ids, positions).hidden)

    def save(self, folder: str | Path, shard_bytes: int = 5_000_000_000, fp8: bool = False) -> None:
        """A Hugging Face folder that transformers loads as it is, with lineage.json. An earlier model in
        `folder` is replaced file by file; putting a whole folder in place in one move is the caller's. fp8:
        in the public V3 checkpoint's precision, E4M3 in blocks of 128 x 128, for V2 and V3 models."""
        self.refuse_quantized("save")
        if fp8 and not self.config.is_mla:
            raise BadInput(
                f"fp8 is for models with latent attention, which this {self.config.model_type} lacks"
            )
        folder = Path(folder)
        try:
            write_checkpoint(self.network, folder, shard_bytes, fp8)
            self.save_beside(folder)
        except OSError as error:
            raise ShoestringError(f"can't save the model in {folder}: {error.strerror or error}") from None

    def save_beside(self, folder: Path) -> None:
        """All of the folder but config.json and the weights, which several processes may write."""
        ends = list(self.template.stop_ids or self.config.eos_token_id)
        generation = {"bos_token_id": self.config.bos_token_id, "eos_token_id": ends}
        generation |= {"pad_token_id": self.tokenizer.pad_id} | self.generation.to_json()
        write_json(folder / GENERATION_CONFIG, generation)
        self.tokenizer.save(folder, self.template.source)
        self.lineage.save(folder)
        note = _licence_note(self.lineage)
        if note:
            (folder / "LICENSE").write_text(note, encoding="utf-8")


def load(
    model: str | Path, dtype: str = "auto", device: str = "cpu", quantize: Quantize | None = None
) -> LanguageModel:
    """`model`: the name of an embedded base, a Hugging Face folder, a .gguf file, or a run or stage folder
    (its last stage that has a model). dtype "auto" is bfloat16 where the device computes in it natively, else
    float32. quantize: weights in 8 or 4 bits, to serve and not to train: "int8", "int4", or "file", as a
    .gguf file has them; blocks of a file that are of the asked kind are kept as they are. Raises BadInput,
    one line."""
    wanted = precision(dtype, device)
    text = str(model)
    known_form(quantize)
    if text.startswith(("http://", "https://")):
        raise BadInput(
            f"{text} is a server; its weights can't be loaded, give a folder, a .gguf file or a base's name"
        )
    if text in BASES:
        return _load_base(BASES[text], wanted, device, quantize)
    path = Path(model)
    if path.is_file():
        return _load_gguf(path, wanted, device, quantize)
    if not path.exists():
        raise BadInput(
            f"no model '{text}': no such file or folder, and no base of this name{nearest(text, [*BASES])}"
        )
    return _load_folder(model_folder(path), wanted, device, name_of(path), quantize)


def reads_at(model: str) -> tuple[Tokenizer, Template]:
    """How what `load` would open reads text; of a folder without its weights. Raises BadInput."""
    path = Path(model)
    if model not in BASES and path.is_dir():
        return load_template(model_folder(path))
    lm = load(model)
    return lm.tokenizer, lm.template


def precision(dtype: str, device: str) -> torch.dtype:
    """What "float32", "bfloat16" or "auto" means on this device, which is made ready. Raises BadInput, one
    line, where either is not known or not there."""
    if dtype not in (*DTYPES, "auto"):
        raise BadInput(f"dtype {dtype!r} is not supported{nearest(dtype, [*DTYPES, 'auto'])}")
    try:
        kind = torch.device(device)
    except RuntimeError:
        raise BadInput(f"device {device!r} is not known; write cpu, cuda or cuda:0") from None
    if kind.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device {device!r}: this machine or this torch has no CUDA")
    if kind.type == "cpu":
        keep_freed_memory()
    return DTYPES.get(dtype) or (torch.bfloat16 if native_bf16(kind) else torch.float32)


def known_form(quantize: str | None) -> Quantize | None:
    """Raises BadInput where it is none of ours."""
    for form in QUANTIZE:
        if quantize == form:
            return form
    if quantize is None:
        return None
    raise BadInput(
        f"quantize {quantize!r} is not supported{nearest(quantize, [*QUANTIZE])}; write int8, int4 or file"
    )


def _load_base(
    base: EmbeddedBase, dtype: torch.dtype, device: str, quantize: Quantize | None
) -> LanguageModel:
    path, get = base.path, f"shoestring get {base.name}"
    if not path.exists():
        raise BadInput(f"{base.name} is not on this machine yet; fetch it with: {get}")
    if path.stat().st_size != base.size or file_sha256(path) != base.sha256:
        raise BadInput(
            f"{path} is not the file it should be (size or hash differs); fetch it anew with: {get}"
        )
    return _from_gguf(GGUFFile(path), dtype, device, base.lineage, base.name, quantize)


def _load_gguf(path: Path, dtype: torch.dtype, device: str, quantize: Quantize | None) -> LanguageModel:
    file = GGUFFile(path)
    return _from_gguf(file, dtype, device, gguf_lineage(file), path.stem, quantize)


def _from_gguf(
    file: GGUFFile, dtype: torch.dtype, device: str, lineage: Lineage, name: str, quantize: Quantize | None
) -> LanguageModel:
    told = ""
    if quantize is None:
        network = load_gguf(file, dtype, device)
    else:
        form = None if quantize == "file" else quantize
        network, told = load_gguf_quantized(file, dtype, device, form)
        told = f"{quantize}: {quantized_share(network).line()}; {told}"
    ends = network.config.eos_token_id
    tokenizer, source = tokenizer_from_gguf(file.metadata, str(file.path), ends)
    return _assemble(network, tokenizer, Template(tokenizer, source, ends), lineage, name, told)


def _load_folder(
    folder: Path, dtype: torch.dtype, device: str, name: str, quantize: Quantize | None
) -> LanguageModel:
    if quantize == "file":
        raise BadInput(f"quantize 'file' is for .gguf files, and {folder} is a folder; write int8 or int4")
    network = load_checkpoint(folder, dtype, device, say=_tell)
    told = ""
    if quantize is not None:
        quantize_network(network, quantize)
        told = f"{quantize}: {quantized_share(network).line()}"
    ends = network.config.eos_token_id
    tokenizer, source = load_tokenizer(folder, ends)
    lm = _assemble(network, tokenizer, Template(tokenizer, source, ends), lineage_of(folder), name, told)
    return replace(lm, generation=generation_defaults(folder, say=_tell))


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _assemble(
    network: Transformer,
    tokenizer: Tokenizer,
    template: Template,
    lineage: Lineage,
    name: str,
    quantized: str,
) -> LanguageModel:
    if tokenizer.vocab_size > network.config.vocab_size:
        raise BadInput(
            f"{name}: the tokenizer has {tokenizer.vocab_size} ids but the model only "
            f"{network.config.vocab_size}; they don't belong together"
        )
    return LanguageModel(network, tokenizer, template, network.config, lineage, name, quantized)


def weights_sha256(lm: LanguageModel) -> str:
    """Of every public tensor in float32, so that a copy in another file's layout is the same model."""
    digest = hashlib.sha256()
    for name, tensor in lm.network.public_tensors():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _licence_note(lineage: Lineage) -> str:
    """What the model was made from and under which licence that is; "" where the lineage doesn't say."""
    lines = []
    for stage in lineage.stages:
        licence, original = stage.detail.get("licence"), stage.detail.get("copy_of")
        if licence and original:
            precision = stage.detail.get("precision")
            lines.append(f"Made from {original}, used here as a {precision}.")
            lines.append(f"{original} is licensed under {licence}; the weights here are changed from it.")
    if any("Apache-2.0" in line for line in lines):
        lines.append("The licence's text: https://www.apache.org/licenses/LICENSE-2.0")
    return "\n".join(lines) + "\n" if lines else ""
