"""Look into where rows or a model came from: counts, one row's history, every stage and teacher that reached
a model, and the strictest term. Data from elsewhere is declared here, once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.origin import read_permission
from shoestring.provenance.history import (
    DataHistory,
    ModelHistory,
    RowHistory,
    data_file,
    history_of_data,
    history_of_model,
    in_words,
    origin_lines,
)
from shoestring.provenance.naming import proper_name
from shoestring.provenance.reach import Reach
from shoestring.provenance.terms import NOT_ADVICE, Term
from shoestring.run import saving, write_atomic
from shoestring.settings import Settings
from shoestring.text.declared import Declaration, declaration_file, declared, how_to_declare, lineage_file


class ProvenanceSettings(Settings):
    target: str  # rows (a file, a stage that made some) or a model
    row: str = ""  # of rows: the id or number of one whose history is wanted
    declaration: Declaration | None = (
        None  # what to write down of a file or folder from elsewhere, before all else
    )


def main(settings: ProvenanceSettings, console: Console) -> dict[str, Any]:
    if settings.declaration:
        path = declare(Path(settings.target), settings.declaration)
        console.print(f"declared in {path}", markup=False)
    file = data_file(settings.target)
    if file is None and settings.row:
        raise BadInput(f"--row is for rows, and {settings.target} is a model or nothing")
    if file is None:
        if settings.declaration and not is_model(Path(settings.target)):
            return {"declared": settings.declaration.model_dump()}  # texts to pretrain on: no rows to look at
        return show_model(history_of_model(settings.target), console)
    found = history_of_data(file)
    return show_row(found.row(settings.row), found, console) if settings.row else show_data(found, console)


def declare(path: Path, said: Declaration) -> Path:
    """Write the declaration beside the file or into the folder. Raises BadInput where another one is
    there."""
    if not path.exists():
        raise BadInput(f"nothing to declare: no such file or folder: {path}")
    said = said.model_copy(update={"permission": read_permission(said.permission)})
    if lineage_file(path).exists() or (path / "lineage.json").exists():
        raise BadInput(
            f"{path} was made here: its own lineage says where it came from, and can't be declared anew"
        )
    file, known = declaration_file(path), declared(path)
    if known is not None and known != said:
        raise BadInput(f"{file} declares something else already: change that file, if it is wrong")
    with saving(file):
        write_atomic(file, tomli_w.dumps({name: value for name, value in said.model_dump().items() if value}))
    return file


def is_model(path: Path) -> bool:
    return path.suffix == ".gguf" or (path / "config.json").exists()


def show_row(row: RowHistory, of: DataHistory, console: Console) -> dict[str, Any]:
    """Every field but the text, what its teacher's terms say, and all that reached the teacher."""
    console.print(f"{row.id}: row {row.number} of {of.path}", markup=False)
    for line in origin_lines(row.origin, row.term):
        console.print(f"  {line}", markup=False)
    for name, value in row.fields.items():
        console.print(f"  {name} = {value}", markup=False)
    if row.term:
        console.print(f"  {row.term.cited()}", markup=False)
    taught = of.taught.get(row.origin.teacher or "", [])
    print_taught({row.origin.teacher or "": taught} if taught else {}, console)
    console.print(NOT_ADVICE, style="dim")
    return {
        "id": row.id,
        "row": row.number,
        "origin": row.origin.to_json(),
        "terms": term_json(row.term),
        "fields": dict(row.fields),
        "teacher_reached_by": [reach_json(reach) for reach in taught],
    }


def show_data(found: DataHistory, console: Console) -> dict[str, Any]:
    worst, lacking = found.strictest, found.without_origin
    console.print(f"{found.path}: {len(found.rows)} rows", markup=False)
    for part, counted in found.counts().items():
        for value, count in counted.items():
            console.print(f"  {part:8} {count:>7}  {value}", markup=False)
    print_taught(found.taught, console)
    if lacking:
        console.print(
            f"{len(lacking)} rows without an origin, the first in row {lacking[0].number}: they can't be "
            f"trained on; declare it once: {how_to_declare(found.path)}",
            markup=False,
        )
    strict = f"{worst.teacher}: {worst.cited()}" if worst else "no model wrote any of it"
    console.print(f"strictest term: {strict}", markup=False)
    if worst and not worst.usable:
        console.print("no model can be trained on these rows without a written permission", style="bold")
    console.print(NOT_ADVICE, style="dim")
    return {
        "data": str(found.path),
        "rows": len(found.rows),
        "without_origin": len(lacking),
        "counts": found.counts(),
        "strictest": term_json(worst),
        "usable": not lacking and (worst is None or worst.usable),
        "teachers": {name: [reach_json(r) for r in reached] for name, reached in found.taught.items()},
    }


def show_model(found: ModelHistory, console: Console) -> dict[str, Any]:
    console.print(f"{found.name}: stages, oldest first", markup=False)
    for stage in found.lineage.stages:
        console.print(f"  {stage.name} ({stage.job}{', ' + stage.date if stage.date else ''})", markup=False)
    console.print("what reached it, and through what:")
    for line in dict.fromkeys(in_words(reach) for reach in found.reached):
        console.print(f"  {line}", markup=False)
    console.print(f"strictest term that reaches it: {found.term.cited()}", markup=False)
    for duty in found.duties:
        console.print(f"when it is given to others: {duty}", markup=False)
    if (name := proper_name(found.name, found.duties)) != found.name:
        console.print(f"its name would have to be: {name}", markup=False)
    console.print(NOT_ADVICE, style="dim")
    return {
        "model": found.name,
        "lineage": found.lineage.to_json(),
        "reached_by": [reach_json(reach) for reach in found.reached],
        "strictest": term_json(found.term),
        "duties": [str(duty) for duty in found.duties],
        "name_for_others": name,
    }


def print_taught(taught: Mapping[str, list[Reach]], console: Console) -> None:
    for teacher, reached in taught.items():
        console.print(f"what reached the teacher {teacher}:", markup=False)
        for line in dict.fromkeys(in_words(reach) for reach in reached):
            console.print(f"  {line}", markup=False)


def term_json(term: Term | None) -> dict[str, Any] | None:
    if term is None:
        return None
    rule = term.rule
    said = {"teacher": term.teacher, "ruling": term.ruling, "terms": term.text, "permission": term.permission}
    if rule:
        said |= {"maker": rule.maker, "clause": rule.clause, "source": rule.source}
        said |= {"effective": rule.effective, "read": rule.read}
    return said


def reach_json(reach: Reach) -> dict[str, Any]:
    origin = reach.origin.to_json() if reach.origin else None
    shown = {"path": list(reach.path), "kind": reach.kind, "licence": reach.licence, "origin": origin}
    return shown | {"terms": term_json(reach.term)}
