"""`show PRESET` prints what the published models are known for, and the same as JSON."""

import io
import json

import pytest
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs.show import ShowSettings, main
from shoestring.jobs.show_preset import short
from shoestring.models.presets import PRESETS


def show(target: str) -> tuple[dict, str]:
    out = io.StringIO()
    console = Console(file=out, highlight=False, soft_wrap=True, width=100)
    return main(ShowSettings(target=target), console), out.getvalue()


def test_671b():
    values, text = show("v3-671b")
    total = next(line.split() for line in text.splitlines() if line.startswith("total"))
    assert total == ["total", "671.03B", "37.55B"]
    assert "MTP, on top" in text
    assert "11.61B" in text
    assert "70,272" in text
    assert values["cache_bytes_per_token"]["own"] == 70_272
    assert values["parameters"]["total"] == sum(
        count for part, count in values["parameters"].items() if part not in ("total", "MTP")
    )
    # 2 FLOPs for each weight that a token meets, but for the embedding, which is looked up, and the norms
    active = values["active_parameters"]
    met = active["total"] - active["embedding"] - active["norms"]
    assert values["flops_per_token"]["forward"] == 2 * met
    assert values["flops_per_token"]["training"] == 6 * met
    assert values["flops_per_token"]["training_with_MTP"] > 6 * met
    json.dumps(values)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_a_terminal(name):
    values, text = show(name)
    assert values["preset"] == name
    tables = [line for line in text.splitlines() if "  " in line]
    assert max(map(len, tables)) < 80


@pytest.mark.parametrize(("wrong", "meant"), [("v3-671", "v3-671b"), ("tinny", "tiny"), ("smal", "small")])
def test_a_typo_names_the_nearest(wrong, meant):
    with pytest.raises(BadInput, match=f"no model '{wrong}'.*did you mean '{meant}'") as caught:
        show(wrong)
    assert "\n" not in str(caught.value)


def test_a_folder_of_that_name_is_shown_instead(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="tiny is not a model"):
        show("tiny")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1500, "1.50k"), (4_812_345, "4.81M"), (671.03e9, "671.03B")]
)
def test_counts_are_short(count, text):
    assert short(count) == text


def test_flops_have_their_own_prefixes():
    assert short(73e9, flops=True) == "73.00 G"
