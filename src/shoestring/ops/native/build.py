"""Compiling the kernels once for each machine, source and compiler, into the user's cache."""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from shoestring.settings import cache_folder

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-fPIC", "-shared", "-fvisibility=hidden")
# errno and traps are never looked at, and keep loops from being vectorised; NaN and infinity stay exact
FLAGS += ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast")
TIME_LIMIT = 120  # seconds, for one file


class BuildError(Exception):
    """Why there are no kernels, in one line."""


def built_library() -> Path:
    """The compiled kernels, made now if this machine has none yet. Raises BuildError."""
    if platform.system() != "Linux":
        raise BuildError(f"native kernels are built on Linux only, this is {platform.system()}")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise BuildError("no C++ compiler (g++ or clang++) found")
    sources = sorted(SOURCES.glob("*.cpp"))
    flags = [*FLAGS, "-mprefer-vector-width=512"] if platform.machine() == "x86_64" else [*FLAGS]
    digest = hashlib.blake2b(digest_size=12)
    for path in (*sources, *sorted(SOURCES.glob("*.h"))):
        digest.update(path.read_bytes())
    digest.update("\n".join([compiler, *flags, _processor()]).encode())
    target = cache_folder() / "native" / f"{digest.hexdigest()}.so"
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _compile([compiler, *flags], sources, target)
        except OSError as error:
            raise BuildError(f"can't write {target}: {error.strerror or error}") from None
    return target


def _compile(command: list[str], sources: Sequence[Path], target: Path) -> None:
    """A file on each core. In a folder of its own first: several processes may be at it, and half a library
    must not load."""
    with TemporaryDirectory(dir=target.parent, suffix=".tmp") as folder:
        made = [Path(folder) / f"{source.stem}.o" for source in sources]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for done in [
                pool.submit(_run, [*command, "-c", str(source), "-o", str(out)])
                for source, out in zip(sources, made, strict=True)
            ]:
                done.result()
        library = Path(folder) / target.name
        _run([*command, *map(str, made), "-o", str(library)])
        os.replace(library, target)


def _run(command: list[str]) -> None:
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            _, said = process.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the compiler proper is a child of g++
            raise BuildError(f"{command[0]} took over {TIME_LIMIT} s") from None
    if process.returncode:
        first = (said.strip() or f"exit code {process.returncode}").splitlines()[0]
        raise BuildError(f"{command[0]} failed: {first}")


def _processor() -> str:
    """What -march=native depends on: a home may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return platform.machine() + "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
