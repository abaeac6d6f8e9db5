"""generation_config.json's sampling: read, kept, and not believed where it can't be."""

import json
from pathlib import Path

import pytest

from shoestring.lm import load
from shoestring.models.generation import GENERATION_CONFIG, GenerationDefaults, generation_defaults
from tiny import tiny_lm


def folder(tmp_path: Path, **values: object) -> Path:
    (tmp_path / GENERATION_CONFIG).write_text(json.dumps(values))
    return tmp_path


def test_without_a_word_of_it_r1s_numbers_hold(tmp_path: Path) -> None:
    assert generation_defaults(tmp_path) == GenerationDefaults(0.6, 0.95, 0)
    assert generation_defaults(folder(tmp_path, eos_token_id=2)) == GenerationDefaults()


def test_a_models_own_numbers_are_kept_when_it_is_saved(tmp_path: Path) -> None:
    tiny_lm().save(tmp_path)
    raw = json.loads((tmp_path / GENERATION_CONFIG).read_text())
    assert (raw["do_sample"], raw["temperature"], raw["top_p"]) == (True, 0.6, 0.95)
    folder(tmp_path, **raw | {"temperature": 0.2, "top_k": 40})
    lm = load(tmp_path, dtype="float32")
    assert lm.generation == GenerationDefaults(0.2, 0.95, 40)
    lm.save(tmp_path / "again")
    assert load(tmp_path / "again", dtype="float32").generation == lm.generation


def test_greedy_is_no_sampling_to_transformers(tmp_path: Path) -> None:
    assert GenerationDefaults(temperature=0.0).to_json()["do_sample"] is False


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 3), ("temperature", "hot"), ("top_p", 0), ("top_k", True), ("top_k", -1)],
)
def test_what_cant_be_is_left_out_and_said(tmp_path: Path, name: str, value: object) -> None:
    said: list[str] = []
    assert generation_defaults(folder(tmp_path, **{name: value}), said.append) == GenerationDefaults()
    assert len(said) == 1
    assert f"{name} {value!r} isn't from" in said[0]
