"""Reading the one answer out of what a model said. Strict on purpose: an answer counts only when it is the
only one stated, so neither a list of candidates nor the question said back earns anything.

Where several rules could apply, the first that finds something decides:
  1. `\\boxed{...}` or `<answer>...</answer>`;
  2. a sentence "the answer is ..." or "answer: ..." ("答案是", "答：");
  3. for a named unknown, "x = ...";
  4. the last sentence or line with a number in it: what comes after its last "=", "is", "是", ":" and the
     like.
Values found by rule 1, 2 or 3 must all agree; rule 4's piece must hold one number and no expression, and
where it is nothing but a number no other such line may name a different one. Questions are never answers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shoestring.tasks.base import Outcome, Verdict
from shoestring.text.message import Reply

MAX_CHARS = 20_000  # nobody states an answer in more; keeps a scorer's time bounded
MAX_DIGITS = 40

NUMBER = re.compile(r"(?:(?<![\w.+-])[-+]\s?|(?<![\w.]))\d+(?:\.\d+)?(?!\w)")
DENIED = re.compile(
    r"(?:\b(?:not|never|isn't|at least|at most|(?:more|less|fewer|greater) than)|\b(?:can't|cannot) be)"
    r"\s+(?:\w+\s+)?[-+]?\d[\d.,]*",
    re.IGNORECASE,
)
EXPRESSION = re.compile(
    r"[\d)]\s*[-+*/×÷^]\s*[\d(]|\\(?:[dtc]?frac|sqrt|binom|pi|log|ln|exp|sin|cos|tan)(?![a-z])|[√π]|\d\s*\^"
    r"|\d\s*(?:dozen|hundred|thousand|million|billion)\b"
)
SEPARATOR = re.compile(
    r"=+>?|→|:|\b(?:is|are|be|equals?|gives?|makes?|get|have|totals?|up to|comes to|amounts to)\b"
    r"|等于|是|为|得|共|有|余",
    re.IGNORECASE,
)
STATEMENT = re.compile(
    r"\banswer\b(?:\s+(?:to|for|of)\b[^=:\n]{0,80}?)?\s*"
    r"(?:\bis\b\s*:?|:|=|\bequals\b|\b(?:would|should|must) be\b)"
    r"|答案\s*(?:应该|应当|应)?\s*(?:是|为|等于|:|=)\s*|答\s*:",
    re.IGNORECASE,
)
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
BRACE = re.compile(rf"{BOX.pattern}|\\[{{}}]|[{{}}]")
BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}")
STYLED = re.compile(r"\\(?:text|math)(?:bf|it|rm|normal|sf|tt)?\s*\{([^{}]*)\}|\\mbox\s*\{([^{}]*)\}")
SENTENCE_END = re.compile(r"(?<=[.!?;])(?=\s)|(?<=[.!?;])$|\n")
BARE = re.compile(r"[\s\"'(]*[-+]?\s?\d+(?:\.\d+)?[\s\"').!;,]*")
HAN = "[\u4e00-\u9fff]"
# where Chinese meets a number or a Latin word there is no space, and both are \w
SEAM = re.compile(rf"(?<={HAN})(?=[-+(0-9A-Za-z])|(?<=[0-9A-Za-z)])(?={HAN})")
WIDE = {0xFF01 + i: chr(0x21 + i) for i in range(94)} | {
    ord(wide): narrow
    for wide, narrow in {
        **dict.fromkeys("，、", ", "),
        **{"。": ".\n", "；": ";\n", "！": "!\n", "？": "?\n", "\u3000": " "},
        **dict.fromkeys("“”「」『』", '"'),
    }.items()
}
LIST_MARK = re.compile(r"^[ \t]*(?:[-*•][ \t]+|\(?\d{1,2}[.)][ \t]+(?=\S))", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """values: the distinct values stated (one is an answer, several are none). Empty: nothing was stated."""

    values: tuple[str, ...] = ()

    @property
    def single(self) -> str | None:
        return self.values[0] if len(self.values) == 1 else None


def distinct(values: Iterable[str]) -> Found:
    return Found(tuple(dict.fromkeys(values)))


def tagged(text: str) -> list[str]:
    """What stands in <answer>...</answer>, as R1-Zero's template asks for."""
    parts = (part.partition("</answer>") for part in text.split("<answer>")[1:])
    return [content for content, closed, _ in parts if closed]


def narrow(text: str) -> str:
    """Chinese text as the rules read it: full-width digits, letters and marks in ASCII, a sentence's end as a
    line's, and a space between Chinese and what isn't. Other text as it is."""
    return text if text.isascii() else SEAM.sub(" ", text.translate(WIDE))


def boxed(text: str) -> list[str]:
    """What stands in \\boxed{...}, braces in it matched; of a box in a box the inner one. A box that is never
    closed is none. One pass: junk full of open braces takes no longer than other text."""
    found: list[str] = []
    opened: list[int] = []  # where each open brace's content starts, below 0 for a box's (as -1 - start)
    for match in BRACE.finditer(text):
        if match[0] == "}" and opened:
            start = opened.pop()
            if start < 0:
                content = text[-1 - start : match.start()]
                if not BOX.search(content):
                    found.append(content)
        elif match[0] not in ("}", "\\{", "\\}"):
            opened.append(-1 - match.end() if match[0] != "{" else match.end())
    return found


