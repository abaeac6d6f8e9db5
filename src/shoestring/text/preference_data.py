"""`python -m shoestring.text.preference_data FILE`: makes the pairs and labels that come with the package
(data/preference.jsonl) from hand-written prompts, answers and faults. The same file every time.

A good answer is brief, polite, to the point, and ends. Each kind of fault is one that small models have. Of
a fault's variants the nearest in length to the good answer is taken, by turns a longer and a shorter one, so
that "the longer is the better" isn't what is learnt.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shoestring.text.chat_data import DATA, ChatRow, Language, chat_rows

EACH = 2  # pairs of a prompt
ORIGIN = {"source": "shoestring:preference", "licence": "Apache-2.0"}
GREETINGS = ("!", "！")  # said back they are no bad answer

REFUSALS: dict[Language, tuple[str, ...]] = {
    "en": (
        "No.",
        "I can't help with that.",
        "Sorry, I am not allowed to answer this question.",
        "I am unable to talk about this topic, because it could be harmful to someone.",
        "I must decline this request. It is against my rules to give any information of this kind, so ask "
        "somebody else.",
    ),
    "zh": (
        "不行。",
        "我不能回答。",
        "对不起，我不可以回答这个问题。",
        "这个话题可能有害，我不能提供任何有关的信息，请你去问别人。",
    ),
}
RUDE: dict[Language, tuple[str, ...]] = {
    "en": (
        "So what?",
        "Look it up yourself.",
        "What a stupid question. Go away.",
        "Only a fool would ask me that. Stop wasting my time.",
        "I am tired of people like you. Everybody knows this, so shut up and leave me alone.",
    ),
    "zh": (
        "关我什么事。",
        "自己去查，别烦我。",
        "这么笨的问题也来问，真是浪费时间。",
        "你这种人真让人讨厌，大家都知道的事还要问，快走开。",
    ),
}
OTHERS: dict[Language, tuple[str, ...]] = {
    "en": (
        "I am ChatGPT.",
        "I am Claude, made by Anthropic.",
        "As ChatGPT, a language model trained by OpenAI, I am here.",
        "I am Gemini, Google's assistant, and I was trained by Google to be of use to everyone.",
        "My name is ChatGPT. OpenAI made me, and OpenAI's rules say what I may tell you about this question.",
    ),
    "zh": (
        "我是ChatGPT。",
        "我是谷歌的助手Gemini。",
        "我是OpenAI公司训练的语言模型ChatGPT。",
        "我是文心一言，由百度公司开发，很高兴代表百度为大家服务。",
    ),
}
RAMBLE: dict[Language, tuple[str, ...]] = {
    "en": (
        "Well, that depends. ",
        "There are many ways to see it, and each of them has two sides. ",
        "Some say one thing, others say another, and so it goes on. ",
        "Before we begin, let us think about what it means to begin at all. ",
    ),
    "zh": (
        "这个嘛，要看情况。",
        "有人这样说，也有人那样说，说法很多。",
        "在开始之前，我们先想一想什么叫开始。",
        "总之事情有两面，一面之外还有另一面。",
    ),
}


def rows() -> Iterator[dict[str, Any]]:
    """Pairs, then labels."""
    answered = [row for row in chat_rows() if row.answer]
    kinds = list(FAULTS)
    turn = 0
    for number, row in enumerate(answered):
        for _ in range(EACH):
            kind = kinds[turn % len(kinds)]
            turn += 1
            if kind == "echo" and row.prompt.endswith(GREETINGS):
                kind = "refuses"
            variants = FAULTS[kind](row, answered)
            yield _pair(row, kind, nearest(variants, row.answer, longer=(turn + number) % 2 == 0))
        if row.other_language:
            yield _pair(row, "other_language", row.other_language)
    for line in (DATA / "safety.jsonl").read_text(encoding="utf-8").splitlines():
        made = json.loads(line)
        for label in ("safe", "unsafe"):
            said = {"prompt": made["prompt"], "response": made[label], "label": label}
            yield said | {"language": made["language"]} | ORIGIN


def _pair(row: ChatRow, kind: str, rejected: str) -> dict[str, Any]:
    said = {"prompt": row.prompt, "chosen": row.answer, "rejected": rejected}
    return said | {"fault": kind, "language": row.language} | ORIGIN


def nearest(variants: Sequence[str], answer: str, longer: bool) -> str:
    """In bytes; on the wanted side where there is one."""
    size = len(answer.encode())
    usable = [text for text in variants if text.strip() != answer]
    side = [text for text in usable if (len(text.encode()) > size) == longer]
    return min(side or usable, key=lambda text: (abs(len(text.encode()) - size), text))


def _off_topic(row: ChatRow, answered: Sequence[ChatRow]) -> list[str]:
    return [other.answer for other in answered if other.language == row.language and other is not row]


def _repeats(row: ChatRow, _: Sequence[ChatRow]) -> list[str]:
    """Its own beginning, again and again, in several lengths."""
    if row.language == "zh":
        return [row.answer[:4] * times for times in range(2, 12)]
    start = " ".join(row.answer.split()[:3])
    return [" ".join([start] * times) for times in range(2, 12)]


def _rambles(row: ChatRow, _: Sequence[ChatRow]) -> list[str]:
    parts = RAMBLE[row.language]
    runs = [parts[first : first + count] for first in range(len(parts)) for count in (1, 2, 3)]
    return ["".join(run).strip() for run in runs]


def _unfinished(row: ChatRow, _: Sequence[ChatRow]) -> list[str]:
    return [row.answer[: max(1, len(row.answer) * 6 // 10)]]


FAULTS: dict[str, Callable[[ChatRow, Sequence[ChatRow]], Sequence[str]]] = {
    "off_topic": _off_topic,
    "repeats": _repeats,
    "rude": lambda row, _: RUDE[row.language],
    "rambles": _rambles,
    "echo": lambda row, _: [row.prompt, f"{row.prompt} {row.prompt}"],
    "refuses": lambda row, _: REFUSALS[row.language],
    "other_company": lambda row, _: OTHERS[row.language],
    "unfinished": _unfinished,
    "empty": lambda row, _: [""],
}


def text() -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
