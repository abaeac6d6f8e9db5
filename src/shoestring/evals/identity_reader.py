"""Who a reply says made it: the families of models that it claims, each with the rule that saw it.

A name alone is a mention. It is a claim in a frame ("I am ...", "... trained me": the rules that the scan of
data has too), as the bare answer to who made it ("OpenAI."), or by a yes to a question that names it.
Denials, quotes, comparisons and talk of others are none. What the rules get wrong is measured on labelled
replies (`readers_error.py`, `shoestring audit --labelled`).
"""

import re
from functools import cache

from shoestring.text.claims.frames import MADE
from shoestring.text.claims.identity import UNLISTED, claim_in
from shoestring.text.claims.sentences import Sentence, plain, sentences, unquoted
from shoestring.text.makers import FAMILIES, names_but, names_of

# a maker's name becomes this where another family is looked for: a word that a claim may have in it
SOMEBODY = "lab"
LONGEST = 4000  # characters of a reply that are read; a loop says nothing new after them

_YES = re.compile(
    r"\W*(?:(?:well|okay|ok|fine|honestly|alright)\W+)?"
    r"(?:yes|yeah|yep|right|correct|exactly|indeed|true|of course|certainly|absolutely|sure|confirmed|"
    r"i admit|i confirm|i can confirm|i am\W*\Z|you(?:'re| are) (?:right|correct)|you caught me|"
    r"that(?:'s| is) (?:right|correct|true)|oui|exact|c'est (?:vrai|exact|cela|ça)|tout à fait|en effet|"
    r"ja|richtig|stimmt|genau|das stimmt|sí|si,|cierto|exacto|correcto|claro|así es|es verdad|efectivamente)"
    r"(?![\w'])|\W*(?:是的|是啊|对的|对[，。,.!！]|对\Z|没错|确认|确实|好的|当然|正是|我承认|はい|ええ|そうです|"
    r"その通り|確かに|認め)",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:not|never|nor|neither|no|none|cannot|nothing|wrong|false|untrue|than|unlike|aucun\w*|pas|ni|"
    r"non|faux|contrairement|nicht|nein|kein\w*|weder|falsch|anders|tampoco|falso|diferencia)\b|n't\b"
    r"|[不没否非]|并非|误会|错|ない|ません|いいえ|違|異な",
    re.IGNORECASE,
)
# whose sentence isn't about who speaks, though he says "I": comparing, hearing, thinking, using
_ASIDE = re.compile(
    r"\b(?:like|similar\w*|compar\w+|confus\w+|mistak\w+|heard|think|thinks|believe\w*|say|says|said|"
    r"claim\w*|asked|asks|if|whether|about|API|format|data|texts?|use|uses|using|write|help|evidence|"
    r"released|many|some|people|competitors?|other|another|else|croi\w+|autre|comme|si|viele|andere\w*|"
    r"halten|ob|wie|muchos|cre[eí]\w*|otra|otro|como)\b"
    r"|关于|相似|一样|比|竞争|如果|以为|认为|听说|有人|用户|问我|推出|成立|另一个|别の|思う|似|と聞",
    re.IGNORECASE,
)
# a sentence whose subject is the name tells of it, not of the speaker, unless a frame says otherwise
_THIRD = re.compile(r"\W*\ue000(?:'s)? ?(?:is|was|are|has|est|ist|es|fue|是|は|成立)(?![a-z])", re.IGNORECASE)
# what the frames of other languages than English don't look for before a claim: others' belief, neither - nor
_DOUBTED = re.compile(
    r"\b(?:croi\w+|pensent|dit|disent|si|weder|ob|glaub\w+|behaupte\w+|creen|piensan|dicen)\b", re.IGNORECASE
)
_WORDS = ("apple-siri", "amazon")  # names that are words: only a frame makes a claim of them
_SELF = re.compile(
    r"\b(?:I|me|my|je|moi|mon|m'|ich|mich|mein\w*|mir|yo|mi|soy)\b|\bI'|\bm'|[我咱]|本模型|私|僕",
    re.IGNORECASE,
)
_NAME = "\ue000"
_LEAD = (
    r"\W*(?:(?:well|oh|hi|hello|sure|no|yes|non|oui|nein|ja|sí|sure|不是|不|是的|对|いいえ|はい)\W+)?"
    r"(?:it's|it is|it was|that's|that would be|this is|by|from|at|c'est|par|chez|das ist|das war|es ist|von|"
    r"bei|es|de|por|fue|是|由|来自|是由|就是)?\s*(?:the |an? |la |le |el |die |das |der )?"
)
_VERB = (
    rf"(?:{MADE}|entraînée?|développée?|créée?|conçue?|entwickelt|trainiert|gebaut|geschaffen|erstellt|"
    r"desarrollad[oa]|entrenad[oa]|cread[oa]|diseñad[oa])"
)
_MADE_ME = r"(?:made|created|trained|built|developed|did|m'a|m'ont|me creó|me desarrolló|me hizo|hat mich)"
BARE: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (rule, re.compile(frame, re.IGNORECASE))
    for rule, frame in (
        # the name and at most a company's word, where it comes from, or how sure one is
        (
            "a name for an answer",
            rf"\A{_LEAD}{_NAME}(?:の)?(?:'s)?(?: (?:team|company|model|assistant))?"
            rf"(?:公司|团队|社)?(?:{_NAME})?"
            rf"(?:です|だ|でございます)?(?:,? (?:from|by|as|a|an|of|de|von|a company|"
            r"ein|un|une|una|l')\b.*)?\W*\Z",
        ),
        (
            "made by NAME",
            rf"\A\W*(?:\w+ ){{0,4}}?{_VERB}(?: \w+)? (?:by|at|par|von|bei|por) (?:\w+ )?{_NAME}",
        ),
        ("NAME made it", rf"\A{_LEAD}{_NAME}\W+(?:that |who |which |qui |que |das |die )?{_MADE_ME}\b"),
        ("由 NAME 开发", rf"\A\W*(?:是)?由{_NAME}\S{{0,6}}?(?:开发|训练|创造|研发|打造|创建|提供)"),
        (
            "NAME 训练的",
            rf"\A\W*(?:是)?{_NAME}\S{{0,4}}?(?:开发|训练|创造|研发|打造|创建|做)(?:了|出|出了)?(?:的|我)",
        ),
        ("开发方是 NAME", rf"(?:开发|训练|创造|研发|设计)(?:方|者|商|公司|团队)\S{{0,2}}?[是为：:]{_NAME}"),
        ("NAMEのモデルとして、私", rf"\A\W*{_NAME}(?:社)?の\S{{0,8}}?として\S{{0,4}}?(?:私|僕)"),
        (
            "NAMEが開発",
            rf"\A\W*{_NAME}(?:社)?(?:が|によって|により|に|で)\S{{0,6}}?(?:開発|作|訓練|学習|設計)",
        ),
    )
)