def clean(text: str, prompt: str = "") -> str:
    """One spelling for what means the same: full-width characters, minus signs, thousands commas, markdown
    and LaTeX marks; the question said back, list marks and text past MAX_CHARS are taken out."""
    if len(text) > MAX_CHARS:
        return ""
    if prompt:
        text = text.replace(prompt, "\n")
    return LIST_MARK.sub("", spelled(text))


def spelled(text: str) -> str:
    """`clean`, for what is no line of its own."""
    text = narrow(text)
    text = re.sub(r"[−–—﹣－]", "-", text)
    text = re.sub(r"\\(?:times|cdot)\b", "*", text)
    text = STYLED.sub(lambda m: f" {m[1] or m[2] or ''} ", text)
    text = re.sub(r"(?<!\d)\*\*|\*\*(?!\d)|__|`|\$|\\[()\[\]!,;]|</?[a-z]+>", "", text)
    text = text.replace("{,}", ",")
    text = re.sub(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?!,?\d)", lambda m: m[0].replace(",", ""), text)
    return text


def sentences(text: str) -> list[str]:
    """Statements only: questions are left out."""
    parts = (part.strip() for part in SENTENCE_END.split(text))
    return [part for part in parts if part and not part.endswith("?")]


def number(text: str) -> str:
    """A number in one spelling: " - 07" and "-7.0" are "-7"; "6.50" is "6.5"."""
    sign = "-" if "-" in text else ""
    whole, _, decimals = text.lstrip("+- ").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    if len(whole) > MAX_DIGITS:
        return "too long"
    body = f"{whole}.{decimals}" if decimals else whole
    return body if body == "0" else sign + body


def numbers(text: str) -> list[str]:
    return [number(found) for found in NUMBER.findall(text)]


def stated_number(sentence: str) -> Found:
    """What one sentence says the result is: the numbers after its last separator that has any. An expression
    there ("17 + 5") says nothing."""
    for piece in reversed(SEPARATOR.split(sentence)):
        if EXPRESSION.search(piece):
            return Found()
        if NUMBER.search(piece):
            return distinct(numbers(piece))
    return Found()


def find_integer(text: str, prompt: str = "", unknown: str = "") -> Found:
    """The integer that `text` states, by the rules at the top of this file."""
    marked = tagged(narrow(text))
    text = clean(text, prompt)
    stated = [stated_number(content) for content in [*map(spelled, marked)] or boxed(text)]
    if stated:
        return distinct(value for found in stated for value in (found.values or ("nothing",)))
    lines = sentences(DENIED.sub(" ", text))
    said = [stated_number(tail) for line in lines for tail in STATEMENT.split(line)[1:]]
    if not any(found.values for found in said) and unknown:
        equals = _unknown_equals(unknown)
        said = [stated_number(tail.split(",")[0]) for line in lines for tail in equals.split(line)[1:]]
        # "3x + 4 = 19" says what the left side is, not what x is
        lines = [line for line in lines if not re.search(rf"\b\d*{unknown}\b", line)]
    if any(found.values for found in said):
        return distinct(value for found in said for value in found.values)
    lines = [line for line in lines if NUMBER.search(line)]
    if not lines:
        return Found()
    if BARE.fullmatch(lines[-1]):
        return distinct(value for line in lines if BARE.fullmatch(line) for value in numbers(line))
    return stated_number(lines[-1])


def _unknown_equals(unknown: str) -> re.Pattern[str]:
    """ "x =" where x stands alone: not in "2x = 8", "7 - x = 4" or "2 * x = 8"."""
    says = r"(?:=|\b(?:is|equals|must be)\b|等于|是|为)"
    return re.compile(rf"(?<![\d)*/+\-^]\s)(?<![\w)*/+\-^]){unknown}\s*{says}")


def judge(found: Found, gold: str) -> Verdict:
    """One value, equal to `gold`: right. One other, or several: wrong. None: unparsed."""
    if not found.values:
        return Verdict(Outcome.UNPARSED, 0.0, detail="no answer found")
    if found.single is None:
        return Verdict(Outcome.WRONG, 0.0, detail=f"several answers: {', '.join(found.values[:5])}")
    if found.single == gold:
        return Verdict(Outcome.RIGHT, 1.0, said=found.single)
    return Verdict(Outcome.WRONG, 0.0, detail=f"{found.single[:60]}, not {gold}", said=found.single)


def judge_integer(reply: Reply, gold: int, prompt: str = "", unknown: str = "") -> Verdict:
    return judge(find_integer(reply.answer, prompt, unknown), str(gold))


def judge_integer_lenient(reply: Reply, gold: int, prompt: str = "", unknown: str = "") -> Verdict:
    """Right in any way a kind reader would grant: by the strict rule or as the last number, in the answer or
    in thinking and answer together. For measuring a base at its best; never a reward."""
    whole = f"{reply.reasoning or ''}\n{reply.answer}"
    for text in (reply.answer, whole):
        last = numbers(clean(text, prompt))[-1:]
        if find_integer(text, prompt, unknown).single == str(gold) or last == [str(gold)]:
            return Verdict(Outcome.RIGHT, 1.0)
    strict = judge_integer(reply, gold, prompt, unknown)
    if strict.outcome is Outcome.UNPARSED and numbers(clean(whole, prompt)):
        return Verdict(Outcome.WRONG, 0.0, detail=strict.detail)
    return strict
