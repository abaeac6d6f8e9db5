"""What goes wrong is one line, whoever raised it."""

import sys

import pytest
import torch
import typer
from typer.testing import CliRunner

from shoestring.cli.app import OUT_OF_MEMORY, verb


@pytest.fixture
def app(monkeypatch) -> typer.Typer:
    own = typer.Typer(pretty_exceptions_enable=False)
    monkeypatch.setattr(sys.modules[verb.__module__], "app", own)
    return own


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 54.00 MiB")]
)
def test_memory_that_ran_out_is_one_line(app, error):
    @verb
    def work() -> None:
        raise error

    run = CliRunner().invoke(app, [])
    assert run.exit_code == 1
    assert run.output == f"error: {OUT_OF_MEMORY}\n"


def test_a_bug_keeps_its_traceback(app):
    @verb
    def work() -> None:
        raise RuntimeError("a bug")

    run = CliRunner().invoke(app, [])
    assert isinstance(run.exception, RuntimeError)
