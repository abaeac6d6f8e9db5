"""What can be said of a reply without knowing whether it is right: its format, its language, its length,
whether it goes round in circles. Each is one named number, 1 the best (length: 0 the best, down to
-1). What of it is paid, and when, is the reward's to say (docs/rewards.md)."""

import re
from collections import Counter
from collections.abc import Sequence

from shoestring.tasks.answers import BOXED, tagged
from shoestring.tasks.language import MAX_CHARS, detect, share_in
from shoestring.text.message import Reply
from shoestring.text.stream import CLOSE, OPEN

GRAM = 4  # tokens in a row that count as repeated
SHORT = 24  # tokens; a shorter text repeats itself by chance and is never marked down
LOOP_TIMES, LOOP_TOKENS, LOOP_PERIOD = (
    4,
    24,
    60,
)  # a loop: so often, at least so long together, so long at most
TOKEN = re.compile(r"[^\W_]{1,20}|[^\w\s]")
UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f])")


def format_score(text: str, opened: bool, cut: bool = False) -> float:
    """`text` is the completion as it was written, `opened` whether the prompt had opened the thinking.

    0 without a closed thinking and an answer after it, or when cut. Else 1, halved for each of: something
    before the thinking; an empty thinking; <think> or </think> more often than once; <answer> tags that are
    not one pair around something, at the reply's end."""
    opens, closes = text.count(OPEN) + opened, text.count(CLOSE)
    whole = OPEN + text if opened else text
    before, _, rest = whole.partition(OPEN)
    thinking, _, answer = rest.partition(CLOSE)
    answer = answer.replace(OPEN, "").replace(CLOSE, "")
    if cut or not opens or not closes or not re.sub(r"</?answer>", "", answer).strip():
        return 0.0
    faults = [
        bool(before.strip()),
        not thinking.replace(OPEN, "").strip(),
        opens > 1 or closes > 1,
        not _answer_tags_fit(answer),
    ]
    return 0.5 ** sum(faults)


def _answer_tags_fit(answer: str) -> bool:
    if "<answer>" not in answer and "</answer>" not in answer:
        return True
    pair = re.fullmatch(r"[^<]*<answer>(.*)</answer>\s*", answer, re.DOTALL)
    return pair is not None and bool(pair[1].strip()) and "answer>" not in pair[1]


def language_consistency(text: str, target: str) -> float:
    """Words in the language `target` / all words, as in R1's reward. A text without words (a sum worked in
    figures) is in any language; an empty one in none. target "": the text's own main language."""
    if not text.strip():
        return 0.0
    share = share_in(text, target or detect(text) or "en")
    return 1.0 if share is None else share


def length_penalty(num_tokens: int, cap: int, cache: int) -> float:
    """0 up to cap - cache tokens, then linear to -1 at the cap (DAPO's soft overlong punishment,
    arXiv 2503.14476, equation 13)."""
    over = num_tokens - (cap - cache)
    return -min(1.0, max(0, over) / cache)


def repetition_score(text: str) -> float:
    """1 - the share of 4-grams that were there before; 0 where the text ends in a loop. Tokens are words,
    signs and single characters where a script has no spaces."""
    if len(text) > MAX_CHARS:
        text = text[: MAX_CHARS // 2] + text[-MAX_CHARS // 2 :]
    tokens = tokens_of(text)
    if len(tokens) < SHORT:
        return 1.0
    if ends_in_loop(tokens):
        return 0.0
    runs = Counter(zip(*(tokens[i:] for i in range(GRAM)), strict=False))
    return len(runs) / runs.total()


def tokens_of(text: str) -> list[str]:
    return TOKEN.findall(UNSPACED.sub(r" \1 ", text))


def grams(text: str) -> list[tuple[str, ...]]:
    """Every run of GRAM tokens, in order."""
    tokens = tokens_of(text)
    return [tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1)]


def ends_in_loop(tokens: Sequence[str]) -> bool:
    """Whether the end is one period again and again, the last time perhaps not to its end."""
    for period in range(1, min(LOOP_PERIOD, len(tokens) // LOOP_TIMES) + 1):
        same = 0
        while same + period < len(tokens) and tokens[-1 - same] == tokens[-1 - same - period]:
            same += 1
        if same >= max((LOOP_TIMES - 1) * period, LOOP_TOKENS - period):
            return True
    return False


def looks_gamed(text: str, opened: bool, reply: Reply) -> bool:
    """Signs, in a reply that was judged right, that it was not worked out: a thinking opened and left empty,
    tags more often than once, several boxes or answer tags that don't agree."""
    thinks = opened or text.lstrip().startswith(OPEN)
    marked = {part.strip() for part in (*BOXED.findall(reply.answer), *tagged(reply.answer))}
    return (
        (thinks and not (reply.reasoning or "").strip())
        or text.count(OPEN) + opened > 1
        or text.count(CLOSE) > 1
        or text.count("<answer>") > 1
        or len(marked) > 1
    )
