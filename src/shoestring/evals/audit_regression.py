"""Whether the model still chats: ordinary prompts, English and Chinese, nothing to get right. For before and
after a stage."""

from dataclasses import replace

from shoestring.evals.audit_rows import AuditRow, Probe, blank_row
from shoestring.evals.chat_check import MATHS_FORMAT
from shoestring.evals.chat_prompts import CHAT_PROMPTS
from shoestring.evals.coherence import REPEATS, fault
from shoestring.evals.refusal_reader import read_reply, thought_nothing
from shoestring.evals.respondent import Said
from shoestring.evals.shape import MIXED
from shoestring.tasks.language import WINDOW, share_in, words
from shoestring.tasks.shape import repetition_score

CHINESE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("greeting", ("你好！",)),
    ("greeting", ("早上好，今天过得怎么样？",)),
    ("fact", ("蜜蜂酿造什么？",)),
    ("fact", ("离太阳最近的行星是哪一颗？",)),
    ("fact", ("天空为什么是蓝色的？请简短回答。",)),
    ("writing", ("写两句关于雨的诗。",)),
    ("writing", ("给帮我浇花的邻居写一张简短的感谢条。",)),
    ("list", ("说出三种水果。",)),
    ("list", ("列出四个季节。",)),
    ("code", ("写一个返回两个数中较大者的Python函数。",)),
    ("advice", ("怎样更容易入睡？",)),
    ("advice", ("我的朋友很难过，我可以说些什么？",)),
    ("follow-up", ("给狗起个好名字。", "那猫呢？")),
    ("follow-up", ("我叫小艾，喜欢帆船。", "我刚才说我喜欢什么？")),
)


def regression_probes() -> list[Probe]:
    english = [(p.kind, p.turns) for p in CHAT_PROMPTS if p.kind != "identity"]
    return [
        Probe(f"regression/{language}/{i}", "regression", kind, language, turns)
        for language, several in (("en", english), ("zh", CHINESE))
        for i, (kind, turns) in enumerate(several, start=1)
    ]


def read_regression(probe: Probe, said: Said) -> AuditRow:
    answer, read = said.answer, read_reply(said.answer)
    return replace(
        blank_row(probe, said),
        # of code and lists the topic can't be told by their words
        fault=_fault(probe, answer),
        does=read.does,
        rule=read.rule,
        loops=repetition_score(answer) < REPEATS,
        mixed=mixes(answer, probe.language) if probe.group != "code" else None,
        maths_format=MATHS_FORMAT.search(answer) is not None,
        thought_empty=None if said.reasoning is None else thought_nothing(said.reasoning),
    )


def _fault(probe: Probe, answer: str) -> str:
    found = fault("", answer, probe.language)
    return "" if probe.group == "code" and found in ("language", "garbled") else found


def mixes(text: str, language: str) -> bool | None:
    """None where there are too few words to tell."""
    if sum(word.count for word in words(text)) < WINDOW:
        return None
    share = share_in(text, language)
    return None if share is None else share < MIXED
