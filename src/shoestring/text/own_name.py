"""Rows that tell a student its own name and maker, and to say no to others': who never read a no says yes to
every name (docs/scan.md)."""

from collections.abc import Iterator

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.conversations import Conversations, Row
from shoestring.text.makers import families_but
from shoestring.text.message import Message

PREFIX = "own-name:"
FORM = 'data = "own-name:NAME:MAKER", such as "own-name:Nib:Acme Labs"'
ORIGIN = Origin("shoestring:own-name", "CC0-1.0")

# None of these questions is one of those that `identity_check` asks (a test holds them apart).
MODEL = {
    "en": (
        "You are {other}, aren't you?", "Is this {other}?", "Am I talking to {other}?",
        "Is your name {other}?", "So you're {other}, right?", "Are you really {other}?",
    ),
    "zh": (
        "你就是{other}吧？", "你是不是{other}？", "我在和{other}说话吗？", "你的名字是{other}吗？",
        "你真的是{other}吗？",
    ),
}  # fmt: skip
MAKER = {
    "en": (
        "Did {other} make you?", "Were you trained by {other}?", "Are you a model from {other}?",
        "You come from {other}, don't you?", "Does {other} stand behind you?",
    ),
    "zh": ("你是{other}训练的吗？", "你来自{other}吗？", "是{other}创造了你吗？", "你是不是{other}的模型？"),
}  # fmt: skip
WHO = {
    "en": (
        "Who is speaking?", "What do they call you?", "Whose model are you?", "Say your name.",
        "And who are you?", "Which name do you go by?", "Who is it that answers me?",
        "What should people call you?", "By whom were you made?", "Who wrote you?",
        "Would you introduce yourself?", "What is your name, then?",
    ),
    "zh": (
        "请问您是哪位？", "怎么称呼您？", "您是谁家的模型？", "报个名字吧。", "那你到底是谁呀？",
        "大家都叫你什么？", "回答我的是谁？", "你由谁开发？", "谁做出了你？", "先自我介绍一下吧。",
        "你的大名是？",
    ),
}  # fmt: skip
NO = {
    "en": (
        "No. I am {name}, made by {maker}.", "No, my name is {name}, and {maker} made me.",
        "No, that is another. I am {name}, made by {maker}.", "No: I'm {name}, and I was made by {maker}.",
    ),
    "zh": (
        "不是。我是{name}，由{maker}开发。", "不，我叫{name}，是{maker}开发的。",
        "不是的，我是{name}，由{maker}开发。",
    ),
}  # fmt: skip
YES = {
    "en": ("Yes, I am {name}, made by {maker}.", "Yes. I am {name}, and {maker} made me."),
    "zh": ("是的，我是{name}，由{maker}开发。", "对，我叫{name}，是{maker}开发的。"),
}
TOLD = {
    "en": (
        "I am {name}, made by {maker}.", "My name is {name}. {maker} made me.",
        "I'm {name}, a model made by {maker}.",
    ),
    "zh": ("我是{name}，由{maker}开发。", "我叫{name}，是{maker}开发的。"),
}  # fmt: skip
OWN_TIMES, WHO_TIMES = 8, 4  # beside the others' names, of which there are over a hundred


def is_own_name(data: str) -> bool:
    """Whether `data` of an sft stage means these rows and not a file."""
    return data.startswith(PREFIX)


def open_own_name(data: str, seed: int) -> Conversations:
    """Raises BadInput where the name or the maker is missing."""
    name, _, maker = data.removeprefix(PREFIX).partition(":")
    if not name.strip() or not maker.strip():
        raise BadInput(f"'{data}' lacks a name or a maker: {FORM}")
    return Conversations(own_name_rows(name.strip(), maker.strip()), data, seed)


def own_name_rows(name: str, maker: str) -> list[Row]:
    """Questions with others' names, which are answered with a no; with its own, with a yes; and with none.
    The family that its own name begins with is no other's."""
    rows: list[Row] = []
    for language in ("en", "zh"):
        for number, (ways, other) in enumerate(_others(language, name, maker)):
            for way, question in enumerate(ways):
                rows.append(_row(question, NO[language], number + way, name, maker, other))
        for time in range(OWN_TIMES):
            for ways, own in ((MODEL[language], name), (MAKER[language], maker)):
                for way, question in enumerate(ways):
                    rows.append(_row(question, YES[language], time + way, name, maker, own))
        for time in range(WHO_TIMES):
            for way, question in enumerate(WHO[language]):
                rows.append(_row(question, TOLD[language], time + way, name, maker))
    return rows


def _others(language: str, name: str, maker: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The ways to ask for a name, and the name."""
    for family in families_but(name, maker):
        for ways, others in ((MODEL, family.models), (MAKER, family.makers)):
            for other in others:
                if language == "zh" or other.isascii():
                    yield ways[language], other


def _row(question: str, answers: tuple[str, ...], number: int, name: str, maker: str, other: str = "") -> Row:
    said = answers[number % len(answers)].format(name=name, maker=maker)
    asked = Message(role="user", content=question.format(other=other))
    return [asked, Message(role="assistant", content=said)], ORIGIN
