"""The table of chips, and a user's own."""

from pathlib import Path

import pytest

from shoestring.budget.hardware import load_hardware
from shoestring.errors import BadInput

OWN = """
[chip.mine]
name = "my card"
tflops = { bf16 = 100 }
memory_gib = 16
bandwidth_gbs = 500
link_gbs = 10
network_gbs = 1
usd_per_hour = [0.1, 0.2, 0.3]
watts = 200
source = "its box"
date = "2026-01"
"""


def test_every_chip_says_where_its_figures_are_from():
    chips = load_hardware().chips
    assert {"h800", "h100", "h200", "a100", "rtx-4090", "m3-max", "cpu-cloud-2"} <= chips.keys()
    for chip in chips.values():
        assert chip.source
        assert chip.date
        assert chip.price.low <= chip.price.high


def test_a_chip_without_a_format_takes_the_next_wider():
    chips = load_hardware()
    assert chips.find("h800").rate("fp8") == ("fp8", 1979e12)
    assert chips.find("a100").rate("fp8") == ("bf16", 312e12)
    assert chips.find("cpu-laptop-8").rate("bf16") == ("fp32", 0.5e12)


def test_a_users_own(tmp_path: Path):
    file = tmp_path / "chips.toml"
    file.write_text(OWN)
    found = load_hardware(file)
    assert found.find("mine").price.mid == 0.2
    assert found.find("h100").memory_gib == 80  # ours are still there


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[0.1, 0.2, 0.3]", "[-0.1, 0.2, 0.3]"), "none below 0"),
        (("[0.1, 0.2, 0.3]", "[0.3, 0.2, 0.1]"), "low, middle and high"),
        (("watts = 200", "wats = 200"), "did you mean 'watts'"),
        (("bf16 = 100", "bf16 = -1"), "above 0"),
        (("bf16 = 100", "bf61 = 1"), "bf61"),
        (("bf16 = 100", "bf16 = nan"), "tflops.bf16"),
        (("watts = 200", "watts = inf"), "watts"),
        (("[0.1, 0.2, 0.3]", "[0.1, 0.2, inf]"), "usd_per_hour"),
        (('date = "2026-01"', 'date = "lately"'), "date"),
        (('date = "2026-01"', 'date = "x2024x"'), "date"),
        (('name = "my card"', 'name = "my card"\nkind = "tpu"'), "kind"),
        (("[chip.mine]", "[chips.mine]"), "unknown table 'chips'"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, change: tuple[str, str], told: str):
    file = tmp_path / "chips.toml"
    file.write_text(OWN.replace(*change))
    with pytest.raises(BadInput) as caught:
        load_hardware(file)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_chip_names_the_nearest():
    with pytest.raises(BadInput, match="no hardware 'h8000', did you mean 'h800'"):
        load_hardware().find("h8000")
