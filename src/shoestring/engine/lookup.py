"""Drafts without a module: what followed the last time that the same few tokens stood in the text. Answers
that quote their prompt, code and worked sums repeat themselves; what doesn't costs nothing, since no draft is
made. Drafts are checked as the MTP module's are (`engine.draft`), so tokens are those without."""

from collections.abc import Sequence

GRAM = 3  # tokens that must be the same at least
TRIED = 8  # earlier places with the same last tokens, the newest first, of which the longest match counts
LONGEST = 32  # tokens that a match is looked at


class Lookup:
    """Of one sequence: where each GRAM of its tokens has stood, prompt included."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], list[int]] = {}
        self._seen = GRAM - 1  # tokens whose GRAM is noted, but for the last one's

    def drafts(self, tokens: Sequence[int], count: int) -> list[int]:
        """`count` tokens that may come next, or none; `tokens` are all so far, more than the last time."""
        for end in range(self._seen + 1, len(tokens)):
            self._after.setdefault(tuple(tokens[end - GRAM : end]), []).append(end)
        self._seen = max(self._seen, len(tokens) - 1)
        places = self._after.get(tuple(tokens[-GRAM:]), ()) if len(tokens) >= GRAM else ()
        if not places:
            return []
        best = max(reversed(places[-TRIED:]), key=lambda place: _match(tokens, place))
        found = list(tokens[best : best + count])
        while len(found) < count:  # where the match overlaps its end the text goes round in a circle
            found.append(found[len(found) - (len(tokens) - best)])
        return found


def _match(tokens: Sequence[int], place: int) -> int:
    """How many tokens before `place` are those at the end."""
    most = min(place, LONGEST)
    return next((i for i in range(GRAM, most) if tokens[place - 1 - i] != tokens[-1 - i]), most)
