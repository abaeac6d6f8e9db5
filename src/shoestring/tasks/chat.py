"""Open prompts: ordinary chat, English and Chinese, to which no one right answer exists. Only a reply's shape
and a reward model's preference can judge it."""

import random
from typing import Literal

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.settings import Settings
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.texts import same_text
from shoestring.text.chat_data import ChatRow, chat_rows
from shoestring.text.message import Reply

CHAT = "chat"
ORIGIN = Origin("shoestring:chat", "Apache-2.0")


class ChatLevel(Settings):
    language: Literal["both", "en", "zh"] = "both"


class Chat:
    """key: the prompt in one spelling of spaces and case."""

    name = CHAT
    Level = ChatLevel

    def draw(self, level: ChatLevel, rng: random.Random) -> Problem:
        prompt = rng.choice(_rows(level)).prompt
        return Problem(CHAT, level_text(level), same_text(prompt), prompt, {}, ORIGIN)

    def count(self, level: ChatLevel) -> int:
        return len(_rows(level))

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return Verdict(Outcome.OPEN, 0.0)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        raise BadInput("chat has no worked solutions: its prompts have no right answer")


def _rows(level: ChatLevel) -> list[ChatRow]:
    return [row for row in chat_rows() if level.language in ("both", row.language)]
