"""One text through all rules."""

from collections.abc import Iterator

from shoestring.provenance.scan_cutoff import CUTOFF, CUTOFF_GATE
from shoestring.provenance.scan_personal import personal_in
from shoestring.provenance.scan_text import Hit
from shoestring.text.claims.asked import named_in
from shoestring.text.claims.frames import UNKNOWN_GATE
from shoestring.text.claims.identity import claim_in
from shoestring.text.claims.refusal import REFUSAL, REFUSAL_GATE
from shoestring.text.claims.sentences import first_rule, plain, seen, sentences, unquoted, unwrapped
from shoestring.text.makers import Names, names_but


def hits(text: str, own: tuple[str, ...] = (), asked: bool = False) -> list[Hit]:
    """All that the assistant's text has, in the order it stands in. own: names that it may claim. asked: the
    user asks who speaks."""
    return sorted([*said(text, own, asked), *personal_in(text)], key=lambda hit: (hit.start, hit.end))


def said(text: str, own: tuple[str, ...] = (), asked: bool = False) -> Iterator[Hit]:
    """Claims and stock sentences; each spans its sentence. What is quoted isn't said, but by a reply that is
    a quotation from end to end where the user asks who speaks."""
    text, places = seen(text)
    for hit in _said(plain(text), own, asked):
        yield Hit(hit.kind, places[hit.start], places[hit.end - 1] + 1, hit.rule)


def _said(text: str, own: tuple[str, ...], asked: bool) -> Iterator[Hit]:
    names = names_but(*own)
    if not any(_may_have(text, names)):
        return
    text = unwrapped(text) if asked else text
    for sentence in sentences(unquoted(text)):
        named, dated, refusing = _may_have(sentence.text, names)
        if named and (rule := claim_in(sentence, names, own)):
            yield Hit("identity", sentence.start, sentence.end, rule)
        elif named and asked and named_in(sentence, names):
            yield Hit("identity", sentence.start, sentence.end, "a name, asked who speaks")
        if dated and (rule := first_rule(sentence.text, CUTOFF)):
            yield Hit("cutoff", sentence.start, sentence.end, rule)
        if refusing and (rule := first_rule(sentence.text, REFUSAL)):
            yield Hit("refusal", sentence.start, sentence.end, rule)


def _may_have(text: str, names: Names) -> tuple[bool, bool, bool]:
    """Whether it may claim, date or refuse: plain searches, since most texts do none of them."""
    lower = text.lower()
    return (
        names.maybe_in(text, lower) or any(word in lower for word in UNKNOWN_GATE),
        any(word in lower for word in CUTOFF_GATE),
        any(word in lower for word in REFUSAL_GATE),
    )
