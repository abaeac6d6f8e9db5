"""`shoestring show loss:NAME`."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs.show import ShowSettings, main
from shoestring.rl.loss_settings import NAMED, PolicyLossSettings, formula

DOCS = Path(__file__).parents[2] / "docs" / "losses.md"


@pytest.mark.parametrize(("target", "names"), [("loss:gspo", ["gspo"]), ("loss:", list(NAMED))])
def test_formulas_are_shown(target, names):
    out = io.StringIO()
    result = main(ShowSettings(target=target), Console(file=out, width=300))  # type: ignore[call-arg]
    assert [line.partition(":")[0] for line in out.getvalue().splitlines()] == names
    assert [loss["name"] for loss in result["losses"]] == names


def test_an_unknown_name_is_one_line():
    with pytest.raises(BadInput, match="no loss 'dr_grpo', did you mean 'dr-grpo'"):
        main(ShowSettings(target="loss:dr_grpo"), Console(file=io.StringIO()))  # type: ignore[call-arg]


@pytest.mark.parametrize("name", NAMED)
def test_the_page_has_every_formula_as_it_is_computed(name):
    assert formula(PolicyLossSettings.model_validate({"name": name})) in DOCS.read_text(encoding="utf-8")
