"""A model that says what it is told to, as far as its guide lets it."""

from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.engine.guide import Guide
from shoestring.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Said:
    ids: list[int]
    text: str
    stopped_by: str


def say(
    guide: Guide, tokenizer: Tokenizer, script: Sequence[int], limit: int, ends: Sequence[int] = ()
) -> Said:
    """As the engine asks a guide. Where a mask forbids what the script has next, the lowest allowed id is
    taken; a script goes on behind what was forced, and begins anew at its end."""
    steering = guide.start(0)
    ids: list[int] = []
    place, stopped = 0, ""
    while len(ids) < limit and not stopped:
        forced, mask = steering.forced(), steering.allowed()
        if forced is not None:
            assert mask is None or mask[forced], f"{forced} is forced and forbidden"
            token = forced
        else:
            token = script[place % len(script)]
            place += 1
            if mask is not None and not mask[token]:
                assert mask.any(), f"nothing may follow {tokenizer.decode(ids)!r}"
                token = int(mask.nonzero()[0])
        ids.append(token)
        if token in ends:
            break
        steering.take(token)
        stopped = steering.stop()
    return Said(ids, tokenizer.decode(ids), stopped)
