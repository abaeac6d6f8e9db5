"""One stage from a settings file, without a recipe around it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from shoestring.errors import BadInput
from shoestring.run import Stage, held, saving, write_atomic
from shoestring.settings import Settings, build, parse_assignments, read_toml, with_overrides

S = TypeVar("S", bound=Settings)


def run_one(
    kind: type[S],
    main: Callable[[S, Stage], dict[str, Any]],
    file: Path,
    assignments: list[str],
    output_dir: Path | None,
    resume: bool,
) -> dict[str, Any]:
    """The job's result; with `resume` that of an earlier start if it finished. Default folder: runs/FILE."""
    values = with_overrides(read_toml(file), parse_assignments(assignments))
    settings = build(kind, values, str(file))
    folder = output_dir or Path("runs") / file.stem
    with saving(folder), held(folder / ".lock", wait=False) as mine:
        if not mine:
            raise BadInput(f"{folder}: another process is at work in it; choose another --output-dir")
        with Stage(folder, file.stem, Console(stderr=True), resume) as stage:
            _check_unchanged(settings, folder / "settings.json", resume)
            result = stage.result()
            if result is None:
                result = main(settings, stage)
                stage.finish(result)
    has_model = (folder / "model").exists()
    then = f"shoestring chat {folder}, shoestring eval {folder} --suite ..." if has_model else f"see {folder}"
    print(f"done: {then}", file=sys.stderr)
    return result


def _check_unchanged(settings: Settings, record: Path, resume: bool) -> None:
    """Going on with other settings than those begun with would mix two runs in one folder."""
    text = settings.model_dump_json(indent=2) + "\n"
    if resume and record.exists() and record.read_text(encoding="utf-8") != text:
        raise BadInput(f"{record.parent} was begun with other settings: use those, or another --output-dir")
    write_atomic(record, text)
