"""A run's folder: metrics, usage, status, progress, checkpoints that are whole or absent."""

from shoestring.run.files import (
    append_line,
    held,
    read_lines,
    replace_folder,
    saving,
    settle_folder,
    write_atomic,
)
from shoestring.run.folder import RunFolder, open_run
from shoestring.run.stage import Stage

__all__ = [
    "RunFolder",
    "Stage",
    "append_line",
    "held",
    "open_run",
    "read_lines",
    "replace_folder",
    "saving",
    "settle_folder",
    "write_atomic",
]
