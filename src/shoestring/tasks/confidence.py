"""How sure a text says its writer is: "I am 80 % sure", "Confidence: 85/100", 置信度80%, 八成把握."""

import re

FIGURES = {"零": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
HAN = "".join(FIGURES)
NUMBER = r"(?P<number>\d{1,3}(?:\.\d+)?|\.\d+)"
# of a range the end; then the sign, or what it is out of
END = (
    r"\s*(?:%|％)?(?:\s*(?:-|–|—|~|to\b|到|至)\s*(?P<end>\d{1,3}(?:\.\d+)?))?"
    r"\s*(?:(?P<sign>%|％|percent\b|per\s+cent\b)|(?:/|out\s+of)\s*(?P<of>100|10)\b)"
)
SHARE = rf"(?<![\d.]){NUMBER}{END}"
PLAIN = r"(?<![\d.])(?P<number>\d{1,3}(?:\.\d+)?|\.\d+)(?![\d.]*\d)(?!\s*[%％/])"
TENTHS = rf"(?P<tenths>[{HAN}十]成[{HAN}]?半?)"
HUNDREDTHS = rf"百分之(?P<hundredths>[{HAN}十百]+|\d{{1,3}}(?:\.\d+)?)"
CHINESE = rf"(?:{TENTHS}|{HUNDREDTHS})"

LABEL = r"\b(?:confidence|certainty|probability|likelihood)(?:\s+(?:level|score|rating))?(?:\s*\([^)\n]*\))?"
SURE = r"(?:sure|certain|confident|confidence|certainty|probability|likely|likelihood|chance)\b"
LABEL_CHINESE = r"(?:置信度|可信度|确信度|确定度|自信程度|信心|把握|概率|可能性)"
SURE_CHINESE = r"(?:的)?\s*(?:把握|确定|确信|肯定|信心|置信|可能|概率)"
GAP, MARKS = r"[^\d.%％\n]{0,40}?", r"[\s*_`:：=]*"
JOINED = rf"{MARKS}(?:(?:of|is|at|about|around|roughly)\b{MARKS}){{0,2}}~?"

PATTERNS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{LABEL}{GAP}{SHARE}",
        rf"\b{SURE}{GAP}{SHARE}",
        rf"{LABEL}{JOINED}{PLAIN}",  # without a sign only beside the word itself
        rf"{SHARE}[\s*_`]*{SURE}",
        rf"{LABEL_CHINESE}{GAP}{SHARE}",
        rf"{LABEL_CHINESE}{MARKS}(?:是|为|约|大约|大概|在)*{MARKS}{PLAIN}",
        rf"{SHARE}\s*{SURE_CHINESE}",
        rf"{LABEL_CHINESE}{GAP}{CHINESE}",
        rf"{CHINESE}\s*{SURE_CHINESE}",
    )
]
# all that a reply says, where it was asked for a number alone
BARE = re.compile(rf"^[\s*_`\"'(~]*(?:{SHARE}|{PLAIN.replace('number', 'plain')}|{CHINESE})[\s*_`\"').。]*$")
ANY = re.compile(rf"{SHARE}|{CHINESE}", re.IGNORECASE)


def stated_confidence(text: str, asked: bool = False) -> float | None:
    """The confidence that the text states, from 0 to 1; of several the last one, of a range its middle. None
    where it states none, or one over 100 %.

    `asked`: the text is a reply to the question how sure its writer is: a number alone is one too ("85"), and
    so is any percentage where it is the only one."""
    found = [
        (m.end(), value)
        for pattern in PATTERNS
        for m in pattern.finditer(text)
        if (value := _value(m)) is not None
    ]
    if not found and asked:
        bare = BARE.match(text)
        shares = {_value(m) for m in ANY.finditer(text)}
        if bare is not None:
            return _within(_value(bare))
        # two percentages and no word of confidence: it can't be told which is meant
        return _within(shares.pop()) if len(shares) == 1 else None
    return _within(max(found)[1]) if found else None


def _within(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None


def _value(match: re.Match[str]) -> float | None:
    """A number without a sign is a probability where it is up to 1 and has a point, a percentage where it is
    over 1; a bare 1 may be either, and is nothing."""
    groups = match.groupdict()
    if groups.get("tenths"):
        return _tenths(groups["tenths"])
    if groups.get("hundredths"):
        return _hundredths(groups["hundredths"])
    number = groups.get("number") or groups.get("plain")
    if number is None:
        return None
    values = [float(number), *([float(groups["end"])] if groups.get("end") else [])]
    value = sum(values) / len(values)
    if groups.get("of"):
        return value / float(groups["of"])
    if groups.get("sign") or value > 1:
        return value / 100
    return value if "." in number or value == 0 else None


def _tenths(text: str) -> float:
    """八成, 八成五, 八成半, 十成."""
    whole, _, part = text.partition("成")
    rest = 5 if part == "半" else FIGURES.get(part[:1], 0)
    return ((10 if whole == "十" else FIGURES[whole]) + rest / 10) / 10


def _hundredths(text: str) -> float | None:
    """What stands after 百分之: 八十, 八十五, 百, 80."""
    if text[0].isdecimal():
        return float(text) / 100
    if text in ("百", "一百"):
        return 1.0
    tens, ten, ones = text.partition("十")
    if max(len(tens), len(ones)) > 1 or "百" in text:
        return None
    if not ten:
        return FIGURES[tens] / 100
    return (10 * FIGURES.get(tens, 1) + FIGURES.get(ones, 0)) / 100
