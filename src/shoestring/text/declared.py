"""Where data and models from elsewhere came from, as their user says it once: FILE.origin.toml beside a file,
origin.toml in a folder. What a row says of itself comes first. Beside rows that a model of ours wrote lies
FILE.lineage.json, with all that reached that model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.origin import LINEAGE_FILE, Lineage, Origin, Stage
from shoestring.settings import Settings, build, read_toml

DECLARED = "origin.toml"


class Declaration(Settings):
    source: str = Field(
        min_length=1
    )  # where it was taken from: an address, a data set's or a model's public name
    licence: str = Field(min_length=1)  # SPDX name; "unknown" where nobody says
    teacher: str = ""  # the model that wrote it; "": none did
    teacher_licence: str = ""
    permission: str = ""  # in writing, where the teacher's terms bar training or aren't known: the text


def declaration_file(path: Path) -> Path:
    return path / DECLARED if path.is_dir() else path.with_name(f"{path.name}.{DECLARED}")


def lineage_file(path: Path) -> Path:
    """What lies beside a file of rows that a model of ours wrote."""
    return path.with_name(f"{path.name}.{LINEAGE_FILE}")


def declared(path: Path) -> Declaration | None:
    """What is declared of a file, or of a folder. Raises BadInput where the declaration can't be read."""
    file = declaration_file(path)
    return build(Declaration, read_toml(file), str(file)) if file.is_file() else None


def teachers_of(path: Path) -> Mapping[str, tuple[Stage, ...]]:
    """The stages of the models that wrote the rows of `path`, where they are known. Raises BadInput."""
    file = lineage_file(path)
    return Lineage.read(file).teachers if file.is_file() else {}


def carry_origin(rows: Path, target: Path) -> None:
    """What stands beside a file of rows is put beside `target`, which was made from it."""
    for name_of in (declaration_file, lineage_file):
        if name_of(rows).is_file():
            name_of(target).write_bytes(name_of(rows).read_bytes())


def lineage_of(folder: Path) -> Lineage:
    """A model folder's lineage; of one from elsewhere what is declared of it, else that nothing is known."""
    said = None if (folder / LINEAGE_FILE).exists() else declared(folder)
    if said is None:
        return Lineage.load(folder)
    detail = {"copy_of": said.source, "licence": said.licence, "permission": said.permission}
    base = Stage(folder.name, "base", "", {name: value for name, value in detail.items() if value})
    if not said.teacher:
        return Lineage((base,))
    row = {"teacher": said.teacher}
    return Lineage((base, Stage("declared", "declared", "", {}, (origin_of(row, folder, said),))))


def origin_of(row: Mapping[str, Any], path: Path, said: Declaration | None) -> Origin:
    """Where a row of `path` came from: what it says itself, else what is declared; "" as licence where
    neither has one."""
    licence = row.get("licence") or row.get("license") or (said.licence if said else "")
    teacher = row.get("teacher") or (said.teacher if said else "") or None
    if teacher is None:
        return Origin(_source(row, path, said), str(licence), outcome=str(row.get("outcome") or ""))
    terms = str(row.get("terms") or "")
    if said and said.permission and not terms.startswith("permitted: "):
        terms = f"permitted: {said.permission}"
    return Origin(
        _source(row, path, said),
        str(licence),
        str(teacher),
        str(row.get("teacher_sha256") or ""),
        str(row.get("teacher_licence") or (said.teacher_licence if said else "")),
        sampling_text(row.get("sampling")),
        str(row.get("date") or "")[:10],
        terms,
        str(row.get("outcome") or ""),
    )


def require_origin(origin: Origin, path: Path, number: int) -> Origin:
    """The origin of a row that is to be trained on. Raises BadInput, with how to declare one, where it has
    none."""
    if origin.licence:
        return origin
    raise BadInput(
        f"{path}, row {number}: no licence, so its origin isn't known and it can't be trained on; declare "
        f"it once for the whole file: {how_to_declare(path)}"
    )


def how_to_declare(path: Path) -> str:
    return f"shoestring audit {path} --source WHERE --licence SPDX [--teacher MODEL]"


def sampling_text(sampling: Any) -> str:
    """How the teacher was asked, as an origin keeps it: no seed and no number, which are a sample's own."""
    if not isinstance(sampling, dict):
        return str(sampling or "")
    kept = {name: value for name, value in sampling.items() if name not in ("seed", "number")}
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in kept.items() if value is not None)


def _source(row: Mapping[str, Any], path: Path, said: Declaration | None) -> str:
    return str(row.get("source") or (said.source if said else f"file:{path.name}"))
