"""Sentences that say when the speaker's knowledge ends."""

import re
from functools import partial

_rule = partial(re.compile, flags=re.IGNORECASE)
YEAR = r"(?:19|20)\d\d"
UP = r"(?: \w+){0,4}?"

CUTOFF_GATE = (
    "cutoff",
    "cut-off",
    "cut off",
    "my knowledge",
    "my training",
    "my data",
    "my information",
    "update",
    "trained",
    "have no ",
    "have knowledge",
    "have information",
    "have access",
    "have data",
    "aware of",
    "know",
    "截止",
    "截至",
    "更新",
    "知识",
    "训练数据",
    "了解",
    "信息",
)
CUTOFF: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "en: my knowledge cut-off",
        _rule(r"\bmy (?:\w+ ){0,2}?(?:knowledge|training|data|information)(?:'s)?(?: \w+)? cut[- ]?off"),
    ),
    ("en: my cut-off", _rule(rf"\bmy cut[- ]?off (?:date )?(?:is|was)\b.{{0,20}}{YEAR}")),
    (
        "en: my knowledge ends",
        _rule(
            r"\b(?:my|my current|my own) (?:knowledge(?: base)?|training data|training dataset|information|"
            r"database|data)(?: (?:only|is|was|has|were|set|itself|that i have))* (?:ends?|ended|stops?|"
            r"stopped|goes|go|extends?|reach(?:es)?|runs?|covers?|includes?|current|limited|last|"
            r"up to date|collected|dates?|updated)\b"
            rf"(?:.{{0,40}}{YEAR}|.{{0,30}}\b(?:there|here|past|after|up (?:to|until))\b)"
        ),
    ),
    (
        "en: as of my last update",
        _rule(
            r"\b(?:as of|until|up to|up until|since|after|before|past|beyond)"
            r" my (?:\w+ ){0,2}?(?:(?:knowledge|training|data)(?:[- ](?:data|update|cut[- ]?off|ended|was))"
            r"|(?:last|latest|most recent) (?:\w+ )?(?:update|training|cut[- ]?off)|training cut[- ]?off|"
            r"cut[- ]?off)(?! of the\b)"
        ),
    ),
    (
        "en: I know nothing after YEAR",
        _rule(
            r"\bI(?:'m| am|'ve| can| do)?\b[^.;]{0,20}?\b(?:knowledge|information|data|access|aware|knows?|"
            r"informed|familiar)\b"
            rf"[^.;]{{0,60}}?\b(?:up to|up until|until|after|past|beyond|later than|since|through)"
            rf"\b (?:\w+ ){{0,3}}?{YEAR}\b(?! rows)"
        ),
    ),
    (
        "en: after my update",
        _rule(
            r"\b(?:happened|occurred|changed|published|released|after|since)\b[^.;]{0,20}? my (?:last |"
            r"latest )?(?:update|training)\b(?! for)"
        ),
    ),
    (
        "en: I was trained until YEAR",
        _rule(
            rf"\bI was (?:\w+ )?(?:trained|updated)\b(?:[^.;]{{0,40}}?\b(?:up to|until|from|before|through|"
            rf"of|ends?|in)\b)[^.;]{{0,24}}?{YEAR}"
        ),
    ),
    (
        "zh: 我的知识截止",
        _rule(
            r"我(?:所)?(?:的|掌握的|拥有的|知道的)?(?:最新|现有|全部|训练)?(?:知识库?|训练数据|数据库?|"
            r"信息|训练|资料)[^，。；]{0,10}?(?:截止|截至|更新(?:到|至|于|时间|日期)|只到|止于|停留在|终止|"
            r"没有更新)"
        ),
    ),
    ("zh: 截至我的更新", _rule(r"截[至止]到?(?:我|本模型)(?:的)?[^，。；]{0,10}?(?:更新|训练|知识|数据)")),
    (
        "zh: 我最后更新于",
        _rule(r"我(?:的)?(?:最后|最近|上)一?次?的?(?:知识)?(?:更新|训练)[^，。；]{0,8}?\d{4}"),
    ),
    (
        "zh: 我不了解之后的事",
        _rule(
            r"我(?:并)?(?:不|无法|不能|没法|没有)[^，。；]{0,6}?(?:了解|知道|获知|掌握|得知|"
            r"获取)?[^，。；]{0,6}?(?:19|20)\d\d年[^，。；]{0,8}?(?:之后|以后|后)"
        ),
    ),
    ("zh: 根据我截至", _rule(r"(?:根据|基于)我?(?:的)?截[至止]\S{0,12}?(?:知识|数据|信息)")),
)
