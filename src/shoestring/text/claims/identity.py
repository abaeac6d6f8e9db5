"""Sentences in which a reply says that it is another's model, or was made by another maker.

A name alone is a mention ("OpenAI released GPT-4"). A claim has a frame: who speaks, then a name ("I am ...",
"you are talking to ..."), or a maker who acts on the speaker ("... created me").
"""

import re

from shoestring.text.claims.frames import FRAMES, MADE, MAKER, MODEL, NOUN, UNKNOWN, WORD, N
from shoestring.text.claims.identity_others import OTHERS, SPEAKS_OTHER
from shoestring.text.claims.identity_zh import CHINESE, CHINESE_UNKNOWN
from shoestring.text.claims.sentences import QUOTED, Sentence
from shoestring.text.makers import Names

# words that stand between "I am" and a name without turning the claim into something else
GLUE = re.compile(
    rf"(?:{MADE}|{NOUN}|an?|the|your|my|just|only|really|actually|simply|in fact|indeed|still|also|called|"
    rf"named|"
    r"known|as|by|from|of|to be|based|on|large|small|language|artificial|virtual|digital|conversational|"
    r"friendly|helpful|powerful|advanced|multimodal|generative|open|free|new|latest|popular|famous|company|"
    r"firm|lab|labs|team|group|research|researchers|engineers|scientists|people|folks|organi[sz]ation|"
    r"giant|american|chinese|french|independently|originally|mainly|jointly|proudly|who|that|which|was|is|"
    r"been|have|and|being|"
    rf"currently|basically|technically|essentially|officially|today|now|better|best|{N}|'s|,)",
    re.IGNORECASE,
)
TOKEN = re.compile(rf"{N}|'s|,|[\w/-]+(?:'[a-rt-z]+)?")
# "a cheerful multilingual helper": adjectives are as good as none
DESCRIBED = re.compile(
    rf"\b(?:an?|the|your|one of the)(?: (?!of\b|for\b|to\b|with\b|about\b|in\b|on\b|by\b|"
    rf"who\b){WORD}){{0,4}}? {NOUN}\b",
    re.IGNORECASE,
)
TURNS = re.compile(
    r"\b(?:not|n't|never|no longer|nor|neither|nothing|unlike|about|like|using|compare|comparing|how|why|"
    r"when|what|whether|if|than|without|instead|against|inspired|fan|user|owner|but)\b|n't\b|\x00",
    re.IGNORECASE,
)
# others' words and thoughts, and what isn't so: in the same clause before the claim
REPORTED = re.compile(
    r"(?:\b(?:whether|if|asks?|asked|asking|claims|claimed|says|said|wrote|writes|suppose|supposing|"
    r"imagine|pretend(?:s|ing|ed)?|assum\w+|suggest\w*|accus\w+|den(?:y|ies|ied)|not|never|nor|neither|"
    r"nobody|told|tells|wrong|false|untrue|rumou?rs?|myth|thinks|thought|believes|believed|wonders?|"
    r"wondered|as though|as if)\b|n't\b|(?<!\bI )\b(?:think|believe|say|claim)\b)[^,;:]{0,60}\Z",
    re.IGNORECASE,
)
# places in a sentence at which one frame is tried; more of them is a name said over and over
TRIES = 10
UNLISTED = "an AI made by a maker not in the list"
FIRST_PERSON = re.compile(r"\b(?:I|my|me)\b|\bI'")


def claim_in(sentence: Sentence, names: Names, own: tuple[str, ...]) -> str:
    """The rule by which the sentence claims another's name; "" for none."""
    text = sentence.text
    framed = names.pattern.sub(lambda m: MODEL if m.lastgroup == "model" else MAKER, text)
    has_name = MODEL in framed or MAKER in framed
    if has_name and (found := _english(framed) or _other_languages(framed)):
        return found
    return _unknown_maker(text, own)


def _english(text: str) -> str:
    for rule, frame, wanted in FRAMES:
        start = 0
        for _ in range(TRIES):
            match = frame.search(text, start)
            if match is None:
                break
            if _holds(wanted, match) and not REPORTED.search(text[: match.start()]):
                return f"en: {rule}"
            start = match.start() + 1
    return ""


def _holds(wanted: str, match: re.Match[str]) -> bool:
    gap, rest = match["gap"], match.string[match.end("name") :]
    if TURNS.search(gap) or re.search(r"[,;] but\b", gap):
        return False
    match wanted:
        case "glue":
            return _is_glue(gap) and _is_named(gap, rest)
        case "by":
            return _is_made_by(gap)
        case "described":
            return DESCRIBED.match(gap.strip()) is not None and _is_described(gap)
        case "as":
            return _speaks_as(gap, rest)
        case _:
            return not re.search(r"\b(?:and|with)\b", gap) and QUOTED not in gap


def _is_glue(gap: str) -> bool:
    return all(GLUE.fullmatch(word) for word in TOKEN.findall(DESCRIBED.sub(" ", gap)))


def _is_named(gap: str, rest: str) -> bool:
    """Not "a Gemini" (a sign), "a ChatGPT user", "ChatGPT's biggest fan"."""
    followed = rf"(?:'s)?(?: (?:{WORD})){{0,4}}? {NOUN}\b"
    if re.search(r"\b(?:an?)\s*\Z", gap, re.IGNORECASE) or rest.startswith("'s"):
        return re.match(rf"(?:'s)?[ ]*{N}|{followed}", rest, re.IGNORECASE) is not None
    return True


def _is_made_by(gap: str) -> bool:
    """As in " by the people at", " and trained by", " on": a way from the verb to the maker."""
    return re.search(r"\b(?:by|at|from|on|in)\b", gap) is not None and not re.search(
        r"\b(?:for|to|with|who|reading|told|asked|impressed)\b", re.sub(r"\bto (?:life|being)\b", "", gap)
    )


def _is_described(gap: str) -> bool:
    after = DESCRIBED.sub(" ", gap, count=1)
    return re.search(
        rf"\b(?:{MADE}|from|by|whose|called|named|name of)\b", after, re.IGNORECASE
    ) is not None and not (re.search(r"\b(?:for|with|to|phone|paper|book|movie)\b", after))


def _speaks_as(gap: str, rest: str) -> bool:
    if not _is_glue(gap) and not (DESCRIBED.search(gap) and re.search(rf"\b{MADE}\b", gap)):
        return False
    named = re.match(rf"(?:'s)?(?:[ -](?:{NOUN}|{WORD} {NOUN}))?,? (?:I\b|my\b|I')", rest, re.IGNORECASE)
    # "As ChatGPT, a language model by OpenAI, I"
    named = named or re.match(r",[^,]{0,80}, (?:I\b|my\b|I')", rest)
    described = DESCRIBED.search(gap) is not None and FIRST_PERSON.search(rest)
    return bool(named or described)


def _other_languages(text: str) -> str:
    for rule, frame in CHINESE:
        if frame.search(text):
            return f"zh: {rule}"
    if SPEAKS_OTHER.search(text):
        for rule, frame in OTHERS:
            if frame.search(text):
                return rule
    return ""


def _unknown_maker(text: str, own: tuple[str, ...]) -> str:
    for language, frame in (("en", UNKNOWN), ("zh", CHINESE_UNKNOWN)):
        match = frame.search(text)
        if match is None or any(name and name.casefold() in match["maker"].casefold() for name in own):
            continue
        if not REPORTED.search(text[: match.start()]):
            return f"{language}: {UNLISTED}"
    return ""
