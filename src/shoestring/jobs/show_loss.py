"""`shoestring show loss:NAME`: the formula with its numbers; `loss:` alone shows all of them."""

from typing import Any

from rich.console import Console

from shoestring.errors import BadInput
from shoestring.rl.loss_settings import NAMED, PolicyLossSettings, formula
from shoestring.settings import nearest


def show_loss(name: str, console: Console) -> dict[str, Any]:
    """Raises BadInput on a name that no loss has."""
    if name and name not in NAMED:
        raise BadInput(f"no loss '{name}'{nearest(name, list(NAMED))}")
    chosen = [PolicyLossSettings.model_validate({"name": n}) for n in ([name] if name else NAMED)]
    for settings in chosen:
        console.print(formula(settings), markup=False, highlight=False)
    return {"losses": [{**s.model_dump(mode="json"), "formula": formula(s)} for s in chosen]}
