"""A run's table in a README."""

import shutil
from pathlib import Path

import pytest

from shoestring.report.read import read_run
from shoestring.report.readme import BEGIN, END, main
from shoestring.run import write_atomic

AROUND = f"# Title\n\n{BEGIN}\nold figures\n{END}\n\nthe rest\n"


@pytest.fixture
def readme(tmp_path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(AROUND)
    return path


def test_the_table_takes_the_old_ones_place(run_folder, readme):
    assert main([str(run_folder), str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| suite | model |")
    assert text.endswith(f"{END}\n\nthe rest\n")
    assert "old figures" not in text
    row = next(line for line in text.splitlines() if "50.8 %" in line)
    assert "**50.8 % \\[44.7, 56.8\\]**" in row
    assert "**better**" in row
    assert "recipe laptop on " in text
    assert "4-bit copy" in text
    for sentence in read_run(run_folder).lacking:
        assert f"- {sentence}" in text.replace("\\", "")
    assert main([str(run_folder), str(readme)]) == 0
    assert readme.read_text() == text


def test_what_cannot_be_filled_is_left_alone(run_folder, readme, tmp_path, capsys):
    unfinished = tmp_path / "run"
    shutil.copytree(run_folder, unfinished)
    write_atomic(unfinished / "status.json", '{"state": "interrupted"}')
    plain = tmp_path / "PLAIN.md"
    plain.write_text("no marks")
    for arguments, words in (
        ([str(unfinished), str(readme)], "is interrupted: only a finished run"),
        ([str(run_folder), str(plain)], "has no <!-- demo-table -->"),
        ([str(run_folder), str(tmp_path / "NO.md")], "no such file"),
        ([str(tmp_path), str(readme)], "is not a run folder"),
        ([], "usage: "),
    ):
        assert main(arguments) == 2
        assert words in capsys.readouterr().err
    assert readme.read_text() == AROUND
    assert plain.read_text() == "no marks"
