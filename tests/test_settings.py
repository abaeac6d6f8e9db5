"""Settings: strict, with errors that name the nearest known word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from shoestring.errors import BadInput
from shoestring.settings import Settings, build, nearest, parse_assignments, read_toml, with_overrides


class Inner(Settings):
    learning_rate: float = Field(1e-3, gt=0)


class Outer(Settings):
    steps: int = Field(ge=1)
    name: str = "x"
    inner: Inner = Inner()
    rows: tuple[Inner, ...] = ()


def problem(**values) -> str:
    with pytest.raises(BadInput) as caught:
        build(Outer, values, "tune.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_key_names_the_nearest():
    assert problem(steps=1, stpes=2) == "tune.toml: unknown setting 'stpes', did you mean 'steps'?"
    nested = problem(steps=1, inner={"learnin_rate": 1})
    assert nested == "tune.toml: unknown setting 'inner.learnin_rate', did you mean 'learning_rate'?"
    assert "known: inner, name, rows, steps" in problem(steps=1, qqq=2)


def test_a_missing_or_bad_value_is_named():
    assert problem() == "tune.toml: setting 'steps' is needed"
    assert problem(steps=0).startswith("tune.toml: setting 'steps' = 0: ")
    assert "setting 'inner.learning_rate' = -1" in problem(steps=1, inner={"learning_rate": -1})
    two = problem(steps=0, nmae="y")
    assert "'steps' = 0" in two
    assert "did you mean 'name'" in two


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        build(Outer, {"steps": 1}, "x").steps = 2  # type: ignore[misc]


def test_nearest():
    assert nearest("summs", ["sums", "words"]) == ", did you mean 'sums'?"
    assert nearest("zzz", ["sums", "words"]) == "; known: sums, words"


def test_assignments_are_toml_or_text():
    items = [
        "zero.steps=10",
        "a.rate=2e-5",
        "b=true",
        'c=["x", "y"]',
        "d=smollm2-135m",
        'e="10"',
        "f=a=b",
        "g=",
    ]
    assert parse_assignments(items) == {
        "zero.steps": 10,
        "a.rate": 2e-5,
        "b": True,
        "c": ["x", "y"],
        "d": "smollm2-135m",
        "e": "10",
        "f": "a=b",
        "g": "",
    }
    for bad in ("steps", "=3"):
        with pytest.raises(BadInput, match="key=value"):
            parse_assignments([bad])


def test_overrides_make_tables_and_leave_the_original_alone():
    values = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert with_overrides(values, {"a.c.d": 5, "x.y": 6}) == {
        "a": {"b": 1, "c": {"d": 5}},
        "e": 3,
        "x": {"y": 6},
    }
    assert values == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    with pytest.raises(BadInput, match="'e' is a value, not a table"):
        with_overrides(values, {"e.f": 1})


keys = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)


@given(key=keys, value=st.one_of(st.integers(), st.booleans(), st.text("xyz- ", max_size=6)))
def test_what_is_set_is_what_is_read(key: str, value: object):
    result: object = with_overrides({}, {key: value})
    for part in key.split("."):
        assert isinstance(result, dict)
        result = result[part]
    assert result == value


def test_a_broken_file_says_where(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("steps = 3\nname = \n")
    with pytest.raises(BadInput, match=r"bad\.toml is not valid TOML: .*line 2"):
        read_toml(path)
    with pytest.raises(BadInput, match="no such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(BadInput, match="is a folder"):
        read_toml(tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not valid TOML"):
        read_toml(path)
