"""A room imports only from rooms below it (or itself)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "shoestring"
ORDER = """
errors settings origin
ops
models text
model_files
lm tasks
engine train run
remote
rl distill provenance evals budget
report
release serve
cluster
jobs
cli
__main__
"""
RANK = {room: rank for rank, line in enumerate(ORDER.strip().splitlines()) for room in line.split()}
FIRST = ("errors", "settings", "origin")  # of one rank, in this order


def room_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(SRC.rglob("*.py")) if path != SRC / "__init__.py"]


def imported_rooms(source: str) -> set[str]:
    """Rooms that a module names in any import, lazy ones and those for types included."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module or ""]
            if node.module == "shoestring":
                names = [f"shoestring.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("shoestring.")}
    return rooms


def may_import(room: str, other: str) -> bool:
    if room in FIRST and other in FIRST:
        return FIRST.index(other) < FIRST.index(room)
    return room == other or RANK[other] < RANK[room]


def test_every_room_has_its_place():
    assert {room_of(path) for path in modules()} <= set(RANK)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(SRC).as_posix())
def test_a_room_imports_only_from_below(path: Path):
    room = room_of(path)
    wrong = {
        other for other in imported_rooms(path.read_text(encoding="utf-8")) if not may_import(room, other)
    }
    assert not wrong, f"{room} may not import {wrong}"


def test_the_check_sees_what_it_should():
    assert imported_rooms("def f():\n    from shoestring.jobs.chat import x\nimport shoestring.lm") == {
        "jobs",
        "lm",
    }
    assert imported_rooms("from shoestring import cli") == {"cli"}
    assert not may_import("engine", "jobs")
    assert not may_import("evals", "budget")
    assert may_import("evals", "engine")
    assert may_import("settings", "errors")
    assert not may_import("errors", "settings")


LIGHT = ["text", "tasks"]


def test_text_tasks_and_the_command_line_start_without_torch():
    light = [p for p in modules() if room_of(p) in LIGHT and p.name != "__init__.py"]
    names = [".".join(("shoestring", *p.relative_to(SRC).with_suffix("").parts)) for p in light]
    code = f"import sys, importlib\nfor n in {[*names, 'shoestring.cli']}: importlib.import_module(n)\n"
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_nothing_of_it_imports_ray_or_vllm_before_it_is_asked_to():
    """Nor the cluster's room: both are wanted only where they are asked for, and take seconds."""
    names = [".".join(("shoestring", *p.relative_to(SRC).with_suffix("").parts)) for p in modules()]
    code = f"import sys, importlib\nfor n in {[n for n in names if not n.endswith('__main__')]}:\n"
    code += "    importlib.import_module(n)\nprint({'ray', 'vllm'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr
