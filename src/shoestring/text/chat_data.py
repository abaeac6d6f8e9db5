"""Ordinary chat prompts, English and Chinese, written for this package; to many there is a good short answer.
The prompts of the chat check (`evals/chat_prompts.py`) are others."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

DATA = Path(__file__).parent / "data"
Language = Literal["en", "zh"]


@dataclass(frozen=True)
class ChatRow:
    """other_language: the answer said in the language that the prompt isn't in."""

    language: Language
    prompt: str
    answer: str = ""
    other_language: str = ""


@cache
def chat_rows() -> tuple[ChatRow, ...]:
    lines = (DATA / "chat.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(ChatRow(**json.loads(line)) for line in lines)
