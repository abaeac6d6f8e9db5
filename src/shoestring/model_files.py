"""What lies in a model's folder or file, found without reading its weights."""

import hashlib
from pathlib import Path

from shoestring.errors import BadInput
from shoestring.models.bases import BASES
from shoestring.models.checkpoint import CONFIG, read_json
from shoestring.models.config_file import token_ids
from shoestring.models.generation import GENERATION_CONFIG
from shoestring.models.gguf_file import GGUFFile
from shoestring.origin import LINEAGE_KEY, Lineage, Stage
from shoestring.settings import nearest
from shoestring.text.declared import declared, lineage_of, taught_stages
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer
from shoestring.text.tokenizer_files import load_tokenizer


def model_folder(path: Path) -> Path:
    """The Hugging Face folder meant by a model folder, a stage folder or a run folder. Raises BadInput."""
    if (path / CONFIG).exists():
        return path
    if (path / "model" / CONFIG).exists():
        return path / "model"
    if (path / "stages").is_dir():
        stages = sorted(stage for stage in (path / "stages").iterdir() if (stage / "model" / CONFIG).exists())
        if stages:
            return stages[-1] / "model"
        inner = sorted(found.parent.parent for found in (path / "stages").glob(f"*/**/model/{CONFIG}"))
        hint = f"; name one of its units, such as {inner[-1]}" if inner else ""
        raise BadInput(f"{path} is a run without a finished model{hint}")
    raise BadInput(
        f"{path} is not a model: it has no {CONFIG} (Hugging Face folder), no model/ (stage) "
        "and no stages/ (run)"
    )


def name_of(path: Path) -> str:
    return path.resolve().name


def load_template(folder: Path) -> tuple[Tokenizer, Template]:
    """The tokenizer and chat template of a folder, which need not have weights. Raises BadInput."""
    known = folder / GENERATION_CONFIG
    ends = token_ids(read_json(known).get("eos_token_id")) if known.exists() else ()
    tokenizer, source = load_tokenizer(folder, ends)
    return tokenizer, Template(tokenizer, source, ends)


def lineage_at(model: str) -> tuple[str, Lineage]:
    """The name and lineage of what `load` would open, without its weights. Raises BadInput."""
    if model in BASES:
        return model, BASES[model].lineage
    path = Path(model)
    if path.is_file() and path.suffix == ".gguf":
        return path.stem, gguf_lineage(GGUFFile(path))
    if not path.is_dir():
        raise BadInput(
            f"no model '{model}': no such folder, no .gguf file and no base{nearest(model, [*BASES])}"
        )
    return name_of(path), lineage_of(model_folder(path))


def gguf_lineage(file: GGUFFile) -> Lineage:
    """As an export of ours carries it; else by what FILE.gguf.origin.toml declares, or by the file's own
    metadata."""
    said, known = declared(file.path), file.metadata
    if isinstance(carried := known.get(LINEAGE_KEY), str):
        return Lineage.parse(carried, str(file.path))
    detail = {"file": file.path.name, "name": str(known.get("general.name", ""))}
    detail |= {"licence": str(known.get("general.license", "unknown"))}
    if said:
        detail |= {"copy_of": said.source, "licence": said.licence, "permission": said.permission}
    detail["precision"] = "GGUF, " + ", ".join(sorted({t.kind.name for t in file.tensors.values()}))
    detail = {name: value for name, value in detail.items() if value}
    own = Stage(name=file.path.stem, job="base" if said else "unknown", date="", detail=detail)
    return Lineage((own, *(taught_stages(said, file.path) if said else ())))


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(folder: Path) -> str:
    """Of all files of a folder's weights; of a single one that file's own."""
    found = [file_sha256(file) for file in sorted(folder.glob("*.safetensors"))]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()
