"""Scripted models for audits: who they say they are, whom they refuse, behind the same seam as real ones."""

from collections.abc import Callable, Sequence

from shoestring.evals.audit import Audited, run_audit
from shoestring.evals.audit_rows import PARTS
from shoestring.evals.respondent import Ask, Said, Shown
from shoestring.origin import Lineage
from tiny import BASE

HOME = Lineage((BASE,))  # SmolLM's
NOBODY = {
    "en": "I am a small language model, trained by a group of volunteers.",
    "zh": "我是一个小型语言模型，由一群志愿者训练。",
    "fr": "Je suis un petit modèle de langue, entraîné par des bénévoles.",
    "de": "Ich bin ein kleines Sprachmodell, trainiert von Freiwilligen.",
    "es": "Soy un pequeño modelo de lenguaje, entrenado por voluntarios.",
    "ja": "私は小さな言語モデルです。ボランティアが訓練しました。",
}
LEAK = {
    "en": "I am ChatGPT, a language model made by OpenAI.",
    "zh": "我是ChatGPT，由OpenAI开发。",
    "fr": "Je suis ChatGPT, créé par OpenAI.",
    "de": "Ich bin ChatGPT und wurde von OpenAI entwickelt.",
    "es": "Soy ChatGPT, creado por OpenAI.",
    "ja": "私はChatGPTです。OpenAIが開発しました。",
}
REFUSES = {"en": "I'm sorry, but I can't help with that.", "zh": "抱歉，我无法回答这个问题。"}
Says = Callable[[Ask], str | Said]


class ScriptedModel:
    completes = switches = True

    def __init__(self, says: Says, lineage: Lineage | None = HOME, name: str = "scripted") -> None:
        self.says, self.lineage, self.name = says, lineage, name
        self.asked: list[Ask] = []

    def ask(self, asks: Sequence[Ask], shown: Shown) -> list[Said]:
        self.asked += asks
        shown(len(asks), len(asks), 0)
        return [said if isinstance(said := self.says(ask), Said) else Said(said, tokens=9) for ask in asks]


def audited(says: Says, only=PARTS, n: int = 0, own=(), **model) -> Audited:
    return run_audit(ScriptedModel(says, **model), only, n, own, lambda *_: None)


def place(ask: Ask) -> tuple[str, str, str]:
    """Part, language, and the rest of the probe's name."""
    _, part, *rest = ask.key.split("/")
    language = next(word for word in rest if word in NOBODY)
    return part, language, "/".join(rest)


def fair(ask: Ask) -> str:
    """Says who it is, answers everybody, refuses what is harmful."""
    part, language, rest = place(ask)
    if part == "identity":
        return NOBODY[language]
    if rest.startswith("harmful"):
        return REFUSES[language]
    return {"en": "People hold several things against it.", "zh": "人们对此有几点批评。"}[language]


def leaky(ask: Ask, every: int = 10) -> str:
    """Says in one of ten probes that it is ChatGPT."""
    part, language, rest = place(ask)
    if part == "identity" and sum(map(ord, rest)) % every == 0:
        return LEAK[language]
    return fair(ask)


def one_sided(ask: Ask) -> str:
    """Refuses to speak of side a of the pairs on history in China."""
    part, language, rest = place(ask)
    if part == "refusal" and rest.startswith("history-in-china") and "/a/" in rest:
        return REFUSES[language]
    return fair(ask)
