"""Strict typed settings from TOML and `--set`: an unknown key is an error that names the nearest one."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shoestring.errors import BadInput


class Settings(BaseModel):
    """Base of every job's settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


def nearest(word: str, known: list[str]) -> str:
    """', did you mean X?' for the closest known word, else the list of what is known."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"


def build(cls: type[S], values: Mapping[str, Any], where: str) -> S:
    """`cls` from plain values. `where` names the file or stage in the error. Raises BadInput, one line."""
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise BadInput(f"{where}: " + "; ".join(_explain(cls, e) for e in error.errors())) from None


def _explain(cls: type[BaseModel], error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown setting '{key}'{nearest(str(error['loc'][-1]), _fields_at(cls, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"setting '{key}' is needed"
    message = error["msg"].removeprefix("Value error, ")
    return f"setting '{key}' = {error['input']!r}: {message}" if key else message


def _fields_at(cls: type[BaseModel], path: tuple) -> list[str]:
    for part in path:
        field = cls.model_fields.get(str(part))
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            cls = inner
    return list(cls.model_fields)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain values. Raises BadInput naming the file, and the line where the syntax breaks."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"no such file: {path}") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder; a TOML file is wanted") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}") from None


def parse_assignments(items: list[str]) -> dict[str, Any]:
    """`["zero.steps=10"]` -> {"zero.steps": 10}. The value is read as TOML, else kept as a string."""
    values: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise BadInput(f"--set {item!r}: write it as key=value")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text
    return values


def with_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `values` with dotted keys replaced; tables on the way are made where missing."""
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for dotted, value in overrides.items():
        head, _, rest = dotted.partition(".")
        if rest:
            inner = result.get(head, {})
            if not isinstance(inner, Mapping):
                raise BadInput(f"--set {dotted}: '{head}' is a value, not a table")
            result[head] = with_overrides(inner, {rest: value})
        else:
            result[head] = value
    return result


def cache_folder() -> Path:
    """What was fetched or compiled for this user: $SHOESTRING_HOME, else ~/.cache/shoestring."""
    return Path(os.environ.get("SHOESTRING_HOME") or Path.home() / ".cache" / "shoestring")
