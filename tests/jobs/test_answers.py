"""The price of a right answer."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs.answers import AnswersSettings, main

RESULT = {"suite": "sums", "n": 100, "k": 2, "seed": 0, "correct": 100, "score": 0.5, "ci95": [0.4, 0.6]}
ASKED = {"max_tokens": 64, "temperature": 0.0, "few_shot": 0}
RESULT |= {"tokens": 50.0, "seconds": 3600.0, "settings": ASKED}


def wrote(folder: Path, name: str, **changes) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(RESULT | changes))
    return path


def priced(a: Path, b: Path, out: list[str]) -> tuple[dict, str]:
    console = Console(file=StringIO(), width=160)
    found = main(AnswersSettings(results=[a, b], out=out, watts=100, usd_per_kwh=0.5), console)
    return found, console.file.getvalue()  # type: ignore[attr-defined]


def test_an_endpoint_by_its_tokens_and_ones_own_by_its_seconds(tmp_path):
    found, said = priced(wrote(tmp_path, "api"), wrote(tmp_path, "mine"), ["2.0", "own"])
    api, mine = found["answers"]
    assert api["usd"] == pytest.approx(200 * 50 * 2e-6)  # replies, tokens of each, USD of one
    assert api["usd_per_correct"]["mid"] == pytest.approx(api["usd"] / 100)
    assert api["usd_per_correct"]["low"] == pytest.approx(api["usd"] / 120)
    assert api["usd_per_correct"]["high"] == pytest.approx(api["usd"] / 80)
    assert mine["usd"] == pytest.approx(0.1 * 0.5)  # an hour at 100 W
    assert "USD of 1000 right answers" in said


def test_who_is_asked_otherwise_is_named(tmp_path):
    api, same = wrote(tmp_path, "api"), wrote(tmp_path, "same")
    found, said = priced(api, same, ["own", "own"])
    assert found["notes"] == []
    other = wrote(tmp_path, "other", settings=ASKED | {"max_tokens": 512, "few_shot": 4})
    found, said = priced(api, other, ["own", "own"])
    told = "asked differently: max_tokens (api.json 64, other.json 512)"
    assert found["notes"] == [told, "asked differently: few_shot (api.json 0, other.json 4)"]
    assert told in said
    found, _ = priced(api, wrote(tmp_path, "old", settings=None), ["own", "own"])
    assert found["notes"] == ["not known to be asked alike: old.json doesn't say how the model was asked"]


def test_prompts_that_are_not_priced_are_said(tmp_path):
    api, other = wrote(tmp_path, "api", server={"prompt_tokens": 12345}), wrote(tmp_path, "other")
    found, said = priced(api, other, ["1", "own"])
    assert found["notes"] == ["prompts are not in the price: api.json 12,345 tokens"]
    assert found["notes"][0] in said
    found, _ = priced(api, other, ["1", "1"])
    assert found["notes"][0].endswith("12,345 tokens, other.json of unknown length")


def test_nothing_right_has_no_price(tmp_path):
    none = wrote(tmp_path, "none", correct=0, score=0.0, ci95=[0.0, 0.04])
    found, said = priced(wrote(tmp_path, "api"), none, ["1", "1"])
    assert found["answers"][1]["usd_per_correct"] is None
    assert "nothing was right" in said


@pytest.mark.parametrize(
    ("changes", "out", "told"),
    [
        ({"suite": "products"}, ["1", "1"], "suite differs"),
        ({"seed": 1}, ["1", "1"], "seed differs"),
        ({}, ["1"], "one price for each result"),
        ({}, ["1", "-1"], "must not be below 0"),
        ({}, ["1", "cheap"], "USD of a million tokens, or own"),
    ],
)
def test_what_cannot_be_compared(tmp_path, changes, out, told):
    with pytest.raises(BadInput, match=told):
        priced(wrote(tmp_path, "a"), wrote(tmp_path, "b", **changes), out)


def test_what_is_no_result(tmp_path):
    other = tmp_path / "b.json"
    other.write_text("{}")
    with pytest.raises(BadInput, match="has no 'suite'"):
        priced(wrote(tmp_path, "a"), other, ["1", "1"])
    other.write_text("no json")
    with pytest.raises(BadInput, match="is not a result"):
        priced(wrote(tmp_path, "a"), other, ["1", "1"])
