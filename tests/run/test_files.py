"""A file or folder is the old one or the new one, whatever breaks off the writing."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.errors import BadInput, ShoestringError
from shoestring.run.files import (
    append_line,
    dumps,
    read_lines,
    replace_folder,
    saving,
    settle_folder,
    write_atomic,
)


class Killed(BaseException):
    """Stands for kill -9: nothing in the product may catch it."""


def checkpoint(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "weights").write_text(text)
    (folder / "manifest").write_text(text)
    return folder


def content(folder: Path) -> tuple[str, str]:
    return (folder / "weights").read_text(), (folder / "manifest").read_text()


@pytest.mark.parametrize("killed_before", range(5))
def test_a_kill_while_replacing_leaves_the_old_or_the_new_folder(tmp_path, monkeypatch, killed_before):
    final = checkpoint(tmp_path / "state", "old")
    tmp = checkpoint(tmp_path / "state.tmp", "new")
    calls, rename = [0], os.rename

    def dying(source, target):
        if calls[0] == killed_before:
            raise Killed
        calls[0] += 1
        rename(source, target)

    monkeypatch.setattr(os, "rename", dying)
    died = False
    try:
        replace_folder(tmp, final)
    except Killed:
        died = True
    monkeypatch.undo()
    settle_folder(final)
    # three renames: tmp -> new, final -> old, new -> final; once the first is done the new one wins
    assert died == (killed_before < 3)
    assert content(final) == (("old", "old") if killed_before == 0 else ("new", "new"))
    assert not (tmp_path / "state.old").exists()
    assert not (tmp_path / "state.new").exists()


def test_replace_folder_makes_the_first_one_too(tmp_path):
    replace_folder(checkpoint(tmp_path / "t", "first"), tmp_path / "model")
    assert content(tmp_path / "model") == ("first", "first")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_kill_while_writing_a_file_keeps_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_atomic(path, "old")

    def dying(source, target):
        raise Killed

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(Killed):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_atomic(path, "old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ShoestringError, match=r"could not save .*status\.json: the disk is full") as caught:
        write_atomic(path, "new")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


LIMITED = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from shoestring.errors import ShoestringError
from shoestring.run.files import saving, write_atomic, append_line
folder = Path(sys.argv[1])
write_atomic(folder / "good.json", "whole")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
def tensors():
    with saving(folder / "model.safetensors"):
        save_file({"w": torch.zeros(10_000)}, folder / "model.safetensors")
for work in (
    lambda: write_atomic(folder / "good.json", "x" * 10_000),
    lambda: append_line(folder / "metrics.jsonl", {"text": "x" * 10_000}),
    tensors,
):
    try:
        work()
        print("no error")
    except ShoestringError as error:
        print(error.exit_code, error)
"""


def test_a_file_that_really_cannot_grow(tmp_path):
    run = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("good.json", "metrics.jsonl", "model.safetensors"), strict=True):
        assert line.startswith("1 could not save")
        assert name in line
        assert "size limit" in line
    assert (tmp_path / "good.json").read_text() == "whole"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), saving(tmp_path):
        (tmp_path / "absent").read_text()


rows = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3), max_size=5
)


@given(written=rows, cut=st.integers(min_value=0, max_value=400))
def test_a_jsonl_cut_anywhere_gives_its_whole_lines(tmp_path_factory, written, cut):
    path = tmp_path_factory.mktemp("lines") / "m.jsonl"
    for row in written:
        append_line(path, row)
    data = path.read_bytes() if path.exists() else b""
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n")
    read = read_lines(path)
    assert read[:whole] == written[:whole]
    assert len(read) <= whole + 1  # the last line may be whole but for its newline
    assert read == written[: len(read)]


def test_a_broken_line_inside_is_an_error(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"b": \n{"c": 3}\n')
    with pytest.raises(BadInput, match="line 2: not JSON"):
        read_lines(path)


def test_json_has_no_nan():
    text = dumps({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": None}}
    assert "NaN" not in text
    assert "Infinity" not in text
