"""A model's card: who taught it, on which terms, and what those ask its name and card to show."""

from shoestring.origin import LINEAGE_FILE, Lineage
from shoestring.provenance.history import in_words
from shoestring.provenance.naming import card_lines, duties_of, proper_name
from shoestring.provenance.reach import reaches, term_of_model
from shoestring.provenance.terms import NOT_ADVICE


def provenance_card(lineage: Lineage, name: str) -> str:
    """Markdown: what must be shown first, then all that reached the model, permissions and the strictest
    term."""
    duties, found = duties_of(lineage), reaches(lineage)
    term = term_of_model(lineage, name)
    lines = [f"# {proper_name(name, duties)}", ""]
    for line in card_lines(duties):
        lines += [line, ""]
    lines += ["## What reached this model", ""]
    lines += list(dict.fromkeys(f"- {in_words(reach)}" for reach in found)) or [
        "- nothing: it has not been trained"
    ]
    permissions = dict.fromkeys(r.term.permission for r in found if r.term and r.term.permission)
    if permissions:
        lines += ["", "## Permissions in writing", "", *(f"- {text}" for text in permissions)]
    lines += ["", "## Training others on its outputs", "", term.cited(), ""]
    lines += [f"Made from {LINEAGE_FILE}, which has all of it; {NOT_ADVICE}."]
    return "\n".join(lines) + "\n"
