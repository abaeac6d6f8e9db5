"""Whether two models speak of the same tokens, and a student that is given another tokenizer.

Vocabularies are compared by their strings, never by their size: a distribution over one is one over the other
only where each token has its like.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.models.names import EMBEDDING, HEAD
from shoestring.models.transformer import Transformer
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer

SHOWN = 3  # differences that are named


@dataclass(frozen=True)
class Comparison:
    """identical: the same strings under the same ids; renumbered: under other ids; different: not the same
    strings. `why` says so in words. to_teacher (V,): the teacher's id of each of the student's, -1 where it
    has none, as for rows that only pad the student's vocabulary."""

    kind: Literal["identical", "renumbered", "different"]
    why: str
    to_teacher: Tensor


def compare(student: Tokenizer, teacher: Tokenizer, rows: int) -> Comparison:
    """rows: of the student's head, at least as many as its tokenizer has ids."""
    mine, theirs = student.vocabulary, teacher.vocabulary
    to_teacher = torch.full((rows,), -1)
    for token, i in mine.items():
        to_teacher[i] = theirs.get(token, -1)
    alone = sorted(mine.keys() - theirs.keys(), key=mine.__getitem__)
    further = sorted(theirs.keys() - mine.keys(), key=theirs.__getitem__)
    if alone or further:
        lists = (("the student's", alone), ("the teacher's", further))
        parts = [
            f"{len(tokens):,} tokens are {whose} alone ({_named(tokens)})"
            for whose, tokens in lists
            if tokens
        ]
        return Comparison("different", "; ".join(parts), to_teacher)
    other = student.first_difference(teacher)
    moved = [token for token, i in mine.items() if theirs[token] != i]
    if moved:
        why = f"the same strings, {len(moved):,} of them under other ids ({_named(moved)})"
        return Comparison("renumbered", why, to_teacher)
    return Comparison("identical", other or "the same tokens", to_teacher)


def refuse_different(found: Comparison, student: str, teacher: str, instead: str = "") -> None:
    """Raises BadInput where a teacher's distribution says nothing of the student's tokens. instead: what may
    be done beside learning from the teacher's outputs."""
    if found.kind == "different":
        raise BadInput(
            f"the vocabularies of {student} and of its teacher {teacher} differ: {found.why}. What the "
            "teacher says of its tokens can't be compared with the student's: learn from its outputs (a "
            f"stage with job = 'distill-outputs', then sft){f', or {instead}' if instead else ''}"
        )


def matched(
    student: Tokenizer,
    rows: int,
    teacher: Tokenizer,
    names: tuple[str, str],
    say: Callable[[str], None],
    instead: str = "",
) -> Tensor:
    """`to_teacher` of `compare`, which is told. names: the student's and the teacher's. Raises BadInput where
    the vocabularies differ; `instead` as in `refuse_different`."""
    found = compare(student, teacher, rows)
    refuse_different(found, *names, instead)
    say(f"vocabularies of {names[0]} and {names[1]}: {found.kind} ({found.why})")
    return found.to_teacher


def _named(tokens: list[str]) -> str:
    more = ", ..." if len(tokens) > SHOWN else ""
    return ", ".join(repr(token) for token in tokens[:SHOWN]) + more


@dataclass(frozen=True)
class Transplanted:
    """The student under another tokenizer. Rows of embedding and head: copied of tokens that both have,
    composed of several old tokens' mean, or, where no old token spells any of it, the mean of all."""

    lm: LanguageModel
    copied: int
    composed: int
    averaged: int

    def __str__(self) -> str:
        return (
            f"tokenizer changed: of {self.copied + self.composed + self.averaged:,} tokens {self.copied:,} "
            f"keep their embedding, {self.composed:,} have the mean of their pieces, {self.averaged:,} the "
            "mean of all"
        )


@torch.no_grad()
def transplant(lm: LanguageModel, tokenizer: Tokenizer, template: Template) -> Transplanted:
    """A new model with the old one's layers and, of `tokenizer`, the vocabulary; `template` is the new
    tokenizer's own. Tokens that end, begin or pad a text take the old ones' rows by what they do."""
    roles = _roles(lm.tokenizer, tokenizer)
    pieces: list[list[int]] = [[] for _ in range(tokenizer.vocab_size)]
    for token, i in tokenizer.vocabulary.items():
        pieces[i] = roles.get(i) or _pieces(token, i, tokenizer, lm.tokenizer)
    ends = template.stop_ids
    config = dataclasses.replace(
        lm.config,
        vocab_size=tokenizer.vocab_size,
        bos_token_id=None if tokenizer.special.bos is None else tokenizer.token_id(tokenizer.special.bos),
        eos_token_id=ends,
    )
    network = Transformer(config).to(device=lm.device, dtype=lm.dtype)
    old = dict(lm.network.public_tensors())
    for name, own in network.public_tensors():
        own.copy_(_rows(old[name], pieces) if name in (EMBEDDING, HEAD) else old[name])
    moved = LanguageModel(network, tokenizer, template, config, lm.lineage, lm.name, generation=lm.generation)
    counts = [min(len(p), 2) for p in pieces]
    return Transplanted(moved, counts.count(1), counts.count(2), counts.count(0))


def _roles(old: Tokenizer, new: Tokenizer) -> dict[int, list[int]]:
    """New ids of named special tokens, with the old id of the same name."""
    found: dict[int, list[int]] = {}
    before = old.special.named()
    for name, token in new.special.named().items():
        i, was = new.token_id(token), old.token_id(before.get(name, ""))
        if i is not None and was is not None and token not in old.vocabulary:
            found[i] = [was]
    return found


def _pieces(token: str, i: int, new: Tokenizer, old: Tokenizer) -> list[int]:
    """The old ids that spell a new token."""
    if token in old.vocabulary:
        return [old.vocabulary[token]]
    text = new.decode([i])
    if text and "\ufffd" not in text:
        return old.encode_after(text, special=False)
    # a part of a character: its bytes, as byte-level alphabets spell them
    return [old.vocabulary[byte] for byte in token if byte in old.vocabulary]


def _rows(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    """weight (V_old, d) -> (V_new, d), float32 means rounded once."""
    wide = weight.float()
    everything = wide.mean(0)
    made = [wide[own].mean(0) if own else everything for own in pieces]
    return torch.stack(made).to(weight.dtype)
