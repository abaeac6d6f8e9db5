"""Where data and models from elsewhere came from, as their user says it once: FILE.origin.toml beside a file,
origin.toml in a folder. What a row says of itself comes first. Beside rows that a model of ours wrote lies
FILE.lineage.json, with all that reached that model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.origin import LINEAGE_FILE, PERMITTED, Lineage, Origin, Stage, read_permission
from shoestring.settings import Settings, build, read_toml

DECLARED = "origin.toml"
ORIGIN_FIELDS = (
    "licence",
    "license",
    "teacher",
    "teacher_sha256",
    "teacher_licence",
    "teacher_endpoint",
    "terms",
)


class Declaration(Settings):
    source: str = Field(
        min_length=1
    )  # where it was taken from: an address, a data set's or a model's public name
    licence: str = Field(min_length=1)  # SPDX name; "unknown" where nobody says
    teacher: str = ""  # the model that wrote it; "": none did
    teacher_licence: str = ""
    permission: str = ""  # in writing, where the teacher's terms bar training or aren't known: text or file


def declaration_file(path: Path) -> Path:
    return path / DECLARED if path.is_dir() else path.with_name(f"{path.name}.{DECLARED}")


def lineage_file(path: Path) -> Path:
    """What lies beside a file of rows that a model of ours wrote."""
    return path.with_name(f"{path.name}.{LINEAGE_FILE}")


def declared(path: Path) -> Declaration | None:
    """What is declared of a file, or of a folder, a permission in a file of its own as its text. Raises
    BadInput where the declaration can't be read, or the file that it names as a permission."""
    file = declaration_file(path)
    if not file.is_file():
        return None
    said = build(Declaration, read_toml(file), str(file))
    try:
        return said.model_copy(update={"permission": read_permission(said.permission, file.parent)})
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def teachers_of(path: Path) -> Mapping[str, tuple[Stage, ...]]:
    """The stages of the models that wrote the rows of `path`, where they are known. Raises BadInput."""
    file = lineage_file(path)
    return Lineage.read(file).teachers if file.is_file() else {}


def permissions_of(path: Path) -> frozenset[str]:
    """The permissions that hold for rows of `path`: the declared one, and those in the lineage that was
    written with the rows. What a row itself says is none. Raises BadInput."""
    said, file = declared(path), lineage_file(path)
    stages = Lineage.read(file).stages if file.is_file() else ()
    given = [said.permission if said else "", *(str(stage.detail.get("permission", "")) for stage in stages)]
    return frozenset(filter(None, given))


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
    return Lineage((base, *taught_stages(said, folder)))


def taught_stages(said: Declaration, path: Path) -> tuple[Stage, ...]:
    """What a model's declared teacher adds to its lineage."""
    return (Stage("declared", "declared", "", {}, (origin_of({}, path, said),)),) if said.teacher else ()


def origin_fields(row: Mapping[str, Any]) -> dict[str, str]:
    """What a problem or a text says of its licence and of who wrote it. Its source is the file's: each may
    have an address of its own there, and distinct origins have to stay few."""
    return {name: str(row[name]) for name in ORIGIN_FIELDS if row.get(name) is not None}


def origin_of(row: Mapping[str, Any], path: Path, said: Declaration | None) -> Origin:
    """Where a row of `path` came from: what it says itself, else what is declared; "" as licence where
    neither has one."""
    licence = row.get("licence") or row.get("license") or (said.licence if said else "")
    teacher = row.get("teacher") or (said.teacher if said else "") or None
    if teacher is None:
        return Origin(_source(row, path, said), str(licence), outcome=str(row.get("outcome") or ""))
    terms = str(row.get("terms") or "")
    if said and said.permission and not terms.startswith(PERMITTED):
        terms = PERMITTED + said.permission
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
        str(row.get("teacher_endpoint") or ""),
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
