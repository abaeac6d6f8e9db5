"""No dead options: every setting is read somewhere, as an attribute."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "shoestring"


@dataclass(frozen=True)
class Declared:
    where: str
    owner: str
    field: str


def trees() -> dict[str, ast.Module]:
    files = sorted(SRC.rglob("*.py"))
    return {path.relative_to(SRC).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def settings_classes(all_trees: dict[str, ast.Module]) -> list[tuple[str, ast.ClassDef]]:
    """Subclasses of Settings, direct or not, by name."""
    classes = [(f, n) for f, tree in all_trees.items() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    known, found = {"Settings"}, []
    while True:
        new = [
            c
            for c in classes
            if c not in found and known & {b.id for b in c[1].bases if isinstance(b, ast.Name)}
        ]
        if not new:
            return found
        found += new
        known |= {node.name for _, node in new}


def declared(all_trees: dict[str, ast.Module]) -> list[Declared]:
    return [
        Declared(file, node.name, statement.target.id)
        for file, node in settings_classes(all_trees)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
        and statement.target.id != "model_config"
    ]


def read_names(all_trees: dict[str, ast.Module]) -> set[str]:
    """Every x in `something.x` that is read. Owners aren't checked: a common name may hide a dead option."""
    nodes = [node for tree in all_trees.values() for node in ast.walk(tree)]
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}


ALL = trees()
FIELDS = declared(ALL)
READ = read_names(ALL)


def test_the_check_finds_settings():
    assert Declared("jobs/evaluate_settings.py", "EvaluateSettings", "suites") in FIELDS
    assert len(FIELDS) > 40


@pytest.mark.parametrize("found", FIELDS, ids=lambda d: f"{d.where}:{d.owner}.{d.field}")
def test_every_setting_is_read(found: Declared):
    assert found.field in READ, (
        f"{found.owner}.{found.field} in {found.where} is read nowhere: use it or take it out"
    )


def test_the_check_would_see_a_dead_one():
    source = "class A(Settings):\n    used: int = 1\n    dead: int = 2\n\ndef f(a):\n    a.dead = a.used\n"
    tree = {"a.py": ast.parse(source)}
    dead = [d.field for d in declared(tree) if d.field not in read_names(tree)]
    assert dead == ["dead"]
