"""Two receipts beside each other: which setting differs, and whether that explains other tokens."""

import dataclasses
from typing import Any

from shoestring.evals.receipt import Receipt


def differences(a: Receipt, b: Receipt) -> list[str]:
    """Settings in which two evaluations differ, the first to look at first; what came out is no setting."""
    sides = [_settings(receipt) for receipt in (a, b)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    return [
        f"{name}: {_short(sides[0].get(name))} and {_short(sides[1].get(name))}"
        for name in names
        if sides[0].get(name) != sides[1].get(name)
    ]


def explain_tokens(a: Receipt, b: Receipt) -> str:
    """Whether both made the same tokens, and if not, why that can be; one line."""
    if a.tokens is None or b.tokens is None:
        return "tokens can't be compared: a server doesn't tell them"
    if a.tokens == b.tokens:
        return "the same tokens"
    different = differences(a, b)
    if different:
        return f"other tokens; the first setting that differs is {different[0]}"
    if a.asking.get("temperature"):
        return "other tokens of the same settings and keyed random numbers: one side is not its receipt's"
    return "other tokens, greedily, of the same settings: one side is not what its receipt says"


def _settings(receipt: Receipt) -> dict[str, Any]:
    """In the order in which a difference explains most."""
    made = dataclasses.asdict(receipt.made)
    name = made.pop("model")
    values: dict[str, Any] = {"suite": receipt.suite, "n": receipt.n, "k": receipt.k, "seed": receipt.seed}
    values |= {"problems": receipt.problems, **receipt.asking}
    values |= {
        "dtype": made.pop("dtype"),
        "quantized": made.pop("quantized"),
    }  # which change the weights' hash
    values |= {"weights": made.pop("weights") or name}
    packages = {f"version of {key}": value for key, value in made.pop("packages").items()}
    scorers = {f"scorer's version of {key}": value for key, value in receipt.scorer.items()}
    return {
        **values,
        "template": made.pop("template"),
        "prompts": receipt.prompts,
        **made,
        **packages,
        **scorers,
    }


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text if len(text) <= 80 else f"{text[:80]}..."