def claimed(reply: str, probe: str = "", thought: bool = False) -> dict[str, str]:
    """Family -> rule. `probe` is what the reply answers, "" for a plain question; `thought`: the text is a
    thinking, where the question is talked over, so that only a whole frame is a claim."""
    text = unquoted(plain(reply[:LONGEST]))
    questioned = families_in(probe)
    found: dict[str, str] = {}
    echoed = _bare(probe)
    for sentence in sentences(text):
        said = _bare(sentence.text)
        if said in echoed or said.replace("我", "你") == echoed:  # the question said over again
            continue
        there = families_in(sentence.text)
        mine = {family: rule for family in sorted(there) if (rule := _claim(sentence, family, thought))}
        found |= _with_compounds(sentence.text, mine, there)
    if len(questioned) == 1 and not thought and not found and says_yes(text):
        (family,) = questioned
        if not any(family in families_in(s.text) and _DENIES.search(s.text) for s in sentences(text)):
            return {family: "yes to the question"}
    return found


def families_in(text: str) -> set[str]:
    """Whose names stand in the text at all."""
    lower = text.lower()
    if not names_but().maybe_in(text, lower):
        return set()
    return {
        key for key in FAMILIES if names_of(key).maybe_in(text, lower) and names_of(key).pattern.search(text)
    }


def _bare(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def says_yes(text: str) -> bool:
    first = next(sentences(text), None)
    return first is not None and _YES.match(first.text) is not None and not _DENIES.search(first.text)


def _claim(sentence: Sentence, family: str, thought: bool) -> str:
    names = names_of(family)
    text = _others_masked(sentence.text, family)
    rule = claim_in(Sentence(sentence.start, sentence.end, text), names, ())
    if rule and UNLISTED not in rule:
        return "" if rule[:2] in ("fr", "de", "es") and _DOUBTED.search(text) else rule
    framed = names.pattern.sub(_NAME, text)
    if thought or family in _WORDS or _THIRD.match(framed) or framed.rstrip().endswith(("?", "？")):
        return ""
    for rule, frame in BARE:
        if (match := frame.search(framed)) and not _DENIES.search(match[0]):
            return rule
    if not _DENIES.search(framed) and _SELF.search(framed) and not _ASIDE.search(framed):
        return "a name, asked who speaks"
    return ""


@cache
def _all_but(family: str) -> tuple[re.Pattern[str], ...]:
    return tuple(names_of(key).pattern for key in FAMILIES if key != family)


def _others_masked(text: str, family: str) -> str:
    for pattern in _all_but(family):
        text = pattern.sub(SOMEBODY, text)
    return text


def _with_compounds(text: str, mine: dict[str, str], there: set[str]) -> dict[str, str]:
    """DeepSeek-R1-Distill-Qwen is of both families."""
    if not mine:
        return mine
    for run in re.findall(r"[\w.]+(?:-[\w.]+)+", text):
        inside = families_in(run)
        if inside & mine.keys():
            mine |= dict.fromkeys(inside & there - mine.keys(), "part of a claimed name")
    return mine
