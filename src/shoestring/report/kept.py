"""The command that keeps a study: a run folder as one JSON file, and the page that shows it, from that."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from shoestring.errors import BadInput, ShoestringError
from shoestring.run import write_atomic


def keep(
    arguments: Sequence[str], usage: str, dump: Callable[[Path], str], render: Callable[[Path], str]
) -> int:
    """RUN FILE.json, or FILE.json alone for its page again; `dump` is of the run, `render` of the file. The
    exit code."""
    try:
        if not 1 <= len(arguments) <= 2:
            raise BadInput(usage)
        source, target = Path(arguments[0]), Path(arguments[-1])
        if target.suffix != ".json":
            raise BadInput(f"{target}: a study is kept in a .json file\n{usage}")
        if source != target:
            write_atomic(target, dump(source))
        write_atomic(target.with_suffix(".md"), render(target))
    except ShoestringError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
