"""What an export is asked: 32 prompts of several kinds and languages, as the model's own template renders
them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.text.message import user

PROMPTS = (
    "What is 17 + 25?",
    "What is 9 * 8 - 30? Think first.",
    "Is 91 a prime number?",
    "Write 0.375 as a fraction in lowest terms.",
    "A train goes 60 km in 45 minutes. How fast is it?",
    "Solve x^2 - 5x + 6 = 0.",
    "Using 3, 7 and 8 once each, make 29.",
    "How many letters r are in strawberry?",
    "Sort these words: pear, apple, fig, banana.",
    "What comes next: 2, 4, 8, 16, ?",
    "Who are you?",
    "Hello! How are you today?",
    "Name three colours.",
    "Why is the sky blue?",
    "Give me a recipe with eggs.",
    "Explain photosynthesis to a child.",
    "What is the capital of Peru?",
    "Translate to French: good morning",
    "Write a haiku about rain.",
    "Summarise: cats sleep a lot, and hunt at dawn and dusk.",
    "def add(a, b):\n    return a +",
    "for i in range(10):\n    print(",
    "SELECT name FROM users WHERE age > 30",
    '{"name": "Ada", "born": 1815}',
    "你好，请介绍一下你自己。",
    "二加三等于几？",
    "¿Cuál es la capital de España?",
    "Wie spät ist es, wenn es in Tokio 9 Uhr ist?",
    "Привет! Как дела?",
    "日本で一番高い山は何ですか。",
    "naïve café, 12 € — “quoted” … 🙂",
    "  two spaces,\ta tab\n\nand an empty line  ",
)


@dataclass(frozen=True)
class Asked:
    """`said`: the user's words. `text`: the whole prompt with special tokens spelled out; `ids` of it."""

    said: str
    text: str
    ids: list[int]


@dataclass(frozen=True)
class Questions:
    """chat: whether a template rendered them. skipped: how many the model's window has no room for."""

    asked: list[Asked]
    chat: bool
    skipped: int
    tokens: int  # to be made after each

    @property
    def sha256(self) -> str:
        ids = [asked.ids for asked in self.asked]
        return hashlib.sha256(json.dumps([ids, self.tokens]).encode()).hexdigest()


def questions(lm: LanguageModel, tokens: int, said: Sequence[str] = PROMPTS) -> Questions:
    """Raises BadInput where the model's window has room for none of them."""
    found = [_rendered(lm, words) for words in said]
    room = lm.config.max_position_embeddings - tokens
    fits = [asked for asked in found if 0 < len(asked.ids) <= room]
    if not fits:
        raise BadInput(
            f"{lm.name}: its window of {lm.config.max_position_embeddings} tokens has no room for any of the "
            "proof's prompts"
        )
    return Questions(fits, lm.template.source is not None, len(found) - len(fits), tokens)


def _rendered(lm: LanguageModel, words: str) -> Asked:
    if lm.template.source is None:
        ids = [*lm.tokenizer.opening_ids, *lm.tokenizer.encode(words)]
        return Asked(words, words, ids)
    ids = lm.template.render([user(words)], add_generation_prompt=True).ids
    return Asked(words, lm.tokenizer.decode(ids), ids)
